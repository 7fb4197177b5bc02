package diff

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"keelkv/compat/server"
)

// Difference is the first thing in a program that was not equal.
type Difference struct {
	Step int
	What string
	Etcd string
	Ours string
}

func (d *Difference) String() string {
	return fmt.Sprintf("step %d: %s\n  etcd:   %s\n  keelkv: %s", d.Step, d.What, d.Etcd, d.Ours)
}

// Runner runs programs one after the other on one pair of members.
type Runner struct {
	pair     *server.Pair
	sides    [2]*side
	coverage *Coverage
	// tainted: history holds lease ids that the members chose, so their hashes must differ.
	tainted bool
	// compactions since the start of the pair: whether the hash that one left holds ids which members chose.
	compactions map[int64]bool
	step        int
	never       map[int]bool
}

// NewRunner starts a pair.
func NewRunner(ctx context.Context, coverage *Coverage, flags ...string) (*Runner, error) {
	flags = append([]string{"--watch-progress-notify-interval=300ms"}, flags...)
	pair, err := server.StartPair(ctx, flags...)
	if err != nil {
		return nil, err
	}
	r, err := runnerOn(ctx, pair, coverage)
	if err != nil {
		pair.Stop()
	}
	return r, err
}

func runnerOn(ctx context.Context, pair *server.Pair, coverage *Coverage) (*Runner, error) {
	r := &Runner{pair: pair, coverage: coverage, compactions: map[int64]bool{}}
	for i, s := range pair.Sides() {
		var err error
		if r.sides[i], err = newSide(ctx, s); err != nil {
			return nil, err
		}
		r.sides[i].json = coverage.json
	}
	return r, nil
}

// Stop ends the pair.
func (r *Runner) Stop() {
	for _, s := range r.sides {
		s.connection.Close()
	}
	r.pair.Stop()
}

// Log is the end of what keelkv printed.
func (r *Runner) Log(lines int) string { return r.pair.Keelkv.Log(lines) }

// Run runs one program; nil if all was equal.
func (r *Runner) Run(ctx context.Context, p Program) *Difference {
	r.never, r.step = map[int]bool{}, 0
	for _, s := range r.sides {
		s.begin(ctx)
		defer s.end()
	}
	for i, step := range p.Steps {
		r.step = i
		if d := r.run(step); d != nil {
			return d
		}
	}
	r.step = len(p.Steps)
	if d := r.finish(); d != nil {
		return d
	}
	r.coverage.Count("programs", 1)
	r.coverage.Count("requests on each side", len(p.Steps))
	return nil
}

func (r *Runner) run(step Step) *Difference {
	switch {
	case step.Call != nil:
		_, d := r.call(step.Call)
		return d
	case step.Watch != nil:
		return r.watch(step.Watch)
	case step.Renew != nil:
		return r.renew(step.Renew)
	case step.Expire != nil:
		return r.expire(step.Expire)
	case step.Raw != nil:
		return r.raw(step.Raw)
	}
	return nil
}

// both runs something on the two sides at once.
func both[T any](r *Runner, f func(*side) T) (results [2]T) {
	var group sync.WaitGroup
	for i, s := range r.sides {
		group.Go(func() { results[i] = f(s) })
	}
	group.Wait()
	return results
}

// failures compares errors: it returns a difference if they differ, and whether there was one.
func (r *Runner) failures(what string, f [2]*failure) (bool, *Difference) {
	if !reflect.DeepEqual(f[0], f[1]) {
		return true, r.differ(what, f[0], f[1])
	}
	if f[0] == nil {
		return false, nil
	}
	if f[0].Code == "hang" || f[0].Code == "harness" {
		// Equal, but not what a server may do.
		return true, r.differ(what, f[0], f[1])
	}
	r.coverage.failed(f[0])
	return true, nil
}

func (r *Runner) differ(what string, a, b any) *Difference {
	show := func(x any) string {
		switch x := x.(type) {
		case *failure:
			if x == nil {
				return "no error"
			}
			return x.Code + " " + x.Text
		case proto.Message:
			return string(x.ProtoReflect().Descriptor().Name()) + " " + prototext.MarshalOptions{}.Format(x)
		case nil:
			return "nothing"
		}
		return fmt.Sprint(x)
	}
	return &Difference{r.step, what, show(a), show(b)}
}

// call runs one request on both sides and compares the answers.
//
// etcd remembers in memory the hashes that its last ten compactions computed on their way, and answers HashKV
// at exactly these revisions from there: with what was about to be removed, and even after a later compaction.
// It does so once the compaction has run in the background, and not at all if the next one comes before that.
// So each compaction is waited for.
func (r *Runner) call(c *Call) ([]proto.Message, *Difference) {
	if _, compaction := c.Request.Message.(*etcdserverpb.CompactionRequest); compaction {
		// A watcher that is behind a compaction may or may not be canceled.
		if d := r.syncAll(); d != nil {
			return nil, d
		}
	}
	type answer struct {
		responses []proto.Message
		failure   *failure
	}
	answers := both(r, func(s *side) answer {
		responses, failure := s.call(c)
		return answer{responses, failure}
	})
	r.coverage.method(c.Method)
	if q, ok := c.Request.Message.(*etcdserverpb.HashKVRequest); ok {
		if revision, _ := r.sides[0].number(q.Revision); r.compactions[revision] {
			r.coverage.Count("HashKV answers with chosen lease ids, not compared", 1)
			return nil, nil
		}
	}
	if failed, d := r.failures(c.Method, [2]*failure{answers[0].failure, answers[1].failure}); failed {
		if d == nil {
			r.coverage.refused(c.Request.Message)
		}
		return nil, d
	}
	if _, ok := c.Request.Message.(*etcdserverpb.CompactionRequest); ok {
		r.compactions[r.sides[0].compactRevision] = r.tainted
		if _, d := r.failures("hash of a compaction", both(r, (*side).compacted)); d != nil {
			return nil, d
		}
	}
	etcd, ours := answers[0].responses, answers[1].responses
	for i := range min(len(etcd), len(ours)) {
		a, b := etcd[i], ours[i]
		if !proto.Equal(a, b) {
			return nil, r.differ(c.Method, a, b)
		}
		r.coverage.response(a)
	}
	if len(etcd) != len(ours) {
		return nil, r.differ(c.Method+" messages", len(etcd), len(ours))
	}
	r.coverage.request(c.Request.Message)
	r.taint(c.Request.Message)
	return etcd, nil
}

