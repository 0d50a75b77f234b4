package export

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the dictionary anew from the guide")

var (
	marker = regexp.MustCompile(`^<!-- fields: (\w+) -->$`)
	four   = regexp.MustCompile("^\\| `([a-z_.0-9]+)` \\| ([^|]+) \\| ([^|]+) \\| (.+) \\|$")
	bold   = regexp.MustCompile(`\*\*([^*]+)\*\*`)
	link   = regexp.MustCompile(`\[([^\]]+)\]\([^)]*\)`)
)

// The dictionary says what the guide says, of every column.
func TestDictionaryIsTheGuides(t *testing.T) {
	t.Parallel()
	guide := map[string]map[string]guideRow{}
	for _, page := range []string{"../../../docs/analysts.md", "../../../docs/exports.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := ""
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if m := marker.FindStringSubmatch(line); m != nil {
				name = m[1]
				guide[name] = map[string]guideRow{}
			} else if m := four.FindStringSubmatch(line); m != nil && name != "" {
				meaning := bold.ReplaceAllString(link.ReplaceAllString(m[4], "$1"), "$1")
				guide[name][m[1]] = guideRow{Type: m[2], There: m[3], Meaning: strings.ReplaceAll(meaning, "`", "")}
			} else if !strings.HasPrefix(line, "|") && len(guide[name]) > 0 {
				name = ""
			}
		}
	}
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(guide); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("guide.json", want.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(want.Bytes(), guideJSON) {
		t.Error("the guide has changed: run go test ./pkg/report/export -run TestDictionaryIsTheGuides -update")
	}
	kinds, rest, other := tables()
	all := []*table{other, summaryTable()}
	for _, x := range kinds {
		all = append(all, x)
	}
	for _, x := range rest {
		all = append(all, x)
	}
	for _, x := range all {
		for _, c := range x.columns {
			if x.describe(guide, c).Meaning == "" {
				t.Errorf("the guide has no word on the field %s of table %s (%v)", c.path, x.name, x.of)
			}
		}
	}
}
