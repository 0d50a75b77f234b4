package deploytest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources is all of the programs' code, tests left out.
func sources(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(filepath.Join(root(t), "pkg"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		b.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// inParts says whether the code has the name, whole or as a prefix and the rest.
func inParts(code, name string) bool {
	quoted := func(s string) bool { return strings.Contains(code, `"`+s+`"`) }
	for i, c := range name {
		if c == '_' && quoted(name[i+1:]) && (quoted(name[:i]) || quoted(name[:i+1])) {
			return true
		}
	}
	return quoted(name)
}

// Each metric and each condition that docs/operations.md names is one of the code's, and no
// condition is left unexplained.
func TestOperationsNames(t *testing.T) {
	code, doc := sources(t), read(t, "docs/operations.md")
	for _, name := range regexp.MustCompile(`tungstene_[a-z_]+`).FindAllString(doc, -1) {
		if name = strings.TrimSuffix(name, "_bucket"); !inParts(code, name) {
			t.Errorf("docs/operations.md: there is no metric %s", name)
		}
	}
	_, table, _ := strings.Cut(doc, "| condition | means |")
	table, _, _ = strings.Cut(table, "\n\n")
	names := 0
	for _, row := range strings.Split(table, "\n") {
		if !strings.HasPrefix(row, "| `") {
			continue
		}
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(cell, -1) {
			names++
			if !strings.Contains(code, `"`+m[1]+`"`) {
				t.Errorf("docs/operations.md: there is no condition %s", m[1])
			}
		}
	}
	if names < 20 {
		t.Errorf("docs/operations.md explains %d conditions", names)
	}
	for _, m := range regexp.MustCompile(`Name: +"([a-z]+(?:-[a-z]+)+)"`).FindAllStringSubmatch(code, -1) {
		if !strings.Contains(table, "`"+m[1]+"`") {
			t.Errorf("docs/operations.md does not explain the condition %s", m[1])
		}
	}
}

// The commands for a broker of one's own give the rights that are tested.
func TestOperationsRabbit(t *testing.T) {
	var definitions struct {
		Permissions []struct {
			User      string `json:"user"`
			VHost     string `json:"vhost"`
			Configure string `json:"configure"`
			Write     string `json:"write"`
			Read      string `json:"read"`
		} `json:"permissions"`
		Policies []struct {
			Name       string         `json:"name"`
			Pattern    string         `json:"pattern"`
			Definition map[string]any `json:"definition"`
		} `json:"policies"`
	}
	if err := json.Unmarshal([]byte(read(t, "deploy/rabbitmq/20-permissions.json")), &definitions); err != nil {
		t.Fatal(err)
	}
	doc := read(t, "docs/operations.md")
	for _, p := range definitions.Permissions {
		if want := fmt.Sprintf("set_permissions -p %s %s '%s' '%s' '%s'\n", p.VHost, p.User, p.Configure, p.Write, p.Read); !strings.Contains(doc, want) {
			t.Errorf("docs/operations.md does not say %s", want)
		}
	}
	for _, p := range definitions.Policies {
		if want := fmt.Sprintf("%s '%s'", p.Name, p.Pattern); !strings.Contains(doc, want) {
			t.Errorf("docs/operations.md does not set the policy %s", want)
		}
		for k, v := range p.Definition {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("%q: %s", k, text); !strings.Contains(doc, want) {
				t.Errorf("docs/operations.md: the policy %s lacks %s", p.Name, want)
			}
		}
	}
}

// The commands of the pages are ones that there are.
func TestDocumentedCommands(t *testing.T) {
	tool := regexp.MustCompile(`^\s+(?:docker compose (?:--env-file deploy/demo\.env )?run --rm (?:-T )?tool|(?:printf .* \| )?(?:bin/)?tungstene) ([a-z]+)(?: ([a-z]+))?`)
	var grammar strings.Builder
	for _, file := range []string{"main.go", "operate.go", "check.go"} {
		grammar.WriteString(read(t, filepath.Join("cmd", "tungstene", file)))
	}
	commands := regexp.MustCompile("(?m)^\t([A-Z][A-Za-z]+) +([a-z][A-Za-z]*Cmd) .*`cmd:").FindAllStringSubmatch(grammar.String(), -1)
	known := map[string]bool{}
	for _, c := range commands {
		known[strings.ToLower(c[1])] = true
	}
	seen := 0
	for _, page := range []string{"docs/quickstart.md", "docs/operations.md"} {
		for _, line := range strings.Split(read(t, page), "\n") {
			m := tool.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			seen++
			if !known[m[1]] {
				t.Errorf("%s: there is no command %q: %s", page, m[1], line)
			}
			if group := m[1] == "event" || m[1] == "channel" || m[1] == "queue"; group && !known[m[2]] {
				t.Errorf("%s: there is no command %q: %s", page, m[1]+" "+m[2], line)
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d commands were found in the pages", seen)
	}
}
