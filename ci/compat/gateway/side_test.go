// Package gateway compares the JSON gateways, answer by answer.
package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelkv/compat/server"
)

// patience is how long anything may take that must happen.
const patience = 20 * time.Second

// side is one of the servers, and what is only its own.
type side struct {
	*server.Server
	own *strings.Replacer
}

func pair(t *testing.T, flags ...string) [2]side {
	t.Helper()
	started, err := server.StartPair(t.Context(), flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(started.Stop)
	var sides [2]side
	for i, s := range started.Sides() {
		connection, err := s.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		members, err := etcdserverpb.NewClusterClient(connection).MemberList(t.Context(), &etcdserverpb.MemberListRequest{})
		if err != nil {
			t.Fatal(err)
		}
		sides[i] = side{s, strings.NewReplacer(
			strconv.FormatUint(members.Header.ClusterId, 10), "CLUSTER",
			strconv.FormatUint(members.Header.MemberId, 10), "MEMBER",
			strings.TrimPrefix(members.Members[0].PeerURLs[0], "http://"), "PEER",
			s.Address, "CLIENT",
			"\u00a0", " ",
			// Whether the gateway or the server of etcd looks at the clock first.
			"stream terminated by RST_STREAM with error code: CANCEL", "context deadline exceeded",
		)}
	}
	return sides
}

// what one member's log decides.
var ownNumber = regexp.MustCompile(`"(raft_term|raftTerm|raftIndex|raftAppliedIndex|dbSize|dbSizeInUse|hash)":("?)[0-9]+"?`)

// plain is a text without what is only one member's, and without the spaces that Go's library draws by lot.
func (s side) plain(text []byte) string {
	var lines []string
	for line := range bytes.Lines(text) {
		var compact bytes.Buffer
		if json.Compact(&compact, line) == nil {
			end := strings.TrimLeft(string(line), strings.TrimRight(string(line), "\n"))
			line = []byte(compact.String() + end)
		}
		lines = append(lines, ownNumber.ReplaceAllString(s.own.Replace(string(line)), `"$1":${2}N${2}`))
	}
	return strings.Join(lines, "")
}

// request is what is sent to both.
type request struct {
	method, path, body string
	fields             map[string]string
}

// answer is all of an answer that means something.
type answer struct {
	status int
	fields string
	body   string
}

// meaning are the fields that are compared.
var meaning = []string{
	"Content-Type", "Grpc-Metadata-Content-Type", "X-Content-Type-Options", "Location", "Www-Authenticate", "Trailer",
	"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers",
	"Sec-Websocket-Version",
}

// streams are told apart from single answers, whose length Go tells only of short ones.
var streams = map[string]bool{"watch": true, "lease/keepalive": true, "maintenance/snapshot": true, "election/observe": true}

var client = http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (s side) open(ctx context.Context, q request, body io.Reader) (*http.Response, error) {
	sent, err := http.NewRequestWithContext(ctx, q.method, "http://"+s.Address+q.path, body)
	if err != nil {
		return nil, err
	}
	for name, value := range q.fields {
		if name == "Host" {
			sent.Host = value
		}
		sent.Header.Set(name, value)
	}
	return client.Do(sent)
}

func (s side) headOf(response *http.Response) answer {
	var fields []string
	for _, name := range meaning {
		for _, value := range response.Header[name] {
			fields = append(fields, name+": "+value)
		}
	}
	if streams[strings.TrimPrefix(response.Request.URL.Path, "/v3/")] {
		fields = append(fields, fmt.Sprint(response.TransferEncoding))
	}
	return answer{status: response.StatusCode, fields: strings.Join(fields, "\n")}
}

// ask sends a request and reads all that comes back, of a stream that does not end as many lines as are asked for.
func (s side) ask(t *testing.T, q request, lines int) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	response, err := s.open(ctx, q, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got := s.headOf(response)
	read := bufio.NewReader(response.Body)
	var text []byte
	for range max(lines, 0) {
		line, err := read.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, line...)
	}
	if lines < 0 {
		if text, err = io.ReadAll(read); err != nil {
			t.Fatal(err)
		}
	}
	got.body = s.plain(text)
	return got
}

// all is for answers that end by themselves.
const all = -1

func compare(t *testing.T, sides [2]side, q request, lines int) answer {
	t.Helper()
	etcd, ours := sides[0].ask(t, q, lines), sides[1].ask(t, q, lines)
	if etcd != ours {
		t.Errorf("%s %s %.300s %v\netcd:   %+v\nkeelkv: %+v", q.method, q.path, q.body, q.fields, etcd, ours)
	}
	return etcd
}

func post(path, body string) request { return request{"POST", path, body, nil} }
