package diff

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// alone is the stream for watchers that start in a far future: they keep a stream from telling progress.
const alone = 9

func (g *generator) watch() {
	switch n := g.IntN(20); {
	case n < 14 || g.streams == 0:
		g.create()
	case n < 18:
		id := pick[int64](g, 0, 0, 1, 2, 3, 7, -1, math.MaxInt64)
		q := &pb.WatchCancelRequest{WatchId: id}
		g.watchStep(g.IntN(g.streams), &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: q}})
	case n < 19:
		g.watchStep(g.IntN(g.streams), &pb.WatchRequest{})
	default:
		g.watchStep(g.IntN(g.streams), &pb.WatchRequest{
			RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}},
		})
	}
}

func (g *generator) watchStep(stream int, q *pb.WatchRequest) *Watch {
	step := &Watch{Stream: stream, Request: message{q}}
	if g.one(4) {
		step.Meta = map[string]string{"hasleader": "true"}
	}
	g.steps = append(g.steps, Step{Watch: step})
	return step
}

func (g *generator) create() {
	q := &pb.WatchCreateRequest{PrevKv: g.one(2), ProgressNotify: g.one(4), Fragment: g.one(4)}
	q.Key, q.RangeEnd = g.interval()
	switch g.IntN(6) {
	case 0:
		q.StartRevision = current - int64(g.IntN(20))
	case 1:
		q.StartRevision = pick[int64](g, current+1, current+2, current+3, compacted-1, compacted, compacted+1, 1, -1, math.MinInt64)
	}
	if g.one(5) {
		// Not -1: answers to refused requests have that id, so which came first could not be told apart.
		q.WatchId = pick[int64](g, 1, 2, 3, 7, math.MaxInt64, -9)
	}
	for range 2 {
		if g.one(8) {
			q.Filters = append(q.Filters, pb.WatchCreateRequest_FilterType(g.IntN(2)))
		}
	}
	if g.one(40) {
		q.Filters = append(q.Filters, pick[pb.WatchCreateRequest_FilterType](g, 2, -1, 99))
	}
	stream := g.IntN(min(g.streams+1, 3))
	if g.one(60) {
		q.StartRevision, stream = pick[int64](g, current+100, math.MaxInt64), alone
	}
	g.streams = max(g.streams, min(stream, 2)+1)
	g.watchStep(stream, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}})
}

