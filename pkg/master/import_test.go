package master_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/master"
)

var update = flag.Bool("update", false, "write the expected results of the lists in testdata/import")

// Every way to get a list wrong has a file, and beside it what comes of it.
func TestImportFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/import/*")
	if err != nil {
		t.Fatal(err)
	}
	tested := 0
	for _, file := range files {
		if strings.HasSuffix(file, ".want") {
			continue
		}
		tested++
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		contentType := map[string]string{".txt": "text/plain", ".csv": "text/csv; charset=utf-8", ".json": "application/json"}[filepath.Ext(file)]
		got := outcome(contentType, body)
		if *update {
			if err := os.WriteFile(file+".want", []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file + ".want")
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s gives\n%swant\n%s", file, got, want)
		}
		if !strings.Contains(file, "only-header") && !strings.Contains(file, "empty") {
			if got := outcome("", body); got != string(want) {
				t.Errorf("%s, its format unsaid, gives\n%swant\n%s", file, got, want)
			}
		}
	}
	if tested < 20 {
		t.Errorf("only %d files found", tested)
	}
}

func outcome(contentType string, body []byte) string {
	l, err := master.ParseLogins(contentType, body)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	for _, login := range l.Logins {
		fmt.Fprintln(&b, login)
	}
	for _, d := range l.Duplicates {
		fmt.Fprintf(&b, "duplicate, line %d, %q: %s\n", d.Line, d.Value, d.Message)
	}
	for _, d := range l.Invalid {
		fmt.Fprintf(&b, "invalid, line %d, %q: %s\n", d.Line, d.Value, d.Message)
	}
	return b.String()
}

func TestImportContentType(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]string{
		"image/png":                         `error: content type "image/png": use text/plain, text/csv or application/json` + "\n",
		"text/plain; charset":               `error: content type "text/plain; charset": mime: invalid media parameter` + "\n",
		"application/x-www-form-urlencoded": "alpha\n",
		"application/octet-stream":          "alpha\n",
	} {
		if got := outcome(contentType, []byte("alpha\n")); got != want {
			t.Errorf("%s gives %q, want %q", contentType, got, want)
		}
	}
	long := strings.Repeat("alpha\n", 10_001)
	if got, want := outcome("text/plain", []byte(long)), "error: line 10001: more than 10000 entries\n"; got != want {
		t.Errorf("a long list gives %.200q, want %q", got, want)
	}
}

func FuzzImport(f *testing.F) {
	files, err := filepath.Glob("testdata/import/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for i := range 4 {
			f.Add(i, body)
		}
	}
	login := regexp.MustCompile(`^[a-z0-9][a-z0-9_]{0,24}$`)
	f.Fuzz(func(t *testing.T, format int, body []byte) {
		types := []string{"", "text/plain", "text/csv", "application/json"}
		l, err := master.ParseLogins(types[uint(format)%4], body)
		if err != nil {
			return
		}
		lines := strings.Count(string(body), "\n") + 1
		seen := map[string]bool{}
		for _, s := range l.Logins {
			if !login.MatchString(s) || seen[s] {
				t.Errorf("login %q", s)
			}
			seen[s] = true
		}
		for _, x := range append(l.Duplicates, l.Invalid...) {
			if x.Line < 1 || x.Line > lines || x.Message == "" || len(x.Value) > 100 {
				t.Errorf("%+v in a list of %d lines", x, lines)
			}
		}
	})
}
