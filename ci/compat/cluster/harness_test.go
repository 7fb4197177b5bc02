// Package cluster compares clusters of real etcd with clusters of keelkv: what is answered to changes of the
// membership, to calls at followers and learners, and when there is no quorum.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"keelkv/compat/server"
)

const patience = 60 * time.Second

// quick makes elections, and with them the time after which a call without a quorum ends, short.
var quick = []string{"--heartbeat-interval=50", "--election-timeout=500"}

// side is one of the two clusters, with what must be taken out of the texts about it.
type side struct {
	*server.Cluster
	ours        bool
	names       map[string]string
	connections map[string]*grpc.ClientConn
}

// pair runs the same on both and compares.
type pair struct {
	t     *testing.T
	sides [2]*side
}

func start(t *testing.T, size int, flags ...string) *pair {
	t.Helper()
	clusters, err := server.StartClusters(t.Context(), size, append(quick, flags...)...)
	p := &pair{t: t}
	for i, c := range clusters {
		p.sides[i] = &side{Cluster: c, ours: i == 1, names: map[string]string{}, connections: map[string]*grpc.ClientConn{}}
	}
	t.Cleanup(func() {
		for _, s := range p.sides {
			for _, c := range s.connections {
				c.Close()
			}
			for _, m := range s.Members {
				if t.Failed() && s.ours {
					t.Logf("%s:\n%s", m.Name, m.Log(12))
				}
			}
			s.Stop()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.sides {
		s.learn(t)
	}
	return p
}

// learn takes up the ids of all members.
func (s *side) learn(t *testing.T) {
	t.Helper()
	list, err := s.membership("m1").MemberList(t.Context(), &pb.MemberListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	s.name(list.Header.ClusterId, "CLUSTER")
	for _, one := range list.Members {
		for _, m := range s.Members {
			if len(one.PeerURLs) > 0 && one.PeerURLs[0] == m.PeerURL {
				s.name(one.ID, "ID-"+m.Name)
			}
		}
	}
}

func (s *side) name(id uint64, name string) {
	s.names[strconv.FormatUint(id, 10)], s.names[fmt.Sprintf("%x", id)], s.names[fmt.Sprintf("%016x", id)] = name, name, name
}

// id is the number behind a name that learn gave.
func (s *side) id(name string) uint64 {
	for text, known := range s.names {
		if known == "ID-"+name && len(text) == 16 {
			if id, err := strconv.ParseUint(text, 16, 64); err == nil {
				return id
			}
		}
	}
	return 0xdead
}

func (s *side) member(name string) *server.Member {
	for _, m := range s.Members {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// at is a connection to a member.
func (s *side) at(name string) *grpc.ClientConn {
	if s.connections[name] == nil {
		connection, err := s.member(name).Dial()
		if err != nil {
			panic(err)
		}
		s.connections[name] = connection
	}
	return s.connections[name]
}

func (s *side) kv(at string) pb.KVClient                   { return pb.NewKVClient(s.at(at)) }
func (s *side) leases(at string) pb.LeaseClient            { return pb.NewLeaseClient(s.at(at)) }
func (s *side) membership(at string) pb.ClusterClient      { return pb.NewClusterClient(s.at(at)) }
func (s *side) maintenance(at string) pb.MaintenanceClient { return pb.NewMaintenanceClient(s.at(at)) }

var loose = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`(?m)^\{"level":.*\n`), ""},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ns|µs|ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`\b\d+(\.\d+)? [kMG]?B\b`), "SIZE"},
	{regexp.MustCompile(`\b\d+%`), "PERCENT"},
	{regexp.MustCompile(`Member +[0-9a-f]+ added`), "Member NEW added"},
	{regexp.MustCompile(` {2,}`), " "},
	{regexp.MustCompile(`((?:true|false), (?:true|false), )\d+, \d+, \d+`), "${1}N, N, N"},
}

// normalise takes out what differs between any two clusters; lines and lists come in the order of ids, so they are sorted.
func (s *side) normalise(text string) string {
	for _, m := range s.Members {
		text = strings.ReplaceAll(text, m.PeerURL, "PEER-"+m.Name)
		text = strings.ReplaceAll(text, m.Address, "CLIENT-"+m.Name)
	}
	for id, name := range s.names {
		text = regexp.MustCompile(`\b`+id+`\b`).ReplaceAllString(text, name)
	}
	for _, l := range loose {
		text = l.pattern.ReplaceAllString(text, l.by)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		if before, list, is := strings.Cut(line, "ETCD_INITIAL_CLUSTER=\""); is {
			named := strings.Split(strings.TrimSuffix(list, "\""), ",")
			sort.Strings(named)
			lines[i] = before + "ETCD_INITIAL_CLUSTER=" + strings.Join(named, ",")
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// etcdctl runs a command; NAME stands for a client address, {NAME} for an id, [NAME] for a peer URL.
func (s *side) etcdctl(at, args string) string {
	var endpoints []string
	for _, name := range strings.Split(at, ",") {
		endpoints = append(endpoints, s.member(name).Address)
	}
	for _, m := range s.Members {
		args = strings.ReplaceAll(args, "{"+m.Name+"}", fmt.Sprintf("%x", s.id(m.Name)))
		args = strings.ReplaceAll(args, "["+m.Name+"]", m.PeerURL)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	words := append([]string{"--endpoints=" + strings.Join(endpoints, ","), "--command-timeout=10s"}, strings.Fields(args)...)
	command := exec.CommandContext(ctx, server.Etcdctl(), words...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err.Error()
	}
	if ctx.Err() != nil {
		return "it did not end"
	}
	return fmt.Sprintf("exit %d\n%s%s", command.ProcessState.ExitCode(), stdout.String(), stderr.String())
}

// said is an answer or a refusal in one line.
func said(answer any, err error) string {
	if err != nil {
		s := status.Convert(err)
		return fmt.Sprintf("%d %s", s.Code(), s.Message())
	}
	return fmt.Sprint(answer)
}

// both runs f on both sides at once and compares what it says.
func (p *pair) both(step string, f func(context.Context, *side) string) string {
	p.t.Helper()
	var answers [2]string
	var group sync.WaitGroup
	for i, s := range p.sides {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(p.t.Context(), patience)
			defer cancel()
			answers[i] = s.normalise(f(ctx, s))
		})
	}
	group.Wait()
	if known, is := differences[step]; is && answers[0] != answers[1] {
		if answers != known.answers {
			p.t.Errorf("%s: differs otherwise than known\netcd:   %q\nkeelkv: %q", step, answers[0], answers[1])
		}
	} else if is && server.Keelkv() != server.Etcd() {
		p.t.Errorf("%s: no longer differs; take it from the list (%s)", step, answers[0])
	} else if answers[0] != answers[1] {
		p.t.Errorf("%s\netcd:   %q\nkeelkv: %q", step, answers[0], answers[1])
	}
	p.t.Logf("%s: %s", step, answers[0])
	return answers[0]
}

// each does the same on both sides, one after the other; what fails ends the test.
func (p *pair) each(f func(*side) error) {
	p.t.Helper()
	for _, s := range p.sides {
		if err := f(s); err != nil {
			p.t.Fatal(err)
		}
	}
}

// ctl compares runs of etcdctl.
func (p *pair) ctl(at string, commands ...string) {
	p.t.Helper()
	for _, args := range commands {
		p.both(at+": "+args, func(_ context.Context, s *side) string { return s.etcdctl(at, args) })
	}
}

// ended says whether a member's process ends.
func ended(ctx context.Context, m *server.Member) bool {
	select {
	case <-m.Exited():
		return true
	case <-ctx.Done():
		return false
	}
}

// until repeats f until it no longer says what passes: a cluster refuses changes while it is not healthy for some seconds.
func until(ctx context.Context, passes string, f func() string) string {
	for {
		answer := f()
		if !strings.Contains(answer, passes) || ctx.Err() != nil {
			return answer
		}
	}
}

// healthy runs etcdctl until it is not refused for the health of the cluster.
func (p *pair) healthy(at, args string) {
	p.t.Helper()
	p.both(at+": "+args, func(ctx context.Context, s *side) string {
		return until(ctx, "unhealthy cluster", func() string { return s.etcdctl(at, args) })
	})
}
