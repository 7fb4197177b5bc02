package auth

import (
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/protobuf/proto"
)

// row is one thing to ask for.
type row struct {
	name    string
	method  string
	request proto.Message
	// undo is what root does once somebody got it.
	undo []undo
}

type undo struct {
	method  string
	request proto.Message
}

// endsLeases: a lease may be gone once somebody got it.
func (r row) endsLeases() bool { return r.method == "Lease.LeaseRevoke" }

// writes: keys may not be what they were.
func (r row) writes() bool {
	return slices.Contains([]string{"KV.Put", "KV.DeleteRange", "KV.Txn"}, r.method) ||
		strings.HasPrefix(r.method, "Lock.") || strings.HasPrefix(r.method, "Election.")
}

// shapes are ranges as requests have them: key and range end.
var shapes = [][2]string{
	// What one grant covers, what two adjacent ones of two roles cover together, and what reaches beyond.
	{"b", ""}, {"b", "c"}, {"b", "d"}, {"b", "f"}, {"c", "e"}, {"a", "f"}, {"b", "f\x00"}, {"b", "g"}, {"a", ""}, {"f", ""}, {"d", ""},
	{"b", "\x00"}, {"", ""}, {"", "\x00"}, {"", "b"}, {"\x00", "\x00"}, {"\x00", ""}, {"a", "\x00"},
	// A single granted key is not what follows it.
	{"k", ""}, {"k", "\x00"}, {"k", "k\x00"}, {"k", "l"}, {"k\x00", ""}, {"r", ""}, {"r", "r\x00"}, {"w", ""}, {"w", "\x00"},
	// An open end, and a grant to write within one to read.
	{"x", "\x00"}, {"xyz", "\x00"}, {"x", ""}, {"x", "zzz"}, {"w", "xyz"}, {"y", "z"}, {"y1", ""}, {"z", ""},
	// Prefixes that end with the last byte there is.
	{"p\xff", "q"}, {"p\xff", ""}, {"p\xff\xff", "q"}, {"p", "q"}, {"p\xff", "q\x00"}, {"\xff", "\x00"}, {"\xff\xff", "\x00"}, {"\xff", ""},
	// Upside down, and empty.
	{"d", "b"}, {"b", "b"}, {"e", "b"}, {"f", "a"}, {"z", "a"}, {"x", "b"}, {"r", "b"}, {"g", "c"},
}

// nestings are the ways to hide an operation in a transaction.
var nestings = []struct {
	name string
	in   func(*pb.RequestOp) *pb.TxnRequest
}{
	{"success", success},
	{"failure", failure},
	{"success of success", func(o *pb.RequestOp) *pb.TxnRequest { return success(op(success(o))) }},
	{"failure of success", func(o *pb.RequestOp) *pb.TxnRequest { return success(op(failure(o))) }},
	{"success of failure", func(o *pb.RequestOp) *pb.TxnRequest { return failure(op(success(o))) }},
	{"failure of failure of failure", func(o *pb.RequestOp) *pb.TxnRequest { return failure(op(failure(op(failure(o))))) }},
	{"failure of success of success", func(o *pb.RequestOp) *pb.TxnRequest { return success(op(success(op(failure(o))))) }},
	{"success of failure of success", func(o *pb.RequestOp) *pb.TxnRequest { return success(op(failure(op(success(o))))) }},
}

func success(o *pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: []*pb.RequestOp{o}} }

func failure(o *pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Failure: []*pb.RequestOp{o}} }

func op(request proto.Message) *pb.RequestOp {
	switch r := request.(type) {
	case *pb.RangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	case *pb.PutRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
	case *pb.DeleteRangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
	case *pb.TxnRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
	}
	panic(fmt.Sprintf("%T is no operation", request))
}

// rows is everything that is asked for; what no row names is asked for with an empty request.
func rows() []row {
	var all []row
	add := func(name, method string, request proto.Message, undone ...undo) {
		all = append(all, row{method + " " + name, method, request, undone})
	}
	ranges(add)
	puts(add)
	leases(add)
	users(add)
	others(add)
	return all
}

