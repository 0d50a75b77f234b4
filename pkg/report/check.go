package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tungstene/tungstene/pkg/report/charts"
	"github.com/tungstene/tungstene/pkg/report/locale"
	"github.com/tungstene/tungstene/pkg/report/render"
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

// Check tries every template of a set on the samples, in both languages and all themes: what is not drawn,
// placeholders that nothing fills, texts that don't fit at their longest (names: at their usual length) or
// run into others, characters and fonts that are missing. What is wrong in several ways of looking is told
// once. Errors are of templates that can't be read at all, and of the context.
func Check(ctx context.Context, set *Set, canvas Canvas) ([]Problem, error) {
	var out []Problem
	var broken []error
	seen := map[string]bool{}
	add := func(p template.Problem, sample, language, theme string) {
		key := p.File + "\x00" + p.ID + "\x00" + string(p.Severity) + "\x00" + p.Message
		if !seen[key] && !planned(p, sample) {
			seen[key] = true
			out = append(out, Problem{Problem: p, Sample: sample, Language: language, Theme: theme})
		}
	}
	if e := canvas.Measure("a", render.Style{Family: set.look.Font, Size: 20}); set.look.Font != "" && len(e.Fallback) > 0 {
		add(template.Problem{
			File: ThemeName, Severity: template.Warning,
			Message: fmt.Sprintf("the font %s is not there and %s is drawn: give its file to the report, or use a font that ships", set.look.Font, e.Fallback[0]),
		}, "", "", "")
	}
	for _, theme := range charts.Themes() {
		for _, name := range set.Names() {
			t, err := set.Template(name, theme)
			if err != nil {
				if !seen[err.Error()] {
					seen[err.Error()] = true
					broken = append(broken, err)
				}
				continue
			}
			drawn := true
			for _, p := range t.CheckDrawing(canvas) {
				drawn = drawn && p.Severity != template.Error
				add(p, "", "", theme.Name)
			}
			for _, sample := range []string{SampleTypical, SampleLongest, SampleShortest} {
				d := Sample(sample)
				for _, language := range locale.Languages() {
					look := set.Look(d, language, theme, canvas)
					values, expected := look.Event(d), []string{"note"}
					if OfStreamer(name) {
						values, expected = look.Streamer(d, d.Streamers[0]), []string{"note", "streamer.name"}
					}
					for _, p := range t.Check(canvas, values, expected) {
						add(p, sample, language, theme.Name)
					}
					if !drawn { // once is enough, of what can be drawn at all
						continue
					}
					drawn = false
					if err := draws(ctx, t, canvas, values); ctx.Err() != nil {
						return nil, ctx.Err()
					} else if err != nil {
						add(template.Problem{File: t.Name(), Severity: template.Error, Message: err.Error()}, sample, language, theme.Name)
					}
				}
			}
		}
	}
	if len(broken) > 0 {
		return nil, errors.Join(broken...)
	}
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Severity, b.Severity))
	})
	return out, nil
}

// draws tries the drawing itself.
func draws(ctx context.Context, t *template.Template, canvas Canvas, values template.Values) error {
	svg, err := t.Fill(canvas, values)
	if err != nil {
		return err
	}
	_, err = canvas.PNG(ctx, svg, 0)
	return err
}
