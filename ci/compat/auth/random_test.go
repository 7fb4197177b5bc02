package auth

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

const (
	programs = 24
	steps    = 120
)

// TestRandomUsers changes users, roles and grants at random, asks for keys on the way, and compares everything after
// each step. A program is made from its number alone.
func TestRandomUsers(t *testing.T) {
	for number := range programs {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			t.Parallel()
			p := start(t)
			r := &random{rand.New(rand.NewPCG(uint64(number), 1))}
			p.prepare(t)
			met := map[string]int{}
			for step := range steps {
				name, request := r.step()
				user := pick(r, "root", "alice", "alice", "alice", "bob", "", keeper, keeper, keeper)
				who := nobody
				if user != "" {
					who = p.known(user)
				}
				answers := p.both(func(s *side) string { return s.call(methods[name], who(s), request) })
				what := fmt.Sprintf("step %d, %q: %s %s", step, user, name, shown(request))
				if answers[0] != answers[1] && differs(row{what, name, request, nil}, answers) == "" {
					t.Fatalf("%s\netcd:   %s\nkeelkv: %s", what, answers[0], answers[1])
				}
				kind, _, _ := strings.Cut(answers[0], " ")
				met[kind]++
				if strings.HasPrefix(name, "Auth.") && strings.HasPrefix(answers[0], "OK") {
					p.forget()
					p.look(t, what)
				}
			}
			t.Log(met)
		})
	}
}

// keeper is a user that no random step touches: it sees everything, whatever has become of root.
const keeper = "keeper"

// prepare makes enough that the first steps have something to change.
func (p *pair) prepare(t *testing.T) {
	for _, user := range []string{keeper, "root", "alice", "bob"} {
		p.must(t, "Auth.UserAdd", nobody, &pb.AuthUserAddRequest{Name: user, Password: user})
	}
	for _, role := range []string{"reader", "writer"} {
		p.must(t, "Auth.RoleAdd", nobody, &pb.AuthRoleAddRequest{Name: role})
	}
	for _, granted := range [][2]string{{keeper, "root"}, {"root", "root"}, {"alice", "reader"}, {"alice", "writer"}} {
		p.must(t, "Auth.UserGrantRole", nobody, &pb.AuthUserGrantRoleRequest{User: granted[0], Role: granted[1]})
	}
}

// known is a token of a user, or of nobody while there is none to have: both sides must say the same then.
func (p *pair) known(user string) func(*side) string {
	refused := p.both(func(s *side) string {
		answer := s.call(methods["Auth.Authenticate"], "", &pb.AuthenticateRequest{Name: user, Password: user})
		if strings.HasPrefix(answer, "OK") {
			return ""
		}
		return answer
	})
	if refused != [2]string{} {
		return nobody
	}
	return as(user)
}

// look compares all users, roles and grants.
func (p *pair) look(t *testing.T, after string) {
	t.Helper()
	who := p.known(keeper)
	compare := func(name string, request proto.Message) string {
		answers := p.both(func(s *side) string { return s.call(methods[name], who(s), request) })
		if answers[0] != answers[1] {
			t.Fatalf("after %s: %s %s\netcd:   %s\nkeelkv: %s", after, name, shown(request), answers[0], answers[1])
		}
		return answers[0]
	}
	compare("Auth.AuthStatus", &pb.AuthStatusRequest{})
	compare("Auth.UserList", &pb.AuthUserListRequest{})
	compare("Auth.RoleList", &pb.AuthRoleListRequest{})
	for _, user := range allUsers {
		compare("Auth.UserGet", &pb.AuthUserGetRequest{Name: user})
	}
	for _, role := range allRoles {
		compare("Auth.RoleGet", &pb.AuthRoleGetRequest{Role: role})
	}
}

var (
	allUsers = []string{"root", "alice", "bob", keeper}
	allRoles = []string{"root", "reader", "writer", "é"}
)

type random struct{ *rand.Rand }

func pick[T any](r *random, from ...T) T { return from[r.IntN(len(from))] }

