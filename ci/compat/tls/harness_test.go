// Package tls drives the unmodified etcdctl, and a few HTTP requests, against real etcd and keelkv with the same TLS flags.
package tls

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keelkv/compat/server"
)

const patience = time.Minute

// side is one member with a port for TLS beside the plain one.
type side struct {
	*server.Member
	secure string
	name   string
	// seen is how much of the log was looked at.
	seen int
}

// start runs a member of each kind. {dir}, {plain} and {secure} in flags stand for its folder and addresses; the flags
// may say themselves what is listened on.
func start(t *testing.T, flags ...string) [2]*side {
	t.Helper()
	var sides [2]*side
	var errs [2]error
	var group sync.WaitGroup
	for i, binary := range []string{server.Etcd(), server.Keelkv()} {
		group.Go(func() { sides[i], errs[i] = launch(t, binary, []string{"etcd", "keelkv"}[i], flags) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return sides
}

func launch(t *testing.T, binary, name string, flags []string) (*side, error) {
	ports, err := server.FreePorts(1)
	if err != nil {
		return nil, err
	}
	member, err := server.NewMember(binary, "tls", "http")
	if err != nil {
		return nil, err
	}
	t.Cleanup(member.Discard)
	s := &side{Member: member, secure: fmt.Sprintf("127.0.0.1:%d", ports[0]), name: name}
	member.With("--initial-cluster=tls="+member.PeerURL,
		"--listen-client-urls="+s.fill("http://{plain},https://{secure}"))
	for _, flag := range flags {
		member.With(s.fill(flag))
	}
	if err := member.Launch(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s, member.Ready(ctx)
}

func (s *side) fill(text string) string {
	port := func(address string) string { return address[strings.LastIndex(address, ":")+1:] }
	return strings.NewReplacer("{plain}", s.Address, "{secure}", s.secure, "{port}", port(s.secure), "{dir}", s.Dir).Replace(text)
}

// etcdctl answers with the status, and what it printed without its log lines.
func (s *side) etcdctl(args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i := range args {
		args[i] = s.fill(args[i])
	}
	command := exec.CommandContext(ctx, server.Etcdctl(), append([]string{"--command-timeout=2s", "--dial-timeout=2s"}, args...)...)
	command.Dir = s.Dir
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	// A failure shows in the status.
	_ = command.Run()
	var lines []string
	for line := range strings.Lines(output.String()) {
		if !strings.HasPrefix(line, `{"level":`) {
			lines = append(lines, line)
		}
	}
	text := strings.NewReplacer(s.secure, "SECURE", s.Address, "PLAIN", s.Dir, "DIR").Replace(strings.Join(lines, ""))
	return fmt.Sprintf("exit %d: %s", command.ProcessState.ExitCode(), text)
}

// logged waits until all texts stand in one line that was written since the last call.
func (s *side) logged(t *testing.T, texts ...string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		all, err := os.ReadFile(filepath.Join(s.Dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(all[s.seen:])) {
			if holdsAll(line, texts) {
				s.seen = len(all)
				return
			}
		}
		if time.Now().After(deadline) {
			t.Errorf("%s did not log %q:\n%s", s.name, texts, s.Log(20))
			return
		}
	}
}

func holdsAll(line string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}
