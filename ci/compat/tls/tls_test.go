package tls

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keelkv/compat/authority"
	"keelkv/compat/server"
)

const rejected = "rejected connection on client endpoint"

// try is one run of etcdctl against both.
type try struct {
	name string
	args []string
	// ok is whether it succeeds.
	ok bool
	// logs is what stands in one line of both servers' logs.
	logs []string
}

func (try try) run(t *testing.T, sides [2]*side) {
	t.Run(try.name, func(t *testing.T) {
		var said [2]string
		for i, s := range sides {
			said[i] = s.etcdctl(append(strings.Fields("get --prefix nothing"), try.args...)...)
			if len(try.logs) > 0 {
				s.logged(t, try.logs...)
			}
		}
		if said[0] != said[1] {
			t.Errorf("etcd:   %s\nkeelkv: %s", said[0], said[1])
		}
		if ok := strings.HasPrefix(said[0], "exit 0"); ok != try.ok {
			t.Errorf("etcd: %s", said[0])
		}
	})
}

// with are etcdctl's flags for a certificate.
func with(endpoint, ca string, own authority.Pair) []string {
	args := []string{"--endpoints=" + endpoint, "--cacert=" + ca}
	if own.Cert != "" {
		args = append(args, "--cert="+own.Cert, "--key="+own.Key)
	}
	return args
}

var member = authority.Holder{Serial: 2, Common: "member", Hosts: []string{"127.0.0.1"}}

// served are the flags for a server's certificate and the CA of its clients.
func served(a *authority.Authority, more ...string) []string {
	own := a.Issue(member)
	return append([]string{"--cert-file=" + own.Cert, "--key-file=" + own.Key, "--trusted-ca-file=" + a.CA()}, more...)
}

func TestWhoShowsWhatToAServerThatDemandsCertificates(t *testing.T) {
	a, other, foreign := authority.New(t, "ca"), authority.New(t, "ca"), authority.New(t, "foreign")
	sides := start(t, served(a, "--client-cert-auth", "--client-crl-file="+a.Revoke(0x7b))...)
	good := a.Issue(authority.Holder{Serial: 3, Common: "alice"})
	const secure = "https://{secure}"
	for _, try := range []try{
		{"a good certificate", with(secure, a.CA(), good), true, nil},
		{"no certificate", with(secure, a.CA(), authority.Pair{}), false, []string{rejected}},
		{"of another CA", with(secure, a.CA(), foreign.Issue(authority.Holder{Serial: 3, Common: "alice"})), false, []string{rejected}},
		{"of another CA of that name", with(secure, a.CA(), other.Issue(authority.Holder{Serial: 3, Common: "alice"})), false, []string{rejected}},
		{"revoked", with(secure, a.CA(), a.Issue(authority.Holder{Serial: 0x7b, Common: "alice"})), false, []string{rejected, "transport: certificate serial 7b revoked"}},
		{"over", with(secure, a.CA(), a.Issue(authority.Holder{Serial: 5, Common: "alice", Over: true})), false, []string{rejected}},
		{"who trusts another CA", with(secure, foreign.CA(), good), false, []string{rejected}},
		{"for another host", with("https://localhost:{port}", a.CA(), good), false, []string{rejected}},
		{"plain bytes on the port with TLS", []string{"--endpoints=http://{secure}"}, false, []string{rejected}},
		{"TLS on the plain port", with("https://{plain}", a.CA(), good), false, nil},
		{"plain bytes on the plain port", []string{"--endpoints=http://{plain}"}, true, nil},
	} {
		try.run(t, sides)
	}
}

func TestACAAloneDemandsCertificates(t *testing.T) {
	a := authority.New(t, "ca")
	sides := start(t, served(a, "--tls-max-version=TLS1.2", "--cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")...)
	try{"a good certificate", with("https://{secure}", a.CA(), a.Issue(authority.Holder{Serial: 3, Common: "alice"})), true, nil}.run(t, sides)
	try{"no certificate", with("https://{secure}", a.CA(), authority.Pair{}), false, []string{rejected}}.run(t, sides)
}

func TestHostNamesOfClientsAreAllowed(t *testing.T) {
	a := authority.New(t, "ca")
	sides := start(t, served(a, "--client-cert-auth", "--client-cert-allowed-hostname=good.kv.test")...)
	named := func(serial int64, host string) authority.Pair {
		return a.Issue(authority.Holder{Serial: serial, Common: "alice", Hosts: []string{host}})
	}
	for _, try := range []try{
		{"the name", with("https://{secure}", a.CA(), named(3, "good.kv.test")), true, nil},
		{"a wildcard for it", with("https://{secure}", a.CA(), named(4, "*.kv.test")), true, nil},
		{"another name", with("https://{secure}", a.CA(), named(5, "other.kv.test")), false, []string{rejected, "client certificate authentication failed"}},
	} {
		try.run(t, sides)
	}
}

