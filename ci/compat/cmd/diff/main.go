// Diff runs random programs against real etcd and keelkv and fails at any difference.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"keelkv/compat/diff"
)

func main() {
	var o diff.Options
	flag.IntVar(&o.Programs, "programs", 300, "random programs to run")
	flag.Uint64Var(&o.Seed, "seed", 1, "seed of the programs")
	flag.Uint64Var(&o.First, "first", 0, "number of the first program")
	flag.IntVar(&o.Workers, "workers", 4, "pairs of members that run at once")
	flag.IntVar(&o.Fresh, "fresh", 50, "programs after which a pair is replaced by a fresh one")
	flag.StringVar(&o.Fixtures, "fixtures", "fixtures", "folder of programs that failed once; they run first, and new ones are written here")
	flag.BoolVar(&o.Table, "table", false, "print every counter")
	flag.BoolVar(&o.Only, "only-fixtures", false, "run the fixtures and nothing else")
	flag.BoolVar(&o.Keep, "keep-going", false, "go on after a difference, up to ten kinds of them")
	flag.BoolVar(&o.NoCoverage, "no-coverage", false, "do not ask that everything occurred, for short runs")
	flag.BoolVar(&o.JSON, "json", false, "send requests through the JSON gateways, where they have a path")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := diff.Main(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
}
