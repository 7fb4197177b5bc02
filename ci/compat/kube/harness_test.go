// Package kube asks real etcd and keelkv for what an API server of Kubernetes asks its store for, with the library that
// etcd's Go client has for it, and compares all that is heard. What such a server relies on is looked at besides.
package kube

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"google.golang.org/grpc/status"

	"keelkv/compat/server"
)

const patience = 30 * time.Second

// kubeadm are flags that kubeadm gives to etcd; only progress is told ten times as often.
var kubeadm = []string{
	"--feature-gates=InitialCorruptCheck=true", "--snapshot-count=10000", "--watch-progress-notify-interval=500ms",
}

// apiserver is one of those that have a server for their store.
type apiserver struct {
	*kubernetes.Client
	t      *testing.T
	ctx    context.Context
	server *server.Server
	heard  []string
}

// compare has the same happen at both servers.
func compare(t *testing.T, do func(*apiserver)) {
	t.Helper()
	pair, err := server.StartPair(t.Context(), kubeadm...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pair.Stop)
	var heard [2][]string
	for i, s := range pair.Sides() {
		ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
		defer cancel()
		a := &apiserver{Client: connect(t, s), t: t, ctx: ctx, server: s}
		do(a)
		heard[i] = a.heard
	}
	for n := range max(len(heard[0]), len(heard[1])) {
		at := func(side int) string {
			if n < len(heard[side]) {
				return heard[side][n]
			}
			return "nothing"
		}
		if at(0) != at(1) {
			t.Errorf("etcd:   %s\nkeelkv: %s", at(0), at(1))
		}
	}
	t.Logf("%d things heard, the last: %s", len(heard[0]), heard[0][len(heard[0])-1])
}

// connect is how such a server connects.
func connect(t *testing.T, s *server.Server) *kubernetes.Client {
	t.Helper()
	client, err := kubernetes.New(clientv3.Config{
		Endpoints: []string{s.Address}, DialTimeout: 20 * time.Second,
		DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (a *apiserver) hear(format string, values ...any) {
	a.heard = append(a.heard, fmt.Sprintf(format, values...))
}

// must ends the test after an error.
func (a *apiserver) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// holds is for what an API server relies on.
func (a *apiserver) holds(condition bool, format string, values ...any) {
	a.t.Helper()
	if !condition {
		a.t.Fatalf(format, values...)
	}
}

// refusal is an error as text and code, both of which API servers look at.
func refusal(err error) string {
	if err == nil {
		return "no error"
	}
	code := status.Code(err)
	if known := (rpctypes.EtcdError{}); errors.As(err, &known) {
		code = known.Code()
	}
	return fmt.Sprintf("%q %s", err, code)
}

// object is a row of the store.
func object(kv *mvccpb.KeyValue) string {
	if kv == nil {
		return "no object"
	}
	value := string(kv.Value)
	if len(value) > 30 {
		value = fmt.Sprintf("%d bytes %08x", len(value), crc32.ChecksumIEEE(kv.Value))
	}
	return fmt.Sprintf("%s=%q created %d, modified %d, version %d, leased %t", kv.Key, value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease != 0)
}

// objects are many rows: how many, which, and a checksum over all that is in them.
func objects(kvs []*mvccpb.KeyValue) string {
	if len(kvs) == 0 {
		return "nothing"
	}
	sum := crc32.NewIEEE()
	for _, kv := range kvs {
		fmt.Fprintln(sum, object(kv))
	}
	return fmt.Sprintf("%d from %s to %s, %08x", len(kvs), kvs[0].Key, kvs[len(kvs)-1].Key, sum.Sum32())
}

// create, update and remove are what changes objects. Each tells the outcome, and returns the revision.
func (a *apiserver) create(key, value string, lease clientv3.LeaseID) int64 {
	a.t.Helper()
	put, err := a.Kubernetes.OptimisticPut(a.ctx, key, []byte(value), 0, kubernetes.PutOptions{LeaseID: lease})
	a.must(err)
	a.hear("create %s: %t at %d, %s", key, put.Succeeded, put.Revision, object(put.KV))
	return put.Revision
}

func (a *apiserver) update(key, value string, expected int64) kubernetes.PutResponse {
	a.t.Helper()
	put, err := a.Kubernetes.OptimisticPut(a.ctx, key, []byte(value), expected, kubernetes.PutOptions{GetOnFailure: true})
	a.must(err)
	a.hear("update %s of %d: %t at %d, %s", key, expected, put.Succeeded, put.Revision, object(put.KV))
	return put
}

func (a *apiserver) remove(key string, expected int64) kubernetes.DeleteResponse {
	a.t.Helper()
	gone, err := a.Kubernetes.OptimisticDelete(a.ctx, key, expected, kubernetes.DeleteOptions{GetOnFailure: true})
	a.must(err)
	a.hear("delete %s of %d: %t at %d, %s", key, expected, gone.Succeeded, gone.Revision, object(gone.KV))
	return gone
}

func (a *apiserver) get(key string, revision int64) *mvccpb.KeyValue {
	a.t.Helper()
	got, err := a.Kubernetes.Get(a.ctx, key, kubernetes.GetOptions{Revision: revision})
	a.hear("get %s at %d: %s, %d, %s", key, revision, object(got.KV), got.Revision, refusal(err))
	return got.KV
}

func (a *apiserver) list(prefix string, options kubernetes.ListOptions) kubernetes.ListResponse {
	a.t.Helper()
	got, err := a.Kubernetes.List(a.ctx, prefix, options)
	a.hear("list %s %+v: %s of %d at %d, %s", prefix, options, objects(got.Kvs), got.Count, got.Revision, refusal(err))
	return got
}

// revision is the current one, as API servers find it.
func (a *apiserver) revision() int64 {
	a.t.Helper()
	got, err := a.Kubernetes.List(a.ctx, "/registry/", kubernetes.ListOptions{Limit: 1})
	a.must(err)
	return got.Revision
}
