package kube

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// watch is one that an API server begins after a list, and what it relies on while it goes on.
type watch struct {
	*apiserver
	// ctx is that of the stream.
	ctx      context.Context
	cancel   context.CancelFunc
	channel  clientv3.WatchChan
	received []*clientv3.Event
	// at is the last revision that an event or progress has told.
	at, progress int64
	// compacted is the revision of a compaction: what was before that is not known any more.
	compacted int64
}

func (a *apiserver) watch(prefix string, after int64, options ...clientv3.OpOption) *watch {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(a.ctx))
	a.t.Cleanup(cancel)
	options = append([]clientv3.OpOption{clientv3.WithRev(after + 1), clientv3.WithPrefix(), clientv3.WithPrevKV()}, options...)
	return &watch{apiserver: a, ctx: ctx, cancel: cancel, channel: a.Watch(ctx, prefix, options...), at: after, progress: after}
}

// next takes one response. No event may come after progress that was said to cover it, and none twice.
func (w *watch) next() clientv3.WatchResponse {
	w.t.Helper()
	select {
	case got := <-w.channel:
		for _, event := range got.Events {
			w.holds(event.Kv.ModRevision > w.progress && event.Kv.ModRevision >= w.at, "%v after %d and progress to %d", event, w.at, w.progress)
			w.holds(event.IsCreate() || event.PrevKv != nil || event.Kv.ModRevision == w.compacted, "nothing of what was: %v", event)
			w.at, w.received = event.Kv.ModRevision, append(w.received, event)
			w.hear("watch: %s %s, before it %s", event.Type, object(event.Kv), object(event.PrevKv))
		}
		if got.IsProgressNotify() {
			w.holds(got.Header.Revision >= w.at, "progress to %d after %d", got.Header.Revision, w.at)
			w.at, w.progress = got.Header.Revision, got.Header.Revision
		}
		return got
	case <-time.After(patience):
		w.t.Fatalf("nothing after %d", w.at)
		return clientv3.WatchResponse{}
	}
}

// until reads as far as a revision.
func (w *watch) until(revision int64) {
	w.t.Helper()
	for w.at < revision {
		got := w.next()
		w.must(got.Err())
	}
}

// event reads one event.
func (w *watch) event() *clientv3.Event {
	w.t.Helper()
	for before := len(w.received); len(w.received) == before; {
		got := w.next()
		w.must(got.Err())
	}
	return w.received[len(w.received)-1]
}

// caughtUp asks for progress, as for a consistent read out of a cache, until the watch has come to a revision.
func (w *watch) caughtUp(revision int64) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	go func() {
		for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			_ = w.RequestProgress(w.ctx)
		}
	}()
	w.until(revision)
}

// A list, and a watch from there on.
func TestListAndWatch(t *testing.T) {
	compare(t, func(a *apiserver) {
		for n := range 5 {
			a.create(pod(n), fmt.Sprint(n), 0)
		}
		listed := a.list(pods, kubernetes.ListOptions{})
		w := a.watch(pods, listed.Revision, clientv3.WithCreatedNotify(), clientv3.WithProgressNotify())
		created := w.next()
		a.holds(created.Created && len(created.Events) == 0, "%v", created)
		a.hear("created at %d", created.Header.Revision)
		// The last one, for it is in the last namespace.
		updated := a.update(pod(2), "two", listed.Kvs[4].ModRevision)
		a.remove(pod(2), updated.Revision)
		a.create("/registry/nodes/a", "not a pod", 0)
		w.until(a.create(pod(2), "anew", 0))
		a.holds(len(w.received) == 3, "%v", w.received)
		// Another that begins where the list was sees the same, and one of a single object what is its own.
		a.watch(pods, listed.Revision).until(w.at)
		a.watch(pod(2), listed.Revision-1).until(w.at)
		// One that begins with what is not yet there waits for it.
		ahead := a.watch(pods, w.at+1)
		a.create(pod(100), "x", 0)
		ahead.until(a.create(pod(101), "y", 0))
		a.holds(len(ahead.received) == 1, "%v", ahead.received)
	})
}

// Bookmarks: progress is told without being asked for, of a watch that sees nothing.
func TestProgressIsTold(t *testing.T) {
	compare(t, func(a *apiserver) {
		quiet := a.watch("/registry/quiet/", a.revision(), clientv3.WithProgressNotify())
		for n := range 3 {
			at := a.create(fmt.Sprintf("/registry/loud/%d", n), "x", 0)
			quiet.until(at)
			a.hear("progress to %d: %t", at, quiet.progress >= at && len(quiet.received) == 0)
		}
	})
}

