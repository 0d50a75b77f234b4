package app_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
)

// parse runs a program whose only flags are the configuration, and returns it with the exit code
// and what was printed.
func parse(t *testing.T, args ...string) (app.Config, int, string) {
	t.Helper()
	var (
		grammar struct{ app.Configured }
		got     app.Config
		printed bytes.Buffer
	)
	code := app.Program{
		Name: "test", Grammar: &grammar, Stdout: &printed, Stderr: &printed,
		Run: func(context.Context) (err error) {
			got, err = grammar.Checked()
			return err
		},
	}.Main(args)
	return got, code, printed.String()
}

// Each file in testdata/wrong begins with the message that it must give.
func TestWrongConfiguration(t *testing.T) {
	files, err := filepath.Glob("testdata/wrong/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(b), "\n")
			want, ok := strings.CutPrefix(first, "# want: ")
			if !ok {
				t.Fatalf("the file does not begin with # want:")
			}
			_, code, printed := parse(t, "--config", file)
			if code != app.ExitUsage {
				t.Errorf("exit code %d, want %d", code, app.ExitUsage)
			}
			if !strings.Contains(printed, want) {
				t.Errorf("it says\n%s\nwant\n%s", printed, want)
			}
			if strings.Contains(printed, "hunter2") {
				t.Errorf("it tells a password:\n%s", printed)
			}
		})
	}
}

func TestRightConfiguration(t *testing.T) {
	cfg, code, printed := parse(t, "--config", "testdata/right/full.yaml")
	if code != app.ExitOK {
		t.Fatalf("exit code %d: %s", code, printed)
	}
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"data", cfg.Data, "/var/lib/tungstene"},
		{"addresses", strings.Join(cfg.Queue.Addresses, " "), "mq-0:5672 mq-1:5672"},
		{"queue TLS", cfg.Queue.TLS.Enabled, true},
		{"a client's secret file", cfg.Twitch.Clients["def"], "/run/secrets/def"},
		{"chat without TLS", cfg.Twitch.IRCTLS, false},
		{"masters", len(cfg.Master.URLs), 2},
		{"tick", cfg.Collector.Tick, 100 * time.Millisecond},
		{"a default", cfg.Rollup.Grace, 20 * time.Second},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", c.what, c.got, c.want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("collector: {capacity: 1}\nrollup: {grace: 30s}\nconsumer: {prefetch: 7}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TUNGSTENE_COLLECTOR_CAPACITY", "2")
	t.Setenv("TUNGSTENE_ROLLUP_GRACE", "40s")
	cfg, code, printed := parse(t, "--config", file, "--rollup-grace", "50s")
	if code != app.ExitOK {
		t.Fatalf("exit code %d: %s", code, printed)
	}
	if cfg.Consumer.Prefetch != 7 || cfg.Collector.Capacity != 2 || cfg.Rollup.Grace != 50*time.Second {
		t.Errorf("file %d, environment %d, flag %s; want 7, 2, 50s",
			cfg.Consumer.Prefetch, cfg.Collector.Capacity, cfg.Rollup.Grace)
	}
}

func TestWrongValueElsewhere(t *testing.T) {
	if _, code, printed := parse(t, "--twitch-joins", "0"); code != app.ExitUsage ||
		!strings.Contains(printed, "twitch.joins (--twitch-joins, TUNGSTENE_TWITCH_JOINS): 0 is out of range") {
		t.Errorf("exit code %d: %s", code, printed)
	}
	if _, code, printed := parse(t, "--config", "testdata/none.yaml"); code != app.ExitUsage || !strings.Contains(printed, "none.yaml") {
		t.Errorf("exit code %d: %s", code, printed)
	}
}

// The generated pages of docs/ are those of the code.
func TestDocsAreCurrent(t *testing.T) {
	pages, err := app.Docs()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join("../../docs", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("docs/%s is not what the code says: run make docs", name)
		}
	}
}
