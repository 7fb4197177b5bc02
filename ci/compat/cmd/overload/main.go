// Overload asks a server with little memory for everything, many times at once, and sees that it lives, that what
// is small goes on, and that what was refused is told so.
//
//	overload [-limit MiB] [-data MiB] [-readers N] [-bound DURATION]
//
// The kernel remembers the most memory that the server ever had resident (VmHWM): with more than -limit MiB a control
// group of that size would have killed it, and this fails. KEELKV_BIN names the server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keelkv/compat/measure"
	"keelkv/compat/server"
)

const (
	valueBytes = 16 << 10
	loaders    = 16
)

var (
	limit   = flag.Int("limit", 512, "memory of the server, MiB")
	data    = flag.Int("data", 2048, "data in it, MiB")
	readers = flag.Int("readers", 50, "reads of everything at once, of each kind")
	bound   = flag.Duration("bound", 100*time.Millisecond, "99 of 100 puts take no longer")
)

// kinds are the ways to ask for everything; each answers how many keys came.
var kinds = []struct {
	name string
	read func(context.Context, *grpc.ClientConn) (int, error)
	// whole: none of the readers may be refused.
	whole bool
}{
	{"range", rangeAll, false},
	{"sorted range", sortedRange, false},
	{"txn", txnAll, false},
	{"stream", streamAll, true},
}

var everything = &etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}

func main() {
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	failed, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		failed++
	}
	fmt.Printf("overload: %d passed, %d failed\n", len(kinds)-min(failed, len(kinds)), failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func run(ctx context.Context) (failed int, err error) {
	keelkv, err := server.Start(ctx, server.Options{
		Binary: server.Keelkv(),
		// What it takes by itself where it is limited so, by a control group or otherwise.
		Flags: []string{"--quota-backend-bytes=-1", fmt.Sprintf("--read-memory-bytes=%d", *limit<<20/8)},
	})
	if err != nil {
		return 0, err
	}
	defer keelkv.Stop()
	keys, err := load(ctx, keelkv)
	if err != nil {
		return 0, fmt.Errorf("load: %w\n%s", err, keelkv.Log(5))
	}
	fmt.Printf("%d keys of %d KiB; %s\n", keys, valueBytes>>10, measure.Memory(keelkv))
	for _, kind := range kinds {
		if err := overload(ctx, keelkv, kind.name, kind.read, kind.whole, keys); err != nil {
			fmt.Fprintf(os.Stderr, "BAD %s: %v\n", kind.name, err)
			failed++
		}
		select {
		case <-keelkv.Exited():
			return failed, fmt.Errorf("the server ended\n%s", keelkv.Log(10))
		default:
		}
	}
	return failed, nil
}

// load writes as much as was asked for, and says how many keys that are.
func load(ctx context.Context, s *server.Server) (int, error) {
	connection, err := s.Dial()
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	client, keys := etcdserverpb.NewKVClient(connection), *data<<20/valueBytes
	errs := make([]error, loaders)
	var group sync.WaitGroup
	for loader := range loaders {
		group.Go(func() {
			value := make([]byte, valueBytes)
			for key := loader; key < keys; key += loaders {
				measure.Fill(value, uint64(key))
				if errs[loader] = put(ctx, client, fmt.Sprintf("%08d", key), value); errs[loader] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	return keys, errors.Join(errs...)
}

// put waits while the server has more to write than it takes on.
func put(ctx context.Context, client etcdserverpb.KVClient, key string, value []byte) error {
	for {
		_, err := client.Put(ctx, &etcdserverpb.PutRequest{Key: []byte(key), Value: value})
		if err == nil || !strings.Contains(err.Error(), "too many requests") {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// overload reads everything with all readers, each on a connection of its own, beside puts one after the other.
func overload(ctx context.Context, s *server.Server, name string, read func(context.Context, *grpc.ClientConn) (int, error),
	whole bool, keys int,
) error {
	var group sync.WaitGroup
	began := time.Now()
	answers := make([]error, *readers)
	for reader := range *readers {
		group.Go(func() {
			connection, err := s.Dial()
			if err == nil {
				defer connection.Close()
				var found int
				if found, err = read(ctx, connection); err == nil && found < keys {
					err = fmt.Errorf("%d keys in place of %d", found, keys)
				}
			}
			answers[reader] = err
		})
	}
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	puts, err := measure.Puts(ctx, s, 2*time.Second, done)
	<-done
	refused, failures, whom := 0, 0, error(nil)
	for _, answer := range answers {
		if status.Code(answer) == codes.ResourceExhausted {
			refused++
			whom = answer
		} else if answer != nil {
			failures++
			err = answer
		}
	}
	p99 := puts.P99()
	fmt.Printf("%s: %d of %d refused, %.1f s; %d puts, p99 %.1f ms, longest %.1f ms; %s\n", name, refused, *readers,
		time.Since(began).Seconds(), len(puts), measure.Milliseconds(p99), measure.Milliseconds(puts.Longest()), measure.Memory(s))
	if whom != nil {
		fmt.Println("    told:", status.Convert(whom).Message())
	}
	if failures > 0 {
		err = fmt.Errorf("%d readers failed, one of them: %w", failures, err)
	}
	if p99 > *bound {
		err = errors.Join(err, fmt.Errorf("p99 of puts is %v", p99))
	}
	if whole && refused > 0 {
		err = errors.Join(err, fmt.Errorf("%d streams were refused", refused))
	}
	if resident := measure.Peak(s); resident > *limit<<20 {
		err = errors.Join(err, fmt.Errorf("%d MiB were resident", resident>>20))
	}
	return err
}

func rangeAll(ctx context.Context, connection *grpc.ClientConn) (int, error) {
	answer, err := etcdserverpb.NewKVClient(connection).Range(ctx, everything)
	return len(answer.GetKvs()), err
}

func sortedRange(ctx context.Context, connection *grpc.ClientConn) (int, error) {
	answer, err := etcdserverpb.NewKVClient(connection).Range(ctx, &etcdserverpb.RangeRequest{
		Key: everything.Key, RangeEnd: everything.RangeEnd,
		SortTarget: etcdserverpb.RangeRequest_VALUE, SortOrder: etcdserverpb.RangeRequest_DESCEND,
	})
	return len(answer.GetKvs()), err
}

func txnAll(ctx context.Context, connection *grpc.ClientConn) (int, error) {
	answer, err := etcdserverpb.NewKVClient(connection).Txn(ctx, &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{
		{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: everything}},
	}})
	if err != nil {
		return 0, err
	}
	return len(answer.Responses[0].GetResponseRange().Kvs), nil
}

func streamAll(ctx context.Context, connection *grpc.ClientConn) (int, error) {
	stream, err := etcdserverpb.NewKVClient(connection).RangeStream(ctx, everything)
	keys := 0
	for err == nil {
		var message *etcdserverpb.RangeStreamResponse
		if message, err = stream.Recv(); err == nil {
			keys += len(message.RangeResponse.Kvs)
		}
	}
	if errors.Is(err, io.EOF) {
		return keys, nil
	}
	return keys, err
}
