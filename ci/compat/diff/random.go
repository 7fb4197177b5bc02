package diff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"sync/atomic"
)

// mostKinds is how many kinds of differences are collected before a run with -keep-going ends.
const mostKinds = 10

// random runs random programs on several pairs at once.
type random struct {
	Options
	coverage *Coverage
	out      io.Writer

	next, done atomic.Uint64
	mu         sync.Mutex
	findings   map[string]*finding
	errs       []error
}

// finding is the first difference of a kind and what led to it.
type finding struct {
	program    Program
	before     []Program // what the same pair ran before
	difference *Difference
	log        string
	times      int
}

var digits = regexp.MustCompile(`\d+`)

// kind is alike for differences that have one cause, mostly.
func (d *Difference) kind() string {
	short := func(text string) string { return text[:min(len(text), 60)] }
	return digits.ReplaceAllString(d.What+short(d.Etcd)+short(d.Ours), "N")
}

func (r *random) found(f finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kind := f.difference.kind()
	if r.findings[kind] == nil {
		r.findings[kind] = &f
	}
	r.findings[kind].times++
}

func (r *random) over(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := 1
	if r.Keep {
		most = mostKinds
	}
	return len(r.errs) > 0 || ctx.Err() != nil || len(r.findings) >= most
}

func (r *random) run(ctx context.Context) error {
	var group sync.WaitGroup
	for range r.Workers {
		group.Go(func() {
			for !r.over(ctx) {
				first := (r.next.Add(1) - 1) * uint64(r.Fresh)
				if first >= uint64(r.Programs) {
					return
				}
				if err := r.batch(ctx, first); err != nil {
					r.mu.Lock()
					r.errs = append(r.errs, err)
					r.mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return errors.Join(append(r.errs, ctx.Err())...)
}

// batch runs programs of neighbouring numbers on one pair; which ones does not depend on the workers' pace.
// After a difference the rest gets another pair.
func (r *random) batch(ctx context.Context, first uint64) error {
	end := min(first+uint64(r.Fresh), uint64(r.Programs))
	for n := first; n < end && !r.over(ctx); {
		var err error
		if n, err = r.onPair(ctx, n, end); err != nil {
			return err
		}
	}
	return nil
}

// onPair returns the number of the first program that was not run.
func (r *random) onPair(ctx context.Context, n, end uint64) (uint64, error) {
	runner, err := NewRunner(ctx, r.coverage)
	if err != nil {
		return n, err
	}
	defer runner.Stop()
	r.coverage.Count("fresh pairs", 1)
	var before []Program
	for ; n < end && !r.over(ctx); n++ {
		p := Generate(r.Seed, r.First+n)
		if d := runner.Run(ctx, p); d != nil && ctx.Err() == nil {
			r.found(finding{program: p, before: before, difference: d, log: runner.Log(25)})
			return n + 1, nil
		}
		before = append(before, p)
		if done := r.done.Add(1); done%500 == 0 {
			fmt.Fprintf(r.out, "%d programs\n", done)
		}
	}
	if d := runner.Restart(ctx); d != nil && !r.over(ctx) {
		p := Program{Name: fmt.Sprintf("restart after %d programs up to %d", len(before), n)}
		r.found(finding{program: p, before: before, difference: d, log: runner.Log(25)})
	}
	return n, nil
}

// report prints and shrinks what was found.
func (r *random) report(ctx context.Context) error {
	for _, kind := range sortedKeys(r.findings) {
		f := r.findings[kind]
		fmt.Fprintf(r.out, "\nDIFFERENCE, %d times, in %s, %v\nkeelkv's log:\n%s\n", f.times, f.program.Name, f.difference, f.log)
		if len(f.program.Steps) == 0 {
			// A restart does not shrink.
			continue
		}
		shrunk, difference := Shrink(ctx, f.before, f.program, r.out)
		path, err := writeFixture(r.Fixtures, shrunk)
		if err != nil {
			return err
		}
		fmt.Fprintf(r.out, "shrunk to %d steps in %s: %v\n", len(shrunk.Steps), path, difference)
		for i, step := range shrunk.Steps {
			fmt.Fprintf(r.out, "  %d %v\n", i, step)
		}
	}
	if len(r.findings) > 0 {
		return fmt.Errorf("%d kinds of differences", len(r.findings))
	}
	return nil
}
