// Smoke uses a running server through etcd's own Go client and its concurrency package, as a program would.
//
//	smoke 127.0.0.1:2379
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: smoke HOST:PORT")
		os.Exit(2)
	}
	passed := 0
	for _, part := range []struct {
		name string
		run  func(context.Context, *clientv3.Client) error
	}{
		{"kv", kv}, {"txn", txn}, {"watch", watch}, {"watch resumes after a lost connection", resume},
		{"lease", lease}, {"mutex", mutex}, {"election", election}, {"stm", stm},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		err := connected(os.Args[1], func(c *clientv3.Client) error { return part.run(ctx, c) })
		cancel()
		if err != nil {
			fmt.Printf("go client: %s: %v\n%d passed, 1 failed\n", part.name, err, passed)
			os.Exit(1)
		}
		passed++
	}
	fmt.Printf("go client: %d passed, 0 failed\n", passed)
}

func dial(endpoint string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
}

// connected runs something with a connection of its own.
func connected(endpoint string, run func(*clientv3.Client) error) error {
	c, err := dial(endpoint)
	if err != nil {
		return err
	}
	defer c.Close()
	return run(c)
}

// session is of a client of its own, as sessions of different programs are; done ends both.
func session(endpoint string) (s *concurrency.Session, done func(), err error) {
	c, err := dial(endpoint)
	if err != nil {
		return nil, nil, err
	}
	s, err = concurrency.NewSession(c, concurrency.WithTTL(10))
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return s, func() { s.Close(); c.Close() }, nil
}

func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func kv(ctx context.Context, c *clientv3.Client) error {
	first, err := c.Put(ctx, "go/kv/a", "1")
	if err != nil {
		return err
	}
	second, err := c.Put(ctx, "go/kv/b", "2", clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	got, err := c.Get(ctx, "go/kv/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	if err != nil {
		return err
	}
	deleted, err := c.Delete(ctx, "go/kv/a", clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	old, err := c.Get(ctx, "go/kv/a", clientv3.WithRev(first.Header.Revision))
	if err != nil {
		return err
	}
	status, err := c.Status(ctx, c.Endpoints()[0])
	if err != nil {
		return err
	}
	return errors.Join(
		expect(second.Header.Revision == first.Header.Revision+1, "revisions %d, %d", first.Header.Revision, second.Header.Revision),
		expect(got.Count == 2 && string(got.Kvs[0].Key) == "go/kv/b", "range %v", got),
		expect(deleted.Deleted == 1 && string(deleted.PrevKvs[0].Value) == "1", "delete %v", deleted),
		expect(len(old.Kvs) == 1 && string(old.Kvs[0].Value) == "1", "old revision %v", old),
		expect(status.DbSize > 0 && status.Leader == status.Header.MemberId, "status %v", status),
	)
}

func txn(ctx context.Context, c *clientv3.Client) error {
	create := func() (*clientv3.TxnResponse, error) {
		return c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision("go/txn"), "=", 0)).
			Then(clientv3.OpPut("go/txn", "made")).Else(clientv3.OpGet("go/txn")).Commit()
	}
	made, err := create()
	if err != nil {
		return err
	}
	again, err := create()
	if err != nil {
		return err
	}
	return errors.Join(
		expect(made.Succeeded, "first %v", made),
		expect(!again.Succeeded && string(again.Responses[0].GetResponseRange().Kvs[0].Value) == "made", "second %v", again),
	)
}

func watch(ctx context.Context, c *clientv3.Client) error {
	put, err := c.Put(ctx, "go/watch", "0")
	if err != nil {
		return err
	}
	for n := 1; n < 5; n++ {
		if _, err := c.Put(ctx, "go/watch", fmt.Sprint(n)); err != nil {
			return err
		}
	}
	return follow(ctx, c, "go/watch", put.Header.Revision, 5, func(n int) error {
		if n > 3 {
			return nil
		}
		return c.RequestProgress(ctx)
	})
}

