package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tungstene/tungstene/pkg/report/charts"
	"github.com/tungstene/tungstene/pkg/report/locale"
	"github.com/tungstene/tungstene/pkg/report/template"
)

// Problem is what is wrong with a template, and on which of the samples, languages and themes it shows
// first.
type Problem struct {
	template.Problem
	Sample   string
	Language string
	Theme    string
}

// planned is a problem that every template has on the samples: rows are more than there is room for,
// and of the longest names, which nobody has, the end is cut.
func planned(p template.Problem, sample string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(p.ID, "{{"), " ")
	name = strings.TrimSuffix(name, "}}")
	switch {
	case p.Severity == template.Error:
		return false
	case strings.HasPrefix(name, "rows:"):
		return strings.Contains(p.Message, "and room for")
	}
	return sample == SampleLongest && strings.Contains(p.Message, " is cut:") && slices.Contains([]string{
		"name", "who", "other", "line", "detail", "event.name", "streamer.name", "streamer.line", "compare.here", "compare.there",
	}, name)
}

// Check tries every template of a set on the samples, in both languages and all themes: placeholders that
// nothing fills, texts that don't fit at their longest (names: at their usual length), characters and fonts that are missing. What is
// wrong in several ways of looking is told once. An error means that a template can't be read at all.
func Check(set *Set, m template.Measurer) ([]Problem, error) {
	var out []Problem
	seen := map[string]bool{}
	for _, theme := range charts.Themes() {
		for _, name := range set.Names() {
			t, err := set.Template(name, theme)
			if err != nil {
				return nil, err
			}
			for _, sample := range []string{SampleTypical, SampleLongest, SampleShortest} {
				d := Sample(sample)
				for _, language := range locale.Languages() {
					look := set.Look(d, language, theme, m)
					values, expected := look.Event(d), []string{"note"}
					if OfStreamer(name) {
						values, expected = look.Streamer(d, d.Streamers[0]), []string{"note", "streamer.name"}
					}
					for _, p := range t.Check(m, values, expected) {
						key := p.File + "\x00" + p.ID + "\x00" + string(p.Severity) + "\x00" + p.Message
						if seen[key] || planned(p, sample) {
							continue
						}
						seen[key] = true
						out = append(out, Problem{Problem: p, Sample: sample, Language: language, Theme: theme.Name})
					}
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Severity, b.Severity))
	})
	return out, nil
}