type adder = func(name, method string, request proto.Message, undone ...undo)

func ranges(add adder) {
	for _, s := range shapes {
		key, end := []byte(s[0]), []byte(s[1])
		shape := fmt.Sprintf("%q..%q", s[0], s[1])
		get := func() *pb.RangeRequest { return &pb.RangeRequest{Key: key, RangeEnd: end} }
		add(shape, "KV.Range", get())
		add(shape+" serializable", "KV.Range", &pb.RangeRequest{Key: key, RangeEnd: end, Serializable: true})
		add(shape+" count", "KV.Range", &pb.RangeRequest{Key: key, RangeEnd: end, CountOnly: true})
		add(shape+" keys", "KV.Range", &pb.RangeRequest{Key: key, RangeEnd: end, KeysOnly: true, Limit: 1})
		add(shape, "KV.RangeStream", get())
		create := &pb.WatchCreateRequest{Key: key, RangeEnd: end}
		add(shape, "Watch.Watch", &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}})
		operations := map[string]proto.Message{
			"range":                get(),
			"delete":               &pb.DeleteRangeRequest{Key: key, RangeEnd: end},
			"delete with what was": &pb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: true},
		}
		add(shape, "KV.DeleteRange", operations["delete"])
		add(shape+" with what was", "KV.DeleteRange", operations["delete with what was"])
		for what, operation := range operations {
			for _, n := range nestings {
				add(fmt.Sprintf("%s %s, %s", what, shape, n.name), "KV.Txn", n.in(op(operation)))
			}
		}
		compare := &pb.TxnRequest{Compare: []*pb.Compare{{Key: key, RangeEnd: end, Target: pb.Compare_VERSION,
			TargetUnion: &pb.Compare_Version{Version: 1}}}}
		add("compare "+shape, "KV.Txn", compare)
		for _, n := range nestings {
			add(fmt.Sprintf("compare %s, %s", shape, n.name), "KV.Txn", n.in(op(compare)))
		}
	}
}

func puts(add adder) {
	for _, key := range []string{"", "a", "b", "e", "f", "k", "k\x00", "r", "w", "x", "y1", "p\xff", "p\xff\xff", "\x00", "\xff"} {
		for what, request := range map[string]*pb.PutRequest{
			"plain":                {},
			"with what was":        {PrevKv: true},
			"on a foreign lease":   {Lease: foreignLease},
			"on an own lease":      {Lease: ownLease},
			"on a lease to read":   {Lease: readLease},
			"on no lease there is": {Lease: 999},
			"as it is":             {IgnoreValue: true},
			"on its lease":         {IgnoreLease: true},
			"with everything":      {Lease: ownLease, PrevKv: true},
		} {
			request.Key = []byte(key)
			if !request.IgnoreValue {
				request.Value = []byte("new")
			}
			name := fmt.Sprintf("%q %s", key, what)
			add(name, "KV.Put", request)
			for _, n := range nestings {
				add(fmt.Sprintf("put %s, %s", name, n.name), "KV.Txn", n.in(op(request)))
			}
		}
	}
}

