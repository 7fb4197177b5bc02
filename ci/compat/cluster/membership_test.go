package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestMembership adds, promotes, updates and removes members, in all the ways that are refused too.
func TestMembership(t *testing.T) {
	p := start(t, 3)
	p.ctl("m1", "member list")
	p.ctl("m2", "endpoint status --cluster")
	p.ctl("m3", "endpoint health --cluster")
	p.ctl("m1,m2,m3", "endpoint status")

	p.ctl("m2", "move-leader 1234")
	p.ctl("m1", "move-leader 1234")
	p.both("move-leader at a follower", func(ctx context.Context, s *side) string {
		return said(s.maintenance("m2").MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: s.id("m3")}))
	})
	p.ctl("m1", "move-leader {m1}")
	p.ctl("m1,m2,m3", "move-leader {m2}", "move-leader {m1}")

	p.each(func(s *side) error {
		_, four := s.Prepare("m4")
		_, five := s.Prepare("m5")
		return errors.Join(four, five)
	})
	p.healthy("m1", "member add again --peer-urls=[m2]")
	p.ctl("m2", "member add again --learner --peer-urls=[m2]")
	p.ctl("m1",
		"member add bad --peer-urls=nonsense",
		"member add bad --peer-urls=http://127.0.0.1",
		"member add bad --peer-urls=ftp://127.0.0.1:1",
		"member add bad --peer-urls=http://127.0.0.1:1/path",
	)
	p.both("add without a URL", func(ctx context.Context, s *side) string {
		return said(s.membership("m1").MemberAdd(ctx, &pb.MemberAddRequest{}))
	})
	p.ctl("m1", "member promote 1234", "member promote {m2}")
	p.ctl("m2", "member promote {m3}")
	p.ctl("m1",
		"member remove 1234",
		"member update 1234 --peer-urls=http://127.0.0.1:1",
		"member update {m2} --peer-urls=[m3]",
		"member update {m2} --peer-urls=nonsense",
	)

	p.both("add a learner", func(ctx context.Context, s *side) string {
		url := s.member("m4").PeerURL
		answer, err := s.membership("m2").MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{url}, IsLearner: true})
		if err != nil {
			return said(nil, err)
		}
		s.name(answer.Member.ID, "ID-m4")
		return fmt.Sprint(len(answer.Members), answer.Member.IsLearner, answer.Member.PeerURLs, answer.Member.Name)
	})
	p.ctl("m1",
		"member list",
		"member add m5 --learner --peer-urls=[m5]",
		"member promote {m4}",
	)
	p.ctl("m2", "member promote {m4}")
	p.ctl("m1", "move-leader {m4}")
	p.each(func(s *side) error { return s.member("m4").With("--initial-cluster=" + initial(s, 4)).Launch() })
	learner(p)
	p.both("promote a learner in sync", func(ctx context.Context, s *side) string {
		return until(ctx, "in sync", func() string { return s.etcdctl("m2", "member promote {m4}") })
	})
	p.ctl("m3", "member list")
	p.ctl("m4", "get at-learner")
	p.ctl("m1",
		"member promote {m4}",
		"member update {m4} --peer-urls=http://localhost:1",
		"member update {m4} --peer-urls=[m4]",
	)
	p.ctl("m3", "member remove {m4}")
	p.both("the removed member ends", func(ctx context.Context, s *side) string {
		return fmt.Sprint(ended(ctx, s.member("m4")))
	})
	p.ctl("m2", "member remove {m4}", "member promote {m4}")
	p.ctl("m1", "member list")

	for _, s := range p.sides {
		s.member("m3").Kill()
	}
	// What is refused for another reason shows when the loss is noticed.
	p.both("add a member while one is down", func(ctx context.Context, s *side) string {
		return until(ctx, "already exists", func() string { return s.etcdctl("m1", "member add again --peer-urls=[m2]") })
	})
	p.ctl("m1", "member add m5 --peer-urls=[m5]", "member remove {m2}")
	p.healthy("m2", "member remove {m3}")
	p.healthy("m2", "member add m5 --peer-urls=[m5]")
}

// initial is what --initial-cluster says of the first members.
func initial(s *side, count int) string {
	some := *s.Cluster
	some.Members = s.Members[:count]
	return some.Initial()
}

// learner compares what m4, a learner, answers.
func learner(p *pair) {
	p.both("the learner serves", func(ctx context.Context, s *side) string {
		for ctx.Err() == nil {
			answer, err := s.maintenance("m4").Status(ctx, &pb.StatusRequest{})
			// A member knows what it is and what the cluster stores once it has heard enough of the log.
			if err == nil && answer.IsLearner && answer.Leader != 0 && answer.StorageVersion == "3.7.0" {
				return "as a learner"
			}
		}
		return "it does not"
	})
	p.ctl("m4",
		"get key",
		"get key --consistency=s",
		"put key value",
		"del key",
		"compaction 1",
		"lease grant 60",
		"lease list",
		"lease timetolive 1234",
		"lease revoke 1234",
	)
	p.both("keep-alive at a learner", func(ctx context.Context, s *side) string { return keepAlive(ctx, s, "m4", 77) })
	p.ctl("m4",
		"member list",
		"member remove 1234",
		"endpoint status",
		"endpoint health",
		"endpoint hashkv",
		"alarm list",
		"defrag",
		"move-leader {m1}",
		"auth status",
	)
	p.both("watch at a learner", func(ctx context.Context, s *side) string {
		_, err := watch(ctx, s, "m4")
		return said("created", err)
	})
}
