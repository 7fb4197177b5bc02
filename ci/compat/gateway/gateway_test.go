package gateway

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// Every path that means the same on both sides, in an order that gives the store something to tell.
func TestEveryCall(t *testing.T) {
	sides := pair(t)
	for _, q := range []request{
		post("/v3/kv/put", `{"key":"YQ==","value":"Yg=="}`),
		post("/v3/kv/put", `{"key":"YQ==","value":"Yw==","prev_kv":true}`),
		post("/v3/kv/put", `{"key":"YjE=","value":"+//+"}`),
		post("/v3/kv/range", `{"key":"YQ=="}`),
		post("/v3/kv/range", `{"key":"AA==","range_end":"AA==","sort_order":"DESCEND","sort_target":"KEY","limit":1}`),
		post("/v3/kv/range", `{"key":"AA==","rangeEnd":"AA==","countOnly":true}`),
		post("/v3/kv/txn", `{"compare":[{"key":"YQ==","target":"VALUE","value":"Yw=="}],"success":[{"request_put":{"key":"eA==","value":"eQ=="}},
			{"requestRange":{"key":"eA=="}},{"request_delete_range":{"key":"bm8="}},{"request_txn":{"compare":[{"version":5,"result":"LESS"}],"success":[]}}]}`),
		post("/v3/kv/txn", `{"compare":[{"key":"YQ==","target":"VERSION","version":"2","result":"EQUAL"}],"failure":[],"success":[{"request_range":{"key":"YQ=="}}]}`),
		post("/v3/kv/txn", `{"compare":[{"key":"YQ==","target":"VERSION","version":"7"}],"failure":[{"request_put":{"key":"eg=="}}]}`),
		post("/v3/kv/txn", `{"success":[{}]}`),
		post("/v3/kv/deleterange", `{"key":"eA==","prev_kv":true}`),
		post("/v3/kv/deleterange", `{"key":"eA=="}`),
		post("/v3/lease/grant", `{"TTL":"600","ID":"77"}`),
		post("/v3/lease/grant", `{"TTL":600,"ID":77}`),
		post("/v3/lease/timetolive", `{"ID":"77","keys":true}`),
		post("/v3/kv/lease/timetolive", `{"ID":78}`),
		post("/v3/kv/put", `{"key":"bA==","lease":"77"}`),
		post("/v3/lease/leases", `{}`),
		post("/v3/kv/lease/leases", ``),
		post("/v3/lease/keepalive", `{"ID":"77"}`),
		post("/v3/lease/keepalive", `{"ID":"77"} {"ID":"78"}`+"\n"+`{"ID":77}`),
		post("/v3/lease/keepalive", ``),
		post("/v3/lease/keepalive", `x`),
		post("/v3/lease/keepalive", `{"ID":"77"}{"ID":true}{"ID":"77"}`),
		post("/v3/lease/revoke", `{"ID":77}`),
		post("/v3/kv/lease/revoke", `{"ID":77}`),
		post("/v3/kv/compaction", `{"revision":"3"}`),
		post("/v3/kv/compaction", `{"revision":"3"}`),
		post("/v3/kv/compaction", `{"revision":"300","physical":true}`),
		post("/v3/kv/range", `{"key":"YQ==","revision":"2"}`),
		post("/v3/cluster/member/list", `{}`),
		post("/v3/cluster/member/remove", `{"ID":"5"}`),
		post("/v3/cluster/member/promote", `{"ID":"5"}`),
		post("/v3/cluster/member/update", `{"ID":"5","peerURLs":["http://127.0.0.1:1"]}`),
		post("/v3/cluster/member/add", `{"peerURLs":["nonsense<&>"]}`),
		post("/v3/maintenance/alarm", `{"action":"GET"}`),
		post("/v3/maintenance/alarm", `{"action":1,"alarm":"NOSPACE"}`),
		post("/v3/maintenance/alarm", `{}`),
		post("/v3/maintenance/status", `{}`),
		post("/v3/maintenance/alarm", `{"action":"DEACTIVATE","alarm":1}`),
		post("/v3/maintenance/defragment", `{}`),
		post("/v3/maintenance/hash", `{}`),
		post("/v3/maintenance/hashkv", `{}`),
		post("/v3/maintenance/hashkv", `{"revision":"1"}`),
		post("/v3/maintenance/transfer-leadership", `{"targetID":"5"}`),
		post("/v3/maintenance/downgrade", `{"action":"VALIDATE","version":"nonsense"}`),
		post("/v3/maintenance/downgrade", `{"action":"CANCEL"}`),
		post("/v3/auth/status", `{}`),
		post("/v3/auth/disable", `{}`),
		post("/v3/auth/authenticate", `{"name":"a","password":"b"}`),
	} {
		compare(t, sides, q, all)
	}
}

