package kube

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// What is asked before anything else: whether features are there, which goes by the version, health, and the size.
func TestStart(t *testing.T) {
	compare(t, func(a *apiserver) {
		for _, endpoint := range a.Endpoints() {
			status, err := a.Status(a.ctx, endpoint)
			a.must(err)
			var major, minor, patch int
			_, err = fmt.Sscanf(status.Version, "%d.%d.%d", &major, &minor, &patch)
			a.holds(err == nil && fmt.Sprintf("%d.%d.%d", major, minor, patch) == status.Version, "version %q: %v", status.Version, err)
			a.hear("watch progress can be asked for: %t, ranges as streams: %t", minor > 5 || minor == 5 && patch >= 13, minor >= 7)
			a.hear("version %s, storage %s, a size: %t, leads: %t", status.Version, status.StorageVersion, status.DbSize > 0,
				status.Leader == status.Header.MemberId)
		}
		a.get("/registry/health", 0)
		a.get("compact_rev_key", 0)
		a.list("/registry/", kubernetes.ListOptions{Limit: 1})
		size := func() int64 {
			status, err := a.Status(a.ctx, a.Endpoints()[0])
			a.must(err)
			return status.DbSize
		}
		before := size()
		for n := range 40 {
			a.create(fmt.Sprintf("/registry/configmaps/default/%d", n), strings.Repeat("x", 1<<20), 0)
		}
		for deadline := time.Now().Add(patience); size() < before+30<<20; {
			a.holds(time.Now().Before(deadline), "%d bytes before, and %d", before, size())
		}
		a.get("/registry/health", 0)
	})
}

// Single objects: every outcome of a creation, an update and a deletion, and what is told of whoever was quicker.
func TestObjects(t *testing.T) {
	compare(t, func(a *apiserver) {
		const pod = "/registry/pods/default/a"
		first := a.create(pod, "first", 0)
		a.create(pod, "again", 0)
		second := a.update(pod, "second", first)
		lost := a.update(pod, "lost", first)
		a.holds(!lost.Succeeded && lost.KV.ModRevision == second.Revision, "%v", lost)
		third := a.update(pod, "third", lost.KV.ModRevision)
		a.update("/registry/pods/default/absent", "x", 0)
		a.update("/registry/pods/default/never", "x", third.Revision)
		a.get(pod, 0)
		a.get(pod, first)
		a.get(pod, first-1)
		a.get(pod, third.Revision+100)
		a.get("/registry/pods/default/never", 0)
		a.remove(pod, first)
		gone := a.remove(pod, third.Revision)
		a.remove(pod, third.Revision)
		a.remove(pod, 0)
		a.get(pod, 0)
		a.get(pod, gone.Revision-1)
		a.create(pod, "anew", 0)
		a.create("/registry/pods/default/empty", "", 0)
		_, err := a.Kubernetes.OptimisticPut(a.ctx, pod, make([]byte, 1600<<10), gone.Revision, kubernetes.PutOptions{})
		a.hear("too large: %s", refusal(err))
		_, err = a.Kubernetes.OptimisticPut(a.ctx, "", nil, 0, kubernetes.PutOptions{})
		a.hear("without a key: %s", refusal(err))
	})
}

// Many change one object: each tries again with what it is told of the object, and no change is lost.
func TestGuaranteedUpdates(t *testing.T) {
	const writers, changes = 8, 25
	compare(t, func(a *apiserver) {
		const key = "/registry/services/endpoints/default/counter"
		created := a.create(key, "0", 0)
		var group sync.WaitGroup
		for range writers {
			group.Go(func() {
				current := &mvccpb.KeyValue{ModRevision: created, Value: []byte("0")}
				for done := 0; done < changes; {
					var count int
					_, err := fmt.Sscan(string(current.Value), &count)
					next := fmt.Sprint(count + 1)
					put, err2 := a.Kubernetes.OptimisticPut(a.ctx, key, []byte(next), current.ModRevision, kubernetes.PutOptions{GetOnFailure: true})
					if err := errors.Join(err, err2); err != nil {
						t.Error(err)
						return
					}
					if put.Succeeded {
						done++
						current = &mvccpb.KeyValue{ModRevision: put.Revision, Value: []byte(next)}
					} else {
						current = put.KV
					}
				}
			})
		}
		group.Wait()
		found := a.get(key, 0)
		a.holds(string(found.Value) == fmt.Sprint(writers*changes), "%s", found.Value)
	})
}

const pods = "/registry/pods/"

func pod(n int) string { return fmt.Sprintf("%sns-%d/pod-%05d", pods, n%3, n) }

