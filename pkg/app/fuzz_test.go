package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/app"
)

// Whatever a configuration file says, a program starts with it or says, as wrong use, what is wrong
// in which file.
func FuzzConfiguration(f *testing.F) {
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
	path := filepath.Join(f.TempDir(), "c.yaml")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, code, printed := parse(t, "--config", path)
		switch {
		case code == app.ExitOK:
		case code != app.ExitUsage:
			t.Errorf("exit code %d: %s", code, printed)
		case !strings.Contains(printed, "c.yaml"):
			t.Errorf("it does not say what is wrong in which file: %s", printed)
		}
	})
}
