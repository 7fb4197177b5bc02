package auth

import (
	"bytes"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// refusals are what both say to somebody who may not.
var refusals = []string{
	"InvalidArgument: etcdserver: user name is empty", "Unauthenticated: etcdserver: invalid auth token",
	"PermissionDenied: etcdserver: permission denied", "Unauthenticated: etcdserver: revision of auth store is old",
	"InvalidArgument: etcdserver: revision of auth store is old", "FailedPrecondition: etcdserver: user name not found",
}

// mistakes are what etcd says of a request before it looks who asks; keelkv may look first.
var mistakes = []string{
	"InvalidArgument: etcdserver: key is not provided", "Unknown: bcrypt: password length exceeds 72 bytes",
	"InvalidArgument: etcdserver: given member URLs are invalid",
}

// differs says why the answers may differ, or nothing if they may not. ARCHITECTURE.md has the same list.
func differs(r row, answers [2]string) string {
	etcd, keelkv := answers[0], answers[1]
	refused := slices.Contains(refusals, keelkv)
	switch {
	case refused && slices.Contains(mistakes, etcd):
		return "a request that is wrong in two ways is refused for one of them"
	case r.name == "KV.Txn of nothing" && refused:
		return "etcd lets everybody know the revision"
	case isUpsideDown(r.request) && (slices.Contains(refusals, etcd) || strings.Contains(etcd, "permission denied")):
		return "whether somebody may read what no key can be in depends on the shape of a tree in etcd"
	}
	return ""
}

// isUpsideDown says whether a range in a request ends before it begins.
func isUpsideDown(request proto.Message) (is bool) {
	var look func(m protoreflect.Message)
	look = func(m protoreflect.Message) {
		if r, ranges := m.Interface().(interface{ GetRangeEnd() []byte }); ranges {
			key := m.Interface().(interface{ GetKey() []byte }).GetKey()
			end := r.GetRangeEnd()
			is = is || len(end) > 0 && !bytes.Equal(end, []byte{0}) && bytes.Compare(key, end) >= 0
		}
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			switch {
			case f.Message() == nil:
			case f.IsList():
				for i := range v.List().Len() {
					look(v.List().Get(i).Message())
				}
			default:
				look(v.Message())
			}
			return true
		})
	}
	look(request.ProtoReflect())
	return is
}
