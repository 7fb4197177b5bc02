// Package turns asks the Lock and Election services of real etcd and keelkv for the same things and compares the answers.
package turns

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"keelkv/compat/server"
)

const patience = 30 * time.Second

// side is one server, and what was heard from it so far, with ids and terms taken out.
type side struct {
	t        *testing.T
	kv       etcdserverpb.KVClient
	leases   etcdserverpb.LeaseClient
	lock     v3lockpb.LockClient
	election v3electionpb.ElectionClient
	heard    []string
}

var ids = regexp.MustCompile(`"(cluster_id|member_id|raft_term)":\s?"\d+",?`)

// hear notes an answer or a refusal.
func (s *side) hear(what string, message proto.Message, err error) {
	if err != nil {
		known, _ := status.FromError(err)
		s.heard = append(s.heard, fmt.Sprintf("%s: %s %q", what, known.Code(), known.Message()))
		return
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		s.t.Fatal(err)
	}
	// The library puts spaces where it likes.
	s.heard = append(s.heard, what+": "+strings.ReplaceAll(ids.ReplaceAllString(string(text), ""), " ", ""))
}

func (s *side) grant(ctx context.Context, id int64) {
	if _, err := s.leases.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{ID: id, TTL: 600}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *side) keys(ctx context.Context, what, prefix string) {
	end := prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1)
	answer, err := s.kv.Range(ctx, &etcdserverpb.RangeRequest{Key: []byte(prefix), RangeEnd: []byte(end)})
	s.hear(what, answer, err)
}

