package deploytest

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/queue/rabbit"
	"github.com/tungstene/tungstene/pkg/store/mongo"
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

// conditionNames are the conditions that the code raises: the names of the conditions that it makes, the
// constants that stand for such names, and what is given to the functions that make conditions.
func conditionNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	text := func(e ast.Expr) string {
		if lit, ok := e.(*ast.BasicLit); ok {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				return s
			}
		}
		return ""
	}
	var parsed []*ast.File
	err := filepath.WalkDir(filepath.Join(root(t), "pkg"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/web/") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		parsed = append(parsed, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range parsed {
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				for i, name := range v.Names {
					if i < len(v.Values) && strings.HasPrefix(strings.ToLower(name.Name), "cond") {
						if s := text(v.Values[i]); s != "" {
							names[s] = true
						}
					}
				}
			}
			return true
		})
	}
	named := regexp.MustCompile(`^[a-z]+(-[a-z]+)+$`)
	for _, f := range parsed {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && k.Name == "Name" && named.MatchString(text(n.Value)) {
					names[text(n.Value)] = true
				}
			case *ast.CallExpr:
				called := ""
				switch f := n.Fun.(type) {
				case *ast.Ident:
					called = f.Name
				case *ast.SelectorExpr:
					called = f.Sel.Name
				}
				if (called == "failingCondition" || called == "failing" || called == "raise") && len(n.Args) > 1 && named.MatchString(text(n.Args[0])) {
					names[text(n.Args[0])] = true
				}
			}
			return true
		})
	}
	return names
}

// Each condition that the code raises is explained in docs/operations.md, and has a title and a text
// on the status page, in each language; and the page has none of a condition that nobody raises.
func TestConditionTexts(t *testing.T) {
	names := conditionNames(t)
	if len(names) < 40 {
		t.Fatalf("only %d conditions were found in the code: %v", len(names), names)
	}
	var texts map[string]map[string]string
	if err := json.Unmarshal([]byte(read(t, "pkg/web/assets/texts.json")), &texts); err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(read(t, "docs/operations.md"), "| condition | means |")
	table, _, _ = strings.Cut(table, "\n\n")
	for name := range names {
		if !strings.Contains(table, "`"+name+"`") {
			t.Errorf("docs/operations.md does not explain the condition %s", name)
		}
		for _, lang := range []string{"en", "fr"} {
			told := texts["told."+name][lang] != "" && texts["told."+name+".do"][lang] != ""
			own := texts["cond."+name][lang] != "" && texts["cond."+name+".do"][lang] != ""
			if !told && !own {
				t.Errorf("the condition %s has no title or no text on the status page, language %s", name, lang)
			}
		}
	}
	for key := range texts {
		name, told := strings.CutPrefix(strings.TrimSuffix(key, ".do"), "told.")
		if told && !names[name] {
			t.Errorf("the status page has a text for %s, which nobody raises", name)
		}
	}
}

// The tables of rights are those of the code.
func TestOperationsRights(t *testing.T) {
	doc := read(t, "docs/operations.md")
	cell := func(s string) string { return "`" + strings.ReplaceAll(s, "|", `\|`) + "`" }
	for _, p := range rabbit.Permissions("") {
		want := fmt.Sprintf("| `%s` | %s | %s | %s | ", p.Role, cell(p.Configure), cell(p.Write), cell(p.Read))
		if !strings.Contains(doc, want) {
			t.Errorf("docs/operations.md does not say %s", want)
		}
	}
	for _, p := range rabbit.Policies("", 4, rabbit.DefaultMaxBytes) {
		if want := fmt.Sprintf("| `%s` | %s | ", p.Name, cell(p.Pattern)); !strings.Contains(doc, want) {
			t.Errorf("docs/operations.md does not say %s", want)
		}
	}
	_, section, _ := strings.Cut(doc, "\n### MongoDB\n")
	for _, p := range mongo.Permissions() {
		_, row, ok := strings.Cut(section, "\n| `"+p.Role+"` | ")
		if !ok {
			t.Errorf("docs/operations.md does not name the user %s", p.Role)
			continue
		}
		row, _, _ = strings.Cut(row, "\n")
		for _, v := range p.Privileges {
			if v.Collection != "" && !strings.Contains(row, "`"+string(v.Collection)+"`") {
				t.Errorf("docs/operations.md: %s lacks %s", p.Role, v.Collection)
			}
		}
	}
}

// The commands of the pages are ones that there are.
func TestDocumentedCommands(t *testing.T) {
	tool := regexp.MustCompile(`^\s+(?:docker compose (?:--env-file deploy/demo\.env )?run --rm (?:-T )?tool|(?:printf .* \| )?(?:bin/)?tungstene) ([a-z]+)(?: ([a-z]+))?`)
	var grammar strings.Builder
	for _, file := range []string{"main.go", "operate.go", "check.go", "permissions.go"} {
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
			if group := m[1] == "event" || m[1] == "channel" || m[1] == "queue" || m[1] == "permissions"; group && !known[m[2]] {
				t.Errorf("%s: there is no command %q: %s", page, m[1]+" "+m[2], line)
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d commands were found in the pages", seen)
	}
}
