package wire

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Sample is one encoded message.
type Sample struct {
	Message protoreflect.FullName
	Label   string
	Bytes   []byte
}

// Samples encodes every message in many ways: empty, every field set (twice, with small and with extreme
// values), each oneof member zero and set, each enum value and a number that no enum has.
func Samples() ([]Sample, error) {
	var all []Sample
	for _, m := range Messages() {
		typ, err := protoregistry.GlobalTypes.FindMessageByName(m.FullName())
		if err != nil {
			return nil, err
		}
		add := func(label string, message protoreflect.Message) error {
			encoded, err := encode(message)
			all = append(all, Sample{m.FullName(), label, encoded})
			return err
		}
		if err := add("empty", typ.New()); err != nil {
			return nil, err
		}
		for _, extreme := range []bool{false, true} {
			label := map[bool]string{false: "full", true: "extreme"}[extreme]
			if err := add(label, (&filler{extreme: extreme}).message(typ, 3)); err != nil {
				return nil, err
			}
		}
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			for label, message := range fieldSamples(typ, f) {
				if err := add(label, message); err != nil {
					return nil, err
				}
			}
		}
	}
	return all, nil
}

// fieldSamples yields the forms of one field that the full samples cannot hold together.
func fieldSamples(typ protoreflect.MessageType, f protoreflect.FieldDescriptor) func(func(string, protoreflect.Message) bool) {
	return func(yield func(string, protoreflect.Message) bool) {
		if f.ContainingOneof() != nil {
			zero := typ.New()
			zero.Set(f, zero.NewField(f))
			if !yield(string(f.Name())+"=zero", zero) {
				return
			}
			for _, extreme := range []bool{false, true} {
				set := typ.New()
				(&filler{extreme: extreme}).field(set, f, 2)
				if !yield(fmt.Sprintf("%s=set,extreme=%t", f.Name(), extreme), set) {
					return
				}
			}
		}
		if f.Enum() != nil {
			numbers := []protoreflect.EnumNumber{77, -1}
			for i := range f.Enum().Values().Len() {
				numbers = append(numbers, f.Enum().Values().Get(i).Number())
			}
			for _, number := range numbers {
				set := typ.New()
				if f.IsList() {
					set.Mutable(f).List().Append(protoreflect.ValueOfEnum(number))
				} else {
					set.Set(f, protoreflect.ValueOfEnum(number))
				}
				if !yield(fmt.Sprintf("%s=%d", f.Name(), number), set) {
					return
				}
			}
		}
	}
}

// filler sets fields to values that differ from each other.
type filler struct {
	extreme bool
	next    int
}

func (fl *filler) message(typ protoreflect.MessageType, depth int) protoreflect.Message {
	m := typ.New()
	fields := typ.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		// Of a oneof only the last member would remain: it gets the first one, the others have samples of their own.
		if o := f.ContainingOneof(); o != nil && o.Fields().Get(0) != f {
			continue
		}
		fl.field(m, f, depth)
	}
	return m
}

func (fl *filler) field(m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) {
	if depth == 0 && f.Message() != nil {
		return
	}
	switch {
	case f.IsMap():
		// One entry: the order of more is nobody's promise.
		entries := m.Mutable(f).Map()
		value := entries.NewValue()
		fl.fill(value.Message(), depth-1)
		entries.Set(fl.scalar(f.MapKey()).MapKey(), value)
	case f.IsList():
		list := m.Mutable(f).List()
		for range 2 {
			if f.Message() != nil {
				fl.fill(list.AppendMutable().Message(), depth-1)
			} else {
				list.Append(fl.scalar(f))
			}
		}
	case f.Message() != nil:
		fl.fill(m.Mutable(f).Message(), depth-1)
	default:
		m.Set(f, fl.scalar(f))
	}
}

func (fl *filler) fill(m protoreflect.Message, depth int) {
	filled := fl.message(m.Type(), depth)
	filled.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		m.Set(f, v)
		return true
	})
}

func (fl *filler) scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	fl.next++
	n := fl.next
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
	case protoreflect.Int64Kind:
		if fl.extreme {
			return protoreflect.ValueOfInt64([]int64{math.MinInt64, math.MaxInt64, -1}[n%3])
		}
		return protoreflect.ValueOfInt64(int64(n))
	case protoreflect.Uint64Kind:
		if fl.extreme {
			return protoreflect.ValueOfUint64(math.MaxUint64 - uint64(n))
		}
		return protoreflect.ValueOfUint64(uint64(n))
	case protoreflect.Uint32Kind:
		if fl.extreme {
			return protoreflect.ValueOfUint32(math.MaxUint32 - uint32(n))
		}
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.StringKind:
		if fl.extreme {
			return protoreflect.ValueOfString(fmt.Sprintf("%d\x00ß水🪵", n))
		}
		return protoreflect.ValueOfString(fmt.Sprintf("text %d", n))
	case protoreflect.BytesKind:
		if fl.extreme {
			return protoreflect.ValueOfBytes([]byte{0, 0xff, 0xc3, 0x28, byte(n), 0})
		}
		return protoreflect.ValueOfBytes(fmt.Appendf(nil, "bytes %d", n))
	default:
		panic(fmt.Sprintf("no sample value for %s of %s", f.Kind(), f.FullName()))
	}
}

// Text is the form of samples on disk: message, label and bytes in hex, a line each.
func Text(samples []Sample) string {
	var out strings.Builder
	for _, s := range samples {
		fmt.Fprintf(&out, "%s %s %s\n", s.Message, s.Label, hex.EncodeToString(s.Bytes))
	}
	return out.String()
}
