package auth

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// tokenLife is how long a token counts that nobody uses, in seconds.
const tokenLife = 3

// column is somebody who asks.
type column struct {
	name  string
	token func(*side) string
	// certified is the name in the certificate that is shown, if one is.
	certified string
	// json: the gateway is asked.
	json bool
}

// at is the side as the column asks it.
func (c column) at(s *side) *side {
	switch {
	case c.json:
		return &side{name: s.name, json: s.gateways[c.certified]}
	case c.certified != "":
		return &side{name: s.name, connection: s.secure[c.certified]}
	}
	return s
}

// TestMatrix has everybody ask for everything.
func TestMatrix(t *testing.T) {
	p := start(t, fmt.Sprintf("--auth-token-ttl=%d", tokenLife))
	all := everything()
	p.restoreLeases(t, nobody)
	p.restore(t, nobody)
	p.ask(t, column{name: "auth off, no token", token: nobody}, all, nobody)
	p.ask(t, column{name: "auth off, bad token", token: always("nonsense")}, all, nobody)
	p.enable(t)
	expired := map[*side]string{}
	for _, s := range p.sides {
		expired[s] = as("partial")(s)
	}
	// Looking whether it is over would prolong it. etcd looks once a second.
	time.Sleep((tokenLife + 2) * time.Second)
	root := as("root")
	for _, c := range []column{
		{name: "no token", token: nobody},
		{name: "bad token", token: always("nonsense")},
		{name: "token of nobody", token: always("abcdefghijklmnop.1")},
		{name: "expired token", token: func(s *side) string { return expired[s] }},
		{name: "user without permission", token: as("bare")},
		{name: "user with partial range", token: as("partial")},
		{name: "user with partial range, as bearer", token: func(s *side) string { return "Bearer " + as("partial")(s) }},
		{name: "root", token: root},
		{name: "JSON, no token", token: nobody, json: true},
		{name: "JSON, bad token", token: always("nonsense"), json: true},
		{name: "JSON, user with partial range", token: as("partial"), json: true},
		{name: "JSON, user with partial range, as bearer", token: func(s *side) string { return "Bearer " + as("partial")(s) }, json: true},
	} {
		p.ask(t, c, all, root)
	}
}

// TestMatrixOfSignedTokens is about what differs with these: they carry a revision, and an end.
func TestMatrixOfSignedTokens(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "--auth-token=jwt,sign-method=HS256,priv-key="+key+fmt.Sprintf(",ttl=%ds", tokenLife))
	all := everything()
	p.restoreLeases(t, nobody)
	p.restore(t, nobody)
	p.enable(t)
	root := as("root")
	old, begun := map[*side]string{}, time.Now()
	for _, s := range p.sides {
		old[s] = as("partial")(s)
	}
	p.must(t, "Auth.RoleAdd", root, &pb.AuthRoleAddRequest{Name: "later"})
	p.forget()
	// What changes nothing is enough, and quick: the token must not end meanwhile.
	p.ask(t, column{name: "old revision", token: func(s *side) string { return old[s] }}, few(all), root)
	if time.Since(begun) > tokenLife*time.Second {
		t.Error("the token ended meanwhile")
	}
	time.Sleep(time.Until(begun.Add((tokenLife + 2) * time.Second)))
	p.ask(t, column{name: "expired token", token: func(s *side) string { return old[s] }}, all, root)
	p.ask(t, column{name: "user with partial range", token: as("partial")}, few(all), root)
}

// TestMatrixOfCertificates is about users who show a certificate for their name. A token counts before that.
func TestMatrixOfCertificates(t *testing.T) {
	p := startSecure(t, "partial", "bare", "certified", "stranger", "root")
	all := everything()
	p.restoreLeases(t, nobody)
	p.restore(t, nobody)
	p.enable(t)
	root := as("root")
	for _, c := range []column{
		{name: "of a user with partial range", token: nobody, certified: "partial"},
		{name: "of a user without permission", token: nobody, certified: "bare"},
		{name: "of a user without a password", token: nobody, certified: "certified"},
		{name: "of nobody", token: nobody, certified: "stranger"},
		{name: "of root", token: nobody, certified: "root"},
		{name: "of root, bad token", token: always("nonsense"), certified: "root"},
		{name: "of root, token of another", token: as("bare"), certified: "root"},
		{name: "of another, token of root", token: root, certified: "bare"},
		// The gateway takes no certificate for a user: it could be its own. etcd says so to whoever shows one.
		{name: "JSON, of root", token: nobody, certified: "root", json: true},
		{name: "JSON, of root, token of another", token: as("partial"), certified: "root", json: true},
	} {
		rows := all
		if c.certified == "root" || c.name == "of another, token of root" {
			rows = few(all)
		}
		p.ask(t, c, rows, root)
	}
}

func always(token string) func(*side) string { return func(*side) string { return token } }

// everything is all rows, and one of an empty request for what has no row.
func everything() []row {
	all := rows()
	for name, m := range methods {
		if !slices.ContainsFunc(all, func(r row) bool { return r.method == name }) {
			all = append(all, row{name + " of nothing", name, m.request(), nil})
		}
	}
	slices.SortFunc(all, func(a, b row) int { return strings.Compare(a.name, b.name) })
	return all
}

// few is the first row of each method that changes no user and waits for nothing, and some more.
func few(all []row) []row {
	seen := map[string]int{}
	return slices.DeleteFunc(slices.Clone(all), func(r row) bool {
		seen[r.method]++
		return seen[r.method] > 20 || strings.HasPrefix(r.method, "Watch.") || strings.HasSuffix(r.method, ".Watch") ||
			strings.HasPrefix(r.method, "Auth.") && !strings.HasPrefix(r.method, "Auth.RoleGet")
	})
}

