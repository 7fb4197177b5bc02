package etcdctl

import (
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// command is one run of etcdctl on both sides.
type command struct {
	args string
	// stdin is given to it.
	stdin string
	// fails: etcd's exit status is not 0. Both sides must have the same one in any case.
	fails bool
	// like is the message that `-w protobuf` prints.
	like proto.Message
}

// formats repeats a command in every output format that it has.
func formats(args string, like proto.Message) []command {
	return []command{
		{args: args},
		{args: args + " -w json"},
		{args: args + " -w fields"},
		{args: args + " -w protobuf", like: like},
		{args: args + " --hex"},
		{args: args + " --hex -w fields"},
	}
}

// commands run in order on one pair, so that all have something to work on.
func commands() []command {
	var list []command
	add := func(commands ...command) { list = append(list, commands...) }
	plain := func(args ...string) {
		for _, a := range args {
			add(command{args: a})
		}
	}
	for i := range 6 {
		plain(fmt.Sprintf("put k%d value%d", i, 9-i))
	}
	plain("put k1 again", "put k3 again", "put k1 third", "put 'a key' 'a b'", "put empty ''", "put unusual \x01\xffz")
	add(command{args: "put from-stdin", stdin: "text of stdin"})
	add(formats("put k0 new --prev-kv", &pb.PutResponse{})...)
	plain("put k0 --ignore-lease v", "put k0 --ignore-value")

	plain("get k0", "get nothing", "get k --prefix", "get --prefix ''", "get k1 k4", "get k3 --from-key", "get k --prefix --limit=2",
		"get k --prefix --keys-only", "get k --prefix --print-value-only", "get k0 --print-value-only",
		"get k --prefix --count-only -w fields", "get k --prefix --rev=5", "get k0 --rev=2", "get k --prefix --consistency=s",
		"get k --prefix --min-mod-rev=5", "get k --prefix --max-mod-rev=5", "get k --prefix --min-create-rev=4", "get k --prefix --max-create-rev=4",
		"get k --prefix --stream", "get k --prefix --stream --limit=3", "get k --prefix --stream --keys-only", "get k --prefix --stream -w json",
		"get k --prefix --stream -w fields", "get unusual --hex", "get unusual -w json")
	for _, order := range []string{"ASCEND", "DESCEND"} {
		for _, by := range []string{"CREATE", "KEY", "MODIFY", "VALUE", "VERSION"} {
			plain(fmt.Sprintf("get k --prefix --order=%s --sort-by=%s", order, by))
		}
	}
	add(formats("get k --prefix", &pb.RangeResponse{})...)
	add(formats("get nothing", &pb.RangeResponse{})...)

	txns := []string{
		"value(\"k0\") = \"new\"\nmod(\"k1\") > \"1\"\n\nput k6 six\nget k6\n\nget k0\n\n",
		"version(\"k0\") = \"99\"\n\nput k6 seven\n\nget k0\ndel k5\nput k5 five\n\n",
		"create(\"absent\") = \"0\"\nversion(\"k1\") != \"0\"\nvalue(\"k1\") < \"zzz\"\n\ndel k --prefix\n\n\n",
		"\n\nput t1 1\nput t2 2\nget t --prefix\n\n",
	}
	for i, script := range txns {
		// The second one puts a key that it deletes.
		add(command{args: "txn", stdin: script, fails: i == 1})
	}
	add(command{args: "txn -w json", stdin: txns[3]}, command{args: "txn -w fields", stdin: txns[3]}, command{args: "txn --hex", stdin: txns[3]},
		command{args: "txn -w protobuf", stdin: txns[3], like: &pb.TxnResponse{}}, command{args: "txn -i", stdin: txns[3]})

	plain("put d1 1", "put d2 2", "put d3 3", "put d4 4", "put d5 5", "put d6 6", "put d7 7", "put e1 1", "put e2 2", "put e3 3")
	plain("del d1", "del nothing", "del d2 --prev-kv", "del d3 d5 --range --prev-kv", "del d --prefix --prev-kv", "del e2 --from-key --prev-kv")
	plain("put d1 1", "put d2 1", "put d3 1", "put d4 1", "put d5 1", "put d6 1")
	for i, c := range formats("del d", &pb.DeleteRangeResponse{}) {
		c.args = strings.Replace(c.args, "del d", fmt.Sprintf("del d%d --prev-kv", i+1), 1)
		add(c)
	}

	plain("compaction 5", "compaction 8 --physical")
	add(command{args: "compaction 5", fails: true}, command{args: "compaction 8", fails: true}, command{args: "compaction 100000", fails: true},
		command{args: "compaction x", fails: true}, command{args: "compaction", fails: true},
		command{args: "get k1 --rev=3", fails: true}, command{args: "get k1 --rev=100000", fails: true}, command{args: "get k --prefix --rev=8"},
		command{args: "get k --prefix --rev=3 --stream", fails: true})

	plain("member list", "member list -w json", "member list -w table", "member list -w fields", "member list --consistency=s", "member list --hex -w json")
	add(command{args: "member list -w protobuf", like: &pb.MemberListResponse{}})
	for _, what := range []string{"status", "health", "hashkv", "hashkv --rev=20", "status --cluster", "health --cluster", "hashkv --cluster"} {
		for _, format := range []string{"simple", "json", "fields", "table"} {
			plain("endpoint " + what + " -w " + format)
		}
	}
	plain("defrag", "defrag --cluster", "alarm list", "alarm list -w json", "alarm list -w fields", "alarm disarm", "version")
	add(command{args: "alarm list -w protobuf", like: &pb.AlarmResponse{}})
	add(command{args: "endpoint hashkv --rev=100000", fails: true})
	mistakes(add)
	// Leases last: their ids differ, and so do the hashes of a history with them.
	lease(add, plain)
	return list
}

func lease(add func(...command), plain func(...string)) {
	for _, format := range []string{"simple", "json", "fields"} {
		plain("lease grant 1000 -w " + format)
	}
	// One key on a lease: the order of several is a map's.
	plain("lease timetolive {lease}", "lease timetolive {lease} --keys")
	plain("put l1 v --lease={lease}", "put l1 again --lease={lease}", "get l1 -w json", "get l1 -w fields")
	for _, format := range []string{"simple", "json", "fields"} {
		plain("lease timetolive {lease} --keys -w "+format, "lease list -w "+format, "lease keep-alive {lease} --once -w "+format)
	}
	plain("lease revoke {lease}", "lease timetolive {lease}", "lease timetolive {lease} -w json", "get l --prefix")
	add(command{args: "lease revoke {lease}", fails: true}, command{args: "lease keep-alive {lease} --once", fails: true},
		command{args: "put l1 v --lease={lease}", fails: true})
	plain("lease grant 1000", "lease revoke {lease} -w json", "lease grant 1000", "lease revoke {lease} -w fields", "lease list")
	add(command{args: "lease grant 9000000001", fails: true}, command{args: "lease grant x", fails: true}, command{args: "lease grant", fails: true},
		command{args: "lease revoke zz", fails: true}, command{args: "lease timetolive 7 --keys"}, command{args: "lease keep-alive 7 --once", fails: true},
		// Nothing but the header is printed.
		command{args: "lease list -w protobuf", like: &pb.ResponseHeader{}}, command{args: "lease list -w table", fails: true})
}

func mistakes(add func(...command)) {
	add(
		command{args: "put", fails: true}, command{args: "put a b c"}, command{args: "put '' x", fails: true},
		command{args: "put absent --ignore-value", fails: true}, command{args: "put absent x --ignore-lease", fails: true},
		command{args: "put a x --lease=zz", fails: true}, command{args: "put a x --lease=123", fails: true},
		command{args: "get", fails: true}, command{args: "get a b c"}, command{args: "get a --order=up", fails: true},
		command{args: "get a --sort-by=x", fails: true}, command{args: "get a --prefix --from-key", fails: true}, command{args: "get a -w nothing", fails: true},
		command{args: "get a --count-only", fails: true}, command{args: "get a --keys-only --count-only", fails: true}, command{args: "get a --consistency=x", fails: true},
		command{args: "get a -w table", fails: true}, command{args: "del", fails: true}, command{args: "del a b --prefix", fails: true},
		command{args: "get k --prefix --stream --order=DESCEND", fails: true}, command{args: "get k --prefix --stream --min-mod-rev=3", fails: true},
		command{args: "txn", stdin: "nonsense\n", fails: true},
		command{args: "txn", stdin: "\n\nput a 1\nput a 2\n\n", fails: true}, command{args: "txn", stdin: "\n\nput a 1\ndel a\n\n", fails: true},
		command{args: "unknown-command", fails: true}, command{args: "lease"}, command{args: "endpoint"},
	)
}

// split cuts at spaces outside single quotes.
func split(args string) (words []string) {
	for i, part := range strings.Split(args, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

func TestCommands(t *testing.T) {
	p := startPair(t)
	for i, c := range commands() {
		t.Run(fmt.Sprintf("%03d %s", i, c.args), func(t *testing.T) {
			args := split(c.args)
			got := p.compare(t, p.both(func(s *side) output { return s.run(args, c.stdin) }), c.like)
			if (got.code != 0) != c.fails {
				t.Errorf("etcd's exit status is %d: %s%s", got.code, got.stdout, got.stderr)
			}
			t.Logf("exit %d\n%s%s", got.code, got.stdout, got.stderr)
		})
	}
}