// awaitKeys waits until so many keys have a prefix.
func (s *side) awaitKeys(ctx context.Context, prefix string, count int64) {
	end := prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1)
	for {
		answer, err := s.kv.Range(ctx, &etcdserverpb.RangeRequest{Key: []byte(prefix), RangeEnd: []byte(end), CountOnly: true})
		if err != nil {
			s.t.Fatal(err)
		}
		if answer.Count == count {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// compare does the same with both servers.
func compare(t *testing.T, do func(ctx context.Context, s *side)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	pair, err := server.StartPair(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Stop()
	var heard [2][]string
	for number, started := range pair.Sides() {
		connection, err := started.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		s := newSide(t, connection)
		do(ctx, s)
		heard[number] = s.heard
	}
	if len(heard[0]) == 0 {
		t.Fatal("nothing was heard")
	}
	for line := range max(len(heard[0]), len(heard[1])) {
		at := func(side int) string {
			if line < len(heard[side]) {
				return heard[side][line]
			}
			return "nothing"
		}
		if at(0) != at(1) {
			t.Errorf("etcd:   %s\nkeelkv: %s", at(0), at(1))
		}
	}
}

func newSide(t *testing.T, connection *grpc.ClientConn) *side {
	return &side{
		t:        t,
		kv:       etcdserverpb.NewKVClient(connection),
		leases:   etcdserverpb.NewLeaseClient(connection),
		lock:     v3lockpb.NewLockClient(connection),
		election: v3electionpb.NewElectionClient(connection),
	}
}

func name(text string) []byte { return []byte(text) }

func TestLocksAreHeldByOneLeaseAtATime(t *testing.T) {
	compare(t, func(ctx context.Context, s *side) {
		for id := int64(1); id <= 3; id++ {
			s.grant(ctx, 0x100+id)
		}
		answer, err := s.lock.Lock(ctx, &v3lockpb.LockRequest{Name: name("l"), Lease: 0x101})
		s.hear("first", answer, err)
		again, err := s.lock.Lock(ctx, &v3lockpb.LockRequest{Name: name("l"), Lease: 0x101})
		s.hear("held already", again, err)
		waited := make(chan func(), 2)
		for place, lease := range []int64{0x102, 0x103} {
			go func() {
				answer, err := s.lock.Lock(ctx, &v3lockpb.LockRequest{Name: name("l"), Lease: lease})
				waited <- func() { s.hear(fmt.Sprint("waited ", place), answer, err) }
			}()
			s.awaitKeys(ctx, "l/", int64(place)+2)
		}
		s.keys(ctx, "all in line", "l/")
		unlocked, err := s.lock.Unlock(ctx, &v3lockpb.UnlockRequest{Key: answer.Key})
		s.hear("unlock", unlocked, err)
		(<-waited)()
		// The next one's lease ends instead.
		if _, err := s.leases.LeaseRevoke(ctx, &etcdserverpb.LeaseRevokeRequest{ID: 0x102}); err != nil {
			s.t.Fatal(err)
		}
		(<-waited)()
		s.keys(ctx, "one is left", "l/")
		unlocked, err = s.lock.Unlock(ctx, &v3lockpb.UnlockRequest{Key: answer.Key})
		s.hear("unlock what is not held", unlocked, err)
		unlocked, err = s.lock.Unlock(ctx, &v3lockpb.UnlockRequest{})
		s.hear("unlock nothing", unlocked, err)
	})
}

func TestWhoStopsWaitingIsNotInLineAnyMore(t *testing.T) {
	compare(t, func(ctx context.Context, s *side) {
		for id := int64(1); id <= 2; id++ {
			s.grant(ctx, 0x100+id)
		}
		held, err := s.lock.Lock(ctx, &v3lockpb.LockRequest{Name: name("l"), Lease: 0x101})
		s.hear("held", held, err)
		short, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			_, _ = s.lock.Lock(short, &v3lockpb.LockRequest{Name: name("l"), Lease: 0x102})
			close(ended)
		}()
		s.awaitKeys(ctx, "l/", 2)
		cancel()
		<-ended
		s.awaitKeys(ctx, "l/", 1)
		s.keys(ctx, "left", "l/")
	})
}

func TestLocksWithoutALeaseOfTheirOwn(t *testing.T) {
	compare(t, func(ctx context.Context, s *side) {
		answer, err := s.lock.Lock(ctx, &v3lockpb.LockRequest{Name: name("l")})
		if err != nil || !strings.HasPrefix(string(answer.Key), "l/") {
			s.t.Fatal(answer, err)
		}
		all, err := s.leases.LeaseLeases(ctx, &etcdserverpb.LeaseLeasesRequest{})
		if err != nil || len(all.Leases) != 1 || string(answer.Key) != fmt.Sprintf("l/%x", all.Leases[0].ID) {
			s.t.Fatal(answer, all, err)
		}
		time, err := s.leases.LeaseTimeToLive(ctx, &etcdserverpb.LeaseTimeToLiveRequest{ID: all.Leases[0].ID})
		if err != nil {
			s.t.Fatal(err)
		}
		s.heard = append(s.heard, fmt.Sprint("granted for ", time.GrantedTTL))
		missing, err := s.lock.Lock(ctx, &v3lockpb.LockRequest{Name: name("l"), Lease: 0x999})
		s.hear("a lease that is not there", missing, err)
	})
}

func TestElections(t *testing.T) {
	compare(t, func(ctx context.Context, s *side) {
		for id := int64(1); id <= 3; id++ {
			s.grant(ctx, 0x100+id)
		}
		leader := func(what string) {
			answer, err := s.election.Leader(ctx, &v3electionpb.LeaderRequest{Name: name("e")})
			s.hear(what, answer, err)
		}
		leader("nobody leads")
		first, err := s.election.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name("e"), Lease: 0x101, Value: name("one")})
		s.hear("first", first, err)
		leader("one leads")
		again, err := s.election.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name("e"), Lease: 0x101, Value: name("uno")})
		s.hear("again, with another value", again, err)
		leader("one leads, with another value")
		proclaimed, err := s.election.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: first.Leader, Value: name("1")})
		s.hear("proclaim", proclaimed, err)
		leader("one leads, with a third value")
		waited := make(chan func(), 1)
		go func() {
			answer, err := s.election.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name("e"), Lease: 0x102, Value: name("two")})
			waited <- func() { s.hear("second", answer, err) }
		}()
		s.awaitKeys(ctx, "e/", 2)
		resigned, err := s.election.Resign(ctx, &v3electionpb.ResignRequest{Leader: first.Leader})
		s.hear("resign", resigned, err)
		(<-waited)()
		leader("two leads")
		resigned, err = s.election.Resign(ctx, &v3electionpb.ResignRequest{Leader: first.Leader})
		s.hear("resign again", resigned, err)
		proclaimed, err = s.election.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: first.Leader, Value: name("x")})
		s.hear("proclaim without leading", proclaimed, err)
		proclaimed, err = s.election.Proclaim(ctx, &v3electionpb.ProclaimRequest{Value: name("x")})
		s.hear("proclaim for nobody", proclaimed, err)
		resigned, err = s.election.Resign(ctx, &v3electionpb.ResignRequest{})
		s.hear("resign for nobody", resigned, err)
		missing, err := s.election.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name("e"), Lease: 0x999})
		s.hear("a lease that is not there", missing, err)
	})
}

func TestLeadersAreObserved(t *testing.T) {
	compare(t, func(ctx context.Context, s *side) {
		for id := int64(1); id <= 2; id++ {
			s.grant(ctx, 0x100+id)
		}
		stream, err := s.election.Observe(ctx, &v3electionpb.LeaderRequest{Name: name("e")})
		if err != nil {
			s.t.Fatal(err)
		}
		next := func(what string) {
			answer, err := stream.Recv()
			s.hear(what, answer, err)
		}
		one, err := s.election.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name("e"), Lease: 0x101, Value: name("a")})
		if err != nil {
			s.t.Fatal(err)
		}
		next("the first")
		if _, err := s.election.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: one.Leader, Value: name("b")}); err != nil {
			s.t.Fatal(err)
		}
		next("its next value")
		if _, err := s.election.Resign(ctx, &v3electionpb.ResignRequest{Leader: one.Leader}); err != nil {
			s.t.Fatal(err)
		}
		if _, err := s.election.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name("e"), Lease: 0x102, Value: name("c")}); err != nil {
			s.t.Fatal(err)
		}
		next("the second")
		late, err := s.election.Observe(ctx, &v3electionpb.LeaderRequest{Name: name("e")})
		if err != nil {
			s.t.Fatal(err)
		}
		answer, err := late.Recv()
		s.hear("who comes late", answer, err)
	})
}