func TestCommonNamesOfClientsAreAllowedInTheFile(t *testing.T) {
	a := authority.New(t, "ca")
	own := a.Issue(member)
	file := fmt.Sprintf(`name: tls
data-dir: {dir}/data
listen-client-urls: http://{plain},https://{secure}
advertise-client-urls: http://{plain}
listen-peer-urls: {peer}
initial-advertise-peer-urls: {peer}
initial-cluster: tls={peer}
client-transport-security:
  cert-file: %s
  key-file: %s
  client-cert-auth: true
  trusted-ca-file: %s
  allowed-cn: [alice]
`, own.Cert, own.Key, a.CA())
	var sides [2]*side
	for i, binary := range []string{server.Etcd(), server.Keelkv()} {
		ports, err := server.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		m, err := server.NewMember(binary, "tls", "http")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Discard)
		s := &side{Member: m, secure: fmt.Sprintf("127.0.0.1:%d", ports[0]), name: []string{"etcd", "keelkv"}[i]}
		path := filepath.Join(m.Dir, "config.yml")
		text := strings.ReplaceAll(s.fill(file), "{peer}", m.PeerURL)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := m.With("--config-file=" + path).Launch(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := m.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		sides[i] = s
	}
	for _, common := range []string{"alice", "bob"} {
		try := try{common, with("https://{secure}", a.CA(), a.Issue(authority.Holder{Serial: 3, Common: common})), common == "alice", nil}
		if !try.ok {
			try.logs = []string{rejected, "client certificate authentication failed"}
		}
		try.run(t, sides)
	}
}

func TestACertificateIsMade(t *testing.T) {
	sides := start(t, "--auto-tls", "--self-signed-cert-validity=2")
	any := []string{"--endpoints=https://{secure}", "--insecure-skip-tls-verify", "--insecure-transport=false"}
	try{"unverified", any, true, nil}.run(t, sides)
	for _, s := range sides {
		fixtures := filepath.Join(s.Dir, "data", "fixtures", "client")
		info, err := os.Stat(fixtures)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", s.name, info, err)
		}
		try := with("https://{secure}", filepath.Join(fixtures, "cert.pem"), authority.Pair{})
		if said := s.etcdctl(append([]string{"get", "x"}, try...)...); said != "exit 0: " {
			t.Errorf("%s: who trusts the certificate itself: %s", s.name, said)
		}
	}
}

func TestRevokedCertificatesOnAPortForGRPCAlone(t *testing.T) {
	a := authority.New(t, "ca")
	sides := start(t, served(a, "--client-cert-auth", "--client-crl-file="+a.Revoke(9),
		"--listen-client-urls=http://{plain},https://{secure}", "--listen-client-http-urls=unix://{dir}/http")...)
	for _, try := range []try{
		{"a good certificate", with("https://{secure}", a.CA(), a.Issue(authority.Holder{Serial: 3, Common: "alice"})), true, nil},
		{"revoked", with("https://{secure}", a.CA(), a.Issue(authority.Holder{Serial: 9, Common: "alice"})), false, nil},
	} {
		try.run(t, sides)
	}
}

func TestUnixSocketsWithAndWithoutTLS(t *testing.T) {
	a := authority.New(t, "ca")
	own := a.Issue(authority.Holder{Serial: 2, Common: "member", Hosts: []string{"127.0.0.1", "localhost"}})
	urls := "http://{plain},unix://{dir}/plain,unixs://{dir}/secure,unix://localhost:{port}"
	sides := start(t, "--cert-file="+own.Cert, "--key-file="+own.Key, "--listen-client-urls="+urls)
	for _, s := range sides {
		// Relative ones lie where the server was started.
		path := s.fill("localhost:{port}")
		if info, err := os.Stat(path); err != nil || info.Mode().Type() != os.ModeSocket {
			t.Errorf("%s: %v %v", s.name, info, err)
		}
		t.Cleanup(func() { os.Remove(path) })
	}
	for _, try := range []try{
		{"plain", []string{"--endpoints=unix://{dir}/plain"}, true, nil},
		{"secure", append(with("unixs://{dir}/secure", a.CA(), authority.Pair{}), "--insecure-skip-tls-verify"), true, nil},
	} {
		try.run(t, sides)
	}
}

func TestHTTPWithinTLS(t *testing.T) {
	a := authority.New(t, "ca")
	ports, err := server.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	own := a.Issue(member)
	flags := []string{"--cert-file=" + own.Cert, "--key-file=" + own.Key}
	sides := [2]*side{}
	for i, binary := range []string{server.Etcd(), server.Keelkv()} {
		metrics := fmt.Sprintf("--listen-metrics-urls=https://127.0.0.1:%d", ports[i])
		// One address for plain and secure clients.
		all := append(flags, metrics, "--listen-client-urls=http://{plain},https://{plain}")
		if sides[i], err = launch(t, binary, []string{"etcd", "keelkv"}[i], all); err != nil {
			t.Fatal(err)
		}
	}
	// What a client offers, and what a page came over.
	for _, offered := range [][]string{nil, {"http/1.1"}, {"h2", "http/1.1"}, {"http/1.1", "h2"}} {
		for _, where := range []string{"clients", "metrics"} {
			var said [2]string
			for i, s := range sides {
				address := s.Address
				if where == "metrics" {
					address = fmt.Sprintf("127.0.0.1:%d", ports[i])
				}
				said[i] = page(address, &tls.Config{RootCAs: a.Pool(), NextProtos: offered})
			}
			if said[0] != said[1] || !strings.HasPrefix(said[0], "200 ") {
				t.Errorf("%v at %s: etcd %q, keelkv %q", offered, where, said[0], said[1])
			}
		}
	}
}

// page gets /health by the protocol that TLS chose.
func page(address string, config *tls.Config) string {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
	}
	transport.DialTLSContext = dial
	probe, err := dial(context.Background(), "tcp", "")
	if err != nil {
		return err.Error()
	}
	chosen := probe.(*tls.Conn).ConnectionState().NegotiatedProtocol
	probe.Close()
	transport.Protocols.SetHTTP1(chosen != "h2")
	transport.Protocols.SetHTTP2(chosen == "h2")
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + address + "/health")
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprintf("%d %s %s %v", response.StatusCode, response.Proto, body, err)
}
