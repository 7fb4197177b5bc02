package diff

import (
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// methodNames are what the programs cover; reflection finds the rest.
var methodNames = []string{
	"KV.Range", "KV.RangeStream", "KV.Put", "KV.DeleteRange", "KV.Txn", "KV.Compact",
	"Watch.Watch",
	"Lease.LeaseGrant", "Lease.LeaseRevoke", "Lease.LeaseKeepAlive", "Lease.LeaseTimeToLive", "Lease.LeaseLeases",
	"Maintenance.Status", "Maintenance.Hash", "Maintenance.HashKV", "Maintenance.Defragment", "Maintenance.Alarm",
	"Cluster.MemberList",
}

// methods maps the wire name of each covered method to its descriptor.
var methods = func() map[string]protoreflect.MethodDescriptor {
	found := map[string]protoreflect.MethodDescriptor{}
	for _, name := range methodNames {
		full := protoreflect.FullName("etcdserverpb." + name)
		service := etcdserverpb.File_rpc_proto.Services().ByName(full.Parent().Name())
		found["/etcdserverpb."+string(service.Name())+"/"+string(full.Name())] = service.Methods().ByName(full.Name())
	}
	return found
}()

func newMessage(name string) (proto.Message, error) {
	typ, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		return nil, err
	}
	return typ.New().Interface(), nil
}

// walk visits a message and all messages in it.
func walk(m protoreflect.Message, visit func(protoreflect.Message)) {
	visit(m)
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				walk(v.List().Get(i).Message(), visit)
			}
		default:
			walk(v.Message(), visit)
		}
		return true
	})
}
