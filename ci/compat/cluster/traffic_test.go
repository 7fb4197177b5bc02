package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
)

// watching is a watch of one key that is there.
type watching struct{ pb.Watch_WatchClient }

func watch(ctx context.Context, s *side, at string) (watching, error) {
	stream, err := pb.NewWatchClient(s.at(at)).Watch(ctx)
	if err != nil {
		return watching{}, err
	}
	create := &pb.WatchCreateRequest{Key: []byte("watched")}
	// Of a stream that was refused already Send says EOF, and Recv why.
	_ = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}})
	answer, err := stream.Recv()
	if err == nil && !answer.Created {
		err = errors.New("the first answer does not say that the watch is there")
	}
	return watching{stream}, err
}

// keepAlive renews a lease once.
func keepAlive(ctx context.Context, s *side, at string, id int64) string {
	stream, err := s.leases(at).LeaseKeepAlive(ctx)
	if err != nil {
		return said(nil, err)
	}
	_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: id})
	answer, err := stream.Recv()
	return said([]any{answer.GetID(), answer.GetTTL()}, err)
}

// events waits for as many.
func (w watching) events(count int) string {
	var heard []string
	for len(heard) < count {
		answer, err := w.Recv()
		if err != nil {
			return said(nil, err)
		}
		for _, e := range answer.Events {
			heard = append(heard, fmt.Sprint(e.Type, " ", string(e.Kv.Value), " ", e.Kv.ModRevision))
		}
	}
	return strings.Join(heard, ", ")
}

// TestOnAnotherMember does on one member what another one answers for.
func TestOnAnotherMember(t *testing.T) {
	p := start(t, 3)
	everywhere := []string{"m1", "m2", "m3"}
	p.ctl("m2", "put key one")
	p.ctl("m3", "get key -w fields --consistency=l --print-value-only")
	p.ctl("m1", "del key --prev-kv")
	p.ctl("m2", "get key --count-only -w simple")

	grant := func(at string, id int64) {
		p.both(fmt.Sprint("grant ", id, " at ", at), func(ctx context.Context, s *side) string {
			answer, err := s.leases(at).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: 60})
			return said([]any{answer.GetID(), answer.GetTTL(), answer.GetError()}, err)
		})
	}
	live := func(at string) {
		p.both("time to live at "+at, func(ctx context.Context, s *side) string {
			answer, err := s.leases(at).LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 77, Keys: true})
			return said([]any{answer.GetID(), answer.GetTTL() > 50, answer.GetGrantedTTL(), len(answer.GetKeys())}, err)
		})
	}
	alive := func(at string, id int64) {
		p.both(fmt.Sprint("keep-alive of ", id, " at ", at), func(ctx context.Context, s *side) string {
			return keepAlive(ctx, s, at, id)
		})
	}
	grant("m2", 77)
	grant("m3", 77)
	p.ctl("m3", "put leased there --lease=4d")
	for _, at := range everywhere {
		live(at)
	}
	for _, at := range everywhere {
		alive(at, 77)
		alive(at, 78)
		p.ctl(at, "lease list", "lease timetolive 4e")
	}
	p.ctl("m3", "lease revoke 4d")
	p.ctl("m2", "lease revoke 4d")
	live("m2")
	p.ctl("m1", "get leased")

	for _, at := range everywhere {
		p.both("watch at "+at, func(ctx context.Context, s *side) string {
			w, err := watch(ctx, s, at)
			if err != nil {
				return said(nil, err)
			}
			for _, from := range everywhere {
				if answer := s.etcdctl(from, "put watched by-"+from); !strings.Contains(answer, "OK") {
					return answer
				}
			}
			return w.events(3)
		})
	}

	p.ctl("m2", "compaction 6")
	for _, at := range everywhere {
		p.both("what is compacted, at "+at, func(ctx context.Context, s *side) string {
			// Linearizable, so that this member knows of the compaction.
			return s.etcdctl(at, "get watched") + s.etcdctl(at, "get watched --rev=5 --consistency=s") + s.etcdctl(at, "get watched --rev=99")
		})
	}
	p.ctl("m3", "compaction 6", "compaction 99")
	p.ctl("m1,m2,m3", "endpoint hashkv --rev=7")
	p.ctl("m2", "alarm list", "alarm disarm", "defrag --cluster")
}