func (r *Runner) taint(request proto.Message) {
	walk(request.ProtoReflect(), func(m messageOf) {
		if put, ok := m.Interface().(*etcdserverpb.PutRequest); ok && isNear(put.Lease, chosen) {
			r.tainted = true
		}
	})
}

func (r *Runner) renew(q *Renew) *Difference {
	type answer struct {
		response proto.Message
		failure  *failure
	}
	const name = "/etcdserverpb.Lease/LeaseKeepAlive"
	answers := both(r, func(s *side) answer {
		response, failure := s.renew(q.Lease)
		return answer{response, failure}
	})
	r.coverage.method(name)
	if failed, d := r.failures(name, [2]*failure{answers[0].failure, answers[1].failure}); failed {
		return d
	}
	if !proto.Equal(answers[0].response, answers[1].response) {
		return r.differ(name, answers[0].response, answers[1].response)
	}
	r.coverage.request(&etcdserverpb.LeaseKeepAliveRequest{ID: q.Lease})
	r.coverage.response(answers[0].response)
	return nil
}

func (r *Runner) expire(e *Expire) *Difference {
	grant := &etcdserverpb.LeaseGrantRequest{ID: e.Lease, TTL: e.TTL}
	steps := []*Call{{Method: "/etcdserverpb.Lease/LeaseGrant", Request: message{grant}}}
	for _, key := range e.Keys {
		put := &etcdserverpb.PutRequest{Key: key, Value: []byte("short"), Lease: e.Lease}
		steps = append(steps, &Call{Method: "/etcdserverpb.KV/Put", Request: message{put}})
	}
	for _, step := range steps {
		if _, d := r.call(step); d != nil {
			return d
		}
	}
	_, d := r.failures("expiry of a lease", both(r, func(s *side) *failure { return s.gone(e.Lease, e.Keys) }))
	r.coverage.Count("leases that expired", 1)
	return d
}

// finish compares what the watch streams told, removes the leases and compares hashes.
func (r *Runner) finish() *Difference {
	if d := r.compareStreams(); d != nil {
		return d
	}
	for len(r.sides[0].leases) > 0 {
		revocation := [2]*etcdserverpb.LeaseRevokeRequest{}
		for i, s := range r.sides {
			if len(s.leases) == 0 {
				return r.differ("leases left", len(r.sides[0].leases), len(r.sides[1].leases))
			}
			revocation[i] = &etcdserverpb.LeaseRevokeRequest{ID: s.leases[0]}
		}
		_, d := r.failures("last revocations", both(r, func(s *side) *failure {
			q := revocation[0]
			if s == r.sides[1] {
				q = revocation[1]
			}
			_, failure := s.call(&Call{Method: "/etcdserverpb.Lease/LeaseRevoke", Request: message{q}})
			s.forget(q.ID)
			return failure
		}))
		if d != nil {
			return d
		}
	}
	if r.tainted {
		if d := r.wash(); d != nil {
			return d
		}
	}
	return r.hashes()
}

// wash compacts all revisions away that hold ids which the members chose.
func (r *Runner) wash() *Difference {
	everything := &etcdserverpb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	marker := &etcdserverpb.PutRequest{Key: []byte("~washed")}
	compaction := &etcdserverpb.CompactionRequest{Revision: current, Physical: true}
	for _, c := range []*Call{
		{Method: "/etcdserverpb.KV/DeleteRange", Request: message{everything}},
		{Method: "/etcdserverpb.KV/Put", Request: message{marker}},
		{Method: "/etcdserverpb.KV/Compact", Request: message{compaction}},
	} {
		if _, d := r.call(c); d != nil {
			return d
		}
	}
	r.tainted = false
	return nil
}

func (r *Runner) hashes() *Difference {
	state := r.sides[0]
	past := state.compactRevision + (state.revision-state.compactRevision)*int64(r.step%7+1)/8
	wanted := []int64{0, current, current + past - state.revision, compacted, compacted + 1}
	// What earlier compactions left: one that is remembered, and perhaps one that is forgotten.
	if earlier := sortedNumbers(r.compactions); len(earlier) > 1 {
		wanted = append(wanted, earlier[len(earlier)-2], earlier[0])
	}
	for _, revision := range wanted {
		q := &etcdserverpb.HashKVRequest{Revision: revision}
		if _, d := r.call(&Call{Method: "/etcdserverpb.Maintenance/HashKV", Request: message{q}}); d != nil {
			return d
		}
	}
	r.coverage.Count("HashKV comparisons", len(wanted))
	return nil
}
