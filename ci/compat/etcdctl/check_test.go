package etcdctl

import (
	"regexp"
	"strings"
	"testing"
)

// measured are numbers of the machine. Its limits are its own as well: what one side passes the other may not.
var measured = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`memory used : -?[\d.]+ MB`), "memory used : N MB"},
	{regexp.MustCompile(`(?m)^(PASS: Throughput is|FAIL: Throughput too low:) \d+ writes/s$`), "Throughput"},
	{regexp.MustCompile(`(?m)^(PASS: Slowest request took|Slowest request took too long:) [\d.]+s$`), "Slowest request"},
	{regexp.MustCompile(`(?m)^(PASS: Stddev is|Stddev too high:) [\d.]+s$`), "Stddev"},
	{regexp.MustCompile(`(?m)^(PASS|FAIL)$`), "VERDICT"},
	{regexp.MustCompile(`revision \d+`), "revision N"},
	{regexp.MustCompile(`took [\d.]+(ns|µs|ms|s)`), "took DURATION"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ENDPOINT"},
}

// check runs one of the checks on both and compares its words, which have to be there.
func check(t *testing.T, args string, words ...string) {
	p := startPair(t)
	outputs := p.both(func(s *side) output { return s.runFor(10*patience, strings.Fields(args), "") })
	t.Logf("etcd:\n%s\nkeelkv:\n%s", lines(outputs[0].stdout), lines(outputs[1].stdout))
	var said [2]string
	for i, o := range outputs {
		said[i] = lines(o.stdout)
		for _, m := range measured {
			said[i] = m.pattern.ReplaceAllString(said[i], m.by)
		}
	}
	if said[0] != said[1] {
		t.Errorf("etcd:\n%s\nkeelkv:\n%s", said[0], said[1])
	}
	for _, word := range words {
		if !strings.Contains(said[1], word) {
			t.Errorf("%q is missing", word)
		}
	}
	if outputs[1].code != 0 {
		t.Errorf("exit %d\n%s", outputs[1].code, outputs[1].stderr)
	}
	left := p.both(func(s *side) output { return s.run(strings.Fields("get --from-key --keys-only \x00"), "") })
	if p.compare(t, left, nil).stdout != "" {
		t.Error("keys are left")
	}
}

// What check perf passes depends on the machine; its words have to be there.
func TestCheckPerf(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	check(t, "check perf --load=s --auto-compact --auto-defrag",
		"Throughput", "Slowest request", "Stddev", "Compacting with revision", "Defragmented")
}

func TestCheckDatascale(t *testing.T) {
	check(t, "check datascale --load=s --auto-compact --auto-defrag",
		"10000 key-value pairs", "memory used", "Compacting with revision", "Defragmented")
}

// lines leaves out what a progress bar painted over.
func lines(text string) string {
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		kept = append(kept, line[strings.LastIndex(line, "\r")+1:])
	}
	return strings.Join(kept, "\n")
}
