// Package backup moves data between real etcd and keelkv by backups, and compares what arrives.
package backup

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelkv/compat/server"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A program that is under test, or the real one.
type side struct {
	name   string
	binary string
}

var (
	etcd   = side{name: "etcd", binary: server.Etcd()}
	keelkv = side{name: "keelkv", binary: server.Keelkv()}
)

// start runs a fresh member of one of them.
func (s side) start(t *testing.T, flags ...string) *member {
	t.Helper()
	one, err := server.NewMember(s.binary, s.name, "http", flags...)
	if err != nil {
		t.Fatal(err)
	}
	one.With("--initial-cluster=" + s.name + "=" + one.PeerURL)
	return launch(t, one)
}

// restore makes the data of a member out of a backup, and runs it.
func (s side) restore(t *testing.T, file string, flags ...string) *member {
	t.Helper()
	one, err := server.NewMember(s.binary, s.name, "http")
	if err != nil {
		t.Fatal(err)
	}
	initial := s.name + "=" + one.PeerURL
	if out, err := s.tool(one, file, append(flags, "--initial-cluster="+initial)...); err != nil {
		one.Discard()
		t.Fatalf("%s does not restore: %v\n%s", s.name, err, out)
	}
	return launch(t, one.With("--initial-cluster="+initial))
}

// restoreCluster makes the data of so many members out of one backup, and starts them. None may serve yet.
func (s side) restoreCluster(t *testing.T, file string, size int, flags ...string) []*server.Member {
	t.Helper()
	members, initial := make([]*server.Member, size), make([]string, size)
	for n := range members {
		one, err := server.NewMember(s.binary, fmt.Sprintf("m%d", n), "http", flags...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(one.Discard)
		members[n], initial[n] = one, one.Name+"="+one.PeerURL
	}
	flag := "--initial-cluster=" + strings.Join(initial, ",")
	for _, one := range members {
		if out, err := s.tool(one, file, flag); err != nil {
			t.Fatalf("%s does not restore: %v\n%s", s.name, err, out)
		}
		if err := one.With(flag).Launch(); err != nil {
			t.Fatal(err)
		}
	}
	return members
}

// tool runs the command of this side that makes a data directory.
func (s side) tool(one *server.Member, file string, flags ...string) ([]byte, error) {
	command := exec.Command(server.Etcdutl(), "snapshot", "restore", file)
	if s.binary == server.Keelkv() && s.binary != server.Etcd() {
		command = exec.Command(s.binary, "restore", file)
	}
	command.Args = append(command.Args, "--name="+one.Name, "--data-dir="+filepath.Join(one.Dir, "data"),
		"--initial-advertise-peer-urls="+one.PeerURL)
	command.Args = append(command.Args, flags...)
	return command.CombinedOutput()
}

// A running member with a client.
type member struct {
	*server.Member
	*clientv3.Client
	t *testing.T
	// login is the flag with which etcdctl logs in, if it has to.
	login []string
}

func launch(t *testing.T, one *server.Member) *member {
	t.Helper()
	t.Cleanup(one.Discard)
	if err := one.Launch(); err != nil {
		t.Fatal(err)
	}
	return connect(t, one)
}

// connect waits until a member serves.
func connect(t *testing.T, one *server.Member) *member {
	t.Helper()
	if err := one.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{one.Address}, MaxCallRecvMsgSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &member{Member: one, Client: client, t: t}
}

// connectAs waits until a user, whose password is the name, can log in and read.
func connectAs(t *testing.T, one *server.Member, user string) *member {
	t.Helper()
	as := &member{Member: one, t: t, login: []string{"--user=" + user + ":" + user}}
	within(t, time.Minute, user+" logs in at "+one.Name+"\n"+one.Log(5), func() bool {
		client, err := clientv3.New(clientv3.Config{
			Endpoints: []string{one.Address}, Username: user, Password: user, DialTimeout: 5 * time.Second, MaxCallRecvMsgSize: 1 << 30,
		})
		if err != nil {
			return false
		}
		if _, err := client.Get(t.Context(), "ready"); err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
			_ = client.Close()
			return false
		}
		as.Client = client
		return true
	})
	t.Cleanup(func() { _ = as.Close() })
	return as
}

// etcdctl runs a line of it and returns what it printed.
func (m *member) etcdctl(line string) string {
	m.t.Helper()
	// What it writes to the other stream tells of variables and times.
	command := exec.Command(server.Etcdctl(), append(strings.Fields(line), append(m.login, "--endpoints="+m.Address)...)...)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	out, err := command.Output()
	if err != nil {
		m.t.Fatalf("etcdctl %s: %v\n%s", line, err, complaints.String())
	}
	return string(out)
}

// save has etcdctl write a backup of the member.
func (m *member) save() string {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "backup.db")
	m.etcdctl("snapshot save " + file)
	return file
}

// hash is HashKV without what differs by member.
type hash struct {
	Hash            uint32
	HashRevision    int64
	CompactRevision int64
	of              string
}

func (h hash) equal(other hash) bool {
	h.of, other.of = "", ""
	return h == other
}