func leases(add adder) {
	for what, id := range map[string]int64{
		"foreign": foreignLease, "own": ownLease, "to read": readLease, "without keys": lockLease, "none": 999,
	} {
		add(what, "Lease.LeaseRevoke", &pb.LeaseRevokeRequest{ID: id})
		add(what, "Lease.LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: id})
		add(what, "Lease.LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: id})
		add(what+" with keys", "Lease.LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
	}
	add("new", "Lease.LeaseGrant", &pb.LeaseGrantRequest{ID: 50, TTL: 1000},
		undo{"Lease.LeaseRevoke", &pb.LeaseRevokeRequest{ID: 50}})
	add("again", "Lease.LeaseGrant", &pb.LeaseGrantRequest{ID: ownLease, TTL: 1000})
	add("too long", "Lease.LeaseGrant", &pb.LeaseGrantRequest{TTL: 1 << 40})
}

func users(add adder) {
	scratch := undo{"Auth.UserAdd", &pb.AuthUserAddRequest{Name: "scratch", Password: "scratch"}}
	role := undo{"Auth.RoleAdd", &pb.AuthRoleAddRequest{Name: "scratch"}}
	add("", "Auth.AuthDisable", &pb.AuthDisableRequest{}, undo{"Auth.AuthEnable", &pb.AuthEnableRequest{}})
	add("", "Auth.AuthEnable", &pb.AuthEnableRequest{})
	for _, name := range []string{"", "root", "bare", "partial", "scratch", "absent", "certified"} {
		add(name, "Auth.UserGet", &pb.AuthUserGetRequest{Name: name})
		if name != "scratch" {
			add("there "+name, "Auth.UserAdd", &pb.AuthUserAddRequest{Name: name, Password: name},
				undo{"Auth.UserDelete", &pb.AuthUserDeleteRequest{Name: name}})
		}
		for _, password := range []string{"", name, "wrong"} {
			add(name+" by "+password, "Auth.Authenticate", &pb.AuthenticateRequest{Name: name, Password: password})
		}
		add(name+" scratch", "Auth.UserGrantRole", &pb.AuthUserGrantRoleRequest{User: name, Role: "scratch"},
			undo{"Auth.UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: name, Role: "scratch"}})
		add(name+" absent", "Auth.UserGrantRole", &pb.AuthUserGrantRoleRequest{User: name, Role: "absent"})
		add(name+" absent", "Auth.UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: name, Role: "absent"})
		add(name, "Auth.UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: name, Password: name})
	}
	add("root root", "Auth.UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"},
		undo{"Auth.UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}})
	add("with a hash that is none", "Auth.UserChangePassword",
		&pb.AuthUserChangePasswordRequest{Name: "scratch", HashedPassword: "c2NyYXRjaA=="})
	add("too long", "Auth.UserChangePassword",
		&pb.AuthUserChangePasswordRequest{Name: "scratch", Password: strings.Repeat("x", 73)})
	add("without a password", "Auth.UserAdd", &pb.AuthUserAddRequest{Name: "absent"},
		undo{"Auth.UserDelete", &pb.AuthUserDeleteRequest{Name: "absent"}})
	add("too long", "Auth.UserAdd", &pb.AuthUserAddRequest{Name: "absent", Password: strings.Repeat("x", 73)})
	add("scratch", "Auth.UserDelete", &pb.AuthUserDeleteRequest{Name: "scratch"}, scratch)
	add("absent", "Auth.UserDelete", &pb.AuthUserDeleteRequest{Name: "absent"})
	add("root", "Auth.UserDelete", &pb.AuthUserDeleteRequest{Name: "root"},
		undo{"Auth.UserAdd", &pb.AuthUserAddRequest{Name: "root", Password: "root"}},
		undo{"Auth.UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}})
	for _, name := range []string{"", "root", "left", "right", "scratch", "absent"} {
		add(name, "Auth.RoleGet", &pb.AuthRoleGetRequest{Role: name})
		if name != "scratch" {
			add(name, "Auth.RoleAdd", &pb.AuthRoleAddRequest{Name: name}, undo{"Auth.RoleDelete", &pb.AuthRoleDeleteRequest{Role: name}})
		}
		for _, s := range [][2]string{{"n", ""}, {"n", "o"}, {"n", "\x00"}, {"n", "m"}, {"", ""}, {"", "\x00"}, {"n", "n"}} {
			shape := fmt.Sprintf("%s %q..%q", name, s[0], s[1])
			perm := &authpb.Permission{PermType: authpb.READ, Key: []byte(s[0]), RangeEnd: []byte(s[1])}
			add(shape, "Auth.RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: name, Perm: perm},
				undo{"Auth.RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: name, Key: perm.Key, RangeEnd: perm.RangeEnd}})
			add(shape, "Auth.RoleRevokePermission",
				&pb.AuthRoleRevokePermissionRequest{Role: name, Key: perm.Key, RangeEnd: perm.RangeEnd})
		}
		add(name+" nothing", "Auth.RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: name})
	}
	add("scratch", "Auth.RoleDelete", &pb.AuthRoleDeleteRequest{Role: "scratch"}, role)
	add("absent", "Auth.RoleDelete", &pb.AuthRoleDeleteRequest{Role: "absent"})
	add("root", "Auth.RoleDelete", &pb.AuthRoleDeleteRequest{Role: "root"})
}

func others(add adder) {
	add("1", "KV.Compact", &pb.CompactionRequest{Revision: 1})
	add("future", "KV.Compact", &pb.CompactionRequest{Revision: 1 << 40})
	add("of nothing", "KV.Txn", &pb.TxnRequest{})
	add("without an operation", "KV.Txn", &pb.TxnRequest{Success: []*pb.RequestOp{{}}})
	add("progress", "Watch.Watch",
		&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
	add("cancel", "Watch.Watch",
		&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 7}}})
	for action := range pb.AlarmRequest_AlarmAction_name {
		if action == int32(pb.AlarmRequest_ACTIVATE) {
			add("activate", "Maintenance.Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: 77},
				undo{"Maintenance.Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: 77}})
			continue
		}
		add(pb.AlarmRequest_AlarmAction_name[action], "Maintenance.Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_AlarmAction(action)})
	}
	add("of the future", "Maintenance.HashKV", &pb.HashKVRequest{Revision: 1 << 40})
	add("to nobody", "Maintenance.MoveLeader", &pb.MoveLeaderRequest{TargetID: 77})
	add("validate", "Maintenance.Downgrade", &pb.DowngradeRequest{Action: pb.DowngradeRequest_VALIDATE, Version: "3.6.0"})
	add("cancel", "Maintenance.Downgrade", &pb.DowngradeRequest{Action: pb.DowngradeRequest_CANCEL})
	add("enable", "Maintenance.Downgrade", &pb.DowngradeRequest{Action: pb.DowngradeRequest_ENABLE, Version: "3.6.0"},
		undo{"Maintenance.Downgrade", &pb.DowngradeRequest{Action: pb.DowngradeRequest_CANCEL}})
	add("linearizable", "Cluster.MemberList", &pb.MemberListRequest{Linearizable: true})
	add("serializable", "Cluster.MemberList", &pb.MemberListRequest{})
	add("bad URL", "Cluster.MemberAdd", &pb.MemberAddRequest{PeerURLs: []string{"nonsense"}})
	add("absent", "Cluster.MemberRemove", &pb.MemberRemoveRequest{ID: 77})
	add("absent", "Cluster.MemberUpdate", &pb.MemberUpdateRequest{ID: 77, PeerURLs: []string{"http://127.0.0.1:1"}})
	add("absent", "Cluster.MemberPromote", &pb.MemberPromoteRequest{ID: 77})
	for _, name := range []string{"b", "lock"} {
		bytes := []byte(name)
		add(name, "Lock.Lock", &v3lockpb.LockRequest{Name: bytes, Lease: lockLease})
		add(name+" without a lease that there is", "Lock.Lock", &v3lockpb.LockRequest{Name: bytes, Lease: 999})
		add(name, "Lock.Unlock", &v3lockpb.UnlockRequest{Key: []byte(name + "/17")})
		add(name, "Election.Campaign", &v3electionpb.CampaignRequest{Name: bytes, Lease: lockLease, Value: bytes})
		leader := &v3electionpb.LeaderKey{Name: bytes, Key: []byte(name + "/17"), Rev: 1, Lease: lockLease}
		add(name, "Election.Proclaim", &v3electionpb.ProclaimRequest{Leader: leader, Value: bytes})
		add(name, "Election.Resign", &v3electionpb.ResignRequest{Leader: leader})
		add(name, "Election.Leader", &v3electionpb.LeaderRequest{Name: bytes})
		add(name, "Election.Observe", &v3electionpb.LeaderRequest{Name: bytes})
	}
}
