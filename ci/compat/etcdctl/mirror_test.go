package etcdctl

import (
	"fmt"
	"strings"
	"testing"
)

// mirrored is a pair of members whose keys go to a member of the other kind each: etcd's to keelkv, keelkv's to etcd.
type mirrored struct {
	*pair
	t  *testing.T
	to [2]*side
}

func startMirrored(t *testing.T) *mirrored {
	from, to := startPair(t), startPair(t)
	return &mirrored{from, t, [2]*side{to.sides[1], to.sides[0]}}
}

// do has the same happen at both sources.
func (m *mirrored) do(args, stdin string) {
	m.t.Helper()
	if got := m.compare(m.t, m.both(func(s *side) output { return s.run(split(args), stdin) }), nil); got.code != 0 {
		m.t.Fatalf("%s: %s", args, got.stderr)
	}
}

// put writes so many keys in transactions.
func (m *mirrored) put(prefix string, count int, value string) {
	m.t.Helper()
	for from := 0; from < count; from += 100 {
		var script strings.Builder
		for n := from; n < min(count, from+100); n++ {
			fmt.Fprintf(&script, "put %s%05d %s-%d\n", prefix, n, value, n)
		}
		m.do("txn", "\n"+script.String()+"\n\n")
	}
}

// begin starts both mirrors.
func (m *mirrored) begin(args string) (mirrors [2]*running) {
	m.t.Helper()
	for i, s := range m.sides {
		r, err := s.start(append(split("make-mirror "+args), m.to[i].server.Address))
		if err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(r.kill)
		mirrors[i] = r
	}
	return mirrors
}

// arrived waits until a key has a value at both destinations, and compares all that is there with the sources.
func (m *mirrored) arrived(key, value, prefix, destined string) {
	m.t.Helper()
	for i, to := range m.to {
		on := &script{side: to, t: m.t}
		on.awaitValue(key, value)
		source := m.sides[i].run([]string{"get", prefix, "--prefix"}, "").stdout
		copied := to.run([]string{"get", destined, "--prefix"}, "").stdout
		if want := renamed(source, prefix, destined); copied != want || want == "" {
			m.t.Errorf("%d bytes, and %d of a copy: %.300s\n%.300s", len(want), len(copied), want, copied)
		}
	}
	// How often each was written, and when.
	both := &pair{m.to}
	both.compare(m.t, both.both(func(s *side) output { return s.run([]string{"get", "--from-key", "\x00", "-w", "json"}, "") }), nil)
}

// renamed changes the prefix of what get prints: keys and values, line by line.
func renamed(text, from, to string) string {
	lines := strings.Split(text, "\n")
	for n := 0; n+1 < len(lines); n += 2 {
		lines[n] = to + strings.TrimPrefix(lines[n], from)
	}
	return strings.Join(lines, "\n")
}

// A mirror of a prefix at another one: what was there, what changes, and what changed while it was away.
func TestMakeMirror(t *testing.T) {
	m := startMirrored(t)
	// More than what is read at once.
	m.put("m/", 2300, "first")
	m.put("m/", 150, "second")
	m.put("o/", 50, "other")
	m.do("del m/00900 m/01000", "")
	m.do("compaction 20", "")
	const flags = "--prefix m/ --dest-prefix copy/ --max-txn-ops 50 "
	mirrors := m.begin(flags)
	m.arrived("copy/02299", "first-2299", "m/", "copy/")
	m.put("m/", 130, "third")
	m.do("put m/00001 again", "")
	// One revision of 300 deletions, which comes in pieces.
	m.do("del m/00100 m/00400", "")
	m.do("put o/00001 again", "")
	m.do("txn", "\nput m/new 1\ndel m/00002\nput o/x y\n\n\n")
	m.do("put m/end 1", "")
	m.arrived("copy/end", "1", "m/", "copy/")
	// The source goes away for a moment, and the mirror stays.
	m.both(func(s *side) output {
		if err := s.server.Restart(m.t.Context()); err != nil {
			m.t.Error(err)
		}
		return output{}
	})
	m.do("put m/end 2", "")
	m.arrived("copy/end", "2", "m/", "copy/")
	for i, r := range mirrors {
		if r.kill(); strings.Contains(r.text(), "Error") {
			m.t.Errorf("%d: %s", i, r.text())
		}
	}
	next := m.revision() + 1
	m.put("m/", 20, "meanwhile")
	m.do("del m/00003", "")
	m.do("put m/end 3", "")
	mirrors = m.begin(fmt.Sprintf(flags+"--rev=%d", next))
	m.arrived("copy/end", "3", "m/", "copy/")
	m.do("del m/ --prefix", "")
	m.do("put m/end 4", "")
	m.arrived("copy/end", "4", "m/", "copy/")
	for _, r := range mirrors {
		r.kill()
	}
	m.do(fmt.Sprintf("compaction %d", next+3), "")
	ended := m.begin(fmt.Sprintf(flags+"--rev=%d", next))
	got := m.compare(t, [2]output{ended[0].end(), ended[1].end()}, nil)
	if got.code == 0 || !strings.Contains(got.stdout, "required revision has been compacted") {
		t.Error(got)
	}
}

// All keys, and those of a prefix without it.
func TestMakeMirrorOfAll(t *testing.T) {
	for _, c := range []struct{ args, prefix, destined string }{
		{"", "", ""},
		{"--prefix m/", "m/", "m/"},
		{"--prefix m/ --no-dest-prefix", "m/", ""},
		{"--dest-prefix all/", "", "all/"},
	} {
		t.Run(c.args, func(t *testing.T) {
			m := startMirrored(t)
			m.put("m/", 30, "first")
			m.put("a/", 30, "other")
			m.begin(c.args)
			m.arrived(c.destined+strings.TrimPrefix("m/00029", c.prefix), "first-29", c.prefix, c.destined)
			m.do("del m/00007", "")
			m.do("put m/zzz 1", "")
			m.arrived(c.destined+strings.TrimPrefix("m/zzz", c.prefix), "1", c.prefix, c.destined)
		})
	}
	m := startMirrored(t)
	ended := m.begin("--dest-prefix x --no-dest-prefix")
	if got := m.compare(t, [2]output{ended[0].end(), ended[1].end()}, nil); got.code == 0 {
		t.Error(got)
	}
}

// revision is that of both sources.
func (m *mirrored) revision() (revision int64) {
	m.t.Helper()
	got := m.compare(m.t, m.both(func(s *side) output { return s.run(split("get none -w fields"), "") }), nil)
	if _, err := fmt.Sscanf(got.stdout[strings.Index(got.stdout, `"Revision"`):], "\"Revision\" : %d", &revision); err != nil {
		m.t.Fatal(err, got.stdout)
	}
	return revision
}