// Consistent reads from the cache: the current revision is found, progress is asked for, and once that has come everything
// up to there has been seen. Others write meanwhile.
func TestConsistentReads(t *testing.T) {
	const writes = 1500
	compare(t, func(a *apiserver) {
		start := a.revision()
		watches := []*watch{a.watch("/registry/", start), a.watch(pods, start), a.watch("/registry/quiet/", start)}
		var written atomic.Int64
		done := make(chan error, 1)
		go func() {
			for n := range writes {
				key := pod(n % 50)
				if n%3 == 0 {
					key = fmt.Sprintf("/registry/nodes/%d", n%20)
				}
				if _, err := a.KV.Put(a.ctx, key, fmt.Sprint(n)); err != nil {
					done <- err
					return
				}
				written.Add(1)
			}
			done <- nil
		}()
		reads := 0
		for ; written.Load() < writes; reads++ {
			at := a.revision()
			for _, w := range watches {
				// A consistent read waits for no event of its own.
				w.caughtUp(at)
				counted, err := a.KV.Get(a.ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithRev(at))
				a.must(err)
				if w == watches[0] {
					a.holds(counted.Count == int64(len(latest(w.received, at))), "%d keys at %d, and %d were seen", counted.Count, at, len(latest(w.received, at)))
				}
			}
		}
		a.must(<-done)
		end := a.revision()
		for _, w := range watches {
			w.caughtUp(end)
		}
		a.holds(reads > 1 && len(watches[0].received) == writes && len(watches[2].received) == 0, "%d, %d", reads, len(watches[0].received))
		// What was heard in between came in an order of its own.
		a.heard = []string{fmt.Sprintf("%d events at %d, and %d", len(watches[0].received), end, len(watches[1].received))}
	})
}

// latest are the keys that events have left up to a revision.
func latest(events []*clientv3.Event, revision int64) map[string]bool {
	left := map[string]bool{}
	for _, event := range events {
		if event.Kv.ModRevision <= revision {
			left[string(event.Kv.Key)] = true
		}
	}
	return left
}

// A watch goes on by itself when its server was away: nothing is lost, and nothing comes twice.
func TestWatchesOutliveAServer(t *testing.T) {
	compare(t, func(a *apiserver) {
		w := a.watch(pods, a.revision(), clientv3.WithProgressNotify())
		w.until(a.create(pod(1), "before", 0))
		a.must(a.server.Restart(a.ctx))
		// Reads are tried again until there is a connection.
		a.revision()
		w.until(a.create(pod(2), "after", 0))
		a.holds(len(w.received) == 2, "%v", w.received)
		w.caughtUp(a.create("/registry/nodes/a", "x", 0))
	})
}

// Who was away for too long is told so, and lists again.
func TestWatchesOfWhatIsCompacted(t *testing.T) {
	compare(t, func(a *apiserver) {
		first := a.create(pod(1), "1", 0)
		goesOn := a.watch(pods, first)
		second := a.update(pod(1), "2", first).Revision
		third := a.update(pod(1), "3", second).Revision
		goesOn.until(third)
		_, err := a.Compact(a.ctx, third)
		a.must(err)
		for _, after := range []int64{first, first - 1} {
			late := a.watch(pods, after)
			got := late.next()
			a.holds(errors.Is(got.Err(), rpctypes.ErrCompacted) && got.Canceled, "%v", got)
			a.hear("after %d: %s, from %d on, %q", after, got.Err(), got.CompactRevision, got.Err().Error())
			_, open := <-late.channel
			a.holds(!open, "it goes on")
		}
		_, err = a.Kubernetes.Get(a.ctx, pod(1), kubernetes.GetOptions{Revision: first})
		a.holds(errors.Is(err, rpctypes.ErrCompacted), "%v", err)
		a.get(pod(1), first)
		a.get(pod(1), third)
		a.list(pods, kubernetes.ListOptions{Revision: second})
		// The revision of the compaction is there, and what comes after it.
		fourth := a.update(pod(1), "4", third).Revision
		last := a.watch(pods, third-1)
		last.compacted = third
		last.until(fourth)
		goesOn.until(fourth)
		relisted := a.list(pods, kubernetes.ListOptions{})
		again := a.watch(pods, relisted.Revision)
		again.until(a.update(pod(1), "5", fourth).Revision)
	})
}
