package diff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"keelkv/compat/server"
)

// patience is how long anything may take that must happen. Shrinking, which comes last, has less of it.
var patience = 20 * time.Second

// side is one of the two members, and what is known about it.
type side struct {
	server     *server.Server
	connection *grpc.ClientConn

	cluster, member           uint64
	revision, compactRevision int64

	// chosen are the leases of this program whose ids the member chose.
	chosen []int64
	// leases are all leases of this program that were not revoked, as ids of this member.
	leases  []int64
	streams map[int]*watchStream
	renewal etcdserverpb.Lease_LeaseKeepAliveClient
	// scope ends all streams of the program.
	scope context.Context
	end   context.CancelFunc
	// json sends what has a path through the JSON gateway.
	json bool
}

func newSide(ctx context.Context, s *server.Server) (*side, error) {
	connection, err := s.Dial()
	if err != nil {
		return nil, err
	}
	made := &side{server: s, connection: connection}
	members, err := etcdserverpb.NewClusterClient(connection).MemberList(ctx, &etcdserverpb.MemberListRequest{})
	if err != nil {
		return nil, err
	}
	made.cluster, made.member, made.revision = members.Header.ClusterId, members.Header.MemberId, 1
	return made, nil
}

func (s *side) begin(ctx context.Context) {
	s.scope, s.end = context.WithCancel(ctx)
	s.streams, s.renewal, s.chosen, s.leases = map[int]*watchStream{}, nil, nil, nil
}

// call sends a request and returns the normalised responses (several of a stream) or the error.
func (s *side) call(c *Call) ([]proto.Message, *failure) {
	ctx, cancel := context.WithTimeout(s.scope, patience)
	defer cancel()
	for key, value := range c.Metadata {
		ctx = metadata.AppendToOutgoingContext(ctx, key, value)
	}
	request := s.resolve(c.Request)
	var responses []proto.Message
	var err error
	if method := methods[c.Method]; s.json && paths[c.Method] != "" {
		response, errNew := s.overJSON(ctx, c, request)
		if responses, err = []proto.Message{response}, errNew; err != nil {
			responses = nil
		}
	} else if method.IsStreamingServer() {
		responses, err = s.serverStream(ctx, c.Method, string(method.Output().FullName()), request)
	} else {
		response, errNew := newMessage(string(method.Output().FullName()))
		if errNew != nil {
			return nil, &failure{"harness", errNew.Error()}
		}
		if err = s.connection.Invoke(ctx, c.Method, request, response); err == nil {
			responses = []proto.Message{response}
		}
	}
	if err != nil {
		return nil, s.failure(err)
	}
	for i, response := range responses {
		s.learn(request, response)
		responses[i] = s.normalise(response)
	}
	return responses, nil
}

func (s *side) serverStream(ctx context.Context, method, output string, request proto.Message) ([]proto.Message, error) {
	stream, err := s.connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil {
		return nil, err
	}
	var responses []proto.Message
	for {
		response, err := newMessage(output)
		if err != nil {
			return nil, err
		}
		if err := stream.RecvMsg(response); err == io.EOF {
			return responses, nil
		} else if err != nil {
			return nil, err
		}
		responses = append(responses, response)
	}
}

// learn keeps what later steps need to know.
func (s *side) learn(request, response proto.Message) {
	if with, ok := response.(interface {
		GetHeader() *etcdserverpb.ResponseHeader
	}); ok {
		s.revision = max(s.revision, with.GetHeader().GetRevision())
	}
	switch q := request.(type) {
	case *etcdserverpb.CompactionRequest:
		s.compactRevision = q.Revision
	case *etcdserverpb.LeaseGrantRequest:
		id := response.(*etcdserverpb.LeaseGrantResponse).ID
		s.leases = append(s.leases, id)
		if q.ID == 0 {
			s.chosen = append(s.chosen, id)
		}
	case *etcdserverpb.LeaseRevokeRequest:
		s.forget(q.ID)
	}
}

func (s *side) forget(lease int64) {
	s.leases = slices.DeleteFunc(s.leases, func(id int64) bool { return id == lease })
}

func (s *side) renew(lease int64) (proto.Message, *failure) {
	if s.renewal == nil {
		stream, err := etcdserverpb.NewLeaseClient(s.connection).LeaseKeepAlive(s.scope)
		if err != nil {
			return nil, s.failure(err)
		}
		s.renewal = stream
	}
	request := s.resolve(&etcdserverpb.LeaseKeepAliveRequest{ID: lease}).(*etcdserverpb.LeaseKeepAliveRequest)
	if err := s.renewal.Send(request); err != nil {
		return nil, s.failure(err)
	}
	type answer struct {
		response *etcdserverpb.LeaseKeepAliveResponse
		err      error
	}
	answers := make(chan answer, 1)
	stream := s.renewal
	go func() {
		response, err := stream.Recv()
		answers <- answer{response, err}
	}()
	select {
	case got := <-answers:
		if got.err != nil {
			return nil, s.failure(got.err)
		}
		return s.normalise(got.response), nil
	case <-time.After(patience):
		return nil, &failure{"hang", "no answer on the keep-alive stream"}
	}
}

// gone waits until a lease and the keys that it had are removed.
func (s *side) gone(lease int64, keys [][]byte) *failure {
	ctx, cancel := context.WithTimeout(s.scope, patience)
	defer cancel()
	for {
		left, err := etcdserverpb.NewLeaseClient(s.connection).
			LeaseTimeToLive(ctx, &etcdserverpb.LeaseTimeToLiveRequest{ID: lease})
		if err != nil {
			return s.failure(fmt.Errorf("waiting for expiry: %w", err))
		}
		still := left.TTL != -1
		for _, key := range keys {
			r, err := etcdserverpb.NewKVClient(s.connection).Range(ctx, &etcdserverpb.RangeRequest{Key: key, CountOnly: true})
			if err != nil {
				return s.failure(fmt.Errorf("waiting for expiry: %w", err))
			}
			s.revision = max(s.revision, r.Header.Revision)
			still = still || r.Count != 0
		}
		if !still {
			s.forget(lease)
			return nil
		}
		select {
		case <-ctx.Done():
			return &failure{"hang", "the lease did not expire"}
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// compacted waits until the last compaction has run: HashKV at its revision then names an older one.
func (s *side) compacted() *failure {
	ctx, cancel := context.WithTimeout(s.scope, patience)
	defer cancel()
	for {
		hash, err := etcdserverpb.NewMaintenanceClient(s.connection).
			HashKV(ctx, &etcdserverpb.HashKVRequest{Revision: s.compactRevision})
		if ctx.Err() != nil {
			return &failure{"hang", fmt.Sprintf("the hash of the compaction at %d is not remembered", s.compactRevision)}
		}
		if err != nil {
			return s.failure(err)
		}
		if hash.CompactRevision != s.compactRevision {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// withoutMember takes the member's id out of a text, and the doubled spaces that protobuf-go puts into
// texts of messages in half of its builds.
func (s *side) withoutMember(text string) string {
	text = strings.ReplaceAll(text, strconv.FormatUint(s.member, 10), "MEMBER")
	for strings.Contains(text, "  ") {
		text = strings.ReplaceAll(text, "  ", " ")
	}
	return text
}
