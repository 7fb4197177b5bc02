package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// jsonPaths are where the gateway takes calls. For ranges in pieces it has no path.
var jsonPaths = map[string]string{
	"Watch.Watch": "watch", "Lease.LeaseKeepAlive": "lease/keepalive", "Maintenance.Snapshot": "maintenance/snapshot",
	"Election.Observe": "election/observe", "KV.RangeStream": "kv/rangestream",
	"KV.Range": "kv/range", "KV.Put": "kv/put", "KV.DeleteRange": "kv/deleterange", "KV.Txn": "kv/txn", "KV.Compact": "kv/compaction",
	"Lease.LeaseGrant": "lease/grant", "Lease.LeaseRevoke": "lease/revoke", "Lease.LeaseTimeToLive": "lease/timetolive",
	"Lease.LeaseLeases": "lease/leases", "Cluster.MemberAdd": "cluster/member/add", "Cluster.MemberRemove": "cluster/member/remove",
	"Cluster.MemberUpdate": "cluster/member/update", "Cluster.MemberList": "cluster/member/list",
	"Cluster.MemberPromote": "cluster/member/promote", "Maintenance.Alarm": "maintenance/alarm", "Maintenance.Status": "maintenance/status",
	"Maintenance.Defragment": "maintenance/defragment", "Maintenance.Hash": "maintenance/hash", "Maintenance.HashKV": "maintenance/hashkv",
	"Maintenance.MoveLeader": "maintenance/transfer-leadership", "Maintenance.Downgrade": "maintenance/downgrade",
	"Auth.AuthEnable": "auth/enable", "Auth.AuthDisable": "auth/disable", "Auth.AuthStatus": "auth/status",
	"Auth.Authenticate": "auth/authenticate", "Auth.UserAdd": "auth/user/add", "Auth.UserGet": "auth/user/get",
	"Auth.UserList": "auth/user/list", "Auth.UserDelete": "auth/user/delete", "Auth.UserChangePassword": "auth/user/changepw",
	"Auth.UserGrantRole": "auth/user/grant", "Auth.UserRevokeRole": "auth/user/revoke", "Auth.RoleAdd": "auth/role/add",
	"Auth.RoleGet": "auth/role/get", "Auth.RoleList": "auth/role/list", "Auth.RoleDelete": "auth/role/delete",
	"Auth.RoleGrantPermission": "auth/role/grant", "Auth.RoleRevokePermission": "auth/role/revoke",
	"Lock.Lock": "lock/lock", "Lock.Unlock": "lock/unlock", "Election.Campaign": "election/campaign",
	"Election.Proclaim": "election/proclaim", "Election.Leader": "election/leader", "Election.Resign": "election/resign",
}

// gateway is where a side takes JSON, and how it is reached.
type gateway struct {
	client *http.Client
	base   string
}

// forJSON leaves out what the gateway does not take.
func forJSON(all []row) []row {
	return slices.DeleteFunc(slices.Clone(all), func(r row) bool { return jsonPaths[r.method] == "" })
}

func (g *gateway) call(ctx context.Context, m method, token string, request, answer proto.Message) error {
	got, err := g.post(ctx, m, token, request)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	if got.StatusCode == http.StatusOK {
		return protojson.Unmarshal(text, answer)
	}
	return refused(got.Status, text)
}

// first reads the first message of a stream, which has an object around it; io.EOF if it ends without one.
func (g *gateway) first(ctx context.Context, m method, token string, request, answer proto.Message) error {
	got, err := g.post(ctx, m, token, request)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusOK {
		text, err := io.ReadAll(got.Body)
		if err != nil {
			return err
		}
		return refused(got.Status, text)
	}
	var line json.RawMessage
	if err := json.NewDecoder(got.Body).Decode(&line); err != nil {
		return err
	}
	var held struct{ Result json.RawMessage }
	if err := json.Unmarshal(line, &held); err != nil || held.Result == nil {
		return refused(got.Status, line)
	}
	return protojson.Unmarshal(held.Result, answer)
}

// refused reads an error. That of a stream has an object around it.
func refused(httpStatus string, text []byte) error {
	type refusal struct {
		Code    codes.Code
		Message string
	}
	var failed struct {
		refusal
		Error *refusal
	}
	if err := json.Unmarshal(text, &failed); err != nil {
		return fmt.Errorf("%s: %s", httpStatus, text)
	}
	if failed.Error != nil {
		failed.refusal = *failed.Error
	}
	return status.Error(failed.Code, failed.Message)
}

func (g *gateway) post(ctx context.Context, m method, token string, request proto.Message) (*http.Response, error) {
	body, err := protojson.Marshal(request)
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, g.base+"/v3/"+jsonPaths[m.name()], bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		post.Header.Set("Authorization", token)
	}
	return g.client.Do(post)
}
