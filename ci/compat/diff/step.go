// Package diff runs the same programs against real etcd and keelkv and compares all that a client can see.
//
//	Generate(seed) ─> Program ─> Run: each Step goes to both sides ─> normalise ─> equal? ─> coverage
//	                     ^                                                          └─> Shrink ─> fixtures/
//	                     └── fixtures/*.json
package diff

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Program is a list of requests, run in order.
type Program struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"`
}

// Step is one request; exactly one member is set.
type Step struct {
	Call   *Call   `json:"call,omitempty"`
	Watch  *Watch  `json:"watch,omitempty"`
	Renew  *Renew  `json:"renew,omitempty"`
	Expire *Expire `json:"expire,omitempty"`
	Raw    *Raw    `json:"raw,omitempty"`
}

// Call is a unary or server-streaming request.
type Call struct {
	// Method is the full name, as on the wire.
	Method string `json:"method"`
	// Request is of the method's input type. Numbers from symbols.go stand for what is known when it runs.
	Request message `json:"request"`
	// Metadata goes with the request.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Watch is one request on a watch stream of the program.
type Watch struct {
	// Stream is opened by the first request on it.
	Stream  int               `json:"stream"`
	Request message           `json:"request"`
	Meta    map[string]string `json:"metadata,omitempty"`
	// Progress waits for a periodic progress response after the request.
	Progress bool `json:"progress,omitempty"`
	// HalfClose ends the client's half afterwards; events must go on.
	HalfClose bool `json:"half_close,omitempty"`
}

// Renew is one request and its answer on the program's keep-alive stream.
type Renew struct {
	Lease int64 `json:"lease"`
}

// Expire grants a short lease, attaches keys and waits until both sides have removed them.
type Expire struct {
	Lease int64    `json:"lease"`
	TTL   int64    `json:"ttl"`
	Keys  [][]byte `json:"keys"`
}

// Raw is an HTTP/2 request that no gRPC library would send. A good request on the same connection follows.
type Raw struct {
	// Fields are all header fields but :scheme and :authority, in order.
	Fields [][2][]byte `json:"fields"`
	// Body is the data, sent as it is.
	Body []byte `json:"body"`
	// Zeros is how many zero bytes follow the body.
	Zeros int `json:"zeros,omitempty"`
}

// message is a protobuf message that knows its type in JSON.
type message struct{ proto.Message }

type messageJSON struct {
	Type string          `json:"type"`
	Body json.RawMessage `json:"body"`
}

func (m message) MarshalJSON() ([]byte, error) {
	body, err := protojson.Marshal(m.Message)
	if err != nil {
		return nil, err
	}
	return json.Marshal(messageJSON{string(m.ProtoReflect().Descriptor().FullName()), body})
}

func (m *message) UnmarshalJSON(text []byte) error {
	var parts messageJSON
	if err := json.Unmarshal(text, &parts); err != nil {
		return err
	}
	made, err := newMessage(parts.Type)
	if err != nil {
		return err
	}
	m.Message = made
	return protojson.Unmarshal(parts.Body, made)
}

func (s Step) String() string {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Sprintf("step that has no JSON: %v", err)
	}
	if len(text) > 1000 {
		text = append(text[:1000:1000], "..."...)
	}
	return string(text)
}
