package diff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// scenario is a fixed story that random programs cannot tell.
type scenario struct {
	name  string
	flags []string
	run   func(context.Context, *Runner) *Difference
}

var scenarios = []scenario{
	{"alarms", nil, alarms},
	{"quota", []string{"--quota-backend-bytes=16777216"}, quota},
	{"health", nil, health},
	{"raw requests", nil, rawRequests},
	{"small limits", []string{"--max-txn-ops=3", "--max-request-bytes=2048"}, smallLimits},
}

func runScenarios(ctx context.Context, coverage *Coverage, out io.Writer) error {
	var failed []error
	for _, s := range scenarios {
		r, err := NewRunner(ctx, coverage, s.flags...)
		if err != nil {
			return fmt.Errorf("scenario %s: %w", s.name, err)
		}
		d := s.run(ctx, r)
		r.Stop()
		if d != nil {
			failed = append(failed, fmt.Errorf("scenario %s: %v", s.name, d))
		}
		coverage.Count("scenarios", 1)
	}
	fmt.Fprintf(out, "%d scenarios, %d failed\n", len(scenarios), len(failed))
	return errors.Join(failed...)
}

func call(method string, request proto.Message) Step {
	return Step{Call: &Call{Method: "/etcdserverpb." + method, Request: message{request}}}
}

