package http

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelkv/compat/server"
)

var series = regexp.MustCompile(`(?m)^([a-z_]+(?:\{[^}]*\})?) (\S+)$`)

// values are the samples of a scrape: series to value, as they are written.
func values(t *testing.T, s *server.Server) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, parts := range series.FindAllStringSubmatch(ask(t, s, "GET", "/metrics", nil).body, -1) {
		found[parts[1]] = parts[2]
	}
	return found
}

// until scrapes again and again until the values are as wanted.
func until(ctx context.Context, t *testing.T, s *server.Server, wanted func(map[string]string) bool) map[string]string {
	t.Helper()
	for {
		found := values(t, s)
		if wanted(found) {
			return found
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not come to what is wanted", s.Dir)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// work is the same on both sides: what they count of it must be equal.
func work(ctx context.Context, t *testing.T, s *server.Server) {
	t.Helper()
	connection, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	kv, lease := etcdserverpb.NewKVClient(connection), etcdserverpb.NewLeaseClient(connection)
	put := func(key, value string) *etcdserverpb.PutRequest {
		return &etcdserverpb.PutRequest{Key: []byte(key), Value: []byte(value)}
	}
	var revision int64
	for _, request := range []*etcdserverpb.PutRequest{put("a", "1"), put("a", "22"), put("b", "333"), put("a", "4444")} {
		response, err := kv.Put(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		revision = response.Header.Revision
	}
	if _, err := kv.DeleteRange(ctx, &etcdserverpb.DeleteRangeRequest{Key: []byte("b")}); err != nil {
		t.Fatal(err)
	}
	txn := &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{
		{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: put("c", "55555")}},
	}}
	if _, err := kv.Txn(ctx, txn); err != nil {
		t.Fatal(err)
	}
	for _, ttl := range []int64{30, 100, 5000} {
		if _, err := lease.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{TTL: ttl}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kv.Compact(ctx, &etcdserverpb.CompactionRequest{Revision: revision + 2, Physical: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := etcdserverpb.NewMaintenanceClient(connection).Hash(ctx, &etcdserverpb.HashRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestMetricsOfWork(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pair, err := server.StartPair(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Stop()
	var found [2]map[string]string
	for i, s := range pair.Sides() {
		work(ctx, t, s)
		found[i] = until(ctx, t, s, func(values map[string]string) bool {
			return values["etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count"] == "1"
		})
	}
	equal := []string{
		"etcd_debugging_auth_revision",
		"etcd_debugging_lease_ttl_total_count",
		"etcd_debugging_lease_ttl_total_sum",
		`etcd_debugging_lease_ttl_total_bucket{le="128"}`,
		"etcd_debugging_mvcc_db_compaction_keys_total",
		"etcd_debugging_mvcc_total_put_size_in_bytes",
		"etcd_mvcc_hash_duration_seconds_count",
		"etcd_server_slow_read_indexes_total",
		"etcd_server_snapshot_apply_in_progress_total",
	}
	for _, op := range []string{"Put", "DeleteRange", "Txn", "LeaseGrant", "Compaction", "ClusterMemberAttrSet", "ClusterVersionSet"} {
		equal = append(equal, fmt.Sprintf(`etcd_server_apply_duration_seconds_count{op=%q,success="true",version="v3"}`, op))
	}
	for _, name := range equal {
		if found[0][name] == "" || found[0][name] != found[1][name] {
			t.Errorf("%s: etcd %q, keelkv %q", name, found[0][name], found[1][name])
		}
	}
	const last = "etcd_debugging_mvcc_db_compaction_last"
	if !strings.HasSuffix(found[1][last], "e+09") && len(found[1][last]) != 10 {
		t.Errorf("%s is no time of these years: %s", last, found[1][last])
	}
}

// A member that was away for longer than the log goes back gets a snapshot, and both sides count it.
func TestMetricsOfSnapshots(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	clusters, err := server.StartClusters(ctx, 3, "--snapshot-count=10", "--snapshot-catchup-entries=5")
	for _, cluster := range clusters {
		if cluster != nil {
			defer cluster.Stop()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var scrapes [2]map[string]*family
	for i, cluster := range clusters {
		away := cluster.Members[2]
		connection, err := cluster.Members[0].Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		kv := etcdserverpb.NewKVClient(connection)
		// Each server lets go of its log when it thinks fit: a member that was away for long enough gets a snapshot.
		for rounds, got := 4, false; !got; rounds *= 2 {
			away.Kill()
			for range rounds {
				write(ctx, t, kv)
			}
			if err := away.Launch(); err != nil {
				t.Fatal(err)
			}
			if err := away.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			got = arrived(values(t, away.Server), "etcd_network_snapshot_receive_success{From=")
		}
		for _, member := range cluster.Members[:2] {
			sent := values(t, member.Server)
			if arrived(sent, "etcd_network_snapshot_send_success{To=") {
				scrapes[i] = scrape(t, member.Server)
			}
			for name, value := range sent {
				if strings.HasPrefix(name, "etcd_network_snapshot_send_inflights_total{") && value != "0" {
					until(ctx, t, member.Server, func(values map[string]string) bool { return values[name] == "0" })
				}
			}
		}
		if scrapes[i] == nil {
			t.Fatalf("cluster %d: nobody sent a snapshot, and one was received", i)
		}
		for name, family := range scrape(t, away.Server) {
			if strings.HasPrefix(name, "etcd_network_snapshot_receive_") {
				scrapes[i][name] = family
			}
		}
	}
	for name, want := range scrapes[0] {
		got := scrapes[1][name]
		if !strings.HasPrefix(name, "etcd_network_snapshot_") {
			continue
		}
		if got == nil || got.kind != want.kind || fmt.Sprint(got.labels, got.buckets) != fmt.Sprint(want.labels, want.buckets) {
			t.Errorf("%s\netcd:   %+v\nkeelkv: %+v", name, want, got)
		}
	}
}

// write makes entries, and has keelkv make them durable: it does so soon after a compaction.
func write(ctx context.Context, t *testing.T, kv etcdserverpb.KVClient) {
	t.Helper()
	for done := 0; done < 30; {
		response, err := kv.Put(ctx, &etcdserverpb.PutRequest{Key: []byte("a"), Value: []byte("1")})
		if err == nil && done%10 == 9 {
			request := &etcdserverpb.CompactionRequest{Revision: response.Header.Revision, Physical: true}
			_, err = kv.Compact(ctx, request)
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		// The election of another leader may be under way.
		if err == nil {
			done++
		}
	}
}

func arrived(values map[string]string, name string) bool {
	for series, value := range values {
		if strings.HasPrefix(series, name) && value != "0" {
			return true
		}
	}
	return false
}
