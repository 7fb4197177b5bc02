package etcdctl

import (
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// What etcdctl makes of a member that has no room left, and of one whose keys are known to be wrong. The second tells
// nobody of keys here, so only what is no key is asked for then.
func TestAlarms(t *testing.T) {
	alarms := []string{
		"alarm list", "alarm list -w json", "alarm list -w fields", "alarm list -w table", "put a b", "del a", "txn", "lease grant 100",
		"compaction 1", "endpoint status", "endpoint status -w json", "endpoint status -w fields", "endpoint status -w table", "member list",
		"alarm disarm x", "alarm disarm", "alarm list", "put a b", "get a",
	}
	keys := []string{"get a", "endpoint health", "endpoint health -w json", "defrag"}
	p := startPair(t)
	for _, kind := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
		for _, s := range p.sides {
			s.raise(t, kind)
		}
		commands := alarms
		if kind == pb.AlarmType_NOSPACE {
			commands = append(keys, alarms...)
		}
		for _, args := range commands {
			t.Run(kind.String()+" "+args, func(t *testing.T) {
				stdin := map[string]string{"txn": "\nput a b\n\n\n"}[args]
				p.compare(t, p.both(func(s *side) output { return s.run(split(args), stdin) }), nil)
			})
		}
	}
}

// raise raises an alarm of the member itself.
func (s *side) raise(t *testing.T, kind pb.AlarmType) {
	t.Helper()
	connection, err := s.server.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	maintenance := pb.NewMaintenanceClient(connection)
	status, err := maintenance.Status(t.Context(), &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	request := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: kind, MemberID: status.Header.MemberId}
	if _, err := maintenance.Alarm(t.Context(), request); err != nil {
		t.Fatal(err)
	}
}

// What is in the file is compared in package backup; here it is what etcdctl says of it.
func TestSnapshotSave(t *testing.T) {
	p := startPair(t)
	p.compare(t, p.both(func(s *side) output { return s.run(split("put a b"), "") }), nil)
	dir := t.TempDir()
	for name, fails := range map[string]bool{"saved": false, "absent/saved": true, "": true} {
		outputs := p.both(func(s *side) output {
			args := []string{"snapshot", "save"}
			if name != "" {
				args = append(args, filepath.Join(dir, filepath.Dir(name), s.server.Address+"."+filepath.Base(name)))
			}
			return s.run(args, "")
		})
		got := p.compare(t, outputs, nil)
		if (got.code != 0) != fails || !fails && !strings.Contains(got.stdout, "Server version 3.7.0") {
			t.Error(got)
		}
	}
}
