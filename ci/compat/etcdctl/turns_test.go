package etcdctl

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// script is what happens on one side, and all that etcdctl printed meanwhile.
type script struct {
	*side
	t     *testing.T
	heard []string
}

func (s *script) hear(o output) {
	s.learn(o.stdout)
	s.heard = append(s.heard, fmt.Sprintf("exit %d\n%s%s", o.code, o.stdout, o.stderr))
}

// do runs a command to its end.
func (s *script) do(args string) { s.hear(s.run(split(args), "")) }

// begin runs a command that goes on, and waits until it has printed a text.
func (s *script) begin(args, printed string) *running {
	r, err := s.start(split(args))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(r.kill)
	s.await(r, printed)
	return r
}

// await waits until a command that goes on has printed a text.
func (s *script) await(r *running, printed string) {
	if !r.until(printed, patience) {
		s.t.Fatalf("never printed %q: %s", printed, r.text())
	}
	s.learn(r.text())
}

// awaitKeys waits until so many keys have a prefix.
func (s *script) awaitKeys(prefix string, count int) {
	s.awaitAnswer(fmt.Sprintf("\"Count\" : %d\n", count), "get", prefix, "--prefix", "--count-only", "-w", "fields")
}

// awaitValue waits until a key has a value.
func (s *script) awaitValue(key, value string) {
	s.awaitAnswer(value+"\n", "get", key, "--print-value-only")
}

func (s *script) awaitAnswer(holds string, args ...string) {
	var found output
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if found = s.run(args, ""); strings.Contains(found.stdout, holds) {
			return
		}
	}
	s.t.Fatalf("%v never said %q: %s%s", args, holds, found.stdout, found.stderr)
}

// play has the same happen on both sides, and compares what was heard.
func play(t *testing.T, what func(*script)) {
	p := startPair(t)
	var heard [2][]string
	for i, s := range p.sides {
		on := &script{side: s, t: t}
		what(on)
		for _, text := range on.heard {
			heard[i] = append(heard[i], s.normalise(text))
		}
	}
	for i := range heard[0] {
		if heard[0][i] != heard[1][i] {
			t.Errorf("etcd:\n%s\nkeelkv:\n%s", heard[0][i], heard[1][i])
		}
	}
	t.Log(strings.Join(heard[0], "---\n"))
}

// A lock that is held while a command runs, and how that one ends.
func TestLockWithACommand(t *testing.T) {
	play(t, func(s *script) {
		s.do("lock l -- sh -c 'echo $ETCD_LOCK_KEY; test $ETCD_LOCK_REV -gt 1'")
		// Its key is printed at the start of a line, where the lease is found.
		s.do("lock l -- sh -c 'echo lost; exit 3'")
		s.do("lock l no-such-command")
		s.do("get l --prefix --keys-only")
		s.do("lock")
		s.do("lock l --ttl=x")
	})
}

// Two want a lock, and a third: whoever waits gets it when the one before is done, or dead for as long as it said.
func TestLockOfContenders(t *testing.T) {
	play(t, func(s *script) {
		first := s.begin("lock l --ttl=600", "l/")
		second := s.begin("lock l --ttl=2", "")
		s.awaitKeys("l/", 2)
		s.do("get l/ --prefix --keys-only")
		s.hear(first.interrupt())
		s.await(second, "l/")
		s.do("lease timetolive {lease} -w json")
		third := s.begin("lock l -- sh -c 'echo it is mine'", "")
		s.awaitKeys("l/", 2)
		dead := time.Now()
		second.kill()
		s.hear(third.end())
		if waited := time.Since(dead); waited > 10*time.Second {
			s.t.Errorf("a lease of two seconds lasted %s", waited)
		}
		s.awaitKeys("l/", 0)
		// Who gives up is not in line any more.
		first = s.begin("lock l", "l/")
		second = s.begin("lock l", "")
		s.awaitKeys("l/", 2)
		second.interrupt()
		s.awaitKeys("l/", 1)
		s.hear(first.interrupt())
		// A holder whose key's lease is revoked is told so.
		first = s.begin("lock l", "l/")
		s.do("lease revoke {lease}")
		s.hear(first.end())
	})
}

func TestElect(t *testing.T) {
	play(t, func(s *script) {
		s.do("elect")
		s.do("elect e")
		s.do("elect e me -l")
		s.do("elect e me x")
		first := s.begin("elect e one", "one\n")
		listening := s.begin("elect -l e", "one\n")
		// Another client says what the leader stands for, as Proclaim does.
		s.do("put e/{lease} uno --ignore-lease")
		s.await(listening, "uno\n")
		second := s.begin("elect e two", "")
		s.awaitKeys("e/", 2)
		s.hear(first.interrupt())
		s.await(second, "two\n")
		s.await(listening, "two\n")
		s.do("put e/{lease} due --ignore-lease")
		s.await(listening, "due\n")
		s.hear(second.interrupt())
		// Whose lease is revoked leads no more; it is told so later, when it would have prolonged it.
		third := s.begin("elect e three", "three\n")
		s.await(listening, "three\n")
		fourth := s.begin("elect e four", "")
		s.awaitKeys("e/", 2)
		s.learn(third.text())
		s.do("lease revoke {lease}")
		s.await(fourth, "four\n")
		s.await(listening, "four\n")
		third.kill()
		s.hear(fourth.interrupt())
		s.hear(listening.interrupt())
		s.do("get e --prefix")
	})
}
