package etcdctl

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// accounts is what etcdctl does with users, roles and grants, in an order in which each command finds something to do.
// A name before a colon is who asks; those have the first letter of their name and a p for a password.
var accounts = strings.Split(strings.TrimSpace(`
auth status
auth enable
user add root --new-user-password=rp
auth enable
root: user add alice --new-user-password=ap
root: user add bob --no-password
root: user add alice --new-user-password=x
root: user list
root: user list -w json
root: role add r1
root: role add r1
root: role grant-permission r1 readwrite a c
root: role grant-permission r1 read foo
root: role grant-permission r1 write zoo --from-key
root: role grant-permission r1 read foo --prefix
root: role grant-permission nope read foo
root: role get r1
root: role get r1 -w json
root: role get r1 -w fields
root: user grant-role alice r1
root: user grant-role alice nope
root: user get alice
root: user get alice --detail
root: user get alice -w fields
root: role list
alice: put a 1
alice: put d 1
alice: get a
alice: get a --prefix
alice: get a c
alice: get foo
alice: get foo --prefix
alice: get foo --prefix --stream
alice: put foo 1
alice: put zoo 1
alice: get zoo
alice: del a --prev-kv
alice: del zoo --prev-kv
alice: user list
alice: user get alice
alice: user get root
alice: role get r1
alice: role get root
alice: role add x
alice: member list
alice: endpoint status -w json
alice: endpoint health
alice: endpoint hashkv
alice: defrag
alice: move-leader 1
get a
put a b
endpoint health
endpoint status
member list
wrong: get a
bob: get a
nobody: get a
alice: lease grant 100
alice: put a v --lease={lease}
alice: lease timetolive {lease} --keys
root: put foo v --lease={lease}
alice: lease timetolive {lease}
alice: lease revoke {lease}
alice: lease keep-alive {lease} --once
alice: lease list
lease list
lease revoke {lease}
root: lease revoke {lease}
alice: compact 2
alice: alarm list
alice: alarm disarm
root: alarm disarm
root: compact 2
root: user delete root
root: role delete root
root: user revoke-role root root
root: user revoke-role alice root
root: role revoke-permission r1 foo
root: role revoke-permission r1 foo
root: role get r1
root: user passwd alice --interactive=false
alice: get a
again: get a
root: role delete r1
root: user get alice
again: get a
root: auth status
root: auth disable
root: auth disable
auth status
root: get a
user delete root
user delete root
role delete root
`), "\n")

// passwords are what users say; not all of them are right at any time.
var passwords = map[string]string{
	"root": "root:rp", "alice": "alice:ap", "wrong": "alice:wrong", "again": "alice:new", "bob": "bob:bp", "nobody": "nobody:np",
}

func TestUsers(t *testing.T) {
	p := startPair(t)
	for i, line := range accounts {
		t.Run(fmt.Sprintf("%d %s", i, line), func(t *testing.T) {
			args, stdin := line, ""
			if who, what, named := strings.Cut(line, ": "); named {
				args = what + " --user=" + passwords[who]
			}
			if strings.Contains(line, "passwd") {
				stdin = "new"
			}
			p.compare(t, p.both(func(s *side) output { return s.run(strings.Fields(args), stdin) }), nil)
		})
	}
}

// TestWatchOfUsers is apart, since nothing else ends such a watch.
func TestWatchOfUsers(t *testing.T) {
	p := startPair(t, "--bcrypt-cost=4")
	for _, args := range []string{
		"user add root --new-user-password=rp", "user add alice --new-user-password=ap", "role add r1",
		"role grant-permission r1 read foo --prefix", "user grant-role alice r1", "user grant-role root root", "auth enable",
	} {
		if made := p.compare(t, p.both(func(s *side) output { return s.run(strings.Fields(args), "") }), nil); made.code != 0 {
			t.Fatalf("%s: %s", args, made.stderr)
		}
	}
	for _, args := range []string{"watch foo --user=alice:ap --prefix --rev 1", "watch x --user=alice:ap", "watch x", "watch x --user=alice:wrong"} {
		t.Run(args, func(t *testing.T) {
			p.compare(t, p.both(func(s *side) output { return s.runFor(2*time.Second, strings.Fields(args), "") }), nil)
		})
	}
}
