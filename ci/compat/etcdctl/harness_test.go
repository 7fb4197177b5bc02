// Package etcdctl drives the unmodified etcdctl against real etcd and keelkv and compares what it prints.
package etcdctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"keelkv/compat/server"
)

const patience = 30 * time.Second

// output is what one run of etcdctl left.
type output struct {
	stdout, stderr string
	code           int
}

// side is one member, with what must be taken out of the texts about it.
type side struct {
	server *server.Server
	ids    map[string]string
	leases []int64
}

func newSide(t *testing.T, s *server.Server) *side {
	connection, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	members, err := etcdserverpb.NewClusterClient(connection).MemberList(t.Context(), &etcdserverpb.MemberListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	made := &side{server: s, ids: map[string]string{s.Address: "ENDPOINT"}}
	for _, url := range members.Members[0].PeerURLs {
		made.ids[strings.TrimPrefix(url, "http://")] = "PEER"
	}
	made.add(members.Header.ClusterId, "CLUSTER")
	made.add(members.Header.MemberId, "MEMBER")
	return made
}

func (s *side) add(id uint64, name string) {
	s.ids[strconv.FormatUint(id, 10)], s.ids[fmt.Sprintf("%x", id)], s.ids[fmt.Sprintf("%016x", id)] = name, name, name
}

// arguments fills in what differs: {lease} is the last lease that was granted, in hex.
func (s *side) arguments(args []string) []string {
	filled := []string{"--endpoints=" + s.server.Address}
	for _, arg := range args {
		if n := len(s.leases); n > 0 {
			arg = strings.ReplaceAll(arg, "{lease}", fmt.Sprintf("%x", s.leases[n-1]))
		}
		filled = append(filled, arg)
	}
	return filled
}

func (s *side) run(args []string, stdin string) output { return s.runFor(patience, args, stdin) }

// runFor ends it after a while.
func (s *side) runFor(while time.Duration, args []string, stdin string) output {
	ctx, cancel := context.WithTimeout(context.Background(), while)
	defer cancel()
	command := exec.CommandContext(ctx, server.Etcdctl(), s.arguments(args)...)
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		stderr.WriteString(err.Error())
	}
	if ctx.Err() != nil {
		stderr.WriteString("it did not end")
	}
	s.learn(stdout.String())
	return output{stdout.String(), stderr.String(), command.ProcessState.ExitCode()}
}

var (
	granted       = regexp.MustCompile(`lease ([0-9a-f]{16}) granted with TTL\(\d+s\)\n`)
	grantedJSON   = regexp.MustCompile(`"ID":(\d+),"TTL":\d+,"Error"`)
	grantedFields = regexp.MustCompile(`"ID" : (\d+)\n"TTL" : \d+\n$`)
	// Who waits for a lock or an election has a key that ends with a lease.
	waiting = regexp.MustCompile(`(?m)^[a-z]+/([0-9a-f]{12,16})$`)
)

func (s *side) learn(stdout string) {
	note := func(text string, base int) {
		if id, err := strconv.ParseInt(text, base, 64); err == nil {
			s.leases = append(s.leases, id)
			s.add(uint64(id), "LEASE")
		}
	}
	for _, pattern := range []*regexp.Regexp{granted, waiting} {
		for _, found := range pattern.FindAllStringSubmatch(stdout, -1) {
			note(found[1], 16)
		}
	}
	for _, pattern := range []*regexp.Regexp{grantedJSON, grantedFields} {
		for _, found := range pattern.FindAllStringSubmatch(stdout, -1) {
			note(found[1], 10)
		}
	}
}

