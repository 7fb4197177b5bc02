// Package measure tells how a server fares while something else is done to it: the times of small calls beside that,
// and the memory that its process takes.
package measure

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelkv/compat/server"
)

// Times are those of calls, the shortest first.
type Times []time.Duration

// P99 is what 99 of 100 calls took at most; 0 if there were none.
func (t Times) P99() time.Duration {
	if len(t) == 0 {
		return 0
	}
	return t[len(t)*99/100]
}

// Longest is 0 if there were none.
func (t Times) Longest() time.Duration {
	if len(t) == 0 {
		return 0
	}
	return t[len(t)-1]
}

func (t Times) String() string {
	return fmt.Sprintf("%d puts, p99 %.1f ms, longest %.1f ms", len(t), Milliseconds(t.P99()), Milliseconds(t.Longest()))
}

// Puts writes one small key again and again, one call after the other on a connection of its own, until done is closed,
// and for a time at least.
func Puts(ctx context.Context, s *server.Server, least time.Duration, done <-chan struct{}) (Times, error) {
	connection, err := s.Dial()
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	client := etcdserverpb.NewKVClient(connection)
	var took Times
	for began := time.Now(); ; {
		put := time.Now()
		_, err := client.Put(ctx, &etcdserverpb.PutRequest{Key: []byte("probe"), Value: []byte("v")})
		took = append(took, time.Since(put))
		if err != nil {
			err = fmt.Errorf("put: %w", err)
		}
		over := false
		select {
		case <-done:
			over = time.Since(began) > least
		default:
		}
		if over || err != nil {
			slices.Sort(took)
			return took, err
		}
	}
}

// Fill makes a value that does not compress.
func Fill(value []byte, seed uint64) {
	seed = seed*0x9e3779b97f4a7c15 + 1
	for i := range value {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		value[i] = byte(seed)
	}
}

// Milliseconds with their fraction.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Peak is the most resident memory that the server had so far, bytes.
func Peak(s *server.Server) int { return field(s, "VmHWM:") }

// Memory says what is resident, and what was.
func Memory(s *server.Server) string {
	return fmt.Sprintf("resident %d MiB, at most %d", field(s, "VmRSS:")>>20, Peak(s)>>20)
}

func field(s *server.Server, name string) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kilobytes int
		if strings.HasPrefix(line, name) {
			if _, err := fmt.Sscanf(strings.TrimPrefix(line, name), "%d", &kilobytes); err == nil {
				return kilobytes << 10
			}
		}
	}
	return 0
}
