package wire

import (
	"fmt"
	"sort"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// encode marshals with etcd's types, fields in the order of their numbers.
//
// Go puts the members of a oneof behind all other fields, most other languages in the order of the numbers.
// Both are right. It shows in Compare alone, whose range_end (64) has a higher number than its oneof.
func encode(m protoreflect.Message) ([]byte, error) {
	var fields []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		fields = append(fields, f)
		return true
	})
	sort.Slice(fields, func(i, j int) bool { return fields[i].Number() < fields[j].Number() })
	var out []byte
	for _, f := range fields {
		var values []protoreflect.Message
		switch {
		case f.Message() == nil || f.IsMap():
			alone := m.New()
			alone.Set(f, m.Get(f))
			encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(alone.Interface())
			if err != nil {
				return nil, err
			}
			out = append(out, encoded...)
		case f.IsList():
			list := m.Get(f).List()
			for i := range list.Len() {
				values = append(values, list.Get(i).Message())
			}
		default:
			values = append(values, m.Get(f).Message())
		}
		for _, value := range values {
			encoded, err := encode(value)
			if err != nil {
				return nil, err
			}
			out = protowire.AppendTag(out, f.Number(), protowire.BytesType)
			out = protowire.AppendBytes(out, encoded)
		}
	}
	if size := proto.Size(m.Interface()); size != len(out) {
		return nil, fmt.Errorf("%s: %d bytes in field order, %d in Go's", m.Descriptor().FullName(), len(out), size)
	}
	return out, nil
}