// ask asks for every row as somebody.
func (p *pair) ask(t *testing.T, c column, all []row, root func(*side) string) {
	if c.json {
		all = forJSON(all)
	}
	t.Run(c.name, func(t *testing.T) {
		met := map[string]int{}
		before := ""
		for _, r := range all {
			answers := p.both(func(s *side) string { return c.at(s).call(methods[r.method], c.token(s), r.request) })
			kind, _, _ := strings.Cut(answers[0], " ")
			met[kind]++
			switch {
			case answers[0] == answers[1]:
			case differs(r, answers) != "":
				met["different"]++
			default:
				t.Errorf("%s: %s\netcd:   %s\nkeelkv: %s", r.name, shown(r.request), answers[0], answers[1])
			}
			if !strings.HasPrefix(answers[0], "OK") && !strings.HasPrefix(answers[1], "OK") {
				continue
			}
			if strings.HasPrefix(r.method, "Auth.") {
				p.forget()
			}
			for _, step := range r.undo {
				p.take(t, step, root)
			}
			if r.endsLeases() {
				p.restoreLeases(t, root)
			}
			// Each answer tells the revision, and a change one of its own.
			if now := revision.FindString(answers[0]); r.endsLeases() || r.writes() && now != before {
				before = p.restore(t, root)
			}
		}
		t.Logf("%d rows: %v", len(all), met)
	})
}

var revision = regexp.MustCompile(`\brevision:\d+`)

// take takes something back, or finds that there is nothing to take back on either side.
func (p *pair) take(t *testing.T, step undo, root func(*side) string) {
	if step.method == "Auth.AuthEnable" {
		root = nobody
	}
	if answers := p.both(func(s *side) string { return s.call(methods[step.method], root(s), step.request) }); answers[0] != answers[1] {
		t.Errorf("%s afterwards:\netcd:   %s\nkeelkv: %s", step.method, answers[0], answers[1])
	}
}

// The grants of the user `partial`: two roles that meet at "d", and one of single keys and open ends.
var grants = []struct {
	role, key, end string
	kind           authpb.Permission_Type
}{
	{"left", "b", "d", authpb.READWRITE},
	{"left", "r", "", authpb.READ},
	{"left", "p\xff", "q", authpb.READWRITE},
	{"right", "d", "f", authpb.READWRITE},
	{"right", "w", "", authpb.WRITE},
	{"right", "k", "", authpb.READWRITE},
	{"right", "x", "\x00", authpb.READ},
	{"right", "y", "z", authpb.WRITE},
}

// enable makes users, who have their names for passwords, and asks for them from now on.
func (p *pair) enable(t *testing.T) {
	do := func(name string, request proto.Message) { p.must(t, name, nobody, request) }
	for _, user := range []string{"root", "bare", "partial", "scratch"} {
		do("Auth.UserAdd", &pb.AuthUserAddRequest{Name: user, Password: user})
	}
	do("Auth.UserAdd", &pb.AuthUserAddRequest{Name: "certified", Options: &authpb.UserAddOptions{NoPassword: true}})
	for _, role := range []string{"root", "left", "right", "scratch"} {
		do("Auth.RoleAdd", &pb.AuthRoleAddRequest{Name: role})
	}
	for _, g := range grants {
		perm := &authpb.Permission{PermType: g.kind, Key: []byte(g.key), RangeEnd: []byte(g.end)}
		do("Auth.RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: g.role, Perm: perm})
	}
	for _, has := range [][2]string{{"root", "root"}, {"partial", "left"}, {"partial", "right"}} {
		do("Auth.UserGrantRole", &pb.AuthUserGrantRoleRequest{User: has[0], Role: has[1]})
	}
	do("Auth.AuthEnable", &pb.AuthEnableRequest{})
}

// Leases that hold keys of others, and only such as `partial` may write.
const (
	foreignLease = 20
	ownLease     = 21
	readLease    = 22
	lockLease    = 23
)

// held are the keys of leases.
var held = map[int64][]string{foreignLease: {"c", "foreign"}, ownLease: {"b", "e"}, readLease: {"r", "b1"}, lockLease: nil}

// restoreLeases makes those that ended anew. Their keys are another matter.
func (p *pair) restoreLeases(t *testing.T, root func(*side) string) {
	t.Helper()
	for _, id := range slices.Sorted(maps.Keys(held)) {
		grant := &pb.LeaseGrantRequest{ID: id, TTL: 1000}
		for _, answer := range p.both(func(s *side) string { return s.call(methods["Lease.LeaseGrant"], root(s), grant) }) {
			if !strings.HasPrefix(answer, "OK") && !strings.Contains(answer, "lease already exists") {
				t.Fatal(answer)
			}
		}
	}
}

// restore makes keys what they were, and returns the revision as answers show it.
func (p *pair) restore(t *testing.T, root func(*side) string) string {
	t.Helper()
	p.must(t, "KV.DeleteRange", root, &pb.DeleteRangeRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00")})
	keep := &pb.TxnRequest{}
	put := func(key string, lease int64) {
		keep.Success = append(keep.Success, op(&pb.PutRequest{Key: []byte(key), Value: []byte("v"), Lease: lease}))
	}
	for _, id := range slices.Sorted(maps.Keys(held)) {
		for _, key := range held[id] {
			put(key, id)
		}
	}
	for _, key := range []string{"a", "d", "f", "k", "w", "x", "xyz", "y1", "z", "p\xff\x01", "\xff"} {
		put(key, 0)
	}
	return revision.FindString(p.must(t, "KV.Txn", root, keep))
}
