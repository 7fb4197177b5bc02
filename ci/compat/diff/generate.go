package diff

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// keys are few, so that requests meet each other. At most 12 keys exist while ranges are sorted, these and
// the ones that the runner writes: Go sorts longer lists in an order of its own where values are equal.
var keys = [][]byte{
	[]byte("a"), []byte("ab"), []byte("abc"), []byte("b"), {0}, {'b', 0}, {0xff}, {0xff, 0xff}, []byte("k/1"),
}

var values = [][]byte{nil, []byte("1"), []byte("2"), []byte("two"), {0, 0xff, 0xc3}, []byte("a longer value that repeats")}

// generator makes one program.
type generator struct {
	*rand.Rand
	steps   []Step
	leases  []int64 // ids that the program chose
	chosen  int64   // how many leases the server chose
	streams int
	// attachChosen allows leases in the history whose ids differ between the sides.
	attachChosen bool
}

// Generate makes the program of a seed: at least 50 requests.
func Generate(seed, number uint64) Program {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, number))}
	g.attachChosen = g.IntN(20) == 0
	size := 50 + g.IntN(25)
	for len(g.steps) < size {
		g.step()
	}
	return Program{Name: fmt.Sprintf("seed %d program %d", seed, number), Steps: g.steps}
}

// one says true once in n times.
func (g *generator) one(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

func (g *generator) call(method string, request proto.Message) {
	c := &Call{Method: "/etcdserverpb." + method, Request: message{request}}
	if g.one(12) {
		c.Metadata = pick(g, map[string]string{"hasleader": "true"}, map[string]string{"client-api-version": "3.7"},
			map[string]string{"token": "none"}, map[string]string{"authorization": "none"})
	}
	g.steps = append(g.steps, Step{Call: c})
}

func (g *generator) step() {
	switch n := g.IntN(1000); {
	case n < 270:
		g.call("KV/Put", g.put())
	case n < 400:
		g.call("KV/Range", g.ranged(false))
	case n < 430:
		g.rangeStream()
	case n < 520:
		g.call("KV/DeleteRange", g.deletion())
	case n < 690:
		q := g.txn(2)
		harmless(q)
		g.call("KV/Txn", q)
	case n < 715:
		g.call("KV/Compact", &pb.CompactionRequest{Revision: g.compaction(), Physical: g.one(3)})
	case n < 800:
		g.watch()
	case n < 930:
		g.lease()
	case n < 975:
		g.maintenance()
	default:
		g.rare()
	}
}

func (g *generator) key() []byte {
	if g.one(60) {
		return nil
	}
	return pick(g, keys...)
}

func (g *generator) value() []byte { return pick(g, values...) }

// rangeEnd is empty for a single key more often than not.
func (g *generator) rangeEnd(key []byte) []byte {
	switch g.IntN(8) {
	case 0:
		return []byte{0}
	case 1:
		return pick(g, keys...)
	case 2:
		return prefixEnd(key)
	case 3:
		return key
	}
	return nil
}

func (g *generator) interval() (key, end []byte) {
	if g.one(5) {
		return []byte{0}, []byte{0}
	}
	key = g.key()
	return key, g.rangeEnd(key)
}

func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := append([]byte{}, prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return []byte{0}
}

// revision is 0, or about one that exists, or nonsense.
func (g *generator) revision() int64 {
	switch g.IntN(10) {
	case 0, 1, 2, 3:
		return 0
	case 4, 5, 6:
		return current - int64(g.IntN(15))
	case 7:
		return compacted + int64(g.IntN(4)) - 1
	case 8:
		return current + int64(g.IntN(4))
	}
	return pick[int64](g, -1, 1, 2, math.MaxInt64, math.MinInt64, math.MinInt32)
}

// compaction stays behind the current revision mostly, so that programs have a past.
func (g *generator) compaction() int64 {
	if g.one(5) {
		return g.revision()
	}
	return current - int64(g.IntN(30))
}

func (g *generator) limit() int64 {
	return pick[int64](g, 0, 0, 0, 1, 2, 3, 100, -1, math.MaxInt64, math.MinInt64)
}

func (g *generator) ranged(inTxn bool) *pb.RangeRequest {
	q := &pb.RangeRequest{Revision: g.revision(), Limit: g.limit(), Serializable: g.one(3), KeysOnly: g.one(5), CountOnly: g.one(6)}
	q.Key, q.RangeEnd = g.interval()
	if inTxn && !g.one(4) {
		q.Revision = 0
	}
	if g.one(2) {
		q.SortOrder = pb.RangeRequest_SortOrder(g.IntN(3))
		q.SortTarget = pb.RangeRequest_SortTarget(g.IntN(5))
	}
	if g.one(40) {
		q.SortOrder = pick[pb.RangeRequest_SortOrder](g, 3, -1, 1000)
	}
	if g.one(40) {
		q.SortTarget = pick[pb.RangeRequest_SortTarget](g, 5, -1, 1000)
	}
	for _, bound := range []*int64{&q.MinModRevision, &q.MaxModRevision, &q.MinCreateRevision, &q.MaxCreateRevision} {
		if g.one(8) {
			*bound = g.revision()
		}
	}
	return q
}

func (g *generator) rangeStream() {
	if g.one(2) {
		q := g.ranged(false)
		if g.one(2) {
			q.SortOrder, q.SortTarget = 0, 0
			q.MinModRevision, q.MaxModRevision, q.MinCreateRevision, q.MaxCreateRevision = 0, 0, 0, 0
		}
		g.call("KV/RangeStream", q)
		return
	}
	// Enough keys for several messages.
	size := 20 + g.IntN(100)
	bulk := &pb.TxnRequest{}
	for i := range size {
		put := &pb.PutRequest{Key: fmt.Appendf(nil, "z/%03d", i), Value: g.value()}
		bulk.Success = append(bulk.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
	}
	g.call("KV/Txn", bulk)
	for range 1 + g.IntN(3) {
		q := &pb.RangeRequest{Key: []byte("z/"), RangeEnd: []byte("z0"), Limit: g.limit(), KeysOnly: g.one(4), CountOnly: g.one(6)}
		if g.one(3) {
			q.Limit = int64(g.IntN(size + 3))
		}
		if g.one(3) {
			q.Revision = g.revision()
		}
		g.call(pick(g, "KV/RangeStream", "KV/RangeStream", "KV/Range"), q)
	}
	g.call("KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("z/"), RangeEnd: []byte("z0"), PrevKv: g.one(2)})
}

// aLease is none, one of the program's, or nobody's.
func (g *generator) aLease() int64 {
	switch n := g.IntN(12); {
	case n < 4 && len(g.leases) > 0:
		return pick(g, g.leases...)
	case n < 5 && g.attachChosen && g.chosen > 0:
		return chosen + g.Int64N(g.chosen)
	case n < 6:
		return pick[int64](g, 999, -5, math.MinInt64)
	}
	return 0
}

func (g *generator) put() *pb.PutRequest {
	q := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.one(3), Lease: g.aLease()}
	if g.one(10) {
		q.IgnoreValue = true
		if !g.one(4) {
			q.Value = nil
		}
	}
	if g.one(10) {
		q.IgnoreLease = true
		if !g.one(4) {
			q.Lease = 0
		}
	}
	return q
}

func (g *generator) deletion() *pb.DeleteRangeRequest {
	q := &pb.DeleteRangeRequest{PrevKv: g.one(2)}
	if g.one(15) {
		q.Key, q.RangeEnd = g.interval()
	} else if q.Key = g.key(); g.one(3) {
		q.RangeEnd = g.rangeEnd(q.Key)
	}
	return q
}

func (g *generator) compare() *pb.Compare {
	c := &pb.Compare{Result: pb.Compare_CompareResult(g.IntN(4)), Target: pb.Compare_CompareTarget(g.IntN(5)), Key: g.key()}
	if g.one(5) {
		c.RangeEnd = g.rangeEnd(c.Key)
	}
	target := c.Target
	if g.one(12) {
		// What is compared and what is given need not agree.
		target = pb.Compare_CompareTarget(g.IntN(6))
	}
	switch target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: pick[int64](g, 0, 0, 1, 1, 2, 3, -1)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.revision()}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.revision()}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: g.aLease()}
	}
	if g.one(40) {
		c.Result = pick[pb.Compare_CompareResult](g, 4, -1, 1000)
	}
	if g.one(40) {
		c.Target = pick[pb.Compare_CompareTarget](g, 5, -1, 1000)
	}
	return c
}

