package diff

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// paths are those of the gateway, by method. Streams stay with gRPC.
var paths = map[string]string{
	"/etcdserverpb.KV/Range":               "/v3/kv/range",
	"/etcdserverpb.KV/Put":                 "/v3/kv/put",
	"/etcdserverpb.KV/DeleteRange":         "/v3/kv/deleterange",
	"/etcdserverpb.KV/Txn":                 "/v3/kv/txn",
	"/etcdserverpb.KV/Compact":             "/v3/kv/compaction",
	"/etcdserverpb.Lease/LeaseGrant":       "/v3/lease/grant",
	"/etcdserverpb.Lease/LeaseRevoke":      "/v3/lease/revoke",
	"/etcdserverpb.Lease/LeaseTimeToLive":  "/v3/lease/timetolive",
	"/etcdserverpb.Lease/LeaseLeases":      "/v3/lease/leases",
	"/etcdserverpb.Maintenance/Status":     "/v3/maintenance/status",
	"/etcdserverpb.Maintenance/Hash":       "/v3/maintenance/hash",
	"/etcdserverpb.Maintenance/HashKV":     "/v3/maintenance/hashkv",
	"/etcdserverpb.Maintenance/Defragment": "/v3/maintenance/defragment",
	"/etcdserverpb.Maintenance/Alarm":      "/v3/maintenance/alarm",
	"/etcdserverpb.Cluster/MemberList":     "/v3/cluster/member/list",
}

// overJSON sends a request through the gateway. The answer has to be what Go's library writes, but for spaces, which that
// puts in by lot.
func (s *side) overJSON(ctx context.Context, c *Call, request proto.Message) (proto.Message, error) {
	body, err := protojson.Marshal(request)
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.server.Address+paths[c.Method], bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for key, value := range c.Metadata {
		post.Header.Set("Grpc-Metadata-"+key, value)
	}
	answer, err := http.DefaultClient.Do(post)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		var failed struct {
			Code    codes.Code
			Message string
		}
		if err := json.Unmarshal(text, &failed); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", answer.Status, err, text)
		}
		return nil, status.Error(failed.Code, failed.Message)
	}
	response, err := newMessage(string(methods[c.Method].Output().FullName()))
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(text, response); err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	expected, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(response)
	if err != nil {
		return nil, err
	}
	if got, expected := compact(text), compact(expected); got != expected {
		return nil, fmt.Errorf("the answer is written differently: %s, not %s", got, expected)
	}
	return response, nil
}

func compact(text []byte) string {
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return string(text)
	}
	return out.String()
}
