package http

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"keelkv/compat/server"
)

const operations = "../../../examples/operations"

// shapes are the lines of which an alert consists, in order.
var shapes = []*regexp.Regexp{
	regexp.MustCompile(`^      - alert: keelkv[A-Z]\w+$`), regexp.MustCompile(`^        expr: >-$`), regexp.MustCompile(`^          (\S.*)$`),
	regexp.MustCompile(`^        for: \d+m$`), regexp.MustCompile(`^        labels:$`), regexp.MustCompile(`^          severity: (?:warning|critical)$`),
	regexp.MustCompile(`^        annotations:$`), regexp.MustCompile(`^          description: '[^']+'$`),
}

// alerts reads the expressions out of the rules. They are only ever in one form, so that no library is needed.
func alerts(t *testing.T) (expressions []string) {
	t.Helper()
	path := filepath.Join(operations, "alerts.yml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if promtool, err := exec.LookPath("promtool"); err == nil {
		if output, err := exec.CommandContext(t.Context(), promtool, "check", "rules", path).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, output)
		}
	}
	head, rest, found := strings.Cut(string(text), "groups:\n  - name: keelkv\n    rules:\n")
	if !found || !strings.HasPrefix(head, "# ") || strings.Count(head, "\n") != 1 {
		t.Fatalf("the head is %q", head)
	}
	lines := strings.Split(strings.TrimSuffix(rest, "\n"), "\n")
	if len(lines)%len(shapes) != 0 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		parts := shapes[i%len(shapes)].FindStringSubmatch(line)
		if parts == nil {
			t.Fatalf("line %d of the alerts is %q", i+4, line)
		}
		if len(parts) > 1 {
			expressions = append(expressions, parts[1])
		}
	}
	return expressions
}

// panels reads the expressions out of the dashboard.
func panels(t *testing.T) (expressions []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(operations, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		if panel.Title == "" || len(panel.Targets) == 0 {
			t.Errorf("a panel is empty: %+v", panel)
		}
		for _, target := range panel.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	return expressions
}

var (
	// What stands in quotes, and lists of labels, are no names.
	quoted  = regexp.MustCompile(`"[^"]*"`)
	grouped = regexp.MustCompile(`\b(?:by|without) \([^)]*\)`)
	name    = regexp.MustCompile(`\b((?:etcd|grpc|process|keelkv)_\w+|up)\b`)
	braced  = regexp.MustCompile(`\{[^}]*\}`)
	used    = regexp.MustCompile(`(\w+)\s*(?:=~|!=|=)`)
	matched = regexp.MustCompile(`(\w+)\{([^}]*)\}`)
)

// check says what is wrong with an expression, if what there is to be seen are these.
func check(expression string, shown map[string]*family) (wrong []string) {
	plain := grouped.ReplaceAllString(quoted.ReplaceAllString(expression, `""`), "")
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(plain, pair[:1]) != strings.Count(plain, pair[1:]) {
			wrong = append(wrong, pair+" do not match")
		}
	}
	names := name.FindAllString(braced.ReplaceAllString(plain, ""), -1)
	if len(names) == 0 {
		wrong = append(wrong, "it names nothing")
	}
	for _, name := range names {
		if name != "up" && of(name, shown) == nil {
			wrong = append(wrong, name+" is not there")
		}
	}
	for _, parts := range matched.FindAllStringSubmatch(plain, -1) {
		for _, label := range used.FindAllStringSubmatch(parts[2], -1) {
			family := of(parts[1], shown)
			if label[1] != "job" && (family == nil || !strings.Contains(" "+strings.Join(family.labels, " ")+" ", " "+label[1]+" ")) {
				wrong = append(wrong, parts[1]+" has no label "+label[1])
			}
		}
	}
	return wrong
}

func of(name string, shown map[string]*family) *family {
	if family := shown[name]; family != nil {
		return family
	}
	return shown[strings.TrimSuffix(name, "_bucket")]
}

func TestOperations(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster, err := server.StartCluster(ctx, server.Keelkv(), 3, "--metrics=extensive")
	if cluster != nil {
		defer cluster.Stop()
	}
	if err != nil {
		t.Fatal(err)
	}
	use(ctx, t, cluster.Members[0].Server)
	shown := scrape(t, cluster.Members[0].Server)
	rules, queries := alerts(t), panels(t)
	if len(rules) < 15 || len(queries) < 15 {
		t.Errorf("%d alerts, %d queries", len(rules), len(queries))
	}
	for _, expression := range append(rules, queries...) {
		if wrong := check(expression, shown); wrong != nil {
			t.Errorf("%s\n%s", expression, strings.Join(wrong, "\n"))
		}
	}
	for _, wrong := range []string{`rate(etcd_nothing_total[5m]) > 1`, `etcd_server_has_leader{nothing="x"}`, `rate(keelkv_client_connections`, `1`} {
		if check(wrong, shown) == nil {
			t.Errorf("nothing is found in %s", wrong)
		}
	}
}