func (g *generator) txn(depth int) *pb.TxnRequest {
	q := &pb.TxnRequest{}
	for range g.IntN(3) {
		q.Compare = append(q.Compare, g.compare())
	}
	used := map[string]bool{}
	for range g.IntN(5) {
		q.Success = append(q.Success, g.op(depth, used))
	}
	if g.one(2) {
		used = map[string]bool{}
		for range g.IntN(3) {
			q.Failure = append(q.Failure, g.op(depth, used))
		}
	}
	return q
}

// harmless takes out what ends etcd 3.7. It does not see that a put overlaps a deletion without an end ("\0"),
// and so lets a txn delete and put the same key. If the put keeps the old value or lease it then ends with a
// panic at once; otherwise a compaction at that revision removes the new value from under its index, and the
// next read of it ends the process.
func harmless(q *pb.TxnRequest) {
	puts := false
	walk(q.ProtoReflect(), func(m protoreflect.Message) {
		_, is := m.Interface().(*pb.PutRequest)
		puts = puts || is
	})
	walk(q.ProtoReflect(), func(m protoreflect.Message) {
		if d, ok := m.Interface().(*pb.DeleteRangeRequest); ok && puts && bytes.Equal(d.RangeEnd, []byte{0}) {
			d.RangeEnd = []byte{0xff, 0xff, 0xff}
		}
	})
}

// op is mostly valid: a key that was put already in this branch is seldom put again.
func (g *generator) op(depth int, used map[string]bool) *pb.RequestOp {
	switch n := g.IntN(20); {
	case n < 8:
		put := g.put()
		for range 5 {
			if used[string(put.Key)] && !g.one(8) {
				put.Key = g.key()
			}
		}
		used[string(put.Key)] = true
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}
	case n < 14:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: g.ranged(true)}}
	case n < 17:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: g.deletion()}}
	case n < 19 && depth > 0:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.txn(depth - 1)}}
	case g.one(10):
		return &pb.RequestOp{}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: g.key()}}}
}
