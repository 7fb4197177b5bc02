package diff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"keelkv/compat/server"
)

// Options say what a run does.
type Options struct {
	Programs, Workers, Fresh int
	Seed, First              uint64
	Fixtures                 string
	Table, Only, Keep        bool
	NoCoverage               bool
}

// finding is a difference and what led to it.
type finding struct {
	program    Program
	before     []Program // what the same pair ran before
	difference *Difference
	log        string
}

// Main runs fixtures, scenarios and random programs, shrinks what fails and prints the counters.
func Main(ctx context.Context, o Options, out io.Writer) error {
	fmt.Fprintf(out, "etcd %s, against %s\n", server.Etcd(), server.Keelkv())
	started := time.Now()
	coverage := NewCoverage()
	fixtures, err := readFixtures(o.Fixtures)
	if err != nil {
		return err
	}
	if err := runFixtures(ctx, coverage, fixtures, out); err != nil {
		return err
	}
	if o.Only {
		return nil
	}
	if err := runScenarios(ctx, coverage, out); err != nil {
		return err
	}
	findings, err := runRandom(ctx, o, coverage, out)
	if err != nil {
		return err
	}
	coverage.Print(out, o.Table)
	for _, f := range findings {
		fmt.Fprintf(out, "\nDIFFERENCE in %s, %v\nkeelkv's log:\n%s\n", f.program.Name, f.difference, f.log)
		shrunk, difference := Shrink(ctx, f.before, f.program, out)
		path, err := writeFixture(o.Fixtures, shrunk)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "shrunk to %d steps in %s: %v\n", len(shrunk.Steps), path, difference)
		for i, step := range shrunk.Steps {
			fmt.Fprintf(out, "  %d %v\n", i, step)
		}
	}
	fmt.Fprintf(out, "%d fixtures, %d programs in %v\n", len(fixtures), o.Programs, time.Since(started).Round(time.Second))
	if len(findings) > 0 {
		return fmt.Errorf("%d differences", len(findings))
	}
	if missing := coverage.Missing(); len(missing) > 0 && !o.NoCoverage {
		for _, what := range missing {
			fmt.Fprintln(out, "did not occur on both sides:", what)
		}
		return fmt.Errorf("%d things that must occur did not", len(missing))
	}
	fmt.Fprintf(out, "no difference; %d of %d fields, values, methods and errors occurred on both sides\n",
		len(Wanted())-len(coverage.Missing()), len(Wanted()))
	return nil
}

func runFixtures(ctx context.Context, coverage *Coverage, fixtures []Program, out io.Writer) error {
	var failed []error
	for _, p := range fixtures {
		difference, err := runFresh(ctx, coverage, p)
		if err != nil {
			return err
		}
		if difference != nil {
			failed = append(failed, fmt.Errorf("fixture %s: %v", p.Name, difference))
		}
	}
	fmt.Fprintf(out, "%d fixtures, %d failed\n", len(fixtures), len(failed))
	return errors.Join(failed...)
}

func runFresh(ctx context.Context, coverage *Coverage, p Program) (*Difference, error) {
	r, err := NewRunner(ctx, coverage)
	if err != nil {
		return nil, err
	}
	defer r.Stop()
	return r.Run(ctx, p), nil
}

func runRandom(ctx context.Context, o Options, coverage *Coverage, out io.Writer) ([]finding, error) {
	var next, done atomic.Uint64
	var mu sync.Mutex
	var findings []finding
	var errs []error
	found := func(f finding) bool {
		mu.Lock()
		defer mu.Unlock()
		findings = append(findings, f)
		return o.Keep && len(findings) < 10
	}
	over := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(errs) > 0 || ctx.Err() != nil || len(findings) > 0 && (!o.Keep || len(findings) >= 10)
	}
	// A pair serves some programs of neighbouring numbers; which ones does not depend on the workers' pace.
	batch := func(first uint64) error {
		r, err := NewRunner(ctx, coverage)
		if err != nil {
			return err
		}
		defer r.Stop()
		coverage.Count("fresh pairs", 1)
		var before []Program
		for n := first; n < min(first+uint64(o.Fresh), uint64(o.Programs)) && !over(); n++ {
			p := Generate(o.Seed, o.First+n)
			if d := r.Run(ctx, p); d != nil && ctx.Err() == nil {
				found(finding{p, before, d, r.Log(25)})
				return nil
			}
			before = append(before, p)
			if d := done.Add(1); d%500 == 0 {
				fmt.Fprintf(out, "%d programs\n", d)
			}
		}
		if d := r.Restart(ctx); d != nil && !over() {
			found(finding{Program{Name: fmt.Sprintf("restart after program %d", first)}, before, d, r.Log(25)})
		}
		return nil
	}
	var group sync.WaitGroup
	for range o.Workers {
		group.Go(func() {
			for !over() {
				first := (next.Add(1) - 1) * uint64(o.Fresh)
				if first >= uint64(o.Programs) {
					return
				}
				if err := batch(first); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return findings, errors.Join(append(errs, ctx.Err())...)
}

func readFixtures(folder string) ([]Program, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	var programs []Program
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var p Program
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		p.Name = filepath.Base(path)
		programs = append(programs, p)
	}
	return programs, nil
}
