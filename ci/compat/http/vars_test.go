package http

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"keelkv/compat/server"
)

// What etcd shows and keelkv does not: the runtime of Go, and raft's own view of other members.
var noVars = []string{"memstats", "raft.status.progress", "raft.status.vote", "raft.status.leadtransferee"}

func vars(t *testing.T, s *server.Server) (answer, map[string]any) {
	t.Helper()
	got := ask(t, s, "GET", "/debug/vars", nil)
	all := map[string]any{}
	if err := json.Unmarshal([]byte(got.body), &all); err != nil {
		t.Fatalf("%s: %s", err, got.body)
	}
	raft, isObject := all["raft.status"].(map[string]any)
	if !isObject {
		t.Fatalf("no status of raft in %s", got.body)
	}
	for name, value := range raft {
		all["raft.status."+name] = value
	}
	delete(all, "raft.status")
	return got, all
}

func TestVars(t *testing.T) {
	pair, err := server.StartPair(t.Context(), "--discovery-password=nobody-else")
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Stop()
	etcdAnswer, etcd := vars(t, pair.Etcd)
	keelkvAnswer, keelkv := vars(t, pair.Keelkv)
	if etcdAnswer.status != keelkvAnswer.status || etcdAnswer.kind != keelkvAnswer.kind {
		t.Errorf("etcd %d %s, keelkv %d %s", etcdAnswer.status, etcdAnswer.kind, keelkvAnswer.status, keelkvAnswer.kind)
	}
	for name, value := range etcd {
		switch {
		case slices.Contains(noVars, name):
		case keelkv[name] == nil:
			t.Errorf("%s is missing", name)
		case slices.Contains([]string{"file_descriptor_limit", "raft.status.raftState"}, name) && value != keelkv[name]:
			t.Errorf("%s is %v, and %v in etcd", name, keelkv[name], value)
		}
	}
	for name := range keelkv {
		if etcd[name] == nil {
			t.Errorf("etcd has no %s", name)
		}
	}
	if keelkv["raft.status.id"] != keelkv["raft.status.lead"] {
		t.Errorf("%v leads in a cluster of one", keelkv["raft.status.lead"])
	}
	if server.Keelkv() != server.Etcd() && strings.Contains(keelkvAnswer.body, "nobody-else") {
		t.Errorf("everybody can read the password: %s", keelkvAnswer.body)
	}
	for _, path := range []string{"/debug/vars", "/debug/pprof/", "/debug/vars/x"} {
		for _, method := range []string{"GET", "POST"} {
			etcd, keelkv := ask(t, pair.Etcd, method, path, nil), ask(t, pair.Keelkv, method, path, nil)
			if etcd.status != keelkv.status {
				t.Errorf("%s %s: etcd %d, keelkv %d", method, path, etcd.status, keelkv.status)
			}
		}
	}
}
