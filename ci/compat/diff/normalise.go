package diff

import (
	"bytes"
	"sort"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// normalise returns a response with that taken out in which two members may differ: ids that a server
// chooses, addresses, raft terms and indexes, sizes on disk, remaining times. A value that makes no sense
// (an index of zero, the id of another member) stays as it is, and so shows as a difference.
func (s *side) normalise(m proto.Message) proto.Message {
	m = proto.Clone(m)
	walk(m.ProtoReflect(), func(r protoreflect.Message) {
		switch m := r.Interface().(type) {
		case *etcdserverpb.ResponseHeader:
			same(&m.ClusterId, s.cluster)
			same(&m.MemberId, s.member)
			some(&m.RaftTerm)
		case *etcdserverpb.Member:
			same(&m.ID, s.member)
			for _, urls := range [][]string{m.PeerURLs, m.ClientURLs} {
				for i, url := range urls {
					if strings.HasPrefix(url, "http://127.0.0.1:") {
						urls[i] = "http://127.0.0.1"
					}
				}
			}
		case *etcdserverpb.AlarmMember:
			same(&m.MemberID, s.member)
		case *etcdserverpb.StatusResponse:
			same(&m.Leader, s.member)
			some(&m.RaftTerm)
			some(&m.RaftIndex)
			some(&m.RaftAppliedIndex)
			if m.DbSize >= m.DbSizeInUse {
				some(&m.DbSize)
				some(&m.DbSizeInUse)
			}
			for i, text := range m.Errors {
				m.Errors[i] = s.withoutMember(text)
			}
			sort.Strings(m.Errors)
		case *etcdserverpb.AlarmResponse:
			// A map in etcd.
			sort.Slice(m.Alarms, func(i, j int) bool {
				a, b := m.Alarms[i], m.Alarms[j]
				return a.MemberID < b.MemberID || a.MemberID == b.MemberID && a.Alarm < b.Alarm
			})
		case *etcdserverpb.HashResponse:
			// Of the bytes on disk.
			m.Hash = 1
		case *etcdserverpb.LeaseTimeToLiveResponse:
			if m.TTL >= 0 && m.TTL <= m.GrantedTTL && m.TTL >= m.GrantedTTL-120 {
				m.TTL = m.GrantedTTL
			}
			// A set in both, in no order.
			sort.Slice(m.Keys, func(i, j int) bool { return bytes.Compare(m.Keys[i], m.Keys[j]) < 0 })
		}
		s.normaliseLeases(r)
	})
	return m
}

func (s *side) normaliseLeases(r protoreflect.Message) {
	name := r.Descriptor().FullName()
	for i := range r.Descriptor().Fields().Len() {
		f := r.Descriptor().Fields().Get(i)
		lease := f.Kind() == protoreflect.Int64Kind && !f.IsList() &&
			(f.Name() == "lease" || f.Name() == "ID" && strings.HasPrefix(string(name.Name()), "Lease"))
		if lease && r.Has(f) {
			for n, id := range s.chosen {
				if id == r.Get(f).Int() {
					r.Set(f, protoreflect.ValueOfInt64(chosen+int64(n)))
				}
			}
		}
	}
}

// same replaces the expected value by 1.
func same(got *uint64, want uint64) {
	if *got == want && want != 0 {
		*got = 1
	}
}

// some replaces any value but zero by 1.
func some[T int64 | uint64](n *T) {
	if *n > 0 {
		*n = 1
	}
}

// failure is an error as the client sees it.
type failure struct {
	Code string
	Text string
}

func (s *side) failure(err error) *failure {
	if err == nil {
		return nil
	}
	got := status.Convert(err)
	return &failure{got.Code().String(), s.text(got.Message())}
}

// text normalises an error text: protobuf-go writes a no-break space in half of its builds, so that
// nobody depends on its texts.
func (s *side) text(text string) string {
	return s.withoutMember(strings.ReplaceAll(text, "\u00a0", " "))
}
