// Command logins measures how many logins etcd and keelkv do in a second, by turns on the same machine: those of a user
// who has logged in before, those of users who have not, and how long refusals take. With -check it fails if keelkv does
// not repeat logins 50 times as often as etcd, or if it can be told from the time whether there is such a user.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"keelkv/compat/server"
)

const (
	users    = 64
	refusals = 30
	// leastRatio is what repeated logins have to reach.
	leastRatio = 50
	// mostApart is by how much the times of refusals may differ.
	mostApart = 0.2
)

// side is one server with users, who have their names for passwords.
type side struct {
	name       string
	connection *grpc.ClientConn
	auth       pb.AuthClient
}

// figures are those of one round, or the medians of all.
type figures struct {
	// again and first are logins a second, by how many are in flight.
	again, first map[int]float64
	// unknown and wrong are seconds until somebody is refused.
	unknown, wrong float64
}

var inFlight = []int{1, 64}

func main() {
	rounds := flag.Int("rounds", 3, "medians are of so many")
	lasts := flag.Duration("lasts", 3*time.Second, "how long repeated logins are counted")
	check := flag.Bool("check", false, "fail if a requirement is missed")
	flag.Parse()
	if err := run(*rounds, *lasts, *check); err != nil {
		log.Fatal(err)
	}
}

func run(rounds int, lasts time.Duration, check bool) error {
	ctx := context.Background()
	pair, err := server.StartPair(ctx)
	if err != nil {
		return err
	}
	defer pair.Stop()
	var sides [2]*side
	var all [2][]figures
	for i, s := range pair.Sides() {
		connection, err := s.Dial()
		if err != nil {
			return err
		}
		defer connection.Close()
		sides[i] = &side{[]string{"etcd", "keelkv"}[i], connection, pb.NewAuthClient(connection)}
		if err := sides[i].prepare(ctx); err != nil {
			return fmt.Errorf("%s: %w", sides[i].name, err)
		}
	}
	for range rounds {
		for i, s := range sides {
			f, err := s.measure(ctx, lasts)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			all[i] = append(all[i], f)
		}
	}
	return report(medians(all[0]), medians(all[1]), check)
}

func (s *side) prepare(ctx context.Context) error {
	var errs []error
	add := func(name string) {
		_, err := s.auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: name, Password: name})
		errs = append(errs, err)
	}
	add("root")
	for i := range users {
		add(user(i))
	}
	_, err := s.auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"})
	_, enable := s.auth.AuthEnable(ctx, &pb.AuthEnableRequest{})
	return errors.Join(append(errs, err, enable)...)
}

func user(i int) string { return fmt.Sprintf("user%d", i) }

func (s *side) login(ctx context.Context, name, password string) error {
	_, err := s.auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: password})
	return err
}

func (s *side) measure(ctx context.Context, lasts time.Duration) (figures, error) {
	f := figures{again: map[int]float64{}, first: map[int]float64{}}
	for _, n := range inFlight {
		if err := s.change(ctx); err != nil {
			return f, err
		}
		logins := make(chan string, users)
		for i := range users {
			logins <- user(i)
		}
		close(logins)
		took, _, err := together(n, func() (bool, error) {
			name, has := <-logins
			if !has {
				return false, nil
			}
			return true, s.login(ctx, name, name)
		})
		if err != nil {
			return f, err
		}
		f.first[n] = users / took.Seconds()
		end := time.Now().Add(lasts)
		took, done, err := together(n, func() (bool, error) {
			return time.Now().Before(end), s.login(ctx, user(0), user(0))
		})
		if err != nil {
			return f, err
		}
		f.again[n] = float64(done) / took.Seconds()
	}
	f.unknown, f.wrong = s.refused(ctx)
	return f, nil
}

// change makes everybody's next login their first: users are not what they were.
func (s *side) change(ctx context.Context) error {
	root, err := s.auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: "root"})
	if err != nil {
		return err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "token", root.Token)
	if _, err := s.auth.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "passing"}); err != nil {
		return err
	}
	_, err = s.auth.RoleDelete(ctx, &pb.AuthRoleDeleteRequest{Role: "passing"})
	return err
}

// refused returns the mean times of both kinds of refusals, by turns.
func (s *side) refused(ctx context.Context) (unknown, wrong float64) {
	for range refusals {
		began := time.Now()
		_ = s.login(ctx, "nobody of that name", "password")
		between := time.Now()
		_ = s.login(ctx, user(0), "password")
		unknown += between.Sub(began).Seconds() / refusals
		wrong += time.Since(between).Seconds() / refusals
	}
	return unknown, wrong
}

// together repeats something, with so many in flight, until it says that it is done; it counts what was done.
func together(n int, each func() (more bool, err error)) (took time.Duration, done int64, err error) {
	var group sync.WaitGroup
	var count atomic.Int64
	errs := make([]error, n)
	began := time.Now()
	for i := range n {
		group.Go(func() {
			for {
				more, err := each()
				if err != nil || !more {
					errs[i] = err
					return
				}
				count.Add(1)
			}
		})
	}
	group.Wait()
	return time.Since(began), count.Load(), errors.Join(errs...)
}

func medians(of []figures) figures {
	median := func(get func(figures) float64) float64 {
		var values []float64
		for _, f := range of {
			values = append(values, get(f))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	m := figures{again: map[int]float64{}, first: map[int]float64{}}
	for _, n := range inFlight {
		m.again[n] = median(func(f figures) float64 { return f.again[n] })
		m.first[n] = median(func(f figures) float64 { return f.first[n] })
	}
	m.unknown, m.wrong = median(func(f figures) float64 { return f.unknown }), median(func(f figures) float64 { return f.wrong })
	return m
}

func report(etcd, keelkv figures, check bool) error {
	var errs []error
	fmt.Println("logins a second       in flight      etcd    keelkv   ratio")
	for _, n := range inFlight {
		ratio := keelkv.again[n] / etcd.again[n]
		fmt.Printf("again                 %9d %9.1f %9.0f %7.0f\n", n, etcd.again[n], keelkv.again[n], ratio)
		if ratio < leastRatio {
			errs = append(errs, fmt.Errorf("%d in flight: %.1f times etcd's rate of repeated logins", n, ratio))
		}
	}
	for _, n := range inFlight {
		fmt.Printf("first                 %9d %9.1f %9.1f %7.2f\n", n, etcd.first[n], keelkv.first[n], keelkv.first[n]/etcd.first[n])
	}
	fmt.Printf("refused, ms: no such user       %9.1f %9.1f\n", etcd.unknown*1e3, keelkv.unknown*1e3)
	fmt.Printf("             wrong password     %9.1f %9.1f\n", etcd.wrong*1e3, keelkv.wrong*1e3)
	if apart := math.Abs(keelkv.unknown/keelkv.wrong - 1); apart > mostApart {
		errs = append(errs, fmt.Errorf("refusals take times that are %.0f %% apart", apart*100))
	}
	if !check {
		for _, err := range errs {
			fmt.Fprintln(os.Stderr, "missed:", err)
		}
		return nil
	}
	return errors.Join(errs...)
}