func (g *generator) lease() {
	id := pick[int64](g, 999, -5, 0, math.MaxInt64-1)
	switch {
	case g.chosen > 0 && g.one(3):
		id = chosen + g.Int64N(g.chosen)
	case len(g.leases) > 0:
		id = pick(g, g.leases...)
	}
	switch n := g.IntN(20); {
	case n < 6:
		g.grant()
	case n < 9:
		g.steps = append(g.steps, Step{Renew: &Renew{Lease: id}})
	case n < 13:
		g.call("Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: id, Keys: g.one(2)})
	case n < 16:
		g.call("Lease/LeaseLeases", &pb.LeaseLeasesRequest{})
	default:
		g.call("Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: id})
		g.leases = slices.DeleteFunc(g.leases, func(l int64) bool { return l == id })
	}
}

// grant takes times to live that no program outlives, or too large ones.
func (g *generator) grant() {
	q := &pb.LeaseGrantRequest{TTL: pick[int64](g, 1000, 5000, 100000, 9000000000)}
	if g.one(10) {
		q.TTL = pick[int64](g, 9000000001, math.MaxInt64)
	}
	if g.one(4) {
		if q.TTL <= 9000000000 {
			g.chosen++
		}
	} else {
		q.ID = pick[int64](g, 1, 2, 3, 4, -7, math.MaxInt64)
		g.leases = append(g.leases, q.ID)
	}
	g.call("Lease/LeaseGrant", q)
}

func (g *generator) maintenance() {
	switch g.IntN(12) {
	case 0, 1:
		g.call("Maintenance/Status", &pb.StatusRequest{})
	case 2:
		g.call("Maintenance/Hash", &pb.HashRequest{})
	case 3, 4, 5, 6:
		if !g.attachChosen {
			g.call("Maintenance/HashKV", &pb.HashKVRequest{Revision: g.revision()})
		}
	case 7, 8:
		q := &pb.AlarmRequest{Alarm: pb.AlarmType(g.IntN(3))}
		if g.one(8) {
			q.Alarm = pick[pb.AlarmType](g, 3, -1)
		}
		if g.one(3) {
			q.MemberID = 77
		}
		g.call("Maintenance/Alarm", q)
	case 9, 10:
		g.call("Cluster/MemberList", &pb.MemberListRequest{Linearizable: g.one(2)})
	case 11:
		if g.one(5) {
			g.call("Maintenance/Defragment", &pb.DefragmentRequest{})
		}
	}
}

// rare steps cost time or much data.
func (g *generator) rare() {
	switch n := g.IntN(40); {
	case n < 2:
		g.manyOps()
	case n < 3:
		g.tooLarge()
	case n < 4:
		g.expire()
	case n < 5:
		g.fragments()
	case n < 7:
		g.progress()
	case n < 9:
		g.shortGrant()
	case n < 11:
		g.halfClose()
	default:
		g.steps = append(g.steps, Step{Raw: g.raw()})
	}
}

func (g *generator) manyOps() {
	list := func(n int) (ops []*pb.RequestOp) {
		for i := range n {
			q := &pb.RangeRequest{Key: fmt.Appendf(nil, "many %d", i), CountOnly: true}
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: q}})
		}
		return ops
	}
	q := &pb.TxnRequest{}
	size := pick(g, 127, 128, 129)
	switch g.IntN(4) {
	case 0:
		q.Success = list(size)
	case 1:
		q.Failure = list(size)
	case 2:
		for range size {
			q.Compare = append(q.Compare, &pb.Compare{Key: []byte("a")})
		}
	case 3:
		// A nested txn has what its parent left over.
		inner := &pb.TxnRequest{Success: list(size - 64)}
		q.Success = append(list(63), &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: inner}})
	}
	g.call("KV/Txn", q)
}

func (g *generator) tooLarge() {
	// Around the limit for a request, and around the one for a message.
	size := pick(g, 1572864-100, 1572864-20, 1572864, 1600000, 2097152-14, 2097152, 2200000)
	put := &pb.PutRequest{Key: []byte("a"), Value: bytes.Repeat([]byte("x"), size)}
	if g.one(2) {
		g.call("KV/Put", put)
	} else {
		g.call("KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}}})
	}
	g.call("KV/Put", &pb.PutRequest{Key: []byte("a")})
}

func (g *generator) expire() {
	step := &Expire{Lease: 31, TTL: pick[int64](g, 0, 1, 2, -3, math.MinInt64)}
	for range g.IntN(4) {
		step.Keys = append(step.Keys, pick(g, keys...))
	}
	g.steps = append(g.steps, Step{Expire: step})
}

// fragments watches a history that does not fit into one response: three revisions, or one that only
// previous values make too large.
func (g *generator) fragments() {
	q := &pb.WatchCreateRequest{Key: []byte("b"), Fragment: !g.one(5)}
	if g.one(2) {
		for range 3 {
			g.call("KV/Put", &pb.PutRequest{Key: []byte("b"), Value: bytes.Repeat([]byte("f"), 1000000)})
		}
		q.StartRevision, q.PrevKv = current-2, g.one(2)
	} else {
		txn := &pb.TxnRequest{}
		for _, key := range []string{"b", "bb"} {
			put := &pb.PutRequest{Key: []byte(key), Value: bytes.Repeat([]byte("f"), 700000)}
			txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
		}
		g.call("KV/Txn", txn)
		g.call("KV/Txn", txn)
		q.StartRevision, q.RangeEnd, q.PrevKv = current, []byte("c"), true
	}
	g.streams = max(g.streams, 1)
	g.watchStep(0, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}})
	g.call("KV/Put", &pb.PutRequest{Key: []byte("b")})
}

