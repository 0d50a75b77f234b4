package report_test

import (
	"os"
	"path"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/report"
	"github.com/tungstene/tungstene/pkg/report/charts"
	"github.com/tungstene/tungstene/pkg/report/template"
)

// TestNamesAreAllThereAre compares the documented placeholders with those that pictures have values for.
func TestNamesAreAllThereAre(t *testing.T) {
	set, err := report.OpenSet(nil)
	if err != nil {
		t.Fatal(err)
	}
	used := map[report.Name]bool{}
	find := func(kind template.Kind, where, name string) {
		for _, n := range report.Names() {
			if ok, err := path.Match(n.Name, name); err == nil && ok && n.Kind == kind && (n.Where == report.Everywhere || n.Where == where) {
				used[n] = true
				return
			}
		}
		t.Errorf("%s %s of pictures of %s is not documented: add it to Names", kind, name, where)
	}
	d := report.Sample(report.SampleTypical)
	d.Avatars = map[string][]byte{d.Streamers[0].Channel: {1}}
	look := set.Look(d, "en", charts.Dark(), nil)
	for where, v := range map[string]template.Values{report.OfTheEvent: look.Event(d), report.OfStreamers: look.Streamer(d, d.Streamers[0])} {
		for name := range v.Text {
			find(template.Text, where, name)
		}
		for name := range v.Images {
			find(template.Image, where, name)
		}
		for name := range v.Charts {
			find(template.Chart, where, name)
		}
		for name := range v.If {
			if _, ok := v.Rows[name]; ok || name == "avatar" {
				continue // rows and pictures are conditions too
			}
			find(template.If, where, name)
		}
		for name := range v.Rows {
			find(template.Rows, where, name)
		}
	}
	for _, n := range report.Names() {
		if !used[n] {
			t.Errorf("%s %s of %s is documented and has no value", n.Kind, n.Name, n.Where)
		}
	}
}

func TestNamesAreInTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/reports.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), report.NamesTable()) {
		if os.Getenv("UPDATE") == "" {
			t.Fatal("the table in docs/reports.md is not that of Names: run the test with UPDATE=1")
		}
		const begin, end = "<!-- placeholders -->\n", "<!-- end of placeholders -->"
		before, rest, _ := strings.Cut(string(page), begin)
		_, after, ok := strings.Cut(rest, end)
		if !ok {
			t.Fatal("docs/reports.md has no place for the table")
		}
		if err := os.WriteFile("../../docs/reports.md", []byte(before+begin+report.NamesTable()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