// How values are written, and what is said of those that cannot be read.
func TestEncodings(t *testing.T) {
	sides := pair(t)
	bodies := []string{
		``, ` `, "\n\t", `null`, `true`, `5`, `"text"`, `[]`, `[{}]`, `{}`, `{}{}`, `{}x`, `{"key":"YQ=="}garbage`, ` {"key":"YQ=="} `,
		`{`, `{"`, `{"key`, `{"key"`, `{"key":`, `{"key":"`, `{"key":"YQ=="`, `{"key":"YQ==",`, `{"key":"YQ==",}`, `{,}`, `{"key" "YQ=="}`,
		`{key:"YQ=="}`, `{'key':"YQ=="}`, `{"key":"YQ==" "limit":1}`, `{"key":x}`, `{"key":"a` + "\n" + `"}`, `{"key":"\x"}`, `{"key":"\u12x4"}`,
		`{"limit":-}`, `{"limit":1.}`, `{"limit":1e}`, `{"limit":1e+}`, `{"limit":01}`, `{"limit":tru}`, `{"limit":nul}`, `{"limit":falsy}`, `[1 2]`,
		"\x00", "\xff", "{\"key\":\"\xff\"}", "{\"\xff\":1}", "{\"x\":\"\xff\"}", "{\xc3\xa9}", "\x7f", `\`, `"`, `'`,
		`{"key":"\ud800"}`, `{"key":"\ud800x"}`, `{"key":"\ud800\u0041"}`, `{"key":"\udc00\ud800"}`, `{"key":"\ud83d\ude00"}`, `{"x":"\ud800"}`,
		`{"k\u0065y":"YQ=="}`, `{"key":"YQ\u003d="}`, `{"key":"Y\/=="}`,
		// Bytes.
		`{"key":"YQ=="}`, `{"key":"YQ"}`, `{"key":"YQ="}`, `{"key":"YQ==="}`, `{"key":"YR=="}`, `{"key":"+/+/"}`, `{"key":"-_-_"}`, `{"key":"-/+_"}`,
		`{"key":"-_8"}`, `{"key":"-_8="}`, `{"key":"Y Q="}`, `{"key":"YQ==\n"}`, `{"key":"Y\nQ"}`, `{"key":"YW\r\nE="}`, `{"key":"!"}`, `{"key":5}`,
		`{"key":true}`, `{"key":{}}`, `{"key":[]}`, `{"key":null}`, `{"key":["YQ=="]}`,
		// Numbers.
		`{"key":"YQ==","limit":1}`, `{"key":"YQ==","limit":"1"}`, `{"key":"YQ==","limit":1.0}`, `{"key":"YQ==","limit":1e0}`, `{"key":"YQ==","limit":"1e0"}`,
		`{"key":"YQ==","limit":1.5}`, `{"key":"YQ==","limit":15e-1}`, `{"key":"YQ==","limit":10e-1}`, `{"key":"YQ==","limit":-0}`, `{"key":"YQ==","limit":" 1"}`,
		`{"key":"YQ==","limit":"1 "}`, `{"key":"YQ==","limit":"1 2"}`, `{"key":"YQ==","limit":"1,"}`, `{"key":"YQ==","limit":"1e,"}`, `{"key":"YQ==","limit":""}`, `{"key":"YQ==","limit":"+1"}`,
		`{"key":"YQ==","limit":"0x1"}`, `{"key":"YQ==","limit":"-"}`, `{"key":"YQ==","limit":"null"}`, `{"key":"YQ==","limit":9223372036854775807}`,
		`{"key":"YQ==","limit":9223372036854775808}`, `{"key":"YQ==","limit":-9223372036854775808}`, `{"key":"YQ==","limit":1e19}`, `{"key":"YQ==","limit":1e99999999999}`,
		`{"key":"YQ==","limit":true}`, `{"key":"YQ==","limit":{}}`, `{"key":"YQ==","limit":null}`, `{"key":"YQ==","revision":-5}`, `{"key":"YQ==","limit":1E+2}`,
		// Truths.
		`{"key":"YQ==","keys_only":true}`, `{"key":"YQ==","keysOnly":false}`, `{"key":"YQ==","keys_only":"true"}`, `{"key":"YQ==","keys_only":1}`, `{"key":"YQ==","keys_only":null}`,
		// Names of enumerations, and fields.
		`{"key":"YQ==","sort_order":"DESCEND"}`, `{"key":"YQ==","sort_order":"descend"}`, `{"key":"YQ==","sort_order":"NOTHING"}`, `{"key":"YQ==","sort_order":2}`,
		`{"key":"YQ==","sort_order":"2"}`, `{"key":"YQ==","sort_order":9}`, `{"key":"YQ==","sort_order":-1}`, `{"key":"YQ==","sort_order":99999999999}`,
		`{"key":"YQ==","sort_order":1.0}`, `{"key":"YQ==","sort_order":true}`, `{"key":"YQ==","sortOrder":[]}`, `{"key":"YQ==","sortorder":[]}`,
		`{"key":"YQ==","nothing":1}`, `{"key":"YQ==","nothing":{"a":[1,{"b":null}],"c":"d"}}`, `{"key":"YQ==","[nothing]":1}`, `{"key":"YQ==","":1}`,
		`{"key":"YQ==","key":"Yg=="}`, `{"key":"YQ==","key":null}`, `{"key":null,"key":"YQ=="}`, `{"range_end":"Yg==","rangeEnd":"Yg=="}`, `{"a":1,"a":2,"key":"YQ=="}`,
		"{\n \"key\": \"YQ==\",\n \"limit\":  x}", "{\n \"key\": \"YQ==\",\n\t\"limit\":  []}", "{\n \"k\u00e9y\": 1, \"limit\":  [1]}",
		// Depth.
		`{"x":` + strings.Repeat("[", 9998) + strings.Repeat("]", 9998) + `,"key":"YQ=="}`, `{"x":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`,
		strings.Repeat("[", 10001), strings.Repeat(`{"a":`, 10001),
	}
	for _, body := range bodies {
		compare(t, sides, post("/v3/kv/range", body), all)
	}
	for _, body := range []string{
		`{"success":null}`, `{"success":{}}`, `{"success":[null]}`, `{"success":[5]}`, `{"success":[[]]}`, `{"success":[{"request_put":5}]}`, `{"success":[{"request_put":null}]}`,
		`{"success":[{"request_put":{"key":"YQ=="},"request_range":{"key":"YQ=="}}]}`, `{"success":[{"request_put":null,"request_range":{"key":"YQ=="}}]}`,
		`{"compare":[{"version":1,"mod_revision":2,"key":"YQ=="}]}`, `{"compare":[{"version":0,"key":"bm8="}]}`, `{"compare":[{"key":"bm8=","target":"VALUE"}]}`,
		`{"compare":[{"key":"bm8=","target":"VALUE","value":""}]}`, `{"compare":[{"key":"bm8=","target":9}]}`, `{"compare":[{"key":"bm8=","result":9}]}`, `{"success":[{},5]}`,
	} {
		compare(t, sides, post("/v3/kv/txn", body), all)
	}
	for _, body := range []string{`{"peerURLs":"http://127.0.0.1:1"}`, `{"peerURLs":[5]}`, `{"peerURLs":[null]}`, `{"peerURLs":["\ud800"]}`} {
		compare(t, sides, post("/v3/cluster/member/add", body), all)
	}
	for _, body := range []string{
		`{"ID":-1}`, `{"ID":"18446744073709551615"}`, `{"ID":18446744073709551616}`, `{"ID":1.8446744073709551615e19}`,
	} {
		compare(t, sides, post("/v3/cluster/member/promote", body), all)
	}
}