func (g *generator) progress() {
	q := &pb.WatchCreateRequest{Key: []byte("a"), ProgressNotify: true}
	// A stream of its own, so that no other watcher holds it back.
	step := g.watchStep(8, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}})
	step.Progress = true
}

// shortGrant takes times to live below the minimum, and gives the lease back at once.
func (g *generator) shortGrant() {
	g.call("Lease/LeaseGrant", &pb.LeaseGrantRequest{ID: 32, TTL: pick[int64](g, 0, -1, 1, 2, 3, math.MinInt64)})
	g.call("Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 32})
	g.call("Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 32})
}

func (g *generator) halfClose() {
	q := &pb.WatchCreateRequest{Key: []byte("a")}
	step := g.watchStep(7, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}})
	step.HalfClose = true
}

func (g *generator) raw() *Raw {
	// Methods that change nothing and end by themselves.
	method := pick(g, "KV.Range", "KV.RangeStream", "Lease.LeaseTimeToLive", "Lease.LeaseLeases", "Lease.LeaseKeepAlive",
		"Maintenance.Status", "Maintenance.HashKV", "Maintenance.Alarm", "Cluster.MemberList")
	path := []byte("/etcdserverpb." + string(bytes.ReplaceAll([]byte(method), []byte("."), []byte("/"))))
	q := &Raw{Fields: goodFields(string(path)), Body: frame([]byte{0x0a, 1, 'k'})}
	set := func(name, value string) {
		for i, f := range q.Fields {
			if string(f[0]) == name {
				q.Fields[i][1] = []byte(value)
				return
			}
		}
		q.Fields = append(q.Fields, [2][]byte{[]byte(name), []byte(value)})
	}
	switch g.IntN(16) {
	case 0:
		set("client-api-version", "\xff\xfe")
	case 1:
		set(":path", pick(g, "/etcdserverpb.KV/Nothing", "/etcdserverpb.Watch/Nothing", "/etcdserverpb.KV/"))
	case 2:
		set(":path", pick(g, "/etcdserverpb.Nothing/Range", "/x/y", "//"))
	case 3:
		set(":path", pick(g, "/", "nothing", "/etcdserverpb.KV", "/a/b/c"))
	case 4:
		set("content-type", pick(g, "text/plain", "application/json", "", "application/grpcx", "application/grpc-web"))
	case 5:
		set("content-type", pick(g, "application/grpc+proto", "application/grpc;charset=x", "application/grpc+json"))
	case 6:
		set(":method", pick(g, "GET", "PUT", "OPTIONS"))
	case 7:
		set("grpc-timeout", pick(g, "soon", "1", "", "100000000000S", "10x", "-1S"))
	case 8:
		set("grpc-encoding", pick(g, "gzip", "zstd", "identity"))
	case 9:
		q.Body = frame(pick(g, []byte{0x0a}, []byte{0x0a, 200}, []byte{0xff, 0xff}, []byte{0x0b}, []byte{0x08, 0xff}, []byte{0}))
	case 10:
		q.Body = pick(g, []byte{}, []byte{0}, []byte{0, 0, 0, 0}, []byte{0, 0, 0, 0, 9, 1, 2})
	case 11:
		q.Body[0] = pick[byte](g, 1, 2, 255)
	case 12:
		q.Body = []byte{0, 0xff, 0xff, 0xff, 0xff, 1}
	case 13:
		set(":path", pick(g, "/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Txn"))
		size := pick(g, 2097152, 2097153, 2200000)
		q.Body, q.Zeros = frame(make([]byte, size))[:5], size
	case 14:
		// Two messages where one is due.
		q.Body = append(frame([]byte{0x0a, 1, 'k'}), frame([]byte{0x0a, 1, 'k'})...)
	case 15:
		// A field that nobody knows must be skipped; one of another type is an error or skipped.
		q.Body = frame(pick(g, []byte{0x0a, 1, 'k', 0xa0, 0x3f, 7}, []byte{0x08, 1}, []byte{0x18, 1}, []byte{0x0d, 1, 2, 3, 4}))
	}
	return q
}
