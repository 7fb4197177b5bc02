package diff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	// JSON sends requests through the gateways, where there is a path for them.
	JSON bool
}

// Main runs fixtures, scenarios and random programs, shrinks what fails and prints the counters.
func Main(ctx context.Context, o Options, out io.Writer) error {
	fmt.Fprintf(out, "etcd %s, against %s\n", server.Etcd(), server.Keelkv())
	started := time.Now()
	coverage := NewCoverage()
	coverage.json = o.JSON
	fixtures, err := readFixtures(o.Fixtures)
	if err != nil {
		return err
	}
	// With -keep-going all that fails is told at the end.
	var failed []error
	stop := func(err error) bool {
		if err != nil {
			failed = append(failed, err)
		}
		return err != nil && !o.Keep
	}
	if stop(runFixtures(ctx, coverage, fixtures, out)) || o.Only {
		return errors.Join(failed...)
	}
	if stop(runScenarios(ctx, coverage, out)) {
		return errors.Join(failed...)
	}
	r := random{Options: o, coverage: coverage, out: out, findings: map[string]*finding{}}
	if err := r.run(ctx); err != nil {
		return errors.Join(append(failed, err)...)
	}
	coverage.Print(out, o.Table)
	if err := r.report(ctx); err != nil {
		failed = append(failed, err)
	}
	fmt.Fprintf(out, "%d fixtures, %d programs in %v\n", len(fixtures), o.Programs, time.Since(started).Round(time.Second))
	missing := coverage.Missing()
	if len(missing) > 0 && !o.NoCoverage {
		for _, what := range missing {
			fmt.Fprintln(out, "did not occur on both sides:", what)
		}
		failed = append(failed, fmt.Errorf("%d things that must occur did not", len(missing)))
	}
	if len(failed) == 0 {
		fmt.Fprintf(out, "no difference; %d of %d fields, values, methods and errors occurred on both sides\n",
			len(Wanted())-len(missing), len(Wanted()))
	}
	return errors.Join(failed...)
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
