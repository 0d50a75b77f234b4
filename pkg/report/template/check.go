package template

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tungstene/tungstene/pkg/report/render"
)

// Check says what is wrong with a template on these values: placeholders that no value has (with the
// nearest name), text that is cut even at its smallest size, characters that no font has, fonts that
// are not there, rows that do not fit, and names in expected that no placeholder shows (nil for none).
// The problems come in the order of the file.
func (t *Template) Check(m Measurer, v Values, expected []string) []Problem {
	var problems []Problem
	f := &filler{t: t, m: m, scopes: []Values{v}, seen: map[*place]bool{}}
	f.note = func(p *place, s Severity, format string, args ...any) {
		pr := Problem{File: t.name, Line: p.Line, ID: p.ID, Severity: s, Message: fmt.Sprintf(format, args...)}
		if !slices.Contains(problems, pr) {
			problems = append(problems, pr)
		}
	}
	if len(t.places) == 0 {
		return []Problem{{File: t.name, Severity: Error, Message: "there is no placeholder: name layers {{like.this}}, and export with 'Include \"id\" attribute' on"}}
	}
	f.element(t.root)
	f.checkOverlap()
	t.checkUnseen(f)
	t.checkFonts(f)
	shown := map[string]bool{}
	for _, p := range t.places {
		shown[p.Name] = true
		if p.Kind == Text {
			for _, n := range p.target.pattern.names() {
				shown[n] = true
			}
		}
	}
	for name := range t.boxes {
		if _, text, _ := strings.Cut(name, "/"); !shown[text] {
			n := t.boxes[name]
			f.note(n.place, Warning, "there is no text called %s for this box", strconv.Quote(text))
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	for _, name := range expected {
		if !shown[name] {
			problems = append(problems, Problem{File: t.name, Severity: Warning, Message: "no layer shows " + strconv.Quote(name)})
		}
	}
	return problems
}

// checkUnseen looks at the names of what is not drawn with these values: in sections that are left
// out, and in rows of which there are none.
func (t *Template) checkUnseen(f *filler) {
	for _, p := range t.places {
		if f.seen[p] {
			continue
		}
		scopes := f.scopes
		if p.Rows != "" {
			list, _ := lookup(scopes, rows, p.Rows)
			if len(list) == 0 {
				continue // what a row has can't be known
			}
			scopes = append(slices.Clone(scopes), list[0])
		}
		g := &filler{t: t, m: f.m, scopes: scopes, note: f.note}
		switch p.Kind {
		case Text:
			g.value(p, p.target.pattern.all())
		case Image:
			if _, ok := lookup(scopes, images, p.Name); !ok {
				g.tell(p, Error, "%s", g.unknown("picture", p.Name))
			}
		case Chart:
			if _, ok := lookup(scopes, charts, p.Name); !ok {
				g.tell(p, Error, "%s", g.unknown("chart", p.Name))
			}
		case If:
			if _, ok := g.holds(p.Name); !ok {
				g.tell(p, Error, "%s", g.unknown("condition", p.Name))
			}
		case Rows:
			if _, ok := lookup(scopes, rows, p.Name); !ok {
				g.tell(p, Error, "%s", g.unknown("list of rows", p.Name))
			}
		default: // boxes take nothing
		}
	}
}

// checkFonts finds families that are not there, once each.
func (t *Template) checkFonts(f *filler) {
	var told []string
	for _, p := range t.places {
		if p.Kind != Text || slices.Contains(told, p.Style.Family) {
			continue
		}
		if e := f.m.Measure("a", p.Style); len(e.Fallback) > 0 {
			told = append(told, p.Style.Family)
			f.note(p, Warning, "the font %s is not there and %s is drawn: give its file to the report, or use a font that ships", p.Style.Family, e.Fallback[0])
		}
	}
}

// check tells what is wrong with a text as it is filled.
func (f *filler) check(p *place, value string, s render.Style, width float64, cut bool) {
	if f.note == nil {
		return
	}
	if e := f.m.Measure(value, s); len(e.Missing) > 0 {
		f.tell(p, Warning, "no font has %s (of %s): a font that has them can be given to the report", strings.Join(e.Missing, " "), quote(value))
	}
	if cut {
		f.tell(p, Warning, "%s is cut: at the smallest size of %s it does not fit %s of %s; give it more room, a smaller 'min' or more 'lines'",
			quote(value), format(p.MinSize), lineCount(p.Lines), format(width))
	}
}

func (f *filler) tellCut(p *place, value string) {
	f.tell(p, Warning, "%s is cut: at the smallest size of %s there is no room for more", quote(value), format(p.MinSize))
}

func lineCount(n int) string {
	if n == 1 {
		return "a line"
	}
	return strconv.Itoa(n) + " lines"
}

// quote writes a text for a message as people read it, spaces of any width too.
func quote(s string) string { return `"` + short(s) + `"` }

// short is the beginning of a text for a message.
func short(s string) string {
	r := []rune(s)
	if len(r) > 60 {
		return string(r[:59]) + ellipsis
	}
	return s
}
