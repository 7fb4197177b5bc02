// Package wire writes down what etcd's own Go types put on the wire, for the Rust messages to be
// compared with: a schema (every message, field, enum value and method) and encoded samples.
//
//	etcd's descriptors ─> Schema ──> schema.txt  ─┐
//	                 └──> Samples ─> samples.txt ─┴─> proto/tests/wire.rs
package wire

import (
	"fmt"
	"sort"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Files are the descriptors of everything that an etcd client can send or receive, and of the records
// that its log holds.
func Files() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		mvccpb.File_kv_proto,
		authpb.File_auth_proto,
		membershippb.File_membership_proto,
		etcdserverpb.File_rpc_proto,
		etcdserverpb.File_raft_internal_proto,
		v3lockpb.File_v3lock_proto,
		v3electionpb.File_v3election_proto,
		grpc_health_v1.File_grpc_health_v1_health_proto,
	}
}

// Messages lists all messages of Files by full name, without the entry types that maps make.
func Messages() []protoreflect.MessageDescriptor {
	var all []protoreflect.MessageDescriptor
	var walk func(protoreflect.MessageDescriptors)
	walk = func(messages protoreflect.MessageDescriptors) {
		for i := range messages.Len() {
			if m := messages.Get(i); !m.IsMapEntry() {
				all = append(all, m)
				walk(m.Messages())
			}
		}
	}
	for _, file := range Files() {
		walk(file.Messages())
	}
	sort.Slice(all, func(i, j int) bool { return all[i].FullName() < all[j].FullName() })
	return all
}

// Schema says in sorted lines what the wire looks like.
func Schema() string {
	var lines []string
	for _, m := range Messages() {
		lines = append(lines, "message "+string(m.FullName()))
		for i := range m.Fields().Len() {
			lines = append(lines, fieldLine(m, m.Fields().Get(i)))
		}
		for i := range m.Enums().Len() {
			lines = append(lines, enumLines(m.Enums().Get(i))...)
		}
	}
	for _, file := range Files() {
		for i := range file.Enums().Len() {
			lines = append(lines, enumLines(file.Enums().Get(i))...)
		}
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				lines = append(lines, methodLine(methods.Get(j)))
			}
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n"
}

func fieldLine(m protoreflect.MessageDescriptor, f protoreflect.FieldDescriptor) string {
	kind := f.Kind().String()
	switch {
	case f.IsMap():
		kind = fmt.Sprintf("map<%s,%s>", f.MapKey().Kind(), f.MapValue().Message().FullName())
	case f.Message() != nil:
		kind = string(f.Message().FullName())
	case f.Enum() != nil:
		kind = string(f.Enum().FullName())
	}
	if f.IsList() {
		kind = "repeated " + kind
		if f.IsPacked() {
			kind = "packed " + kind
		}
	}
	line := fmt.Sprintf("field %s %d %s %s", m.FullName(), f.Number(), f.Name(), kind)
	if oneof := f.ContainingOneof(); oneof != nil {
		line += fmt.Sprintf(" oneof %s", oneof.Name())
	}
	return line
}

func enumLines(e protoreflect.EnumDescriptor) []string {
	var lines []string
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		lines = append(lines, fmt.Sprintf("enum %s %d %s", e.FullName(), v.Number(), v.Name()))
	}
	return lines
}

func methodLine(m protoreflect.MethodDescriptor) string {
	stream := func(is bool) string {
		if is {
			return "stream "
		}
		return ""
	}
	return fmt.Sprintf("method %s %s%s -> %s%s", m.FullName(),
		stream(m.IsStreamingClient()), m.Input().FullName(),
		stream(m.IsStreamingServer()), m.Output().FullName())
}