// Lists of many objects, as a whole, by page, of one namespace, as they were, and as streams.
func TestLists(t *testing.T) {
	const count, page = 1700, 500
	compare(t, func(a *apiserver) {
		for n := range count {
			a.create(pod(n), strings.Repeat(fmt.Sprint(n, " "), 100), 0)
		}
		a.create("/registry/podtemplates/default/x", "not a pod", 0)
		whole := a.list(pods, kubernetes.ListOptions{})
		counted, err := a.Kubernetes.Count(a.ctx, pods, kubernetes.CountOptions{})
		a.must(err)
		a.holds(counted == count && whole.Count == count && len(whole.Kvs) == count, "%d, %d, %d", counted, whole.Count, len(whole.Kvs))
		a.list(pods+"ns-1/", kubernetes.ListOptions{})
		a.list(pods+"ns-1/", kubernetes.ListOptions{Limit: page})
		a.list("/registry/nothing/", kubernetes.ListOptions{Limit: page})
		a.list(pods, kubernetes.ListOptions{Revision: 1000})
		a.list(pods, kubernetes.ListOptions{Revision: whole.Revision + 1})

		// What changes between two pages is not seen in the next.
		var paged []*mvccpb.KeyValue
		options := kubernetes.ListOptions{Limit: page}
		for {
			got := a.list(pods, options)
			paged = append(paged, got.Kvs...)
			if remaining := got.Count - int64(len(got.Kvs)); remaining == 0 {
				break
			}
			options.Continue, options.Revision = string(got.Kvs[len(got.Kvs)-1].Key)+"\x00", whole.Revision
			later := pod(count - len(paged))
			a.remove(later, a.get(later, 0).ModRevision)
			a.create(later+"x", "new", 0)
		}
		a.holds(objects(paged) == objects(whole.Kvs), "%s\n%s", objects(paged), objects(whole.Kvs))

		stream, err := a.GetStream(a.ctx, pods, clientv3.WithPrefix(), clientv3.WithRev(whole.Revision))
		a.must(err)
		streamed, err := clientv3.GetStreamToGetResponse(stream)
		a.must(err)
		a.holds(objects(streamed.Kvs) == objects(whole.Kvs) && streamed.Count == count, "%d of %d", len(streamed.Kvs), streamed.Count)
		a.hear("streamed: %d at %d, more %t", streamed.Count, streamed.Header.Revision, streamed.More)
		keys, err := a.KV.Get(a.ctx, pods, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(page))
		a.must(err)
		a.hear("sizes are estimated by keys: %s of %d, more %t", objects(keys.Kvs), keys.Count, keys.More)

		// A page whose revision is compacted meanwhile: the client begins anew, or goes on at a new revision.
		half := kubernetes.ListOptions{Limit: page, Revision: whole.Revision, Continue: string(whole.Kvs[page-1].Key) + "\x00"}
		a.list(pods, half)
		_, err = a.Compact(a.ctx, a.revision())
		a.must(err)
		_, err = a.Kubernetes.List(a.ctx, pods, half)
		a.holds(errors.Is(err, rpctypes.ErrCompacted), "%v", err)
		a.list(pods, half)
		half.Revision = 0
		a.list(pods, half)
		a.get(pod(1), whole.Revision)
	})
}

// Leases are shared by objects that are made within a while, and end with their objects.
func TestLeases(t *testing.T) {
	const perLease = 4
	compare(t, func(a *apiserver) {
		var leases []clientv3.LeaseID
		used := perLease
		lease := func(ttl int64) clientv3.LeaseID {
			if used == perLease {
				granted, err := a.Lease.Grant(a.ctx, ttl)
				a.must(err)
				a.hear("granted for %d", granted.TTL)
				leases, used = append(leases, granted.ID), 0
			}
			used++
			return leases[len(leases)-1]
		}
		var last string
		for n := range 10 {
			last = fmt.Sprintf("/registry/events/default/%d", n)
			a.create(last, "event", lease(3660))
		}
		a.holds(len(leases) == 3, "%d leases", len(leases))
		a.get(last, 0)
		// An update without a lease frees the object of it.
		freed := "/registry/events/default/0"
		a.update(freed, "kept", a.get(freed, 0).ModRevision)
		for n, id := range leases {
			left, err := a.TimeToLive(a.ctx, id, clientv3.WithAttachedKeys())
			a.must(err)
			var keys []string
			for _, key := range left.Keys {
				keys = append(keys, string(key))
			}
			// A map in etcd.
			slices.Sort(keys)
			a.hear("lease %d of %d: %v", n, left.GrantedTTL, keys)
		}
		_, err := a.Kubernetes.OptimisticPut(a.ctx, "/registry/events/default/x", nil, 0, kubernetes.PutOptions{LeaseID: 12345})
		a.hear("a lease that is not there: %s", refusal(err))

		// An API server's own lease, which it does not prolong: watchers see its object go.
		used = perLease
		own := "/registry/masterleases/127.0.0.1"
		at := a.create(own, "me", lease(2))
		seen := a.watch(own, at, clientv3.WithPrevKV())
		event := seen.event()
		a.holds(event.Type == clientv3.EventTypeDelete && event.PrevKv != nil && string(event.PrevKv.Value) == "me", "%v", event)
		a.list("/registry/events/", kubernetes.ListOptions{})
	})
}