// follow expects the values 0, 1, 2... from a revision on, each once.
func follow(ctx context.Context, c *clientv3.Client, key string, from int64, events int, each func(int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := 0
	for response := range c.Watch(ctx, key, clientv3.WithRev(from), clientv3.WithPrevKV()) {
		if err := response.Err(); err != nil {
			return err
		}
		for _, event := range response.Events {
			if string(event.Kv.Value) != fmt.Sprint(seen) {
				return fmt.Errorf("event %d is %v", seen, event)
			}
			if seen > 0 && string(event.PrevKv.GetValue()) != fmt.Sprint(seen-1) {
				return fmt.Errorf("event %d came with %v", seen, event.PrevKv)
			}
			if err := each(seen); err != nil {
				return err
			}
			if seen++; seen == events {
				return nil
			}
		}
	}
	return fmt.Errorf("the watch ended after %d events: %w", seen, ctx.Err())
}

// resume cuts the connection of a watcher again and again while others write.
func resume(ctx context.Context, writer *clientv3.Client) error {
	way, err := newWay(writer.Endpoints()[0])
	if err != nil {
		return err
	}
	defer way.close()
	watcher, err := dial(way.address())
	if err != nil {
		return err
	}
	defer watcher.Close()
	const events = 200
	first, err := writer.Put(ctx, "go/resume", "0")
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	var wrote error
	group.Go(func() {
		for n := 1; n < events && wrote == nil; n++ {
			_, wrote = writer.Put(ctx, "go/resume", fmt.Sprint(n))
		}
	})
	followed := follow(ctx, watcher, "go/resume", first.Header.Revision, events, func(n int) error {
		if n%50 == 10 {
			way.cut()
		}
		return nil
	})
	group.Wait()
	return errors.Join(wrote, followed)
}

func lease(ctx context.Context, c *clientv3.Client) error {
	granted, err := c.Grant(ctx, 5)
	if err != nil {
		return err
	}
	if _, err := c.Put(ctx, "go/lease", "x", clientv3.WithLease(granted.ID)); err != nil {
		return err
	}
	alive, err := c.KeepAlive(ctx, granted.ID)
	if err != nil {
		return err
	}
	for range 2 {
		if answer, open := <-alive; !open || answer.TTL != 5 {
			return fmt.Errorf("keep-alive %v", answer)
		}
	}
	left, err := c.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	if err != nil {
		return err
	}
	if _, err := c.Revoke(ctx, granted.ID); err != nil {
		return err
	}
	gone, err := c.Get(ctx, "go/lease")
	if err != nil {
		return err
	}
	return errors.Join(
		expect(left.GrantedTTL == 5 && len(left.Keys) == 1, "time to live %v", left),
		expect(gone.Count == 0, "after the revocation %v", gone),
	)
}

func mutex(ctx context.Context, c *clientv3.Client) error {
	counter, most := 0, 0
	var guard sync.Mutex
	var group sync.WaitGroup
	errs := make([]error, 5)
	for i := range errs {
		group.Go(func() {
			errs[i] = func() error {
				own, done, err := session(c.Endpoints()[0])
				if err != nil {
					return err
				}
				defer done()
				m := concurrency.NewMutex(own, "go/mutex")
				for range 5 {
					if err := m.Lock(ctx); err != nil {
						return err
					}
					guard.Lock()
					counter++
					most = max(most, counter)
					guard.Unlock()
					if _, err := own.Client().Put(ctx, "go/mutex-held", fmt.Sprint(i)); err != nil {
						return err
					}
					guard.Lock()
					counter--
					guard.Unlock()
					if err := m.Unlock(ctx); err != nil {
						return err
					}
				}
				return nil
			}()
		})
	}
	group.Wait()
	return errors.Join(append(errs, expect(most == 1, "%d held the lock at once", most))...)
}

func election(ctx context.Context, c *clientv3.Client) error {
	var elections []*concurrency.Election
	for range 2 {
		own, done, err := session(c.Endpoints()[0])
		if err != nil {
			return err
		}
		defer done()
		elections = append(elections, concurrency.NewElection(own, "go/election"))
	}
	observer := elections[1].Observe(ctx)
	if err := elections[0].Campaign(ctx, "first"); err != nil {
		return err
	}
	if r := <-observer; string(r.Kvs[0].Value) != "first" {
		return fmt.Errorf("observed %v", r)
	}
	won := make(chan error, 1)
	go func() { won <- elections[1].Campaign(ctx, "second") }()
	if err := elections[0].Proclaim(ctx, "still first"); err != nil {
		return err
	}
	if r := <-observer; string(r.Kvs[0].Value) != "still first" {
		return fmt.Errorf("observed %v", r)
	}
	if err := elections[0].Resign(ctx); err != nil {
		return err
	}
	if err := <-won; err != nil {
		return err
	}
	leader, err := elections[0].Leader(ctx)
	if err != nil {
		return err
	}
	return expect(string(leader.Kvs[0].Value) == "second", "leader %v", leader)
}

// stm moves an amount between two keys from many sides at once.
func stm(ctx context.Context, c *clientv3.Client) error {
	var group sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		group.Go(func() {
			for range 10 {
				_, err := concurrency.NewSTM(c, func(s concurrency.STM) error {
					var n int
					if text := s.Get("go/stm"); text != "" {
						if _, err := fmt.Sscan(text, &n); err != nil {
							return err
						}
					}
					s.Put("go/stm", fmt.Sprint(n+1))
					return nil
				}, concurrency.WithAbortContext(ctx))
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	group.Wait()
	got, err := c.Get(ctx, "go/stm")
	if err != nil {
		return err
	}
	return errors.Join(append(errs, expect(string(got.Kvs[0].Value) == "40", "after 40 additions %v", got))...)
}

// way forwards connections to the server until it cuts them.
type way struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	open     []net.Conn
}

func newWay(target string) (*way, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &way{listener: listener, target: target}
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				from.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, from, to)
			w.mu.Unlock()
			for _, ends := range [][2]net.Conn{{from, to}, {to, from}} {
				go func() {
					_, _ = io.Copy(ends[0], ends[1])
					ends[0].Close()
				}()
			}
		}
	}()
	return w, nil
}

func (w *way) address() string { return w.listener.Addr().String() }

func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		c.Close()
	}
	w.open = nil
}

func (w *way) close() {
	w.listener.Close()
	w.cut()
}
