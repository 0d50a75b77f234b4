package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// Every command has an example in its help, and all examples, those of the documents too, are commands
// that there are, with flags that they have.
func TestExamples(t *testing.T) {
	parser, err := kong.New(&tool{},
		kong.TypeMapper(reflect.TypeFor[time.Time](), kong.MapperFunc(func(ctx *kong.DecodeContext, v reflect.Value) error {
			var text string
			if err := ctx.Scan.PopValueInto("time", &text); err != nil {
				return err
			}
			at, err := time.Parse(time.RFC3339, text)
			v.Set(reflect.ValueOf(at))
			return err
		})),
		kong.NamedMapper("existingfile", kong.MapperFunc(func(ctx *kong.DecodeContext, v reflect.Value) error {
			v.SetString(ctx.Scan.Pop().String())
			return nil
		})),
		kong.Vars{"version": "test"}, kong.Exit(func(int) { t.Error("it ended") }),
	)
	if err != nil {
		t.Fatal(err)
	}
	examples := documented(t)
	if len(examples) < 80 {
		t.Fatalf("%d examples in the documents: where are the others?", len(examples))
	}
	err = kong.Visit(parser.Model, func(v kong.Visitable, next kong.Next) error {
		n, ok := v.(*kong.Node)
		if !ok || n.Name == "docs" {
			return next(nil)
		}
		own := commands(n.Detail)
		if len(own) == 0 {
			t.Errorf("tungstene %s --help has no example", n.Path())
		}
		for _, e := range own {
			examples[e] = "tungstene " + n.Path() + " --help"
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("tungstene.yaml", []byte("data: data\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for e, where := range examples {
		if strings.ContainsAny(e, "[(…") {
			continue // a form, no example
		}
		if _, err := parser.Parse(words(e)[1:]); err != nil {
			t.Errorf("%s: %s: %v", where, e, err)
		}
		for _, leaf := range parser.Model.Leaves(false) { // what was set excludes others
			for _, f := range leaf.Flags {
				f.Set = false
			}
		}
	}
}

// documented is what the documents show to type, and where.
func documented(t *testing.T) map[string]string {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, page := range append(pages, "../../README.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commands(string(text)) {
			all[c] = page
		}
	}
	return all
}

// ourTool is how a command of the tool begins in an indented line: behind a pipe, in Compose.
var ourTool = regexp.MustCompile(`^\s+(?:printf '.*' \| )?(?:(?:bin/)?tungstene|docker compose .*(?:exec \S+ tungstene|run --rm (?:-T )?tool)) (.*)`)

// commands are the commands of the tool in a text.
func commands(text string) (all []string) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", "")) {
		if m := ourTool.FindStringSubmatch(line); m != nil {
			all = append(all, "tungstene "+m[1])
		}
	}
	return all
}

// words are the arguments of a command, as a shell takes them.
func words(command string) (args []string) {
	word := regexp.MustCompile(`^(?:"[^"]*"|'[^']*'|[^\s"'<>&|#]|\b#)+`)
	for {
		command = strings.TrimLeft(command, " ")
		w := word.FindString(command)
		if w == "" {
			return args
		}
		args, command = append(args, strings.NewReplacer(`"`, "", "'", "").Replace(w)), command[len(w):]
	}
}
