// Churn overwrites a store again and again, with a compaction at intervals, and sees that the disk holds little more than
// what is not compacted away, that no call takes long, and that at the end only what lives is left.
//
//	churn [-live MiB] [-churn MiB] [-rate MiB/s] [-every DURATION] [-factor N] [-bound DURATION] [-etcd]
//
// The disk is asked each second for all files of the member, log included, and compared with Status.dbSizeInUse of the
// same moment. With -etcd a real etcd does the same first. KEELKV_BIN names the server, COMPAT_SCRATCH the disk.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"keelkv/compat/measure"
	"keelkv/compat/server"
)

const (
	valueBytes = 16 << 10
	writers    = 8
	// settled is how long files may stay after the last compaction.
	settled = time.Minute
)

var (
	live   = flag.Int("live", 1<<10, "data that lives, MiB")
	churn  = flag.Int("churn", 20<<10, "data that is written over it, MiB")
	rate   = flag.Float64("rate", 40, "MiB written in a second")
	every  = flag.Duration("every", time.Minute, "time between compactions")
	factor = flag.Float64("factor", 2, "the disk holds at most this many times what is in use")
	bound  = flag.Duration("bound", 250*time.Millisecond, "no call takes longer")
	beside = flag.Bool("etcd", false, "real etcd does it first")
)

func main() {
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if *beside {
		if err := run(ctx, "etcd", server.Etcd()); err != nil {
			fmt.Fprintln(os.Stderr, "etcd:", err)
		}
	}
	if err := run(ctx, "keelkv", server.Keelkv()); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		fmt.Println("churn: 0 passed, 1 failed")
		os.Exit(1)
	}
	fmt.Println("churn: 1 passed, 0 failed")
}

func run(ctx context.Context, name, binary string) error {
	s, err := server.Start(ctx, server.Options{Binary: binary, Flags: []string{"--quota-backend-bytes=17179869184"}})
	if err != nil {
		return err
	}
	defer s.Stop()
	connection, err := s.Dial()
	if err != nil {
		return err
	}
	defer connection.Close()
	began := time.Now()
	if _, err := write(ctx, s, 0, *live<<20/valueBytes, func(n int) int { return n }); err != nil {
		return fmt.Errorf("load: %w\n%s", err, s.Log(5))
	}
	fmt.Printf("%s: %d MiB live, written in %.1f s\n", name, *live, time.Since(began).Seconds())

	watching, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	var compactions measure.Times
	var compacting, looking error
	var worst ratio
	group.Go(func() { compactions, compacting = compact(watching, connection) })
	group.Go(func() { worst, looking = look(watching, s, connection) })
	began = time.Now()
	puts, writing := write(ctx, s, *rate, *churn<<20/valueBytes, func(int) int { return rand.IntN(*live << 20 / valueBytes) })
	took := time.Since(began)
	stop()
	group.Wait()
	if err := errors.Join(writing, compacting, looking); err != nil {
		return fmt.Errorf("%w\n%s", err, s.Log(10))
	}
	fmt.Printf("%s: %d MiB over it in %.0f s: %v; %d compactions, longest %.1f ms\n", name, *churn, took.Seconds(), puts,
		len(compactions), measure.Milliseconds(compactions.Longest()))
	fmt.Printf("%s: on disk at most %v; %s\n", name, worst, measure.Memory(s))
	if worst.value() > *factor {
		err = errors.Join(err, fmt.Errorf("%v on disk", worst))
	}
	if longest := max(puts.Longest(), compactions.Longest()); longest > *bound {
		err = errors.Join(err, fmt.Errorf("a call took %v", longest))
	}
	return errors.Join(err, settle(ctx, name, s, connection))
}

