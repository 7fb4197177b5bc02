// Package http compares what the client port answers to plain HTTP.
package http

import (
	"io"
	"net/http"
	"sort"
	"strings"
	"testing"
	"time"

	"keelkv/compat/server"
)

// answer is what a probe looks at.
type answer struct {
	status                    int
	kind, allow, cors, corsTo string
	body                      string
}

func ask(t *testing.T, s *server.Server, method, path string, fields map[string]string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range fields {
		request.Header.Set(name, value)
	}
	client := http.Client{Timeout: 20 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	h := response.Header
	// The checks of a probe are a map in etcd.
	lines := strings.SplitAfter(string(body), "\n")
	if strings.HasPrefix(lines[0], "[") {
		sort.Strings(lines)
	}
	return answer{response.StatusCode, h.Get("Content-Type"), h.Get("Allow"), h.Get("Access-Control-Allow-Methods"),
		h.Get("Access-Control-Allow-Origin"), strings.Join(lines, "")}
}

func TestProbes(t *testing.T) {
	pair, err := server.StartPair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Stop()
	for _, path := range []string{
		"/health", "/health?serializable=true", "/health?exclude=NOSPACE", "/livez", "/livez?verbose", "/livez/serializable_read",
		"/readyz", "/readyz?verbose", "/readyz/data_corruption", "/readyz?exclude=linearizable_read&verbose", "/readyz/nothing",
		"/version", "/nothing", "/",
	} {
		for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS"} {
			t.Run(method+" "+path, func(t *testing.T) {
				etcd, ours := ask(t, pair.Etcd, method, path, nil), ask(t, pair.Keelkv, method, path, nil)
				if etcd != ours {
					t.Errorf("etcd:   %+v\nkeelkv: %+v", etcd, ours)
				}
				t.Logf("%+v", etcd)
			})
		}
	}
	t.Run("another origin", func(t *testing.T) {
		fields := map[string]string{"Origin": "http://elsewhere"}
		etcd, ours := ask(t, pair.Etcd, "GET", "/version", fields), ask(t, pair.Keelkv, "GET", "/version", fields)
		if etcd != ours {
			t.Errorf("etcd:   %+v\nkeelkv: %+v", etcd, ours)
		}
	})
}
