package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"keelkv/compat/server"
)

// A watch whose requests have all been sent goes on.
func TestWatch(t *testing.T) {
	sides := pair(t)
	for _, q := range []request{
		post("/v3/watch", `{"create_request":{"key":"YQ=="}}`),
		post("/v3/watch", `{"createRequest":{"key":"YQ==","start_revision":"-5"}}`),
		post("/v3/watch", `{"create_request":{"key":"Yg==","range_end":"YQ=="}}`),
		post("/v3/watch", `{"create_request":{"key":"YQ==","filters":["NOPUT",1]}} nonsense`),
	} {
		compare(t, sides, q, 1)
	}
	var texts [2]string
	for i, s := range sides {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		response, err := s.open(ctx, post("/v3/watch", ""), strings.NewReader(`{"create_request":{"key":"YQ==","prev_kv":true}}`))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		read := bufio.NewReader(response.Body)
		for number, change := range []request{
			{},
			post("/v3/kv/put", `{"key":"YQ==","value":"PD4m"}`),
			post("/v3/kv/put", `{"key":"YQ==","value":"Yg=="}`),
			post("/v3/kv/deleterange", `{"key":"YQ=="}`),
		} {
			if number > 0 {
				s.ask(t, change, all)
			}
			line, err := read.ReadBytes('\n')
			if err != nil {
				t.Fatal(err)
			}
			texts[i] += s.plain(line)
		}
	}
	if texts[0] != texts[1] {
		t.Errorf("etcd:\n%s\nkeelkv:\n%s", texts[0], texts[1])
	}
	t.Log(texts[1])
}

// How streams end that the server ends.
func TestEnds(t *testing.T) {
	sides := pair(t)
	for _, fields := range []map[string]string{{"Grpc-Timeout": "300m"}, {"Grpc-Timeout": "1n"}, {"Grpc-Timeout": "x"}} {
		for _, body := range []string{`{"create_request":{"key":"YQ=="}}`, `{}`, `nonsense`, ``} {
			if body != `{"create_request":{"key":"YQ=="}}` || fields["Grpc-Timeout"] != "1n" {
				compare(t, sides, request{"POST", "/v3/watch", body, fields}, all)
			}
		}
	}
	long := fmt.Sprintf(`{"create_request":{"key":"%s"}}`, b64(strings.Repeat("x", 3<<20)))
	compare(t, sides, post("/v3/watch", long), all)
	compare(t, sides, post("/v3/maintenance/snapshot", "nonsense"), all)
	compare(t, sides, post("/v3/election/observe", "nonsense"), all)
}

// A stream ends with the connection of its client.
func TestClientGoes(t *testing.T) {
	for _, s := range pair(t) {
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			response, err := s.open(ctx, post("/v3/watch", ""), strings.NewReader(`{"create_request":{"key":"YQ=="}}`))
			if err != nil {
				t.Fatal(err)
			}
			_, err = bufio.NewReader(response.Body).ReadBytes('\n')
			cancel()
			response.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
		}
		deadline := time.Now().Add(patience)
		for {
			metrics := s.ask(t, request{"GET", "/metrics", "", nil}, all).body
			if strings.Contains(metrics, "\netcd_debugging_mvcc_watcher_total 0\n") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("watchers are left")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func dial(t *testing.T, s side, path string, protocols ...string) (*websocket.Conn, error) {
	t.Helper()
	config, err := websocket.NewConfig("ws://"+s.Address+path, "http://elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	config.Protocol = protocols
	return config.DialContext(t.Context())
}

func TestWebSocket(t *testing.T) {
	sides := pair(t)
	var texts [2]string
	for i, s := range sides {
		socket, err := dial(t, s, "/v3/watch")
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		if err := socket.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		say := func(text string) {
			if err := websocket.Message.Send(socket, text); err != nil {
				t.Fatal(err)
			}
		}
		hear := func() {
			var text string
			if err := websocket.Message.Receive(socket, &text); err != nil {
				t.Fatal(err)
			}
			texts[i] += s.plain([]byte(text)) + "\n"
		}
		say(`{"create_request":{"key":"YQ=="}}`)
		hear()
		say(`{"create_request":{"key":"Yg==","watch_id":"7"}}`)
		hear()
		s.ask(t, post("/v3/kv/put", `{"key":"YQ==","value":"Yg=="}`), all)
		hear()
		say(`{"progress_request":{}}`)
		hear()
		say(`{"cancel_request":{"watch_id":"7"}}`)
		hear()
		// What cannot be read ends the requests, not the stream.
		say(`nonsense`)
		s.ask(t, post("/v3/kv/deleterange", `{"key":"YQ=="}`), all)
		hear()
	}
	if texts[0] != texts[1] {
		t.Errorf("etcd:\n%s\nkeelkv:\n%s", texts[0], texts[1])
	}
	t.Log(texts[1])
}

// What there is only one answer to, and then the connection ends.
func TestWebSocketEnds(t *testing.T) {
	sides := pair(t)
	for _, path := range []string{"/v3/nothing", "/v3/lease/keepalive"} {
		var texts [2]string
		for i, s := range sides {
			socket, err := dial(t, s, path)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			if err := socket.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if err := websocket.Message.Send(socket, `{"ID":"5"}{"ID":"6"}x`); err != nil {
				t.Fatal(err)
			}
			for {
				var text string
				err := websocket.Message.Receive(socket, &text)
				if err != nil {
					// etcd may have what came unread, and then the system resets the connection.
					if s == sides[1] && server.Keelkv() != server.Etcd() && err != io.EOF {
						t.Error(err)
					}
					break
				}
				texts[i] += s.plain([]byte(text)) + "\n"
			}
		}
		if texts[0] != texts[1] {
			t.Errorf("etcd:\n%s\nkeelkv:\n%s", texts[0], texts[1])
		}
		t.Log(texts[1])
	}
}

// The requests that open one, or do not.
func TestWebSocketOpens(t *testing.T) {
	sides := pair(t)
	good := map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	}
	for _, change := range []map[string]string{
		{"Sec-WebSocket-Version": "8"}, {"Sec-WebSocket-Version": ""}, {"Sec-WebSocket-Key": "x"}, {"Sec-WebSocket-Key": ""}, {"Upgrade": "h2c"},
		{"Connection": "keep-alive"},
	} {
		fields := map[string]string{}
		for name, value := range good {
			fields[name] = value
		}
		for name, value := range change {
			fields[name] = value
		}
		for _, path := range []string{"/v3/kv/range", "/v3/nothing", "/version"} {
			compare(t, sides, request{"GET", path, "", fields}, all)
		}
	}
	compare(t, sides, request{"POST", "/v3/kv/range", "", good}, all)
	for _, s := range sides {
		for _, protocols := range [][]string{{"Bearer", "token"}, nil} {
			socket, err := dial(t, s, "/v3/watch", protocols...)
			if err != nil {
				t.Fatal(err)
			}
			if got := socket.Config().Protocol; len(protocols) > 0 && (len(got) != 1 || got[0] != "Bearer") {
				t.Errorf("%v", got)
			}
			socket.Close()
		}
	}
}
