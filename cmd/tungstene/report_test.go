package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/app"
)

// A template that can't be drawn is one mistake, not one for each streamer; nothing is shown of how far it is
// where nobody looks; and check tells file, line and layer.
func TestATemplateThatCantBeDrawn(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	if code, _, errs := run(t, "sample", "--data", data, "--channels", "3", "--hours", "1", "--messages", "60"); code != app.ExitOK {
		t.Fatal(errs)
	}
	templates := t.TempDir()
	svg := `<svg xmlns="http://www.w3.org/2000/svg" width="400" height="300">
<text id="{{streamer.name}}" x="10" y="40">Name</text>
<text id="{{note}}" x="10" y="80">Note</text>
<g id="logo"><image href="https://127.0.0.1:9/logo.png" width="10" height="10"/></g>
</svg>`
	if err := os.WriteFile(filepath.Join(templates, "streamer.svg"), []byte(svg), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run(t, "report", "--data", data, "--out", filepath.Join(t.TempDir(), "out"), "--templates", templates, "--no-avatars")
	if code != 1 || strings.Count(out, "logo.png") != 1 || !strings.Contains(out, " and 2 more: ") || !strings.Contains(out, "tungstene report check") || errs != "" {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
	code, out, _ = run(t, "report", "check", "--templates", templates)
	if want := "error: streamer.svg:4: logo: <image>: the picture https://127.0.0.1:9/logo.png"; code != 1 || !strings.HasPrefix(out, want) ||
		!strings.HasSuffix(out, "1 template checked: 1 error, 0 warnings\n") {
		t.Errorf("code %d\n%s", code, out)
	}
}
