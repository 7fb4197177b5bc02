// Package auth asks etcd and keelkv for the same things as different users, and compares what they refuse.
//
// What was once wrong in etcd, and where it is looked for:
//
//	CVE-2026-33413  calls without a token            TestMatrix, every method
//	CVE-2026-33343  nested transactions              TestMatrix, nestings
//	CVE-2026-44283  prev_kv and leases in them       TestMatrix, puts
//	CVE-2026-73499  watches from a key on            TestMatrix, shapes
//	CVE-2023-32082  the keys of a lease              TestMatrix, leases
//	CVE-2018-16886  the gateway's own certificate    TestMatrixOfCertificates, JSON
//	CVE-2021-28235, GHSA-528j-9r78-wffx, tokens in the log: TestSecretsAreNowhere
//	CVE-2020-15115  empty passwords                  TestMatrix, users: as etcd, which takes them
//	GHSA-vjg6-93fv-qv64  users without a password    TestMatrixOfCertificates; TestSecretsAreNowhere
//	14571, 11651, 13172  users after restarts, states  core/tests/cluster/users.rs, core/src/apply/tests/auth.rs
//	revocation while watching                        TestRandomUsers: a new watch is judged anew
//	forms and ends of tokens                         TestMatrix, bearer and expired; users.rs; the times of refusals: cmd/logins
//	21736           an update that promotes          core/tests/cluster/main.rs
package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"keelkv/compat/authority"
	"keelkv/compat/server"
)

const (
	patience = 20 * time.Second
	// silence is how long a stream may say nothing until it is taken for one that waits.
	silence = time.Second
)

// side is one server, and who is logged in there.
type side struct {
	name       string
	server     *server.Server
	connection *grpc.ClientConn
	logins     map[string]login
	// secure are connections with certificates, by the names in these.
	secure map[string]*grpc.ClientConn
	// gateways take JSON: of plain clients, and of those with certificates by the names in these.
	gateways map[string]*gateway
	// json is the gateway that is asked in the place of gRPC.
	json *gateway
}

type login struct {
	token string
	since time.Time
}

// call makes a call of any method and reads at most one message of a stream. Of what comes, only what all servers
// must say alike is left.
func (s *side) call(m method, token string, request proto.Message) string {
	answer, err := s.raw(m, token, request)
	if err != nil {
		st := status.Convert(err)
		// protobuf-go draws spaces of its texts by lot.
		text := strings.Join(strings.Fields(strings.ReplaceAll(st.Message(), "\u00a0", " ")), " ")
		return fmt.Sprintf("%s: %s", st.Code(), text)
	}
	if answer == nil {
		return "OK, nothing yet"
	}
	if slices.Contains(incomparable, m.name()) {
		return "OK"
	}
	return "OK " + shown(answer)
}

// raw returns nil and no error for a stream that waits.
func (s *side) raw(m method, token string, request proto.Message) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
	}
	answer := m.answer()
	if !m.streams() {
		if s.json != nil {
			return answer, s.json.call(ctx, m, token, request, answer)
		}
		return answer, s.connection.Invoke(ctx, m.path(), request, answer)
	}
	quiet := time.AfterFunc(silence, cancel)
	first := s.first
	if s.json != nil {
		first = s.json.first
	}
	err := first(ctx, m, token, request, answer)
	if !quiet.Stop() {
		return nil, nil
	}
	if errors.Is(err, io.EOF) {
		return message(m.Output()), nil
	}
	return answer, err
}

// first reads the first message of a stream; io.EOF if it ends without one.
func (s *side) first(ctx context.Context, m method, _ string, request, answer proto.Message) error {
	stream, err := s.connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, m.path())
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !m.IsStreamingClient() {
		if err := stream.CloseSend(); err != nil {
			return err
		}
	}
	return stream.RecvMsg(answer)
}

// incomparable are methods whose answers are one member's own affair, or random.
var incomparable = []string{
	"Maintenance.Status", "Maintenance.Hash", "Maintenance.HashKV", "Maintenance.Snapshot",
	"Lease.LeaseGrant", "Lease.LeaseLeases", "Cluster.MemberAdd", "Cluster.MemberList",
	"Cluster.MemberUpdate", "Cluster.MemberRemove", "Cluster.MemberPromote", "Health.List",
}

// ownFields are those of a header that each member has for itself, a token, and a lease's time.
var ownFields = regexp.MustCompile(`\b(cluster_id|member_id|raft_term|TTL|token):("[^"]*"|\d+)`)

func shown(m proto.Message) string {
	if lease, is := m.(*pb.LeaseTimeToLiveResponse); is {
		// A map in etcd.
		slices.SortFunc(lease.Keys, bytes.Compare)
	}
	text := prototext.MarshalOptions{}.Format(m)
	return ownFields.ReplaceAllString(strings.Join(strings.Fields(text), " "), "$1")
}