// write puts so many values, at so many MiB a second (0: as fast as it goes), at the keys that pick tells.
func write(ctx context.Context, s *server.Server, rate float64, count int, pick func(n int) int) (measure.Times, error) {
	var group sync.WaitGroup
	var next atomic.Int64
	took, errs := make([]measure.Times, writers), make([]error, writers)
	began := time.Now()
	for writer := range writers {
		group.Go(func() {
			connection, err := s.Dial()
			if err != nil {
				errs[writer] = err
				return
			}
			defer connection.Close()
			kv, value := pb.NewKVClient(connection), make([]byte, valueBytes)
			for {
				n := int(next.Add(1)) - 1
				if n >= count {
					return
				}
				if rate > 0 {
					time.Sleep(time.Until(began.Add(time.Duration(float64(n*valueBytes) / (rate * (1 << 20)) * float64(time.Second)))))
				}
				measure.Fill(value, rand.Uint64())
				put := time.Now()
				if _, err := kv.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "%08d", pick(n)), Value: value}); err != nil {
					errs[writer] = fmt.Errorf("put: %w", err)
					return
				}
				took[writer] = append(took[writer], time.Since(put))
			}
		})
	}
	group.Wait()
	all := slices.Concat(took...)
	slices.Sort(all)
	return all, errors.Join(errs...)
}

// compact drops what is older than the moment, at each interval.
func compact(ctx context.Context, connection *grpc.ClientConn) (took measure.Times, err error) {
	for {
		select {
		case <-ctx.Done():
			slices.Sort(took)
			return took, nil
		case <-time.After(*every):
		}
		began := time.Now()
		if err := compactNow(connection, false); err != nil {
			return took, err
		}
		took = append(took, time.Since(began))
	}
}

func compactNow(connection *grpc.ClientConn, physical bool) error {
	kv := pb.NewKVClient(connection)
	now, err := kv.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), Serializable: true})
	if err == nil {
		_, err = kv.Compact(context.Background(), &pb.CompactionRequest{Revision: now.Header.Revision, Physical: physical})
	}
	if err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}

// ratio is what the disk held beside what was in use, bytes.
type ratio struct{ disk, inUse int64 }

func (r ratio) value() float64 { return float64(r.disk) / float64(max(r.inUse, 1)) }

func (r ratio) String() string {
	return fmt.Sprintf("%d MiB where %d MiB were in use (%.2f times)", r.disk>>20, r.inUse>>20, r.value())
}

// look finds the worst moment.
func look(ctx context.Context, s *server.Server, connection *grpc.ClientConn) (worst ratio, err error) {
	for {
		select {
		case <-ctx.Done():
			return worst, nil
		case <-time.After(time.Second):
		}
		now, err := weigh(s, connection)
		if err != nil {
			return worst, err
		}
		if now.value() > worst.value() {
			worst = now
		}
	}
}

// settle compacts once more, and waits until only what lives is on disk.
func settle(ctx context.Context, name string, s *server.Server, connection *grpc.ClientConn) error {
	if err := compactNow(connection, true); err != nil {
		return err
	}
	began := time.Now()
	for {
		now, err := weigh(s, connection)
		if err != nil {
			return err
		}
		if now.inUse = int64(*live) << 20; now.value() <= *factor || time.Since(began) > settled {
			fmt.Printf("%s: %.1f s after the last compaction %v\n", name, time.Since(began).Seconds(), now)
			if now.value() > *factor {
				return fmt.Errorf("%v on disk are left", now)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// weigh asks the disk and the server.
func weigh(s *server.Server, connection *grpc.ClientConn) (ratio, error) {
	status, err := pb.NewMaintenanceClient(connection).Status(context.Background(), &pb.StatusRequest{})
	if err != nil {
		return ratio{}, fmt.Errorf("status: %w", err)
	}
	now := ratio{inUse: status.DbSizeInUse}
	err = filepath.WalkDir(filepath.Join(s.Dir, "data"), func(_ string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			// Gone since the folder was read.
			return nil
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 0 {
			now.disk += stat.Blocks * 512
		}
		return nil
	})
	return now, err
}
