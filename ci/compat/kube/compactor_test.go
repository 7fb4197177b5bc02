package kube

import (
	"errors"
	"strconv"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

const compactKey = "compact_rev_key"

// compactor is what each API server runs; of all that try, one a round has the say.
type compactor struct {
	*apiserver
	name string
	// round is the version of the key that it knows, revision what it will compact next.
	round, revision int64
}

// compact does one round: who wins compacts what was current in the round before.
func (c *compactor) compact() {
	c.t.Helper()
	answer, err := c.KV.Txn(c.ctx).If(
		clientv3.Compare(clientv3.Version(compactKey), "=", c.round),
	).Then(
		clientv3.OpPut(compactKey, strconv.FormatInt(c.revision, 10)),
	).Else(
		clientv3.OpGet(compactKey),
	).Commit()
	c.must(err)
	current := answer.Header.Revision
	if !answer.Succeeded {
		kv := answer.Responses[0].GetResponseRange().Kvs[0]
		c.hear("%s: too late for round %d at %d, %s", c.name, c.round, current, object(kv))
		c.round, c.revision = kv.Version, current
		return
	}
	before := c.revision
	c.round, c.revision = c.round+1, current
	if before == 0 {
		c.hear("%s: nothing to compact in the first round, at %d", c.name, current)
		return
	}
	_, err = c.Compact(c.ctx, before)
	c.hear("%s: compacts %d at %d: %s", c.name, before, current, refusal(err))
}

// Two API servers, and a third that was restarted.
func TestCompactors(t *testing.T) {
	compare(t, func(a *apiserver) {
		one, two := &compactor{apiserver: a, name: "one"}, &compactor{apiserver: a, name: "two"}
		told := a.watch(compactKey, a.revision())
		var revisions []int64
		key := pod(1)
		write := func() {
			expected := int64(0)
			if len(revisions) > 0 {
				expected = revisions[len(revisions)-1]
			}
			revisions = append(revisions, a.update(key, "x", expected).Revision)
		}
		for _, turn := range []*compactor{one, two, two, one, one, two, two, one} {
			write()
			turn.compact()
		}
		restarted := &compactor{apiserver: a, name: "restarted"}
		for range 3 {
			write()
			restarted.compact()
		}
		_, err := a.Compact(a.ctx, 2)
		a.holds(errors.Is(err, rpctypes.ErrCompacted), "%v", err)
		a.hear("compacted already: %s", refusal(err))
		_, err = a.Compact(a.ctx, a.revision()+10)
		a.hear("not there yet: %s", refusal(err))
		told.until(a.get(compactKey, 0).ModRevision)
		for _, revision := range revisions {
			a.get(key, revision)
		}
		a.list(pods, kubernetes.ListOptions{})
	})
}
