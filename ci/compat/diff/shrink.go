package diff

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// shrinkTime is how long one failing program may be worked on.
const shrinkTime = 90 * time.Second

// Shrink removes steps for as long as the program still fails on a fresh pair. If it does not fail there
// by itself, what the pair ran before is put in front. It returns the last failing form and its difference.
func Shrink(ctx context.Context, before []Program, p Program, out io.Writer) (Program, *Difference) {
	ctx, cancel := context.WithTimeout(ctx, shrinkTime)
	defer cancel()
	usual := patience
	patience = 4 * time.Second
	defer func() { patience = usual }()
	fails := func(steps []Step) *Difference {
		difference, err := runFresh(ctx, NewCoverage(), Program{p.Name, steps})
		if err != nil || ctx.Err() != nil {
			return nil
		}
		return difference
	}
	steps := p.Steps
	difference := fails(steps)
	if difference == nil {
		steps = nil
		for _, earlier := range before {
			steps = append(steps, earlier.Steps...)
		}
		steps = append(steps, p.Steps...)
		if difference = fails(steps); difference == nil {
			fmt.Fprintln(out, "it did not fail again: a matter of time, or of the pair's past")
			return p, nil
		}
	}
	steps, difference = shrink(steps, difference, fails)
	return Program{p.Name, steps}, difference
}

// shrink removes ever smaller parts of the list, for as long as it fails without them.
func shrink(steps []Step, difference *Difference, fails func([]Step) *Difference) ([]Step, *Difference) {
	// Nothing after the failing step matters.
	steps = steps[:min(len(steps), difference.Step+1)]
	for size := max(1, len(steps)/2); size > 0; size /= 2 {
		for at := 0; at < len(steps); {
			rest := append(slices.Clone(steps[:at]), steps[min(at+size, len(steps)):]...)
			if d := fails(rest); d != nil {
				steps, difference = rest, d
			} else {
				at += size
			}
		}
	}
	return steps, difference
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

func writeFixture(folder string, p Program) (string, error) {
	text, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(folder, notInNames.ReplaceAllString(p.Name, "-")+".json")
	return path, os.WriteFile(path, append(text, '\n'), 0o644)
}
