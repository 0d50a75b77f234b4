package charity_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/charity"
)

func TestLoadSources(t *testing.T) {
	t.Parallel()
	sources, err := charity.LoadSources("testdata/right/all.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range sources {
		names = append(names, s.String())
	}
	const want = "zevent (zevent), streamlabs (streamlabs), twitch (twitch), tiltify (tiltify), tiltify-alone (tiltify), own-page (json)"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("sources %s, want %s", got, want)
	}
	if s := sources[0]; s.Timeout != 5*time.Second || s.Events[0] != "zevent-2026" || s.Currency != "EUR" || s.Members["956519162388290954"] != "aducine" {
		t.Errorf("source %#v", s)
	}
	if s := sources[1]; s.Timeout != 10*time.Second || s.Currency != "" || s.Events != nil {
		t.Errorf("source %#v: other defaults", s)
	}
}

// Every way to get the file wrong has a file here, and beside it what must be said about it.
func TestWrongSources(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/wrong/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			sources, err := charity.LoadSources(file)
			if err == nil || sources != nil {
				t.Fatalf("%s was read: %v", file, sources)
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), "testdata/wrong/"+filepath.Base(file), filepath.Base(file)), "\n")
			lines := strings.Split(strings.TrimSpace(string(want)), "\n")
			for _, line := range lines {
				found := false
				for _, g := range got {
					found = found || strings.HasPrefix(g, line)
				}
				if !found {
					t.Errorf("it does not say %q", line)
				}
			}
			if len(got) != len(lines) || t.Failed() {
				t.Errorf("it says:\n%s", strings.Join(got, "\n"))
			}
		})
	}
}

func TestNoSourcesFile(t *testing.T) {
	t.Parallel()
	if _, err := charity.LoadSources("testdata/none.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// No way of printing a source shows what is in its secrets' files.
func TestSourcesKeepSecrets(t *testing.T) {
	t.Parallel()
	sources, err := charity.LoadSources("testdata/right/all.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	log := slog.New(slog.NewJSONHandler(&b, nil))
	for _, s := range sources {
		fmt.Fprintf(&b, "%v %+v %#v %s %q %v\n", s, s, s, s, s, &s)
		log.Info("source", "source", s)
		j, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(j)
	}
	for _, secret := range []string{"s3cret", "oauth-token", "Bearer"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("%q is printed", secret)
		}
	}
}

func FuzzSources(f *testing.F) {
	for _, pattern := range []string{"testdata/wrong/*.yaml", "testdata/right/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sources, err := charity.ParseSources("sources.yaml", b)
		if err == nil {
			for _, s := range sources {
				if s.Name == "" || s.Kind == "" || s.Timeout <= 0 {
					t.Errorf("%#v is no source", s)
				}
			}
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if strings.HasPrefix(line, "sources.yaml:") {
				return
			}
		}
		t.Errorf("the error names no line: %v", err)
	})
}

// The example of the documentation is a sources file.
func TestDocumentedSources(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/donations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "```yaml\nsources:\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example")
	}
	sources, err := charity.ParseSources("sources.yaml", []byte("sources:\n"+example))
	if err != nil || len(sources) != 5 {
		t.Errorf("%d sources, %v", len(sources), err)
	}
	for _, condition := range []string{
		charity.ConditionUnreachable, charity.ConditionRefused, charity.ConditionLimited, charity.ConditionShape, charity.ConditionStale,
		charity.ConditionIncomplete, charity.ConditionUnmatched, charity.ConditionCurrency,
	} {
		if !strings.Contains(string(b), "| `"+condition+"` |") {
			t.Errorf("%s is not in the documentation", condition)
		}
	}
}
