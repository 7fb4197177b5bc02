package http

import (
	"context"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelkv/compat/server"
)

// probes are all pages that say how a member is.
var probes = []string{
	"/health", "/health?serializable=true", "/health?serializable=nonsense", "/health?exclude=NOSPACE", "/health?exclude=CORRUPT",
	"/health?exclude=NOSPACE&exclude=CORRUPT", "/livez", "/livez?verbose", "/livez?exclude=serializable_read&verbose",
	"/livez/serializable_read?verbose", "/livez/nothing", "/readyz", "/readyz?verbose", "/readyz?verbose=false", "/readyz?exclude=nothing",
	"/readyz?exclude=data_corruption&verbose", "/readyz?exclude=linearizable_read&exclude=non_learner&verbose",
	"/readyz?exclude=data_corruption&exclude=linearizable_read&exclude=non_learner&exclude=serializable_read",
	"/readyz/data_corruption", "/readyz/data_corruption?verbose", "/readyz/linearizable_read", "/readyz/non_learner",
	"/readyz/serializable_read", "/readyz/non_learner?exclude=non_learner",
}

// same asks both for all pages.
func same(t *testing.T, etcd, keelkv *server.Server) {
	t.Helper()
	for _, path := range probes {
		if want, got := ask(t, etcd, "GET", path, nil), ask(t, keelkv, "GET", path, nil); got != want {
			t.Errorf("%s\netcd:   %+v\nkeelkv: %+v", path, want, got)
		}
	}
}

func alarm(t *testing.T, s *server.Server, action etcdserverpb.AlarmRequest_AlarmAction, kind etcdserverpb.AlarmType) {
	t.Helper()
	connection, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	request := &etcdserverpb.AlarmRequest{Action: action, Alarm: kind, MemberID: 1}
	if _, err := etcdserverpb.NewMaintenanceClient(connection).Alarm(t.Context(), request); err != nil {
		t.Fatal(err)
	}
}

func TestHealthUnderAlarms(t *testing.T) {
	pair, err := server.StartPair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Stop()
	same(t, pair.Etcd, pair.Keelkv)
	for _, kind := range []etcdserverpb.AlarmType{etcdserverpb.AlarmType_NOSPACE, etcdserverpb.AlarmType_CORRUPT} {
		for _, s := range pair.Sides() {
			alarm(t, s, etcdserverpb.AlarmRequest_ACTIVATE, kind)
		}
		t.Run(kind.String(), func(t *testing.T) { same(t, pair.Etcd, pair.Keelkv) })
		for _, s := range pair.Sides() {
			alarm(t, s, etcdserverpb.AlarmRequest_DEACTIVATE, kind)
		}
	}
	t.Run("none again", func(t *testing.T) { same(t, pair.Etcd, pair.Keelkv) })
}

// What is said of a read differs: etcd's own deadline ends it, or ours.
func TestHealthWithoutQuorum(t *testing.T) {
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
	for i, cluster := range clusters {
		cluster.Members[1].Kill()
		cluster.Members[2].Kill()
		alone := cluster.Members[0].Server
		noLeader := "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n"
		for ask(t, alone, "GET", "/health", nil).body != noLeader {
			if ctx.Err() != nil {
				t.Fatalf("cluster %d does not say that it has no leader", i)
			}
		}
		for path, want := range map[string]int{
			"/health?serializable=true": 200, "/livez": 200, "/readyz/serializable_read": 200, "/readyz/non_learner": 200,
			"/readyz?exclude=linearizable_read": 200, "/readyz": 503, "/readyz/linearizable_read": 503,
		} {
			if got := ask(t, alone, "GET", path, nil); got.status != want {
				t.Errorf("cluster %d: %s: %+v", i, path, got)
			}
		}
	}
}