// TestWithoutQuorum kills all but m1.
func TestWithoutQuorum(t *testing.T) {
	p := start(t, 3)
	p.ctl("m1", "put key value")
	leader := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "hasleader", "true")
	}
	cut := map[*side]watching{}
	p.each(func(s *side) (err error) {
		cut[s], err = watch(leader(t.Context()), s, "m1")
		s.member("m2").Kill()
		s.member("m3").Kill()
		return err
	})
	p.both("status", func(ctx context.Context, s *side) string {
		for ctx.Err() == nil {
			answer, err := s.maintenance("m1").Status(ctx, &pb.StatusRequest{})
			if err != nil || answer.Leader == 0 {
				return said([]any{answer.GetErrors(), answer.GetVersion(), answer.GetStorageVersion(), answer.GetIsLearner()}, err)
			}
		}
		return "it still knows a leader"
	})
	p.both("a watch that requires a leader", func(_ context.Context, s *side) string { return cut[s].events(1) })
	key := []byte("key")
	calls := []struct {
		name string
		call func(context.Context, *side) string
	}{
		{"put", func(ctx context.Context, s *side) string { return said(s.kv("m1").Put(ctx, &pb.PutRequest{Key: key})) }},
		{"get", func(ctx context.Context, s *side) string {
			return said(s.kv("m1").Range(ctx, &pb.RangeRequest{Key: key}))
		}},
		{"serializable get", func(ctx context.Context, s *side) string {
			answer, err := s.kv("m1").Range(ctx, &pb.RangeRequest{Key: key, Serializable: true})
			return said(answer.GetCount(), err)
		}},
		{"compact", func(ctx context.Context, s *side) string {
			return said(s.kv("m1").Compact(ctx, &pb.CompactionRequest{Revision: 1}))
		}},
		{"grant", func(ctx context.Context, s *side) string {
			return said(s.leases("m1").LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 60}))
		}},
		{"revoke", func(ctx context.Context, s *side) string {
			return said(s.leases("m1").LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 77}))
		}},
		{"time to live", func(ctx context.Context, s *side) string {
			return said(s.leases("m1").LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 77}))
		}},
		{"leases", func(ctx context.Context, s *side) string {
			_, err := s.leases("m1").LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
			return said("leases", err)
		}},
		{"keep-alive", func(ctx context.Context, s *side) string {
			return keepAlive(ctx, s, "m1", 77)
		}},
		{"a new watch", func(ctx context.Context, s *side) string {
			_, err := watch(ctx, s, "m1")
			return said("created", err)
		}},
		{"member list", func(ctx context.Context, s *side) string {
			return said(s.membership("m1").MemberList(ctx, &pb.MemberListRequest{Linearizable: true}))
		}},
		{"serializable member list", func(ctx context.Context, s *side) string {
			answer, err := s.membership("m1").MemberList(ctx, &pb.MemberListRequest{})
			return said(len(answer.GetMembers()), err)
		}},
		{"member add", func(ctx context.Context, s *side) string {
			return said(s.membership("m1").MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}}))
		}},
		{"member remove", func(ctx context.Context, s *side) string {
			return said(s.membership("m1").MemberRemove(ctx, &pb.MemberRemoveRequest{ID: s.id("m2")}))
		}},
		{"member update", func(ctx context.Context, s *side) string {
			return said(s.membership("m1").MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: s.id("m2"), PeerURLs: []string{"http://127.0.0.1:1"}}))
		}},
		{"member promote", func(ctx context.Context, s *side) string {
			return said(s.membership("m1").MemberPromote(ctx, &pb.MemberPromoteRequest{ID: s.id("m2")}))
		}},
		{"move-leader", func(ctx context.Context, s *side) string {
			return said(s.maintenance("m1").MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: s.id("m2")}))
		}},
		{"alarm", func(ctx context.Context, s *side) string {
			_, err := s.maintenance("m1").Alarm(ctx, &pb.AlarmRequest{})
			return said("alarms", err)
		}},
		{"hashkv", func(ctx context.Context, s *side) string {
			_, err := s.maintenance("m1").HashKV(ctx, &pb.HashKVRequest{})
			return said("hash", err)
		}},
	}
	// Most of them take as long as a call may: all at once.
	answers := map[*side]map[string]chan string{}
	for _, s := range p.sides {
		answers[s] = map[string]chan string{}
		s.at("m1")
		for _, c := range calls {
			for _, kind := range []string{"", ", requiring a leader"} {
				answer := make(chan string, 1)
				answers[s][c.name+kind] = answer
				ctx := t.Context()
				if kind != "" {
					ctx = leader(ctx)
				}
				go func() {
					// The servers give up after 6 s, if they do.
					ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
					defer cancel()
					said := c.call(ctx, s)
					// The caller's deadline travels with the call, and may end it over there first.
					if end, _ := ctx.Deadline(); time.Until(end) < time.Second {
						said = "no answer"
					}
					answer <- said
				}()
			}
		}
	}
	for _, c := range calls {
		for _, kind := range []string{"", ", requiring a leader"} {
			p.both("no quorum: "+c.name+kind, func(_ context.Context, s *side) string { return <-answers[s][c.name+kind] })
		}
	}
	p.ctl("m1", "endpoint status", "endpoint health")
	p.both("m1: put key value, without a quorum", func(_ context.Context, s *side) string { return s.etcdctl("m1", "put key value") })
	p.ctl("m1", "get key --consistency=s")

	p.each(func(s *side) error { return s.member("m2").Launch() })
	p.both("with a quorum again", func(ctx context.Context, s *side) string {
		if err := s.member("m1").Ready(ctx); err != nil {
			return err.Error()
		}
		return s.etcdctl("m1", "put key again")
	})
}

