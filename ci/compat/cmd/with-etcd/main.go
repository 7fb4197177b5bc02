// With-etcd runs a program while a fresh etcd runs, whose host:port it finds in KEELKV_ETCD.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"keelkv/compat/server"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, program []string) error {
	if len(program) == 0 {
		return fmt.Errorf("usage: with-etcd PROGRAM ARGUMENT...")
	}
	etcd, err := server.Start(ctx, server.Options{Binary: server.Etcd()})
	if err != nil {
		return err
	}
	defer etcd.Stop()
	command := exec.CommandContext(ctx, program[0], program[1:]...)
	command.Env = append(os.Environ(), "KEELKV_ETCD="+etcd.Address)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	return command.Run()
}