// What may be as long as it is, and what is longer.
func TestLengths(t *testing.T) {
	sides := pair(t)
	for _, length := range []int{1 << 20, 1572864, 2097140, 2097152, 3 << 20} {
		value := b64(strings.Repeat("x", length))
		compare(t, sides, post("/v3/kv/put", fmt.Sprintf(`{"key":"YQ==","value":"%s"}`, value)), all)
		compare(t, sides, post("/v3/kv/range", `{"key":"YQ=="}`), all)
	}
}

// Which requests are the gateway's, and how those are refused that are not.
func TestRouting(t *testing.T) {
	sides := pair(t)
	for _, path := range []string{
		"/v3", "/v3/", "/v3/kv", "/v3/kv/", "/v3/kv/range", "/v3/kv/range/", "/v3//kv/range", "/v3/kv/../kv/range", "/v3/kv/./range?x=1", "/v3/kv/%72ange", "/v3/kv/range?key=YQ==",
		"/v3/kv/range%2f", "/v3/kv%2frange", "/v3/nothing", "/v3beta", "/v3beta/", "/v3beta/kv/range", "/v3alpha/kv/range", "/V3/kv/range", "/v3/watch", "/v3/kv/rangestream",
		"/etcdserverpb.KV/Range", "//health", "/v3/kv/range:x", "/v3/../health",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"} {
			compare(t, sides, request{method, path, "", nil}, all)
		}
		if path != "/v3/watch" {
			compare(t, sides, post(path, `{"key":"YQ=="}`), all)
		}
	}
	for _, fields := range []map[string]string{
		{"Content-Type": "application/json"}, {"Content-Type": "text/plain"}, {"Content-Type": "application/grpc"}, {"Content-Type": "nonsense"}, {"Accept": "text/html"},
		{"Content-Type": "application/x-www-form-urlencoded"}, {"Expect": "100-continue"}, {"Authorization": "Bearer x"}, {"Authorization": "x"},
		{"Grpc-Timeout": "5S"}, {"Grpc-Timeout": "1n"}, {"Grpc-Timeout": "-1S"}, {"Grpc-Timeout": "0S"}, {"Grpc-Timeout": "x"}, {"Grpc-Timeout": "5"}, {"Grpc-Timeout": "S"},
		{"Grpc-Metadata-Hasleader": "true"}, {"Grpc-Metadata-Client-Api-Version": "3.7"}, {"TE": "trailers"}, {"Origin": "http://elsewhere"}, {"Host": "evil.example"},
	} {
		compare(t, sides, request{"POST", "/v3/kv/range", `{"key":"YQ=="}`, fields}, all)
	}
}

