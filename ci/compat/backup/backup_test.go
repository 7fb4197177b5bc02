package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"keelkv/compat/server"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Data goes from one to the other and back, and is the same everywhere.
func TestDataMovesBothWays(t *testing.T) {
	for _, way := range [][2]side{{keelkv, etcd}, {etcd, keelkv}} {
		t.Run(way[0].name+" first", func(t *testing.T) {
			first := way[0].start(t)
			lease := first.fill()
			file := first.save()
			for _, back := range []int64{0, 1, 2, 5} {
				expected := first.hash(first.hash(0).HashRevision - back)
				if found := hashOf(t, file, expected.HashRevision); !found.equal(expected) {
					t.Fatalf("hash of the file: %+v, of the member: %+v", found, expected)
				}
			}
			var of status
			etcdutl(t, &of, "snapshot", "status", file)
			if of.Version != "3.7.0" || of.Revision != first.hash(0).HashRevision {
				t.Fatalf("%+v", of)
			}
			second := way[1].restore(t, file)
			same(t, first, second, lease)
			// Both go on from there alike, in what is removed as well.
			for _, one := range []*member{first, second} {
				at, err := one.Put(t.Context(), "key/050", "on")
				if err == nil {
					_, err = one.Put(t.Context(), "after", "3")
				}
				if err == nil {
					_, err = one.Compact(t.Context(), at.Header.Revision, clientv3.WithCompactPhysical())
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			same(t, first, second, lease)
			third := way[0].restore(t, second.save())
			same(t, second, third, lease)
		})
	}
}

// Users, roles and the revision of both come over, and go back.
func TestUsersAndRolesMoveBothWays(t *testing.T) {
	first := etcd.start(t)
	lease := first.fill()
	first.addUsers()
	second := keelkv.restore(t, first.save())
	third := etcd.restore(t, second.save())
	same(t, first, third, lease)
	sameUsers(t, first, third)
}

// addUsers makes users and roles of every kind. Nobody has to log in yet.
func (m *member) addUsers() {
	m.t.Helper()
	for _, line := range []string{
		"user add root:root", "user add u:u", "user add n --no-password", "role add r", "role add empty",
		"role grant-permission r readwrite key/ key0", "role grant-permission r read z", "user grant-role u r",
		"user grant-role u empty", "user grant-role root root", "role delete empty",
	} {
		m.etcdctl(line)
	}
}

// sameUsers compares what two members say of those users, and has one of them log in at the second.
func sameUsers(t *testing.T, one, other *member) {
	t.Helper()
	for _, question := range []string{"user list", "user get root", "user get u", "user get n", "role list", "role get r", "auth status"} {
		if a, b := one.etcdctl(question), other.etcdctl(question); a != b {
			t.Fatalf("%s\n%s", a, b)
		}
	}
	other.etcdctl("auth enable")
	u := connectAs(t, other.Member, "u")
	_, allowed := u.Get(t.Context(), "key/050")
	if _, refused := u.Get(t.Context(), "after"); allowed != nil || !errors.Is(refused, rpctypes.ErrPermissionDenied) {
		t.Fatal(allowed, refused)
	}
	connectAs(t, other.Member, "root").etcdctl("auth disable")
}

// Members that are restored from the same file are one cluster, and find no difference between them.
func TestRestoredMembersAreOneCluster(t *testing.T) {
	first := etcd.start(t)
	lease := first.fill()
	file := first.save()
	connected := make([]*member, 3)
	for n, one := range keelkv.restoreCluster(t, file, 3) {
		connected[n] = connect(t, one)
		same(t, first, connected[n], lease)
	}
	answer, err := connected[0].Put(t.Context(), "together", "1")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range connected {
		got, err := one.Get(t.Context(), "together")
		if err != nil || len(got.Kvs) != 1 {
			t.Fatal(got, err)
		}
		if got := one.hash(answer.Header.Revision); !got.equal(connected[0].hash(answer.Header.Revision)) {
			t.Fatalf("%+v", got)
		}
		alarms, err := one.AlarmList(t.Context())
		if err != nil || len(alarms.Alarms) != 0 {
			t.Fatal(alarms, err)
		}
		list, err := one.MemberList(t.Context())
		if err != nil || len(list.Members) != 3 {
			t.Fatal(list, err)
		}
	}
}

// A backup that is made while much is written is the state at one revision.
func TestBackupsUnderLoad(t *testing.T) {
	one := keelkv.start(t)
	one.fill()
	failed := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		defer close(failed)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			answer, err := one.Put(t.Context(), fmt.Sprintf("load/%d", n%500), strings.Repeat("v", n%3000))
			if err == nil && n%200 == 199 {
				_, err = one.Compact(t.Context(), answer.Header.Revision-100)
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	for range 8 {
		file := one.save()
		var of status
		etcdutl(t, &of, "snapshot", "status", file)
		restored := etcd.restore(t, file)
		if found := restored.hash(0); found.HashRevision != of.Revision {
			t.Fatalf("%+v, %+v", found, of)
		}
		// While the member has not compacted beyond it they agree on its last revision.
		if expected := restored.hash(of.Revision); one.compacted() <= expected.CompactRevision {
			if found := one.hash(of.Revision); found.CompactRevision == expected.CompactRevision && !found.equal(expected) {
				t.Fatalf("%+v, %+v", found, expected)
			}
		}
		restored.Discard()
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

func (m *member) compacted() int64 { return m.hash(0).CompactRevision }

// What is no backup is refused, and nothing is left of the attempt.
func TestRestoreRefuses(t *testing.T) {
	if keelkv.binary == etcd.binary {
		t.Skip("etcd's tool has its own words")
	}
	first := etcd.start(t)
	first.fill()
	file := first.save()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := append([]byte{}, whole...)
	spoilt[len(spoilt)/2] ^= 1
	branches := append([]byte{}, whole...)
	for at := 8192; at < len(branches); at += 4096 {
		branches[at+8] = 1
	}
	sum := sha256.Sum256(branches[:len(branches)-sha256.Size])
	branches = append(branches[:len(branches)-sha256.Size], sum[:]...)
	for _, wrong := range []struct {
		content []byte
		flags   []string
		says    string
	}{
		{spoilt, nil, "expected sha256"},
		{whole[:len(whole)-sha256.Size], nil, "snapshot missing hash but --skip-hash-check=false"},
		{whole[:4096], []string{"--skip-hash-check"}, "damaged at byte"},
		{branches, nil, "damaged at byte"},
		{[]byte("no snapshot"), []string{"--skip-hash-check"}, "this is no snapshot of etcd's"},
		{whole, []string{"--bump-revision=5"}, "--mark-compacted required"},
	} {
		one, err := server.NewMember(keelkv.binary, "m", "http")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(one.Discard)
		path := filepath.Join(t.TempDir(), "wrong.db")
		if err := os.WriteFile(path, wrong.content, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := keelkv.tool(one, path, append(wrong.flags, "--initial-cluster=m="+one.PeerURL)...)
		if err == nil || !strings.Contains(string(out), wrong.says) {
			t.Errorf("%q: %v\n%s", wrong.says, err, out)
		}
		if left, err := os.ReadDir(one.Dir); err != nil || len(left) != 0 {
			t.Errorf("%q leaves %v", wrong.says, left)
		}
	}
	// A directory that is there is left alone.
	one, err := server.NewMember(keelkv.binary, "m", "http")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(one.Discard)
	data := filepath.Join(one.Dir, "data")
	if err := os.MkdirAll(filepath.Join(data, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := keelkv.tool(one, file, "--initial-cluster=m="+one.PeerURL)
	if err == nil || !strings.Contains(string(out), "not empty or could not be read") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// The file of a data directory does without the checksum, if that is asked for; and the revision can be raised.
func TestRestoreOfADataDirectorysFile(t *testing.T) {
	first := etcd.start(t)
	lease := first.fill()
	before := first.hash(0).HashRevision
	if err := first.Terminate(t.Context()); err != nil && !strings.Contains(err.Error(), "terminated") {
		t.Fatal(err)
	}
	file := filepath.Join(first.Dir, "data", "member", "snap", "db")
	second := keelkv.restore(t, file, "--skip-hash-check")
	if err := first.Launch(); err != nil {
		t.Fatal(err)
	}
	same(t, connect(t, first.Member), second, lease)
	bumped := keelkv.restore(t, second.save(), "--bump-revision=1000000", "--mark-compacted")
	got, err := bumped.Get(t.Context(), "after")
	if err != nil || got.Header.Revision != before+1_000_000 {
		t.Fatal(got, err)
	}
	if _, err := bumped.Get(t.Context(), "after", clientv3.WithRev(before)); err == nil {
		t.Fatal("the revisions before are compacted")
	}
	// etcd's tool marks the new revision by a row without a key.
	marked := filepath.Join(t.TempDir(), "marked")
	etcds := exec.Command(server.Etcdutl(), "snapshot", "restore", second.save(), "--data-dir="+marked,
		"--bump-revision=1000000", "--mark-compacted")
	if out, err := etcds.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	again := keelkv.restore(t, filepath.Join(marked, "member", "snap", "db"), "--skip-hash-check")
	if got, err := again.Get(t.Context(), "after"); err != nil || got.Header.Revision != before+1_000_000 || len(got.Kvs) != 1 {
		t.Fatal(got, err)
	}
}

// A backup takes a few pages of memory, however large the store.
func TestMemoryOfABackup(t *testing.T) {
	const bytes, value = 300 << 20, 100 << 10
	one := keelkv.start(t)
	random := rand.NewChaCha8([32]byte{})
	content := make([]byte, value)
	for n := range bytes / value {
		_, _ = random.Read(content)
		if _, err := one.Put(t.Context(), fmt.Sprintf("%08d", n), string(content)); err != nil {
			t.Fatal(err)
		}
	}
	// From here on the kernel notes the peak anew.
	peak := fmt.Sprintf("/proc/%d/clear_refs", one.Pid())
	if err := os.WriteFile(peak, []byte("5"), 0o200); err != nil {
		t.Fatal(err)
	}
	before := one.memory("VmRSS")
	stream, err := one.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	size, err := io.Copy(io.Discard, stream)
	if err != nil || size < bytes {
		t.Fatal(size, err)
	}
	grown := one.memory("VmHWM") - before
	t.Logf("%d MiB, memory grew by %d KiB", size>>20, grown)
	if grown > 48<<10 {
		t.Fatalf("memory grew by %d KiB", grown)
	}
}

// memory is a line of the process's status, in KiB.
func (m *member) memory(line string) int {
	m.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.Pid()))
	if err != nil {
		m.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), line+":")
	number, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		m.t.Fatal(err)
	}
	return number
}

// Whoever breaks off a backup holds nothing any more, and does not keep others from theirs.
func TestBackupsThatAreBrokenOff(t *testing.T) {
	one := keelkv.start(t)
	one.fill()
	for range 20 {
		// Closing what the client returns does not end the call.
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := one.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// Those before may not have ended yet: then it is refused.
		_, _ = stream.Read(make([]byte, 10))
		cancel()
		_ = stream.Close()
	}
	within(t, 10*time.Second, "a backup after those that were broken off", func() bool {
		stream, err := one.Snapshot(t.Context())
		if err != nil {
			return false
		}
		defer stream.Close()
		_, err = io.Copy(io.Discard, stream)
		return err == nil
	})
}
