// Package flags compares what --help says of flags and their defaults.
package flags

import (
	"os/exec"
	"regexp"
	"testing"

	"keelkv/compat/server"
)

// writtenOtherwise are defaults that etcd's help describes, or takes for what it makes of nothing.
var writtenOtherwise = map[string][2]string{
	"bootstrap-defrag-threshold-megabytes": {"", "0"},
	"compact-hash-check-time":              {"1m", "1m0s"},
	"compaction-sleep-interval":            {"", "0s"},
	"downgrade-check-time":                 {"", "5s"},
	"enable-grpc-gateway":                  {"", "true"},
	"snapshot-catchup-entries":             {"", "5000"},
	"watch-progress-notify-interval":       {"10m", "0s"},
	"data-dir":                             {"${name}.etcd", ""},
	"backend-bbolt-freelist-type":          {"map", ""},
	"backend-batch-interval":               {"", "0s"},
	"max-concurrent-streams":               {"math.MaxUint32", "4294967295"},
	"grpc-keepalive-interval":              {"2h", "2h0m0s"},
}

// gone are named by etcd's help, and refused by etcd.
var gone = map[string]bool{"discovery": true, "discovery-proxy": true}

var line = regexp.MustCompile(`(?m)^ +--([a-z0-9-]+)(?:[ =]'(.*)')?\s*$`)

// defaults are the flags that a program's help names, with their defaults; a switch that is off has none.
func defaults(t *testing.T, binary string) map[string]string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), binary, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, parts := range line.FindAllStringSubmatch(string(output), -1) {
		found[parts[1]] = parts[2]
	}
	if len(found) < 100 {
		t.Fatalf("the help of %s names %d flags only", binary, len(found))
	}
	return found
}

func TestDefaults(t *testing.T) {
	etcd, keelkv := defaults(t, server.Etcd()), defaults(t, server.Keelkv())
	for name, want := range etcd {
		got, known := keelkv[name]
		if !known {
			if !gone[name] {
				t.Errorf("--%s is not known", name)
			}
			continue
		}
		same := got == want || want == "false" && got == "" || want == "" && got == "false"
		if pair, otherwise := writtenOtherwise[name]; !same && (!otherwise || pair != [2]string{want, got}) {
			t.Errorf("--%s: %q in etcd, %q in keelkv", name, want, got)
		}
	}
}