// TestWiped starts a member whose data is lost as if it were new.
func TestWiped(t *testing.T) {
	p := start(t, 3)
	p.each(func(s *side) error {
		m := s.member("m3")
		m.Kill()
		return errors.Join(m.Wipe(), m.Launch())
	})
	p.both("a member without its data", func(ctx context.Context, s *side) string {
		if !ended(ctx, s.member("m3")) {
			return "it goes on"
		}
		_, after, _ := strings.Cut(s.member("m3").Log(1), "has already been bootstrapped")
		return fmt.Sprint("it ended and says so: ", after != "")
	})
	p.ctl("m1", "put key value")
}

// TestForceNewCluster goes on with what one member has when the others are lost for good.
func TestForceNewCluster(t *testing.T) {
	p := start(t, 3)
	// etcd forgets what the member has, but does not know yet to be agreed on; what comes after it tells.
	p.ctl("m1", "put key value", "put other value", "put other again")
	p.ctl("m2", "get key")
	p.each(func(s *side) error {
		for _, name := range []string{"m1", "m2", "m3"} {
			s.member(name).Kill()
		}
		return s.member("m2").With("--force-new-cluster").Launch()
	})
	p.both("alone", func(ctx context.Context, s *side) string {
		if err := s.member("m2").Ready(ctx); err != nil {
			return err.Error()
		}
		return s.etcdctl("m2", "get key")
	})
	p.ctl("m2", "member list", "put key after", "get key", "endpoint health")
	p.each(func(s *side) error {
		s.member("m2").Kill()
		return s.member("m2").With("--force-new-cluster=false").Launch()
	})
	p.both("alone, without the flag", func(ctx context.Context, s *side) string {
		if err := s.member("m2").Ready(ctx); err != nil {
			return err.Error()
		}
		return s.etcdctl("m2", "get key")
	})
}
