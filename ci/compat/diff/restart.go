package diff

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Restart stops both members and starts them again over the same data, and compares what is there.
func (r *Runner) Restart(ctx context.Context) *Difference {
	r.step = -1
	errs := both(r, func(s *side) error {
		s.connection.Close()
		if err := s.server.Restart(ctx); err != nil {
			return err
		}
		again, err := newSide(ctx, s.server)
		if err != nil {
			return err
		}
		again.revision, again.compactRevision = s.revision, s.compactRevision
		if again.cluster != s.cluster || again.member != s.member {
			return errors.New("another cluster id or member id after a restart")
		}
		*s = *again
		return nil
	})
	if errs[0] != nil || errs[1] != nil {
		return r.differ("restart", errs[0], errs[1])
	}
	// The hashes of compactions are forgotten.
	r.compactions = map[int64]bool{}
	p := Program{Name: "after a restart", Steps: []Step{
		call("Maintenance/HashKV", &pb.HashKVRequest{Revision: compacted}),
		call("KV/Range", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}),
		call("KV/Range", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: compacted}),
		call("KV/Range", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: compacted - 1}),
		call("Lease/LeaseLeases", &pb.LeaseLeasesRequest{}),
		call("Maintenance/Status", &pb.StatusRequest{}),
		{Watch: &Watch{Request: message{&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: compacted + 1, PrevKv: true},
		}}}}},
		call("KV/Put", &pb.PutRequest{Key: []byte("a"), PrevKv: true}),
	}}
	r.coverage.Count("restarts compared", 1)
	if d := r.Run(ctx, p); d != nil {
		d.What = "after a restart: " + d.What
		return d
	}
	return nil
}
