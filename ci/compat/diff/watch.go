package diff

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// watchStream is one side of one watch stream: a reader that collects, and what was collected.
type watchStream struct {
	stream etcdserverpb.Watch_WatchClient
	cancel context.CancelFunc

	mu        sync.Mutex
	responses []*etcdserverpb.WatchResponse
	err       error
	changed   chan struct{}

	// starts holds the start revision of each live watcher.
	starts map[int64]int64
	closed bool
}

func (s *side) watch(number int, meta map[string]string) (*watchStream, *failure) {
	if open := s.streams[number]; open != nil {
		return open, nil
	}
	ctx, cancel := context.WithCancel(s.scope)
	for key, value := range meta {
		ctx = metadata.AppendToOutgoingContext(ctx, key, value)
	}
	stream, err := etcdserverpb.NewWatchClient(s.connection).Watch(ctx)
	if err != nil {
		cancel()
		return nil, s.failure(err)
	}
	w := &watchStream{stream: stream, cancel: cancel, changed: make(chan struct{}), starts: map[int64]int64{}}
	s.streams[number] = w
	go w.collect()
	return w, nil
}

func (w *watchStream) collect() {
	for {
		response, err := w.stream.Recv()
		w.mu.Lock()
		if err != nil {
			w.err = err
		} else {
			w.responses = append(w.responses, response)
		}
		close(w.changed)
		w.changed = make(chan struct{})
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await waits until enough holds for the responses; it says whether it did in time.
func (w *watchStream) await(limit time.Duration, enough func([]*etcdserverpb.WatchResponse) bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		w.mu.Lock()
		done, failed, changed := enough(w.responses), w.err != nil, w.changed
		w.mu.Unlock()
		if done {
			return true
		}
		if failed {
			return false
		}
		select {
		case <-changed:
		case <-deadline.C:
			return false
		}
	}
}

func (w *watchStream) all() []*etcdserverpb.WatchResponse {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.responses
}

func (w *watchStream) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func isControl(r *etcdserverpb.WatchResponse) bool {
	return r.Created || r.Canceled || r.CompactRevision != 0
}

func isProgress(r *etcdserverpb.WatchResponse) bool { return !isControl(r) && len(r.Events) == 0 }

func count(responses []*etcdserverpb.WatchResponse, wanted func(*etcdserverpb.WatchResponse) bool) int {
	n := 0
	for _, r := range responses {
		if wanted(r) {
			n++
		}
	}
	return n
}

// create sends a create request and waits for all control responses that it must have.
func (s *side) create(w *watchStream, q *etcdserverpb.WatchRequest) *failure {
	before := len(w.all())
	start := q.GetCreateRequest().GetStartRevision()
	if err := w.stream.Send(q); err != nil {
		return s.failure(err)
	}
	created := func(r *etcdserverpb.WatchResponse) bool { return r.Created }
	var answer *etcdserverpb.WatchResponse
	if !w.await(patience, func(rs []*etcdserverpb.WatchResponse) bool {
		for _, r := range rs[before:] {
			if created(r) {
				answer = r
			}
		}
		return answer != nil
	}) {
		return s.silent(w, "no answer to a watch create request")
	}
	if answer.Canceled {
		return nil
	}
	if start > 0 && start < s.compactRevision {
		// Told in a response of its own, as soon as the server looks at the history.
		if failed := s.awaitCancel(w, answer.WatchId, before); failed != nil {
			return failed
		}
		// etcd keeps such a watcher until the client cancels it too, and tells no progress meanwhile.
		before = len(w.all())
		if err := w.stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CancelRequest{
			CancelRequest: &etcdserverpb.WatchCancelRequest{WatchId: answer.WatchId},
		}}); err != nil {
			return s.failure(err)
		}
		return s.awaitCancel(w, answer.WatchId, before)
	}
	w.starts[answer.WatchId] = start
	return nil
}