func (r *random) user() string { return pick(r, "root", "alice", "alice", "alice", "bob", "bob", "") }

func (r *random) role() string {
	return pick(r, "root", "reader", "reader", "reader", "writer", "writer", "writer", "é", "")
}

func (r *random) key() []byte {
	return []byte(pick(r, "a", "b", "c", "d", "e", "f", "g", "b\x00", "c\xff", "\x00", "\xff", ""))
}

// span is a range, mostly of more than one key; one that ends before it begins is seldom worth asking for.
func (r *random) span() (key, end []byte) {
	key = r.key()
	switch r.IntN(8) {
	case 0, 1:
		return key, nil
	case 2:
		return key, []byte{0}
	case 3:
		return key, r.key()
	}
	ends := [][]byte{key, r.key()}
	slices.SortFunc(ends, func(a, b []byte) int { return strings.Compare(string(a), string(b)) })
	return ends[0], ends[1]
}

func (r *random) step() (string, proto.Message) {
	key, end := r.span()
	switch r.IntN(30) {
	case 0:
		return "Auth.AuthEnable", &pb.AuthEnableRequest{}
	case 1:
		if r.IntN(4) == 0 {
			return "Auth.AuthDisable", &pb.AuthDisableRequest{}
		}
		return "Auth.AuthEnable", &pb.AuthEnableRequest{}
	case 2, 3:
		name := r.user()
		return "Auth.UserAdd", &pb.AuthUserAddRequest{Name: name, Password: name,
			Options: pick(r, nil, nil, nil, &authpb.UserAddOptions{}, &authpb.UserAddOptions{NoPassword: true})}
	case 4:
		return "Auth.UserDelete", &pb.AuthUserDeleteRequest{Name: r.user()}
	case 5:
		name := r.user()
		return "Auth.UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: name, Password: pick(r, name, name, "other")}
	case 6, 7, 8:
		return "Auth.UserGrantRole", &pb.AuthUserGrantRoleRequest{User: r.user(), Role: r.role()}
	case 9:
		return "Auth.UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: r.user(), Role: r.role()}
	case 10, 11:
		return "Auth.RoleAdd", &pb.AuthRoleAddRequest{Name: r.role()}
	case 12:
		return "Auth.RoleDelete", &pb.AuthRoleDeleteRequest{Role: r.role()}
	case 13, 14, 15, 16:
		perm := &authpb.Permission{PermType: authpb.Permission_Type(r.IntN(3)), Key: key, RangeEnd: end}
		return "Auth.RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: r.role(), Perm: perm}
	case 17:
		return "Auth.RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: r.role(), Key: key, RangeEnd: end}
	case 18:
		return "Auth.UserGet", &pb.AuthUserGetRequest{Name: r.user()}
	case 19:
		return "Auth.RoleGet", &pb.AuthRoleGetRequest{Role: r.role()}
	case 20:
		return "Auth.Authenticate", &pb.AuthenticateRequest{Name: r.user(), Password: pick(r, "alice", "bob", "root", "other", "")}
	case 21, 22, 23:
		return "KV.Range", &pb.RangeRequest{Key: key, RangeEnd: end, Serializable: r.IntN(2) == 0}
	case 24, 25:
		return "KV.Put", &pb.PutRequest{Key: key, Value: end, PrevKv: r.IntN(2) == 0}
	case 26:
		return "KV.DeleteRange", &pb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: r.IntN(2) == 0}
	case 27:
		create := &pb.WatchCreateRequest{Key: key, RangeEnd: end}
		return "Watch.Watch", &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}
	default:
		nested := pick(r, nestings...)
		return "KV.Txn", nested.in(pick(r,
			op(&pb.RangeRequest{Key: key, RangeEnd: end}),
			op(&pb.PutRequest{Key: key}),
			op(&pb.DeleteRangeRequest{Key: key, RangeEnd: end}),
			op(&pb.TxnRequest{Compare: []*pb.Compare{{Key: key, RangeEnd: end}}})))
	}
}
