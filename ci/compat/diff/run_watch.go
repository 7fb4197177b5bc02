package diff

import (
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

type messageOf = protoreflect.Message

// few is how far ahead a watcher may start so that writes are made until it has started.
const few = 5

func (r *Runner) watch(step *Watch) *Difference {
	const name = "/etcdserverpb.Watch/Watch"
	r.coverage.method(name)
	request := step.Request.Message.(*etcdserverpb.WatchRequest)
	if cancel := request.GetCancelRequest(); cancel != nil {
		// What comes before the cancel and what is lost is a matter of time otherwise.
		if d := r.syncAll(); d != nil {
			return d
		}
	}
	failed, d := r.failures(name, both(r, func(s *side) *failure { return s.sendWatch(step, request) }))
	if failed {
		return d
	}
	r.coverage.request(request)
	if step.Progress {
		if _, d := r.failures("periodic progress", both(r, func(s *side) *failure { return s.periodic(step.Stream) })); d != nil {
			return d
		}
		r.coverage.Count("periodic progress responses", 1)
	}
	if step.HalfClose {
		return r.halfClose(step.Stream)
	}
	return nil
}

func (s *side) sendWatch(step *Watch, request *etcdserverpb.WatchRequest) *failure {
	w, failed := s.watch(step.Stream, step.Meta)
	if failed != nil {
		return failed
	}
	if w.closed {
		return nil
	}
	q := s.resolve(request).(*etcdserverpb.WatchRequest)
	if q.GetCreateRequest() != nil {
		return s.create(w, q)
	}
	before := len(w.all())
	if err := w.stream.Send(q); err != nil {
		return s.failure(err)
	}
	if cancel := q.GetCancelRequest(); cancel != nil {
		if _, live := w.starts[cancel.WatchId]; live {
			return s.awaitCancel(w, cancel.WatchId, before)
		}
	}
	return nil
}

// periodic waits until the server tells progress by itself, for the watcher made last.
func (s *side) periodic(number int) *failure {
	w := s.streams[number]
	since := len(w.all())
	if !w.await(patience, func(rs []*etcdserverpb.WatchResponse) bool {
		return count(rs[since:], func(r *etcdserverpb.WatchResponse) bool {
			return isProgress(r) && r.WatchId != -1 && r.Header.GetRevision() == s.revision
		}) > 0
	}) {
		return s.silent(w, "no periodic progress")
	}
	return nil
}

// halfClose ends the clients' half of a stream: a watcher that is there must go on.
func (r *Runner) halfClose(number int) *Difference {
	if r.sides[0].streams[number].closed {
		return nil
	}
	if d := r.syncAll(); d != nil {
		return d
	}
	key := []byte("~half")
	sentinel := &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
		CreateRequest: &etcdserverpb.WatchCreateRequest{Key: key, WatchId: 4242},
	}}
	if _, d := r.failures("half close", both(r, func(s *side) *failure {
		w := s.streams[number]
		if failed := s.create(w, sentinel); failed != nil {
			return failed
		}
		w.closed = true
		return s.failure(w.stream.CloseSend())
	})); d != nil {
		return d
	}
	put := &etcdserverpb.PutRequest{Key: key}
	if _, d := r.call(&Call{Method: "/etcdserverpb.KV/Put", Request: message{put}}); d != nil {
		return d
	}
	_, d := r.failures("event after half close", both(r, func(s *side) *failure {
		w := s.streams[number]
		if !w.await(patience, func(rs []*etcdserverpb.WatchResponse) bool {
			return count(rs, func(r *etcdserverpb.WatchResponse) bool { return r.WatchId == 4242 && len(r.Events) > 0 }) > 0
		}) {
			return s.silent(w, "no event after the client's half was closed")
		}
		// Later events of the other watchers are not waited for.
		w.cancel()
		return nil
	}))
	return d
}

// syncAll brings all streams of both sides to the current revision.
func (r *Runner) syncAll() *Difference {
	for _, number := range sortedNumbers(r.sides[0].streams) {
		if r.never[number] || r.sides[0].streams[number].closed {
			continue
		}
		for {
			missing := r.sides[0].streams[number].missing(r.sides[0].revision)
			if missing > few {
				// Such a watcher keeps the whole stream from telling progress.
				r.never[number] = true
			}
			if missing <= 0 || missing > few {
				break
			}
			put := &etcdserverpb.PutRequest{Key: []byte("~sync")}
			if _, d := r.call(&Call{Method: "/etcdserverpb.KV/Put", Request: message{put}}); d != nil {
				return d
			}
		}
	}
	for _, number := range sortedNumbers(r.sides[0].streams) {
		if r.never[number] {
			continue
		}
		if _, d := r.failures("manual progress", both(r, func(s *side) *failure {
			return s.sync(s.streams[number])
		})); d != nil {
			return d
		}
		r.coverage.request(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_ProgressRequest{
			ProgressRequest: &etcdserverpb.WatchProgressRequest{},
		}})
	}
	return nil
}

func (r *Runner) compareStreams() *Difference {
	if d := r.syncAll(); d != nil {
		return d
	}
	for _, number := range sortedNumbers(r.sides[0].streams) {
		what := fmt.Sprintf("watch stream %d", number)
		records := both(r, func(s *side) record { return s.record(s.streams[number]) })
		for i, rec := range records {
			if len(rec.broken) > 0 {
				broken := [2]any{"kept", "kept"}
				broken[i] = rec.broken[0]
				return r.differ(what+" promises", broken[0], broken[1])
			}
		}
		if d := r.compareList(what+" control responses", records[0].control, records[1].control); d != nil {
			return d
		}
		// After a half close only the promises and the sentinel are compared.
		if r.sides[0].streams[number].closed {
			continue
		}
		for _, id := range sortedNumbers(records[0].watchers) {
			what := fmt.Sprintf("%s, watcher %d", what, id)
			if d := r.compareList(what, records[0].watchers[id], records[1].watchers[id]); d != nil {
				return d
			}
		}
		if len(records[0].watchers) != len(records[1].watchers) {
			return r.differ(what+" watchers", len(records[0].watchers), len(records[1].watchers))
		}
		r.coverage.bothResponses(r.sides[0].streams[number].all(), r.sides[1].streams[number].all())
		r.coverage.Count("watch events on each side", records[0].events())
	}
	r.coverage.Count("watch streams", len(r.sides[0].streams))
	return nil
}

func (r *Runner) compareList(what string, etcd, ours []proto.Message) *Difference {
	for i := range max(len(etcd), len(ours)) {
		switch {
		case i >= len(etcd):
			return r.differ(fmt.Sprintf("%s, item %d", what, i), nil, ours[i])
		case i >= len(ours):
			return r.differ(fmt.Sprintf("%s, item %d", what, i), etcd[i], nil)
		case !proto.Equal(etcd[i], ours[i]):
			return r.differ(fmt.Sprintf("%s, item %d", what, i), etcd[i], ours[i])
		}
	}
	return nil
}