func (s *side) awaitCancel(w *watchStream, id int64, since int) *failure {
	if !w.await(patience, func(rs []*etcdserverpb.WatchResponse) bool {
		return count(rs[since:], func(r *etcdserverpb.WatchResponse) bool { return r.Canceled && r.WatchId == id }) > 0
	}) {
		return s.silent(w, fmt.Sprintf("watcher %d was not canceled", id))
	}
	delete(w.starts, id)
	return nil
}

func (s *side) silent(w *watchStream, what string) *failure {
	if err := w.failed(); err != nil {
		return s.failure(err)
	}
	return &failure{"hang", what}
}

// missing says how many revisions must come before all watchers of the stream have reached their start.
func (w *watchStream) missing(revision int64) int64 {
	var most int64
	for _, start := range w.starts {
		most = max(most, start-revision)
	}
	return most
}

// sync returns once all events up to the current revision have arrived: the server's answer to a manual
// progress request says so. It answers only if no watcher is behind, so it is asked again.
func (s *side) sync(w *watchStream) *failure {
	if len(w.starts) == 0 || w.closed {
		return nil
	}
	ask := &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_ProgressRequest{
		ProgressRequest: &etcdserverpb.WatchProgressRequest{},
	}}
	since, asked := len(w.all()), time.Now()
	for time.Since(asked) < patience {
		if err := w.stream.Send(ask); err != nil {
			return s.failure(err)
		}
		if w.await(20*time.Millisecond, func(rs []*etcdserverpb.WatchResponse) bool {
			return count(rs[since:], func(r *etcdserverpb.WatchResponse) bool {
				return isProgress(r) && r.WatchId == -1 && r.Header.GetRevision() >= s.revision
			}) > 0
		}) {
			return nil
		}
		if err := w.failed(); err != nil {
			return s.failure(err)
		}
	}
	return s.silent(w, fmt.Sprintf("no progress up to revision %d on a watch stream of watchers and starts %v", s.revision, w.starts))
}

// record is what a stream told, without how it was cut into responses.
type record struct {
	// control are the responses that create and end watchers, in order.
	control []proto.Message
	// watchers is what each watcher saw, in order: control responses and events.
	watchers map[int64][]proto.Message
	// broken are promises that one side alone did not keep.
	broken []string
}

func (s *side) record(w *watchStream) record {
	rec := record{watchers: map[int64][]proto.Message{}}
	events, progress := map[int64]int64{}, map[int64]int64{}
	live, inFragments := map[int64]bool{}, map[int64]bool{}
	for _, r := range w.all() {
		id := r.WatchId
		switch {
		case isProgress(r):
			for watcher, is := range live {
				if is && (id == -1 || id == watcher) {
					progress[watcher] = max(progress[watcher], r.Header.GetRevision())
				}
			}
		case isControl(r):
			if len(r.Events) != 0 {
				rec.broken = append(rec.broken, fmt.Sprintf("events in a control response: %v", r))
			}
			normal := s.normalise(r)
			rec.control = append(rec.control, normal)
			rec.watchers[id] = append(rec.watchers[id], normal)
			delete(events, id)
			delete(progress, id)
			live[id] = r.Created && !r.Canceled
		default:
			first, last := r.Events[0].Kv.ModRevision, r.Events[len(r.Events)-1].Kv.ModRevision
			if first < events[id] || first == events[id] && !inFragments[id] {
				rec.broken = append(rec.broken, fmt.Sprintf("watcher %d: revision %d in another response after %d", id, first, events[id]))
			}
			if first <= progress[id] {
				rec.broken = append(rec.broken, fmt.Sprintf("watcher %d: revision %d after progress %d", id, first, progress[id]))
			}
			if last > r.Header.GetRevision() {
				rec.broken = append(rec.broken, fmt.Sprintf("watcher %d: revision %d under header %d", id, last, r.Header.GetRevision()))
			}
			events[id], inFragments[id] = last, r.Fragment
			for _, event := range r.Events {
				rec.watchers[id] = append(rec.watchers[id], s.normalise(event))
			}
		}
	}
	return rec
}

func (r record) events() (n int) {
	for _, seen := range r.watchers {
		for _, m := range seen {
			if _, ok := m.(*mvccpb.Event); ok {
				n++
			}
		}
	}
	return n
}
