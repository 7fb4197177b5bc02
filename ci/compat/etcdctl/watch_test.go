package etcdctl

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"keelkv/compat/server"
)

// running is an etcdctl that goes on until it is stopped.
type running struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	mu      sync.Mutex
	printed bytes.Buffer
	changed chan struct{}
	ended   chan struct{}
}

func (s *side) start(args []string) (*running, error) {
	r := &running{command: exec.Command(server.Etcdctl(), s.arguments(args)...), changed: make(chan struct{}, 1), ended: make(chan struct{})}
	r.command.Stdout, r.command.Stderr = r, r
	var err error
	if r.stdin, err = r.command.StdinPipe(); err != nil {
		return nil, err
	}
	if err := r.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = r.command.Wait()
		close(r.ended)
	}()
	return r, nil
}

// Write takes what the process prints.
func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.printed.Write(p)
	select {
	case r.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (r *running) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.printed.String()
}

// until waits for a text in what is printed; it says whether it came.
func (r *running) until(text string, limit time.Duration) bool {
	deadline := time.After(limit)
	for !strings.Contains(r.text(), text) {
		select {
		case <-r.changed:
		case <-r.ended:
			return strings.Contains(r.text(), text)
		case <-deadline:
			return false
		}
	}
	return true
}

// end waits until it ends by itself.
func (r *running) end() output {
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.kill()
	}
	return output{stdout: r.text(), code: r.command.ProcessState.ExitCode()}
}

// interrupt is what Ctrl-C does.
func (r *running) interrupt() output {
	_ = r.command.Process.Signal(os.Interrupt)
	return r.end()
}

// kill leaves it no time for anything.
func (r *running) kill() {
	_ = r.command.Process.Kill()
	<-r.ended
}

// stop is for those of which the way they end says nothing about the server.
func (r *running) stop() output { return output{stdout: r.interrupt().stdout} }

// watched runs a watch on both sides until it printed the last text, with steps in between.
func (p *pair) watched(t *testing.T, args, stdin, last string, steps ...string) {
	t.Helper()
	got := p.compare(t, p.both(func(s *side) output {
		r, err := s.start(split(args))
		if err != nil {
			return output{stderr: err.Error()}
		}
		if _, err := io.WriteString(r.stdin, stdin); err != nil {
			return output{stderr: err.Error()}
		}
		for _, step := range steps {
			if step == "await live" {
				// A watch without a start revision sees only what comes later: it is there once it sees a probe.
				for tries := 0; !r.until("w/probe", 200*time.Millisecond) && tries < 50; tries++ {
					s.run([]string{"put", "w/probe", "p"}, "")
				}
				continue
			}
			if o := s.run(split(step), ""); o.code != 0 {
				return output{stderr: step + ": " + o.stderr}
			}
		}
		if !r.until(last, patience) {
			o := r.stop()
			o.stderr = "never printed " + last
			return o
		}
		o := r.stop()
		// How often it was probed differs, and so do the revisions after that.
		o.stdout = strings.ReplaceAll(o.stdout, "PUT\nw/probe\np\n", "")
		return o
	}), nil)
	if !strings.Contains(got.stdout, last) {
		t.Errorf("etcdctl did not print %q: %s %s", last, got.stdout, got.stderr)
	}
	t.Log(got.stdout)
}

func TestWatch(t *testing.T) {
	p := startPair(t, "--watch-progress-notify-interval=300ms")
	for _, step := range []string{"put w/1 a", "put w/2 b", "put w/1 c", "del w/2", "put w/3 d", "put w/end z"} {
		p.compare(t, p.both(func(s *side) output { return s.run(split(step), "") }), nil)
	}
	const end = "w/end"
	for _, args := range []string{
		"watch w/ --prefix --rev=2", "watch w/ --prefix --rev=2 --prev-kv", "watch w/ --prefix --rev=4", "watch w/ w0 --rev=2",
		"watch w/1 --rev=1", "watch w/ --prefix --rev=2 --hex",
	} {
		last := map[string]string{"watch w/1 --rev=1": "c\n", "watch w/ --prefix --rev=2 --hex": `\x77\x2f\x65\x6e\x64` + "\n" + `\x7a` + "\n"}[args]
		if last == "" {
			last = end + "\nz\n"
		}
		t.Run(args, func(t *testing.T) { p.watched(t, args, "", last) })
	}
	t.Run("json", func(t *testing.T) { p.watched(t, "watch w/ --prefix --rev=2 --prev-kv -w json", "", "dy9lbmQ=") })
	t.Run("fields", func(t *testing.T) {
		p.watched(t, "watch w/ --prefix --rev=2 -w fields", "", "\"Value\" : \"z\"\n\"Lease\" : 0\n")
	})
	t.Run("command", func(t *testing.T) {
		p.watched(t, "watch w/ --prefix --rev=2 -- sh -c 'echo $ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE'",
			"", `"PUT" "w/end" "z"`)
	})
	t.Run("interactive", func(t *testing.T) {
		p.watched(t, "watch -i", "watch w/ --prefix --rev=2 --prev-kv\n", end+"\nz\n")
	})
	t.Run("interactive progress", func(t *testing.T) {
		p.progress(t, "watch -i", "watch w/end --rev=7\n", "progress\n")
	})
	t.Run("progress notify", func(t *testing.T) {
		p.progress(t, "watch w/end --rev=7 --progress-notify", "", "")
	})
	t.Run("live", func(t *testing.T) {
		p.watched(t, "watch w/ --prefix --prev-kv", "", "w/last", "await live", "put w/1 x", "del w/ --prefix", "put w/last z")
	})
	t.Run("compacted", func(t *testing.T) {
		p.compare(t, p.both(func(s *side) output { return s.run([]string{"compaction", "5"}, "") }), nil)
		got := p.compare(t, p.both(func(s *side) output { return s.run(split("watch w/ --prefix --rev=2"), "") }), nil)
		if got.code == 0 {
			t.Error("a compacted watch ended without an error")
		}
		t.Log(got)
	})
}

// progress runs a watch until it tells progress. It may be asked for more than once: a server does not
// answer while a watcher is behind.
func (p *pair) progress(t *testing.T, args, stdin, ask string) {
	t.Helper()
	const told = "progress notify: 7\n"
	outputs := p.both(func(s *side) output {
		r, err := s.start(split(args))
		if err != nil {
			return output{stderr: err.Error()}
		}
		if _, err := io.WriteString(r.stdin, stdin); err != nil {
			return output{stderr: err.Error()}
		}
		for tries := 0; !r.until(told, 200*time.Millisecond) && tries < 100; tries++ {
			if _, err := io.WriteString(r.stdin, ask); err != nil {
				return output{stderr: err.Error()}
			}
		}
		o := r.stop()
		// How often depends on when it was stopped.
		o.stdout = strings.ReplaceAll(o.stdout, told, "")
		if strings.Contains(r.text(), told) {
			o.stdout += "progress was told"
		}
		return o
	})
	if got := p.compare(t, outputs, nil); !strings.HasSuffix(got.stdout, "progress was told") {
		t.Error(got.stdout)
	}
}
