package diff

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"keelkv/compat/server"
)

// A tester that finds nothing proves nothing: one side with another limit must be found.
func TestFindsADifference(t *testing.T) {
	ctx := context.Background()
	pair := &server.Pair{}
	defer pair.Stop()
	var err error
	for side, flag := range map[**server.Server]string{&pair.Etcd: "128", &pair.Keelkv: "127"} {
		o := server.Options{Binary: server.Etcd(), Flags: []string{"--max-txn-ops=" + flag}}
		if *side, err = server.Start(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	r, err := runnerOn(ctx, pair, NewCoverage())
	if err != nil {
		t.Fatal(err)
	}
	q := &pb.TxnRequest{}
	for range 128 {
		q.Compare = append(q.Compare, &pb.Compare{Key: []byte("a")})
	}
	d := r.Run(ctx, Program{Steps: []Step{call("KV/Put", &pb.PutRequest{Key: []byte("a")}), call("KV/Txn", q)}})
	if d == nil || d.Step != 1 || d.Etcd != "no error" || !strings.Contains(d.Ours, "too many operations") {
		t.Fatalf("got %v", d)
	}
}

func TestShrinkKeepsWhatMatters(t *testing.T) {
	steps := make([]Step, 40)
	for i := range steps {
		steps[i] = Step{Renew: &Renew{Lease: int64(i)}}
	}
	fails := func(steps []Step) *Difference {
		var five, thirty bool
		for i, s := range steps {
			five = five || s.Renew.Lease == 5
			if thirty = s.Renew.Lease == 30; five && thirty {
				return &Difference{Step: i}
			}
		}
		return nil
	}
	left, d := shrink(steps, fails(steps), fails)
	if d == nil || len(left) != 2 || left[0].Renew.Lease != 5 || left[1].Renew.Lease != 30 {
		t.Fatalf("%v %v", left, d)
	}
}

func TestProgramsAreTheSameForASeedAndSurviveJSON(t *testing.T) {
	for n := range uint64(50) {
		p := Generate(3, n)
		if len(p.Steps) < 50 {
			t.Fatalf("only %d steps", len(p.Steps))
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(Generate(3, n))
		if err != nil || string(again) != string(text) {
			t.Fatalf("program %d differs from itself: %v", n, err)
		}
		var back Program
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		for i := range p.Steps {
			a, b := p.Steps[i], back.Steps[i]
			if a.Call != nil && !proto.Equal(a.Call.Request, b.Call.Request) ||
				a.Watch != nil && !proto.Equal(a.Watch.Request, b.Watch.Request) ||
				a.Raw != nil && !reflect.DeepEqual(a.Raw, b.Raw) {
				t.Fatalf("step %d: %v came back as %v", i, a, b)
			}
		}
	}
}

func TestFixturesRead(t *testing.T) {
	programs, err := readFixtures("../fixtures")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		if len(p.Steps) == 0 {
			t.Errorf("%s has no steps", p.Name)
		}
	}
}