// What may differ between two members, or two runs on one.
var loose = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`(?m)^\{"level":.*\n`), ""},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ns|µs|ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`remaining\(DURATION\)`), "remaining"},
	{regexp.MustCompile(`("(?:raft_term|raftTerm|RaftTerm)" ?: ?)[1-9]\d*`), "${1}N"},
	{regexp.MustCompile(`("(?:raftIndex|raftAppliedIndex|dbSize|dbSizeInUse)":)[1-9]\d*`), "${1}N"},
	{regexp.MustCompile(`("(?:RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)" : )[1-9]\d*`), "${1}N"},
	{regexp.MustCompile(`("ttl":)\d+`), "${1}N"},
	{regexp.MustCompile(`("TTL" : )\d+`), "${1}N"},
	{regexp.MustCompile(`\b\d+(\.\d+)? [kMG]?B\b`), "SIZE"},
	{regexp.MustCompile(`\b\d+%`), "PERCENT"},
	// raft term, index, applied index in rows of endpoint status.
	{regexp.MustCompile(`((?:true|false), (?:true|false), )\d+, \d+, \d+`), "${1}N, N, N"},
	{regexp.MustCompile(`((?:true|false) +[|│] +(?:true|false) +[|│] +)\d+( +[|│] +)\d+( +[|│] +)\d+`), "${1}N${2}N${3}N"},
	// Columns are as wide as what is in them.
	{regexp.MustCompile(`[-─]{2,}`), "--"},
	{regexp.MustCompile(` {2,}`), " "},
}

func (s *side) normalise(text string) string {
	for id, name := range s.ids {
		if len(id) > 3 {
			text = regexp.MustCompile(`\b`+regexp.QuoteMeta(id)+`\b`).ReplaceAllString(text, name)
		}
	}
	for _, l := range loose {
		text = l.pattern.ReplaceAllString(text, l.by)
	}
	return text
}

// protobuf reads what `-w protobuf` wrote and prints it without what may differ.
func (s *side) protobuf(text string, like proto.Message) string {
	m := like.ProtoReflect().New().Interface()
	if err := proto.Unmarshal([]byte(text), m); err != nil {
		return err.Error()
	}
	var h protoreflect.Message
	if _, is := m.(*etcdserverpb.ResponseHeader); is {
		h = m.ProtoReflect()
	} else if header := m.ProtoReflect().Descriptor().Fields().ByName("header"); header != nil && m.ProtoReflect().Has(header) {
		h = m.ProtoReflect().Get(header).Message()
	}
	if h != nil {
		for _, name := range []string{"cluster_id", "member_id", "raft_term"} {
			f := h.Descriptor().Fields().ByName(protoreflect.Name(name))
			if !h.Has(f) {
				return "no " + name
			}
			h.Clear(f)
		}
	}
	return s.normalise(prototext.Format(m))
}

// pair runs the same commands on both.
type pair struct {
	sides [2]*side
}

func startPair(t *testing.T, flags ...string) *pair {
	t.Helper()
	started, err := server.StartPair(t.Context(), flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("keelkv's log:\n%s", started.Keelkv.Log(20))
		}
		started.Stop()
	})
	p := &pair{}
	for i, s := range started.Sides() {
		p.sides[i] = newSide(t, s)
	}
	return p
}

func (p *pair) both(f func(*side) output) (outputs [2]output) {
	var group sync.WaitGroup
	for i, s := range p.sides {
		group.Go(func() { outputs[i] = f(s) })
	}
	group.Wait()
	return outputs
}

// compare fails if the outputs differ after normalising; it returns etcd's.
func (p *pair) compare(t *testing.T, outputs [2]output, like proto.Message) output {
	t.Helper()
	var normal [2]output
	for i, o := range outputs {
		normal[i] = output{p.sides[i].normalise(o.stdout), p.sides[i].normalise(o.stderr), o.code}
		if like != nil {
			normal[i].stdout = p.sides[i].protobuf(o.stdout, like)
		}
	}
	if normal[0] != normal[1] {
		t.Errorf("etcd:   exit %d\n%s\n%s\nkeelkv: exit %d\n%s\n%s",
			normal[0].code, normal[0].stdout, normal[0].stderr, normal[1].code, normal[1].stdout, normal[1].stderr)
	}
	return normal[0]
}
