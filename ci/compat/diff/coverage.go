package diff

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Coverage counts what occurred on both sides.
type Coverage struct {
	json bool
	mu   sync.Mutex
	// counts: "request field X", "response field X", "enum X = Y", "error code text", "method X".
	counts map[string]int
	plain  map[string]int
}

// NewCoverage is empty.
func NewCoverage() *Coverage {
	return &Coverage{counts: map[string]int{}, plain: map[string]int{}}
}

// Count adds to one of the plain counters.
func (c *Coverage) Count(name string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plain[name] += n
}

// request notes the fields of a request that both sides answered without error, and its enum values.
func (c *Coverage) request(m proto.Message) { c.note("request", m) }

// refused notes the enum values in a request that both sides answered with the same error.
func (c *Coverage) refused(m proto.Message) {
	noted := NewCoverage()
	noted.request(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	for what, n := range noted.counts {
		if strings.HasSuffix(what, "= unknown") {
			c.counts[what] += n
		}
	}
}

// response notes the fields of a response that both sides gave.
func (c *Coverage) response(m proto.Message) { c.note("response", m) }

// failed notes an error that both sides gave.
func (c *Coverage) failed(f *failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts["error "+f.Code+" "+f.Text]++
}

func (c *Coverage) method(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts["method "+name]++
}

func (c *Coverage) note(kind string, m proto.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	walk(m.ProtoReflect(), func(m protoreflect.Message) {
		for i := range m.Descriptor().Fields().Len() {
			f := m.Descriptor().Fields().Get(i)
			if m.Has(f) {
				c.counts[kind+" field "+string(f.FullName())]++
			}
			if f.Enum() == nil {
				continue
			}
			numbers := []protoreflect.EnumNumber{}
			switch {
			case !f.IsList():
				numbers = append(numbers, m.Get(f).Enum())
			default:
				for j := range m.Get(f).List().Len() {
					numbers = append(numbers, m.Get(f).List().Get(j).Enum())
				}
			}
			for _, n := range numbers {
				if d := f.Enum().Values().ByNumber(n); d != nil {
					c.counts[fmt.Sprintf("%s enum %s = %s", kind, f.FullName(), d.Name())]++
				} else {
					c.counts[fmt.Sprintf("%s enum %s = unknown", kind, f.FullName())]++
				}
			}
		}
	})
}

// Wanted lists all that must occur, by reflection over the messages of the covered methods, and the errors.
func Wanted() []string {
	wanted := map[string]bool{}
	for name, method := range methods {
		wanted["method "+name] = true
		need(wanted, "request", method.Input(), map[protoreflect.FullName]bool{})
		need(wanted, "response", method.Output(), map[protoreflect.FullName]bool{})
	}
	for _, f := range ReachableErrors {
		wanted["error "+f.Code+" "+f.Text] = true
	}
	var list []string
	for what := range wanted {
		if _, excused := Unreachable[what]; !excused {
			list = append(list, what)
		}
	}
	sort.Strings(list)
	return list
}

func need(wanted map[string]bool, kind string, m protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) {
	if seen[m.FullName()] {
		return
	}
	seen[m.FullName()] = true
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		wanted[kind+" field "+string(f.FullName())] = true
		if f.Enum() != nil {
			for j := range f.Enum().Values().Len() {
				wanted[fmt.Sprintf("%s enum %s = %s", kind, f.FullName(), f.Enum().Values().Get(j).Name())] = true
			}
			if kind == "request" {
				wanted[fmt.Sprintf("%s enum %s = unknown", kind, f.FullName())] = true
			}
		}
		if f.Message() != nil {
			need(wanted, kind, f.Message(), seen)
		}
	}
}

// Missing lists what must occur and did not.
func (c *Coverage) Missing() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(Wanted(), func(what string) bool { return c.counts[what] > 0 })
}

// Print writes the counters, a line each.
func (c *Coverage) Print(out io.Writer, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kinds := map[string]int{}
	for _, what := range sortedKeys(c.counts) {
		kind := strings.Join(strings.SplitN(what, " ", 3)[:2], " ")
		if strings.HasPrefix(what, "error ") || strings.HasPrefix(what, "method ") {
			kind, _, _ = strings.Cut(what, " ")
		}
		kinds[kind]++
		if all || kind == "error" {
			fmt.Fprintf(out, "%9d  %s\n", c.counts[what], what)
		}
	}
	for _, kind := range sortedKeys(kinds) {
		fmt.Fprintf(out, "%9d  different: %s\n", kinds[kind], kind)
	}
	for _, name := range sortedKeys(c.plain) {
		fmt.Fprintf(out, "%9d  %s\n", c.plain[name], name)
	}
}

// bothResponses notes what occurred in both lists of responses, which were cut differently.
func (c *Coverage) bothResponses(etcd, ours []*etcdserverpb.WatchResponse) {
	noted := [2]*Coverage{NewCoverage(), NewCoverage()}
	for i, responses := range [2][]*etcdserverpb.WatchResponse{etcd, ours} {
		for _, r := range responses {
			noted[i].response(r)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for what, n := range noted[0].counts {
		c.counts[what] += min(n, noted[1].counts[what])
	}
}

func sortedNumbers[K int | int64, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
