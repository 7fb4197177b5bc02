package wire

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// folder holds the files that the Rust side reads. WIRE_FROM_RUST names a file that the Rust side wrote.
const folder = "../../../proto/tests/wire"

func TestFilesAreCurrent(t *testing.T) {
	samples, err := Samples()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"schema.txt": Schema(), "samples.txt": Text(samples)} {
		path := filepath.Join(folder, name)
		if os.Getenv("WIRE_UPDATE") != "" {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s differs from what etcd's types say; WIRE_UPDATE=1 go test ./wire writes it anew", name)
		}
	}
	t.Logf("%d messages, %d samples", len(Messages()), len(samples))
}

// Every field and enum value must occur in the samples, else the comparison proves less than it says.
func TestSamplesCoverEverything(t *testing.T) {
	samples, err := Samples()
	if err != nil {
		t.Fatal(err)
	}
	fields := map[protoreflect.FullName]bool{}
	values := map[protoreflect.FullName]bool{}
	for _, s := range samples {
		m := decode(t, s.Message, s.Bytes)
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			fields[f.FullName()] = true
			if f.Enum() == nil {
				return true
			}
			numbers := []protoreflect.EnumNumber{}
			if f.IsList() {
				for i := range v.List().Len() {
					numbers = append(numbers, v.List().Get(i).Enum())
				}
			} else {
				numbers = append(numbers, v.Enum())
			}
			for _, n := range numbers {
				if d := f.Enum().Values().ByNumber(n); d != nil {
					values[f.FullName()+"="+protoreflect.FullName(d.Name())] = true
				}
			}
			return true
		})
	}
	for _, m := range Messages() {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if !fields[f.FullName()] {
				t.Errorf("no sample sets %s", f.FullName())
			}
			if f.Enum() == nil {
				continue
			}
			for j := range f.Enum().Values().Len() {
				// Zero is the value of the empty sample: proto3 does not encode it.
				d := f.Enum().Values().Get(j)
				if name := f.FullName() + "=" + protoreflect.FullName(d.Name()); d.Number() != 0 && !values[name] {
					t.Errorf("no sample has %s", name)
				}
			}
		}
	}
}

// What the Rust messages encoded must mean the same to etcd's types as the samples did.
func TestFromRust(t *testing.T) {
	path := os.Getenv("WIRE_FROM_RUST")
	if path == "" {
		t.Skip("WIRE_FROM_RUST names no file; `cargo test -p keelkv-proto --test wire` writes one where WIRE_TO_GO says")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := Samples()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != len(samples) {
		t.Fatalf("%d messages from Rust, want %d", len(lines), len(samples))
	}
	for i, line := range lines {
		s := samples[i]
		name, rest, _ := strings.Cut(line, " ")
		label, hexed, _ := strings.Cut(rest, " ")
		if name != string(s.Message) || label != s.Label {
			t.Fatalf("line %d is %s %s, want %s %s", i+1, name, label, s.Message, s.Label)
		}
		encoded, err := hex.DecodeString(hexed)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(decode(t, s.Message, encoded).Interface(), decode(t, s.Message, s.Bytes).Interface()) {
			t.Errorf("%s %s: Rust encoded another message: %x, want %x", name, label, encoded, s.Bytes)
		}
		if !bytes.Equal(encoded, s.Bytes) {
			t.Errorf("%s %s: Rust encoded other bytes: %x, want %x", name, label, encoded, s.Bytes)
		}
	}
}

func decode(t *testing.T, name protoreflect.FullName, encoded []byte) protoreflect.Message {
	t.Helper()
	typ, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		t.Fatal(err)
	}
	m := typ.New()
	if err := proto.Unmarshal(encoded, m.Interface()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(m.GetUnknown()) != 0 {
		t.Fatalf("%s: unknown fields in %x", name, encoded)
	}
	return m
}
