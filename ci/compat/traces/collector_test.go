// Package traces compares what servers tell an OpenTelemetry collector.
package traces

import (
	"encoding/hex"
	"fmt"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// span is what matters of one.
type span struct {
	trace, id, parent, name string
	kind                    uint64
	attributes              map[string]string
	// resource tells who sent it.
	resource map[string]string
}

// collector takes spans by OTLP over gRPC, and reads their messages by the numbers of their fields.
type collector struct {
	address string
	mu      sync.Mutex
	spans   []span
	// raw is everything that was sent, for those who look for what must not be in it.
	raw []byte
}

// collect starts a collector, which ends with the test.
func collect(t *testing.T) *collector {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{address: listener.Addr().String()}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		// What an empty message does not know it keeps as it came.
		request := &emptypb.Empty{}
		if err := stream.RecvMsg(request); err != nil {
			return err
		}
		c.take(request.ProtoReflect().GetUnknown())
		return stream.SendMsg(&emptypb.Empty{})
	}))
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	return c
}

func (c *collector) take(request []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, request...)
	for _, ofResource := range fields(request)[1] {
		resource := fields(ofResource)
		var about map[string]string
		for _, message := range resource[1] {
			about = attributes(fields(message)[1])
		}
		for _, ofScope := range resource[2] {
			for _, message := range fields(ofScope)[2] {
				f := fields(message)
				s := span{attributes: attributes(f[9]), resource: about, name: last(f[5]), kind: varint(message, 6)}
				s.trace, s.id, s.parent = hex.EncodeToString([]byte(last(f[1]))), hex.EncodeToString([]byte(last(f[2]))), hex.EncodeToString([]byte(last(f[4])))
				c.spans = append(c.spans, s)
			}
		}
	}
}

// all are the spans so far.
func (c *collector) all() []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]span(nil), c.spans...)
}

// fields are those of a message that have a length, by number.
func fields(message []byte) map[protowire.Number][][]byte {
	found := map[protowire.Number][][]byte{}
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			panic(protowire.ParseError(n))
		}
		message = message[n:]
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			found[number] = append(found[number], value)
		}
		n = protowire.ConsumeFieldValue(number, kind, message)
		if n < 0 {
			panic(protowire.ParseError(n))
		}
		message = message[n:]
	}
	return found
}

// varint is the last value of a number of a message; 0 if there is none.
func varint(message []byte, wanted protowire.Number) (found uint64) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		message = message[n:]
		if kind == protowire.VarintType && number == wanted {
			found, _ = protowire.ConsumeVarint(message)
		}
		message = message[protowire.ConsumeFieldValue(number, kind, message):]
	}
	return found
}

func last(values [][]byte) string {
	if len(values) == 0 {
		return ""
	}
	return string(values[len(values)-1])
}

// attributes are names and values, as text.
func attributes(pairs [][]byte) map[string]string {
	found := map[string]string{}
	for _, pair := range pairs {
		f := fields(pair)
		value := []byte(last(f[2]))
		if text := fields(value)[1]; len(text) > 0 {
			found[last(f[1])] = last(text)
		} else {
			found[last(f[1])] = fmt.Sprint(varint(value, 3))
		}
	}
	return found
}
