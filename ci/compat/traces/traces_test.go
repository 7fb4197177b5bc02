package traces

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"

	"keelkv/compat/server"
)

const (
	trace  = "0af7651916cd43dd8448eb211c80319c"
	parent = "b7ad6b7169203331"
	secret = "nobody-else-may-read-this"
)

// The calls that are made, by the names of their spans.
var calls = []string{"etcdserverpb.KV/Put", "etcdserverpb.KV/Range", "etcdserverpb.KV/Txn", "etcdserverpb.Lease/LeaseGrant", "etcdserverpb.Lease/LeaseRevoke", "etcdserverpb.Lease/LeaseTimeToLive", "etcdserverpb.Lease/LeaseLeases",
	"etcdserverpb.KV/DeleteRange", "etcdserverpb.KV/Compact", "etcdserverpb.Cluster/MemberList", "etcdserverpb.Maintenance/Status"}

// traced starts a server that samples nothing by itself, and answers what it tells of calls that are part of a trace.
func traced(ctx context.Context, t *testing.T, binary string) (*collector, []span) {
	t.Helper()
	c := collect(t)
	s, err := server.Start(ctx, server.Options{Binary: binary, Flags: []string{
		"--enable-distributed-tracing", "--distributed-tracing-address=" + c.address,
		"--distributed-tracing-service-name=tested", "--distributed-tracing-instance-id=here",
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	connection, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	kv, lease := etcdserverpb.NewKVClient(connection), etcdserverpb.NewLeaseClient(connection)
	within := metadata.AppendToOutgoingContext(ctx, "traceparent", "00-"+trace+"-"+parent+"-01", "token", secret)
	put := &etcdserverpb.PutRequest{Key: []byte(secret), Value: []byte(secret)}
	read := &etcdserverpb.RangeRequest{Key: []byte(secret)}
	for _, ctx := range []context.Context{ctx, within} {
		txn := &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{
			{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: put}},
		}}
		if _, err := kv.Put(ctx, put); err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Range(ctx, read); err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Txn(ctx, txn); err != nil {
			t.Fatal(err)
		}
		if _, err := lease.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{TTL: 100}); err != nil {
			t.Fatal(err)
		}
		if _, err := lease.LeaseTimeToLive(ctx, &etcdserverpb.LeaseTimeToLiveRequest{ID: 404}); err != nil {
			t.Fatal(err)
		}
		if _, err := lease.LeaseLeases(ctx, &etcdserverpb.LeaseLeasesRequest{}); err != nil {
			t.Fatal(err)
		}
		deleted, err := kv.DeleteRange(ctx, &etcdserverpb.DeleteRangeRequest{Key: []byte(secret)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Compact(ctx, &etcdserverpb.CompactionRequest{Revision: deleted.Header.Revision}); err != nil {
			t.Fatal(err)
		}
		if _, err := etcdserverpb.NewClusterClient(connection).MemberList(ctx, &etcdserverpb.MemberListRequest{Linearizable: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := etcdserverpb.NewMaintenanceClient(connection).Status(ctx, &etcdserverpb.StatusRequest{}); err != nil {
			t.Fatal(err)
		}
		// How a call ended is told, too.
		if _, err := lease.LeaseRevoke(ctx, &etcdserverpb.LeaseRevokeRequest{ID: 404}); err == nil {
			t.Fatal("a lease that is not there was revoked")
		}
	}
	for {
		spans := c.all()
		missing := slices.DeleteFunc(slices.Clone(calls), func(name string) bool {
			return slices.ContainsFunc(spans, func(s span) bool { return s.name == name })
		})
		if len(missing) == 0 {
			return c, spans
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not tell of %v", binary, missing)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// A collector that is not there holds nobody up, and keeps no server from ending.
func TestNobodyWaitsForACollector(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ports, err := server.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.Start(ctx, server.Options{Binary: server.Keelkv(), Flags: []string{
		"--enable-distributed-tracing", "--distributed-tracing-sampling-rate=1000000",
		fmt.Sprintf("--distributed-tracing-address=127.0.0.1:%d", ports[0]),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	connection, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	kv := etcdserverpb.NewKVClient(connection)
	// More than any queue of spans has room for.
	for range 5000 {
		called, done := context.WithTimeout(ctx, 5*time.Second)
		if _, err := kv.Range(called, &etcdserverpb.RangeRequest{Key: []byte("a")}); err != nil {
			t.Fatal(err)
		}
		done()
	}
	if err := s.Terminate(ctx); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Fatal(err)
	}
}

func TestServersTakePartInTheCallersTrace(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var told [2]map[string]span
	for i, binary := range []string{server.Etcd(), server.Keelkv()} {
		collector, spans := traced(ctx, t, binary)
		told[i] = map[string]span{}
		for _, s := range spans {
			t.Logf("%s: %s in %s, kind %d, %v", binary, s.name, s.parent, s.kind, s.attributes)
			if s.trace != trace {
				t.Errorf("%s: %s is of another trace", binary, s.name)
			}
			told[i][s.name] = s
			if slices.Contains(calls, s.name) {
				continue
			}
			// What is inside of a call stands in that one, at some depth.
			if !slices.ContainsFunc(spans, func(outer span) bool { return outer.id == s.parent }) {
				t.Errorf("%s: %s stands in no span", binary, s.name)
			}
		}
		if i == 1 && bytes.Contains(collector.raw, []byte(secret)) {
			t.Error("keelkv tells the collector what clients store")
		}
	}
	for _, name := range calls {
		etcd, keelkv := told[0][name], told[1][name]
		if etcd.parent != parent || keelkv.parent != parent || etcd.kind != keelkv.kind {
			t.Errorf("%s\netcd:   %+v\nkeelkv: %+v", name, etcd, keelkv)
		}
		if !maps.Equal(etcd.resource, keelkv.resource) {
			t.Errorf("%s: sent by %v and %v", name, etcd.resource, keelkv.resource)
		}
		if inner(told[0], etcd) != inner(told[1], keelkv) {
			t.Errorf("%s: inside is %q, and %q in etcd", name, inner(told[1], keelkv), inner(told[0], etcd))
		}
		for key, value := range etcd.attributes {
			// Each has a client, and a port, of its own.
			if !strings.HasPrefix(key, "client.") && !strings.HasPrefix(key, "server.") &&
				!strings.HasPrefix(key, "network.") && keelkv.attributes[key] != value {
				t.Errorf("%s: %s is %q, and %q in etcd", name, key, keelkv.attributes[key], value)
			}
		}
	}
}

// inner is the name of the span that stands in another one.
func inner(told map[string]span, outer span) string {
	for name, s := range told {
		if s.parent == outer.id {
			return name
		}
	}
	return ""
}
