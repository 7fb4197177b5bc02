package http

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelkv/compat/server"
)

// omitted are the metrics of etcd that keelkv does not have, and why. A name that ends in * stands for all that begin so.
var omitted = map[string]string{
	"go_*":                               "the runtime of Go",
	"promhttp_*":                         "a Go library",
	"process_network_*":                  "of the machine's whole network name space; node_exporter has them",
	"process_virtual_memory_max_bytes":   "not in the process collector that is used",
	"etcd_server_go_version":             "there is none",
	"etcd_grpc_proxy_*":                  "there is no proxy",
	"etcd_debugging_store_*":             "the v2 store",
	"etcd_debugging_snap_*":              "there are no snapshot files; etcd_network_snapshot_* has those that arrive",
	"etcd_snap_*":                        "there are no snapshot files; etcd_network_snapshot_* has those that arrive",
	"etcd_debugging_disk_backend_*":      "parts of a commit of bbolt",
	"etcd_disk_backend_defrag_*":         "there is nothing to defragment",
	"etcd_mvcc_db_open_read_*":           "transactions of bbolt",
	"etcd_debugging_mvcc_index_*":        "the index is trimmed a few keys at a time, beside the rows: etcd_debugging_mvcc_db_compaction_pause_*",
	"etcd_debugging_server_watch_send_*": "watchers are served by other means",
	"etcd_disk_wal_write_duration_*":     "a write and its sync are one step here: etcd_disk_wal_fsync_duration_seconds",
	"etcd_server_heartbeat_send_*":       "a heartbeat does not wait for the disk",
	"etcd_network_peer_received_fail*":   "a broken connection counts as disconnected",
	"etcd_network_server_stream_fail*":   "grpc_server_handled_total",
}

// ours have other names.
const ours = "keelkv_"

// family is what a scrape says of one name.
type family struct {
	kind    string
	labels  []string
	buckets []float64
}

var sample = regexp.MustCompile(`^([a-zA-Z_:0-9]+?)(_bucket|_sum|_count)?(?:\{(.*)\})? `)
var label = regexp.MustCompile(`(\w+)="([^"]*)"`)

// families reads a scrape.
func families(text string) map[string]*family {
	found := map[string]*family{}
	for line := range strings.Lines(text) {
		var name, kind string
		if _, err := fmt.Sscanf(line, "# TYPE %s %s", &name, &kind); err == nil {
			found[name] = &family{kind: kind}
			continue
		}
		parts := sample.FindStringSubmatch(line)
		if strings.HasPrefix(line, "#") || parts == nil {
			continue
		}
		f := found[parts[1]]
		if f == nil {
			f = found[parts[1]+parts[2]]
		}
		for _, pair := range label.FindAllStringSubmatch(parts[3], -1) {
			if pair[1] == "le" {
				// Two libraries write large numbers differently.
				bound, err := strconv.ParseFloat(pair[2], 64)
				if err != nil {
					panic(err)
				}
				if !slices.Contains(f.buckets, bound) {
					f.buckets = append(f.buckets, bound)
				}
			} else if !slices.Contains(f.labels, pair[1]) {
				f.labels = append(f.labels, pair[1])
			}
		}
		slices.Sort(f.labels)
	}
	return found
}

func isOmitted(name string) bool {
	for omitted := range omitted {
		prefix, isPrefix := strings.CutSuffix(omitted, "*")
		if name == omitted || isPrefix && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// compare holds the names, types, labels and buckets of keelkv against those of etcd.
func compare(t *testing.T, etcd, keelkv map[string]*family) {
	t.Helper()
	for name, want := range etcd {
		got := keelkv[name]
		switch {
		case got == nil && !isOmitted(name):
			t.Errorf("%s is missing", name)
		case got != nil && isOmitted(name):
			t.Errorf("%s is there although it is listed as omitted", name)
		case got != nil && (got.kind != want.kind || !slices.Equal(got.labels, want.labels) || !slices.Equal(got.buckets, want.buckets)):
			t.Errorf("%s\netcd:   %+v\nkeelkv: %+v", name, *want, *got)
		}
	}
	for name := range keelkv {
		if etcd[name] == nil && !strings.HasPrefix(name, ours) && name != "process_threads" {
			t.Errorf("etcd has no %s", name)
		}
	}
}

// use makes what is shown only once it has happened.
func use(ctx context.Context, t *testing.T, s *server.Server) {
	t.Helper()
	connection, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	kv := etcdserverpb.NewKVClient(connection)
	if _, err := kv.Put(ctx, &etcdserverpb.PutRequest{Key: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Range(ctx, &etcdserverpb.RangeRequest{Key: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	if _, err := etcdserverpb.NewClusterClient(connection).MemberPromote(ctx, &etcdserverpb.MemberPromoteRequest{ID: 1}); err == nil {
		t.Fatal("a member that is not there was promoted")
	}
	ask(t, s, "GET", "/health", nil)
	ask(t, s, "GET", "/readyz", nil)
}

func scrape(t *testing.T, s *server.Server) map[string]*family {
	t.Helper()
	answer := ask(t, s, "GET", "/metrics", nil)
	if answer.status != 200 || !strings.HasPrefix(answer.kind, "text/plain") {
		t.Fatalf("%d %s", answer.status, answer.kind)
	}
	return families(answer.body)
}

func TestMetrics(t *testing.T) {
	for _, metrics := range []string{"basic", "extensive"} {
		t.Run(metrics, func(t *testing.T) {
			pair, err := server.StartPair(t.Context(), "--metrics="+metrics)
			if err != nil {
				t.Fatal(err)
			}
			defer pair.Stop()
			for _, s := range pair.Sides() {
				use(t.Context(), t, s)
			}
			compare(t, scrape(t, pair.Etcd), scrape(t, pair.Keelkv))
		})
	}
}

func TestMetricsOfPeers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	clusters, err := server.StartClusters(ctx, 3)
	for _, cluster := range clusters {
		if cluster != nil {
			defer cluster.Stop()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range clusters {
		use(ctx, t, cluster.Members[0].Server)
		cluster.Members[2].Kill()
	}
	// Etcd measures how far its peers are every now and then, and tells of the one that has gone later than keelkv.
	wanted := []string{
		"etcd_network_peer_sent_bytes_total", "etcd_network_peer_received_bytes_total", "etcd_network_active_peers",
		"etcd_network_peer_sent_failures_total", "etcd_network_disconnected_peers_total", "etcd_network_known_peers",
	}
	var scrapes [2]map[string]*family
	for i, cluster := range clusters {
		for {
			scrapes[i] = scrape(t, cluster.Members[0].Server)
			missing := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool {
				f := scrapes[i][name]
				return f != nil && len(f.labels) > 0
			})
			if len(missing) == 0 {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("cluster %d does not show %v", i, missing)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	// Etcd takes half a minute to show it.
	const roundTrip = "etcd_network_peer_round_trip_time_seconds"
	if f := scrapes[1][roundTrip]; f == nil || len(f.buckets) != 17 || !slices.Equal(f.labels, []string{"To"}) {
		t.Errorf("the time to a peer and back: %+v", f)
	}
	if scrapes[0][roundTrip] == nil {
		delete(scrapes[1], roundTrip)
	}
	compare(t, scrapes[0], scrapes[1])
}