func (m *member) hash(revision int64) hash {
	m.t.Helper()
	request := &etcdserverpb.HashKVRequest{Revision: revision}
	answer, err := etcdserverpb.NewMaintenanceClient(m.ActiveConnection()).HashKV(m.t.Context(), request)
	if err != nil {
		m.t.Fatalf("HashKV at %d of %s: %v", revision, m.Name, err)
	}
	if answer.HashRevision == 0 {
		// etcd 3.5 does not say it.
		answer.HashRevision = cmp.Or(revision, answer.Header.Revision)
	}
	return hash{answer.Hash, answer.HashRevision, answer.CompactRevision, m.Name}
}

// hashOf is what etcdutl says of a file. It opens the file for writing, so it gets a copy.
func hashOf(t *testing.T, file string, revision int64) hash {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy.db")
	bytes, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(copied, bytes, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := hash{of: "etcdutl"}
	etcdutl(t, &h, "hashkv", copied, fmt.Sprintf("--rev=%d", revision))
	return h
}

type status struct {
	Hash      uint32
	Revision  int64
	TotalKey  int
	TotalSize int64
	Version   string
}

// etcdutl runs the tool and reads the JSON that it prints.
func etcdutl(t *testing.T, into any, args ...string) {
	t.Helper()
	command := exec.Command(server.Etcdutl(), append(args, "--write-out=json")...)
	var failed bytes.Buffer
	command.Stderr = &failed
	out, err := command.Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		t.Fatalf("etcdutl %v: %v\n%s%s", args, err, out, failed.Bytes())
	}
}

// fill makes history of every kind, the lease of which is returned: overwritten, deleted and recreated keys, transactions
// of several keys, a large value, leases, and compactions in between, the last of them at a deletion.
func (m *member) fill() clientv3.LeaseID {
	m.t.Helper()
	ctx := m.t.Context()
	lease, err := m.Grant(ctx, 3600)
	errs := []error{err}
	put := func(key, value string, options ...clientv3.OpOption) *clientv3.PutResponse {
		answer, err := m.Put(ctx, key, value, options...)
		errs = append(errs, err)
		return answer
	}
	remove := func(key string, options ...clientv3.OpOption) *clientv3.DeleteResponse {
		answer, err := m.Delete(ctx, key, options...)
		errs = append(errs, err)
		return answer
	}
	for n := range 400 {
		put(fmt.Sprintf("key/%03d", n%90), fmt.Sprintf("value %d %0*d", n, n%700, 0))
		switch {
		case n%17 == 0:
			remove(fmt.Sprintf("key/%03d", n%45))
		case n%23 == 0:
			_, err := m.Txn(ctx).Then(
				clientv3.OpPut("txn/a", fmt.Sprint(n)), clientv3.OpPut("txn/b", "", clientv3.WithLease(lease.ID)),
				clientv3.OpDelete("key/0", clientv3.WithPrefix())).Commit()
			errs = append(errs, err)
		case n == 150:
			_, err := m.Compact(ctx, 120)
			errs = append(errs, err)
		}
	}
	put("empty", "")
	put("large", string(bytes.Repeat([]byte("x"), 1<<20)))
	put("leased", "1", clientv3.WithLease(lease.ID))
	put("gone", "1")
	deleted := remove("gone")
	if errors.Join(errs...) == nil {
		_, err = m.Compact(ctx, deleted.Header.Revision, clientv3.WithCompactPhysical())
		errs = append(errs, err)
	}
	put("after", "1")
	put("after", "2")
	remove("key/00", clientv3.WithPrefix())
	for n := range 60 {
		put(fmt.Sprintf("key/%03d", n%7), fmt.Sprintf("later %d", n), clientv3.WithLease(lease.ID*clientv3.LeaseID(n%2)))
	}
	if err := errors.Join(errs...); err != nil {
		m.t.Fatal(err)
	}
	return lease.ID
}

// same compares two members: the history at every revision that is left, keys as they are, leases.
func same(t *testing.T, one, other *member, lease clientv3.LeaseID) {
	t.Helper()
	ctx := t.Context()
	newest := one.hash(0)
	if found := other.hash(0); !found.equal(newest) {
		t.Fatalf("HashKV: %+v, %+v", newest, found)
	}
	for revision := newest.CompactRevision; revision <= newest.HashRevision; revision++ {
		// That of a compaction's own revision is what etcd kept in memory from before it.
		if revision == newest.CompactRevision {
			continue
		}
		if a, b := one.hash(revision), other.hash(revision); !a.equal(b) {
			t.Fatalf("HashKV at %d: %+v, %+v", revision, a, b)
		}
	}
	for _, revision := range []int64{newest.CompactRevision, 0} {
		options := []clientv3.OpOption{clientv3.WithFromKey(), clientv3.WithRev(revision)}
		a, err := one.Get(ctx, "\x00", options...)
		b, err2 := other.Get(ctx, "\x00", options...)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(a.Kvs) != fmt.Sprint(b.Kvs) || a.Header.Revision != b.Header.Revision {
			t.Fatalf("keys at %d differ", revision)
		}
	}
	a, err := one.TimeToLive(ctx, lease, clientv3.WithAttachedKeys())
	b, err2 := other.TimeToLive(ctx, lease, clientv3.WithAttachedKeys())
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if b.GrantedTTL != 3600 || a.GrantedTTL != 3600 || len(b.Keys) != len(a.Keys) || len(a.Keys) == 0 {
		t.Fatalf("lease: %+v, %+v", a, b)
	}
}

// within waits for a condition.
func within(t *testing.T, timeout time.Duration, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
