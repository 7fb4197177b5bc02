package diff

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Programs run on servers that have a past, and shrunk ones on servers that have none. So revisions and
// leases in them are written relative to what is known when the step runs: a number near one of these
// bases stands for the base's meaning plus the difference.
const (
	current   int64 = 1 << 40 // the revision after the step before
	compacted int64 = 1 << 41 // the last compacted revision
	chosen    int64 = 1 << 42 // the n-th lease whose id a server chose
	near      int64 = 1 << 20
)

func isNear(n, base int64) bool { return n >= base-near && n < base+near }

// resolve returns the request with its symbols replaced for one side.
func (s *side) resolve(m proto.Message) proto.Message {
	m = proto.Clone(m)
	walk(m.ProtoReflect(), func(m protoreflect.Message) {
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if f.Kind() == protoreflect.Int64Kind && !f.IsList() {
				if n, changed := s.number(v.Int()); changed {
					m.Set(f, protoreflect.ValueOfInt64(n))
				}
			}
			return true
		})
	})
	return m
}

func (s *side) number(n int64) (int64, bool) {
	switch {
	case isNear(n, current):
		return s.revision + n - current, true
	case isNear(n, compacted):
		return s.compactRevision + n - compacted, true
	case isNear(n, chosen):
		if i := n - chosen; i >= 0 && i < int64(len(s.chosen)) {
			return s.chosen[i], true
		}
		// No such lease was granted in this program: an id that nobody has.
		return chosen, true
	}
	return n, false
}