// pair is both servers.
type pair struct {
	sides [2]*side
}

// cheap: what a password costs is not what is compared here.
const cheap = "--bcrypt-cost=4"

func start(t *testing.T, flags ...string) *pair {
	t.Helper()
	started, err := server.StartPair(t.Context(), append([]string{cheap}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(started.Stop)
	return connect(t, started.Sides())
}

// startSecure starts servers that listen for TLS too, and connects to them with certificates for the names.
func startSecure(t *testing.T, names ...string) *pair {
	t.Helper()
	a := authority.New(t, "ca")
	own := a.Issue(authority.Holder{Serial: 2, Common: "member", Hosts: []string{"127.0.0.1"}})
	flags := []string{cheap, "--client-cert-auth", "--trusted-ca-file=" + a.CA(), "--cert-file=" + own.Cert, "--key-file=" + own.Key}
	var servers [2]*server.Server
	var secure [2]string
	for i, binary := range []string{server.Etcd(), server.Keelkv()} {
		ports, err := server.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		member, err := server.NewMember(binary, "secure", "http", flags...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(member.Discard)
		secure[i] = fmt.Sprintf("127.0.0.1:%d", ports[0])
		member.With("--initial-cluster=secure="+member.PeerURL,
			"--listen-client-urls=http://"+member.Address+",https://"+secure[i])
		if err := errors.Join(member.Launch(), member.Ready(t.Context())); err != nil {
			t.Fatal(err)
		}
		servers[i] = member.Server
	}
	p := connect(t, servers)
	for serial, name := range names {
		shown := a.Issue(authority.Holder{Serial: int64(3 + serial), Common: name})
		certificate, err := tls.LoadX509KeyPair(shown.Cert, shown.Key)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range p.sides {
			config := &tls.Config{RootCAs: a.Pool(), Certificates: []tls.Certificate{certificate}}
			connection, err := grpc.NewClient(secure[i], grpc.WithTransportCredentials(credentials.NewTLS(config)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { connection.Close() })
			s.secure[name] = connection
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone()}}
			t.Cleanup(client.CloseIdleConnections)
			s.gateways[name] = &gateway{client, "https://" + secure[i]}
		}
	}
	return p
}

func connect(t *testing.T, servers [2]*server.Server) *pair {
	p := &pair{}
	for i, s := range servers {
		connection, err := s.Dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { connection.Close() })
		p.sides[i] = &side{name: []string{"etcd", "keelkv"}[i], server: s, connection: connection,
			logins: map[string]login{}, secure: map[string]*grpc.ClientConn{},
			gateways: map[string]*gateway{"": {http.DefaultClient, "http://" + s.Address}}}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("keelkv's log:\n%s", servers[1].Log(20))
		}
	})
	return p
}

// both does the same on both sides at once.
func (p *pair) both(f func(*side) string) (answers [2]string) {
	var group sync.WaitGroup
	for i, s := range p.sides {
		group.Go(func() { answers[i] = f(s) })
	}
	group.Wait()
	return answers
}

// must does something on both sides that has to succeed; it returns what etcd said.
func (p *pair) must(t *testing.T, name string, token func(*side) string, request proto.Message) string {
	t.Helper()
	answers := p.both(func(s *side) string { return s.call(methods[name], token(s), request) })
	for _, answer := range answers {
		if !strings.HasPrefix(answer, "OK") {
			t.Fatalf("%s %s: %s", name, shown(request), answer)
		}
	}
	return answers[0]
}

func nobody(*side) string { return "" }

// as returns a token of a user, whose password is the name. Tokens are short-lived here: each is used for a moment.
func as(user string) func(*side) string {
	return func(s *side) string {
		if known, has := s.logins[user]; has && time.Since(known.since) < time.Second {
			return known.token
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		answer, err := pb.NewAuthClient(s.connection).Authenticate(ctx, &pb.AuthenticateRequest{Name: user, Password: user})
		if err != nil {
			return err.Error()
		}
		s.logins[user] = login{answer.Token, time.Now()}
		return answer.Token
	}
}

// forget makes all users log in again.
func (p *pair) forget() {
	for _, s := range p.sides {
		maps.DeleteFunc(s.logins, func(string, login) bool { return true })
	}
}

// method is one of etcd's API.
type method struct {
	protoreflect.MethodDescriptor
}

// name is that of the service, without its package, and that of the method.
func (m method) name() string { return string(m.Parent().Name()) + "." + string(m.Name()) }

func (m method) path() string { return "/" + string(m.Parent().FullName()) + "/" + string(m.Name()) }

func (m method) streams() bool { return m.IsStreamingClient() || m.IsStreamingServer() }

func (m method) request() proto.Message { return message(m.Input()) }

func (m method) answer() proto.Message { return message(m.Output()) }