// everyKind is one request of each kind that an alarm may stop.
func everyKind() []Step {
	put := &pb.PutRequest{Key: []byte("a"), Value: []byte("1")}
	read := &pb.RangeRequest{Key: []byte("a")}
	putOp := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}
	readOp := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: read}}
	nested := &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{putOp}}}}
	deletion := &pb.DeleteRangeRequest{Key: []byte("a")}
	deleteOp := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: deletion}}
	steps := []Step{
		call("Maintenance/Alarm", &pb.AlarmRequest{}),
		call("Maintenance/Status", &pb.StatusRequest{}),
		call("KV/Put", put),
		call("KV/Range", read),
		call("KV/Range", &pb.RangeRequest{Key: []byte("a"), Serializable: true}),
		call("KV/RangeStream", read),
		call("KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{putOp}}),
		call("KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{readOp}}),
		call("KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{deleteOp}}),
		call("KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{readOp}, Failure: []*pb.RequestOp{putOp}}),
		call("KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{nested}}),
		call("KV/Txn", &pb.TxnRequest{}),
		call("KV/DeleteRange", deletion),
		call("Lease/LeaseGrant", &pb.LeaseGrantRequest{ID: 5, TTL: 1000}),
		call("Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 5, Keys: true}),
		{Renew: &Renew{Lease: 5}},
		call("Lease/LeaseLeases", &pb.LeaseLeasesRequest{}),
		call("Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 5}),
		call("KV/Compact", &pb.CompactionRequest{Revision: current}),
		call("Maintenance/Defragment", &pb.DefragmentRequest{}),
		call("Cluster/MemberList", &pb.MemberListRequest{Linearizable: true}),
	}
	for kind := range pb.AlarmType_name {
		steps = append(steps, call("Maintenance/Alarm", &pb.AlarmRequest{Alarm: pb.AlarmType(kind)}))
	}
	return steps
}

// alarms raises each alarm by hand, for a member id that is the same on both sides.
func alarms(ctx context.Context, r *Runner) *Difference {
	alarm := func(action pb.AlarmRequest_AlarmAction, member uint64, kind pb.AlarmType) Step {
		return call("Maintenance/Alarm", &pb.AlarmRequest{Action: action, MemberID: member, Alarm: kind})
	}
	steps := []Step{
		alarm(pb.AlarmRequest_ACTIVATE, 7, pb.AlarmType_NONE),
		alarm(pb.AlarmRequest_DEACTIVATE, 7, pb.AlarmType_NOSPACE),
		alarm(pb.AlarmRequest_ACTIVATE, 7, pb.AlarmType_NOSPACE),
		alarm(pb.AlarmRequest_ACTIVATE, 7, pb.AlarmType_NOSPACE),
		alarm(pb.AlarmRequest_ACTIVATE, 8, pb.AlarmType_NOSPACE),
		alarm(pb.AlarmRequest_GET, 8, pb.AlarmType_NONE),
	}
	steps = append(steps, everyKind()...)
	steps = append(steps,
		alarm(pb.AlarmRequest_DEACTIVATE, 8, pb.AlarmType_NONE),
		alarm(pb.AlarmRequest_DEACTIVATE, 8, pb.AlarmType_NOSPACE),
		call("KV/Put", &pb.PutRequest{Key: []byte("a")}),
		alarm(pb.AlarmRequest_DEACTIVATE, 7, pb.AlarmType_NOSPACE),
		call("KV/Put", &pb.PutRequest{Key: []byte("a")}),
		alarm(pb.AlarmRequest_ACTIVATE, 7, pb.AlarmType_CORRUPT),
	)
	steps = append(steps, everyKind()...)
	steps = append(steps, alarm(pb.AlarmRequest_DEACTIVATE, 7, pb.AlarmType_CORRUPT))
	steps = append(steps, everyKind()...)
	return r.Run(ctx, Program{Name: "alarms", Steps: steps})
}

// quota fills both sides until each says that it is full, which need not be at the same put, and compares
// what works then.
func quota(ctx context.Context, r *Runner) *Difference {
	filled := both(r, func(s *side) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		for n := 0; ; n++ {
			q := &pb.PutRequest{Key: []byte("fill"), Value: make([]byte, 1<<20)}
			response, err := pb.NewKVClient(s.connection).Put(ctx, q)
			if status.Code(err) == codes.ResourceExhausted {
				return nil
			}
			if err != nil {
				return err
			}
			if n > 1000 {
				return fmt.Errorf("a gigabyte fits into a quota of 16 MiB at revision %d", response.Header.Revision)
			}
		}
	})
	if filled[0] != nil || filled[1] != nil {
		return r.differ("filling up", filled[0], filled[1])
	}
	// Both know other numbers of puts now: only what has no revision in it can be compared, the errors.
	for _, step := range everyKind() {
		if step.Call == nil {
			continue
		}
		failures := both(r, func(s *side) *failure {
			s.begin(ctx)
			defer s.end()
			_, failure := s.call(step.Call)
			return failure
		})
		if failed, d := r.failures("full: "+step.Call.Method, failures); failed && d != nil {
			return d
		}
	}
	return nil
}

// health asks the standard health service, which etcd registers without a name.
func health(ctx context.Context, r *Runner) *Difference {
	for _, service := range []string{"", "etcdserverpb.KV", "nothing"} {
		type answer struct {
			text    string
			failure *failure
		}
		ask := &grpc_health_v1.HealthCheckRequest{Service: service}
		answers := both(r, func(s *side) answer {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			client := grpc_health_v1.NewHealthClient(s.connection)
			checked, err := client.Check(ctx, ask)
			if err != nil {
				return answer{failure: s.failure(err)}
			}
			listed, err := client.List(ctx, &grpc_health_v1.HealthListRequest{})
			if err != nil {
				return answer{failure: s.failure(err)}
			}
			stream, err := client.Watch(ctx, ask)
			if err != nil {
				return answer{failure: s.failure(err)}
			}
			watched, err := stream.Recv()
			return answer{fmt.Sprint(checked.GetStatus(), len(listed.GetStatuses()), watched.GetStatus()), s.failure(err)}
		})
		if !reflect.DeepEqual(answers[0], answers[1]) {
			if _, d := r.failures("health of "+service, [2]*failure{answers[0].failure, answers[1].failure}); d != nil {
				return d
			}
			return r.differ("health of "+service, answers[0].text, answers[1].text)
		}
	}
	return nil
}

// rawRequests takes all forms of bad HTTP/2 requests that random programs choose from.
func rawRequests(ctx context.Context, r *Runner) *Difference {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 1))}
	seen := map[string]bool{}
	var steps []Step
	for range 3000 {
		step := Step{Raw: g.raw()}
		if text := step.String(); !seen[text] {
			seen[text] = true
			steps = append(steps, step)
		}
	}
	return r.Run(ctx, Program{Name: "raw requests", Steps: steps})
}

// smallLimits runs into limits that flags set.
func smallLimits(ctx context.Context, r *Runner) *Difference {
	op := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}}}
	var steps []Step
	for n := 2; n < 5; n++ {
		q := &pb.TxnRequest{}
		for range n {
			q.Success = append(q.Success, op)
		}
		steps = append(steps, call("KV/Txn", q))
	}
	// What counts is the log entry, with the id that the member gives to the request: 9 or 10 bytes, by the
	// member's own id. So the very limit is left out.
	for _, size := range []int{0, 1, 1900, 2000, 2010, 2035, 2040, 2048, 2049, 3000, 100000} {
		steps = append(steps, call("KV/Put", &pb.PutRequest{Key: []byte("a"), Value: make([]byte, size)}))
	}
	for n := 1; n < 8; n++ {
		steps = append(steps, call("KV/Put", &pb.PutRequest{Key: fmt.Appendf(nil, "stream %d", n), Value: make([]byte, 300*n)}))
	}
	steps = append(steps, call("KV/RangeStream", &pb.RangeRequest{Key: []byte("s"), RangeEnd: []byte("t")}))
	for _, fragment := range []bool{true, false} {
		steps = append(steps, Step{Watch: &Watch{Request: message{&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: []byte("s"), RangeEnd: []byte("t"), StartRevision: 2, Fragment: fragment},
		}}}}})
	}
	return r.Run(ctx, Program{Name: "small limits", Steps: steps})
}
