// Package layers holds the order of the packages: imports point one way.
package layers_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tungstene/tungstene/"

// layers lists the packages from the bottom up. A package may import those of lower layers, and
// those below its own path; never its neighbours, and never what is above.
var layers = [][]string{
	{"pkg/record", "pkg/clock"},
	{"pkg/queue", "pkg/store"},
	{"pkg/control"},
	{"pkg/twitch", "pkg/sim", "pkg/charity"},
	{"pkg/master", "pkg/collector", "pkg/consumer", "pkg/rollup", "pkg/verify"},
	{"pkg/custody", "pkg/statistics", "pkg/sample"},
	{"pkg/report", "pkg/web"},
	{"pkg/app"},
	{"cmd"},
}

// layerOf returns a package's layer and the entry that it belongs to; -1 for one that no layer has.
func layerOf(path string) (int, string) {
	path = strings.TrimPrefix(path, module)
	for i, l := range layers {
		for _, p := range l {
			if path == p || strings.HasPrefix(path, p+"/") {
				return i, p
			}
		}
	}
	return -1, ""
}

func TestImportsPointOneWay(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"pkg/...", module+"cmd/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the packages: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var pkg struct {
			ImportPath string   `json:"ImportPath"`
			Imports    []string `json:"Imports"`
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		layer, entry := layerOf(pkg.ImportPath)
		if layer < 0 {
			t.Errorf("%s is in no layer: give it one here, and a line in docs/architecture.md", pkg.ImportPath)
			continue
		}
		for _, imp := range pkg.Imports {
			if !strings.HasPrefix(imp, module) {
				continue
			}
			below, other := layerOf(imp)
			if below > layer || below == layer && other != entry {
				t.Errorf("%s imports %s, which is not below it", pkg.ImportPath, imp)
			}
		}
		for _, word := range []string{"util", "utils", "common", "helper", "helpers", "misc"} {
			if slices.Contains(strings.Split(strings.TrimPrefix(pkg.ImportPath, module), "/"), word) {
				t.Errorf("%s: name what is in it", pkg.ImportPath)
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d packages were listed", seen)
	}
}
