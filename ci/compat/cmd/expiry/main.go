// Expiry has many leases, each with a key, expire in one second, and tells when all of them are gone and how long puts
// take meanwhile.
//
//	expiry [-leases N] [-within DURATION] [-bound DURATION] [-etcd]
//
// With -etcd a real etcd does the same first. KEELKV_BIN names the server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"keelkv/compat/measure"
	"keelkv/compat/server"
)

// granters work at once, each on one of the connections.
const (
	granters    = 256
	connections = 8
)

var (
	leases = flag.Int("leases", 100_000, "leases that expire in the same second")
	life   = flag.Duration("life", time.Minute, "time until that second, in which they are granted")
	within = flag.Duration("within", 3*time.Second, "all are gone that long after the last one expired")
	bound  = flag.Duration("bound", 50*time.Millisecond, "99 of 100 puts take no longer meanwhile")
	beside = flag.Bool("etcd", false, "real etcd does it first")
)

func main() {
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if *beside {
		if _, _, err := expire(ctx, "etcd", server.Etcd()); err != nil {
			fmt.Fprintln(os.Stderr, "etcd:", err)
		}
	}
	gone, puts, err := expire(ctx, "keelkv", server.Keelkv())
	if gone > *within {
		err = errors.Join(err, fmt.Errorf("all were gone after %v", gone))
	}
	if puts.P99() > *bound {
		err = errors.Join(err, fmt.Errorf("p99 of puts is %v", puts.P99()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		fmt.Println("expiry: 0 passed, 1 failed")
		os.Exit(1)
	}
	fmt.Println("expiry: 1 passed, 0 failed")
}

// expire tells how long after the end of the second all were gone, and the times of puts from its begin until then.
func expire(ctx context.Context, name, binary string) (gone time.Duration, puts measure.Times, err error) {
	s, err := server.Start(ctx, server.Options{Binary: binary})
	if err != nil {
		return 0, nil, err
	}
	defer s.Stop()
	dialled := make([]*grpc.ClientConn, connections)
	for i := range dialled {
		if dialled[i], err = s.Dial(); err != nil {
			return 0, nil, err
		}
		defer dialled[i].Close()
	}
	began := time.Now()
	end := began.Add(*life)
	if err := grant(ctx, dialled, end); err != nil {
		return 0, nil, err
	}
	if left := time.Until(end); left < time.Second {
		return 0, nil, fmt.Errorf("granting took %v: ask for a longer -life", time.Since(began))
	}
	fmt.Printf("%s: %d leases with a key each, granted in %.1f s\n", name, *leases, time.Since(began).Seconds())
	time.Sleep(time.Until(end))
	done := make(chan struct{})
	var group sync.WaitGroup
	var putting error
	group.Go(func() { puts, putting = measure.Puts(ctx, s, time.Second, done) })
	first, err := wait(ctx, dialled[0], end)
	close(done)
	group.Wait()
	gone = time.Since(end) - time.Second
	fmt.Printf("%s: the first went %.2f s after the second began, all were gone %.2f s after it ended; %v\n", name,
		first.Seconds(), gone.Seconds(), puts)
	return gone, puts, errors.Join(err, putting)
}

// grant has all leases end in the second after end: what is left until then, in whole seconds and one more.
func grant(ctx context.Context, dialled []*grpc.ClientConn, end time.Time) error {
	var group sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, granters)
	for granter := range granters {
		group.Go(func() {
			connection := dialled[granter%len(dialled)]
			kv, lessor := pb.NewKVClient(connection), pb.NewLeaseClient(connection)
			for errs[granter] == nil {
				id := next.Add(1)
				if id > int64(*leases) {
					return
				}
				left := int64(math.Ceil(time.Until(end).Seconds()))
				if _, errs[granter] = lessor.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: left}); errs[granter] == nil {
					_, errs[granter] = kv.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "leased/%08d", id), Lease: id})
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// wait returns when no key is left, and tells how long after end the first one was gone.
func wait(ctx context.Context, connection *grpc.ClientConn, end time.Time) (first time.Duration, err error) {
	kv := pb.NewKVClient(connection)
	for {
		left, err := kv.Range(ctx, &pb.RangeRequest{
			Key: []byte("leased/"), RangeEnd: []byte("leased0"), CountOnly: true, Serializable: true,
		})
		if err != nil {
			return first, err
		}
		if first == 0 && left.Count < int64(*leases) {
			first = time.Since(end)
		}
		if left.Count == 0 {
			break
		}
		// Counting is work too.
		time.Sleep(20 * time.Millisecond)
	}
	known, err := pb.NewLeaseClient(connection).LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err == nil && len(known.Leases) > 0 {
		err = fmt.Errorf("%d leases are left without their keys", len(known.Leases))
	}
	return first, err
}