// CVE-2018-1098: a page of another origin is told nothing.
func TestCVE2018x1098(t *testing.T) {
	sides := pair(t, "--cors=http://good.example:80,https://fine.example:443")
	for _, origin := range []string{"", "http://good.example:80", "https://fine.example:443", "http://good.example", "http://evil.example:80", "null"} {
		for _, method := range []string{"POST", "OPTIONS", "GET"} {
			fields := map[string]string{"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
			for _, path := range []string{"/v3/kv/range", "/version", "/nothing"} {
				got := compare(t, sides, request{method, path, `{"key":"YQ=="}`, fields}, all)
				allowed := origin == "http://good.example:80" || origin == "https://fine.example:443"
				if allowed != strings.Contains(got.fields, "Access-Control") {
					t.Errorf("%q is told %q", origin, got.fields)
				}
			}
		}
	}
}

// CVE-2018-1099: a name of somebody else that points here is not answered.
func TestCVE2018x1099(t *testing.T) {
	sides := pair(t, "--host-whitelist=127.0.0.1,localhost,::1")
	for _, host := range []string{"localhost", "localhost:1", "127.0.0.1:2379", "[::1]:2379", "evil.example", "evil.example:2379", "localhost.evil.example", "evil\"example"} {
		for _, path := range []string{"/v3/kv/range", "/version", "/nothing"} {
			got := compare(t, sides, request{"POST", path, `{"key":"YQ=="}`, map[string]string{"Host": host}}, all)
			if refused := strings.HasPrefix(host, "evil") || strings.HasSuffix(host, "evil.example"); refused != (got.status == http.StatusMisdirectedRequest) {
				t.Errorf("%s: %d", host, got.status)
			}
		}
	}
}

func TestWithoutTheGateway(t *testing.T) {
	sides := pair(t, "--enable-grpc-gateway=false")
	for _, path := range []string{"/v3", "/v3/", "/v3/kv/range", "/v3beta/kv/range", "/version"} {
		for _, method := range []string{"GET", "POST"} {
			compare(t, sides, request{method, path, `{"key":"YQ=="}`, nil}, all)
		}
	}
}

// Calls do not wait for each other.
func TestManyAtOnce(t *testing.T) {
	sides := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, s := range sides {
		results := make(chan error)
		for i := range 50 {
			go func() {
				response, err := s.open(ctx, post("/v3/kv/put", ""), strings.NewReader(fmt.Sprintf(`{"key":"%s"}`, b64(fmt.Sprint(i)))))
				if err == nil {
					response.Body.Close()
				}
				results <- err
			}()
		}
		for range 50 {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
	}
	compare(t, sides, post("/v3/kv/range", `{"key":"AA==","range_end":"AA==","count_only":true}`), all)
}
