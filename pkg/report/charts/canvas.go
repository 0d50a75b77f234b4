package charts

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tungstene/tungstene/pkg/report/locale"
)

// Canvas is what a chart is drawn on.
type Canvas struct {
	// Width and Height are in pixels.
	Width, Height float64
	// Theme has the colours. Default: Dark.
	Theme Theme
	// Locale writes numbers and times. Default: English, UTC.
	Locale locale.Locale
	// Measure is the width of a text of a size and weight, in pixels. Default: an estimate.
	Measure func(text string, size float64, weight int) float64
	// Text is the size of labels in pixels. Default: 20.
	Text float64
	// Family is the font family, as in CSS. Default: that of the element around.
	Family string
}

func (c Canvas) withDefaults() Canvas {
	if c.Theme.Name == "" {
		c.Theme = Dark()
	}
	if c.Text == 0 {
		c.Text = 20
	}
	if c.Measure == nil {
		c.Measure = func(text string, size float64, _ int) float64 {
			return float64(utf8.RuneCountInString(text)) * size * 0.58
		}
	}
	return c
}

// LabelWidth is the width of a label.
func (c Canvas) LabelWidth(label string) float64 {
	c = c.withDefaults()
	return c.width(label)
}

// LabelSize is the size of labels.
func (c Canvas) LabelSize() float64 { return c.withDefaults().Text }

// The weights of labels.
const (
	regular = 400
	strong  = 600
)

func (c Canvas) width(text string) float64 { return c.Measure(text, c.Text, regular) }

// fit shortens a text until it is at most so wide; nothing is left of one that can't.
func (c Canvas) fit(text string, size float64, weight int, width float64) string {
	if c.Measure(text, size, weight) <= width {
		return text
	}
	ends := clusters(text)
	for i := len(ends) - 1; i > 0; i-- {
		short := strings.TrimRight(text[:ends[i-1]], " \u00a0\u202f") + "…"
		if c.Measure(short, size, weight) <= width {
			return short
		}
	}
	return ""
}

// clusters are the ends of what a reader sees as one character: marks, joiners, selectors, skin tones
// and pairs of flags are not taken from what they belong to.
func clusters(text string) []int {
	var ends []int
	joined, flags := false, 0
	for i, r := range text {
		flag := r >= 0x1F1E6 && r <= 0x1F1FF
		extend := r >= 0x300 && r <= 0x36F || r >= 0xFE00 && r <= 0xFE0F || r == 0x200D || r >= 0x1F3FB && r <= 0x1F3FF ||
			r >= 0xE0020 && r <= 0xE007F || r == 0x20E3
		if i > 0 && !joined && !extend && (!flag || flags%2 == 0) {
			ends = append(ends, i)
		}
		joined = r == 0x200D
		if flag {
			flags++
		} else {
			flags = 0
		}
	}
	return append(ends, len(text))
}

// pen writes elements.
type pen struct {
	b strings.Builder
}

func num(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		v = 0
	}
	v = math.Round(v*100) / 100
	if v == 0 {
		v = 0 // no -0
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// escape makes a text safe in an element or attribute; characters that XML does not have go.
func escape(s string) string {
	var out strings.Builder
	for _, r := range s {
		switch {
		case r == utf8.RuneError, r < 0x20, r >= 0xFFFE && r <= 0xFFFF:
		case r == '&':
			out.WriteString("&amp;")
		case r == '<':
			out.WriteString("&lt;")
		case r == '>':
			out.WriteString("&gt;")
		case r == '"':
			out.WriteString("&quot;")
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// el writes an element of attributes in pairs of name and value; empty values are left out.
func (p *pen) el(name string, attributes ...string)   { p.tag(name, attributes, "/>") }
func (p *pen) open(name string, attributes ...string) { p.tag(name, attributes, ">") }

func (p *pen) tag(name string, attributes []string, end string) {
	p.b.WriteString("<" + name)
	for i := 0; i+1 < len(attributes); i += 2 {
		if attributes[i+1] != "" {
			p.b.WriteString(" " + attributes[i] + `="` + escape(attributes[i+1]) + `"`)
		}
	}
	p.b.WriteString(end)
}

func (p *pen) close(name string) { p.b.WriteString("</" + name + ">") }

func (p *pen) rect(x, y, w, h, r float64, fill string) { p.veil(x, y, w, h, r, fill, 1) }

// veil is a rectangle that lets what is behind it through.
func (p *pen) veil(x, y, w, h, r float64, fill string, opacity float64) {
	if w <= 0 || h <= 0 {
		return
	}
	radius, through := "", ""
	if r > 0 {
		radius = num(min(r, w/2, h/2))
	}
	if opacity < 1 {
		through = num(opacity)
	}
	p.el("rect", "x", num(x), "y", num(y), "width", num(w), "height", num(h), "rx", radius, "fill", fill, "fill-opacity", through)
}

// rule draws a line of one pixel between whole pixels.
func (p *pen) rule(x1, y1, x2, y2 float64, stroke, dash string) {
	snap := func(a, b float64) (float64, float64) {
		if math.Round(a) == math.Round(b) {
			return math.Floor(a) + 0.5, math.Floor(a) + 0.5
		}
		return a, b
	}
	x1, x2 = snap(x1, x2)
	y1, y2 = snap(y1, y2)
	p.el("path", "d", "M"+num(x1)+" "+num(y1)+"L"+num(x2)+" "+num(y2), "stroke", stroke, "stroke-dasharray", dash, "fill", "none")
}

type words struct {
	size   float64
	weight int
	fill   string
	anchor string
	halo   string // colour around the glyphs, so that they are read over lines
}

func (c Canvas) text(p *pen, x, y float64, text string, w words) {
	if text == "" {
		return
	}
	if w.size == 0 {
		w.size = c.Text
	}
	if w.weight == 0 {
		w.weight = regular
	}
	if w.fill == "" {
		w.fill = c.Theme.Soft
	}
	attributes := []string{
		"x", num(x), "y", num(y), "font-family", c.Family, "font-size", num(w.size), "font-weight", strconv.Itoa(w.weight),
		"text-anchor", w.anchor,
	}
	if w.halo != "" {
		p.open("text", append(attributes, "fill", w.halo, "stroke", w.halo, "stroke-width", num(w.size/4), "stroke-linejoin", "round")...)
		p.b.WriteString(escape(text))
		p.close("text")
	}
	p.open("text", append(attributes, "fill", w.fill)...)
	p.b.WriteString(escape(text))
	p.close("text")
}

// ceilings makes an axis: round numbers from 0 to at least the highest value.
func ceilings(highest float64, most int) (step, top float64) {
	if !(highest > 0) || math.IsInf(highest, 0) {
		return 1, 1
	}
	most = max(most, 1)
	size := math.Pow(10, math.Floor(math.Log10(highest/float64(most))))
	steps := []float64{1, 2, 2.5, 5, 10, 20}
	if most < 4 { // of few steps the last would be mostly empty
		steps = []float64{1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20}
	}
	for _, m := range steps {
		step = m * size
		if n := math.Ceil(highest/step - 1e-9); n <= float64(most) {
			return step, step * n
		}
	}
	return step, step * math.Ceil(highest/step)
}

// whole makes an axis of counts, which have no halves.
func whole(highest float64, most int) (step, top float64) {
	step, _ = ceilings(highest, most)
	step = max(math.Ceil(step), 1)
	return step, max(step*math.Ceil(highest/step), step)
}

// Span is the time that an axis shows: [From, To).
type Span struct {
	From, To time.Time
	// Until is when what is known ends: after it nothing is missing yet. Default: To.
	Until time.Time
	// Since says that the axis tells the time since From, not that of the day.
	Since bool
}

// now is where what is known ends within the span.
func (s Span) now() time.Time {
	switch {
	case s.Until.IsZero() || s.Until.After(s.To):
		return s.To
	case s.Until.Before(s.From):
		return s.From
	}
	return s.Until
}

// running says that the span goes on after what is known.
func (s Span) running() bool { return s.now().Before(s.To) }

func (s Span) seconds() float64 { return s.To.Sub(s.From).Seconds() }

// at is where a time is, as a share of the span.
func (s Span) at(t time.Time) float64 {
	if s.seconds() <= 0 {
		return 0
	}
	return t.Sub(s.From).Seconds() / s.seconds()
}

func (s Span) has(t time.Time) bool { return !t.Before(s.From) && t.Before(s.To) }

type tick struct {
	at    time.Time
	label string
	day   bool // begins a day
}

// ticks are times on the hour in the zone, as many as fit, by steps that divide a day.
func (c Canvas) ticks(s Span, width float64) []tick {
	if s.seconds() <= 0 {
		return nil
	}
	if s.Since {
		return c.since(s, width)
	}
	var step time.Duration
	for _, step = range []time.Duration{
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	} {
		widest := c.width(c.Locale.Hour(s.From))
		if step < time.Hour {
			widest = c.width(c.Locale.Clock(s.From))
		}
		if s.seconds()/step.Seconds()*(widest+c.Text*1.3) <= width {
			break
		}
	}
	days := 1
	if step == 24*time.Hour {
		days = max(1, int(math.Ceil(s.seconds()/step.Seconds()*(c.width("mmm.")+c.Text)/width)))
		if days > 1 {
			widest := 0.0
			for d, n := s.From, 0; n < 62 && !d.After(s.To); d, n = d.AddDate(0, 0, 1), n+1 {
				widest = max(widest, c.Measure(c.Locale.ShortDay(d), c.Text, strong))
			}
			days = int(math.Ceil(s.seconds() / step.Seconds() * (widest + c.Text) / width))
		}
	}
	var out []tick
	// Walk by local days, so that ticks stay on the hour when the clocks change.
	from := c.Locale.In(s.From)
	day := time.Date(from.Year(), from.Month(), from.Day(), 0, 0, 0, 0, from.Location())
	for n := 0; !day.After(s.To); n++ {
		next := day.AddDate(0, 0, 1)
		for minute := time.Duration(0); minute < 24*time.Hour; minute += step {
			// A time that a change of the clocks leaves out falls on another tick: it is met once.
			t := time.Date(day.Year(), day.Month(), day.Day(), int(minute.Hours()), int(minute.Minutes())%60, 0, 0, day.Location())
			if t.Before(s.From) || t.After(s.To) || !t.Before(next) || len(out) > 0 && !t.After(out[len(out)-1].at) {
				continue
			}
			switch {
			case minute > 0 && step < time.Hour:
				out = append(out, tick{at: t, label: c.Locale.Clock(t)})
			case minute > 0:
				out = append(out, tick{at: t, label: c.Locale.Hour(t)})
			case t.Equal(s.To): // the day that begins there is not in the picture
				out = append(out, tick{at: t, label: c.Locale.Hour(t)})
			case n%days == 0 && days > 1:
				out = append(out, tick{at: t, label: c.Locale.ShortDay(t), day: true})
			case n%days == 0:
				out = append(out, tick{at: t, label: c.Locale.ShortWeekday(t), day: true})
			}
		}
		day = next
	}
	return out
}

// since are ticks in hours from the start of the span.
func (c Canvas) since(s Span, width float64) []tick {
	hours := s.seconds() / 3600
	widest := c.width(c.Locale.Since(time.Duration(hours)*time.Hour)) + c.Text*1.3
	step := 1
	for _, step = range []int{1, 2, 3, 4, 6, 12, 24, 48, 120, 240, 480, 960} {
		if hours/float64(step)*widest <= width {
			break
		}
	}
	var out []tick
	for h := 0; float64(h) <= hours; h += step {
		after := time.Duration(h) * time.Hour
		out = append(out, tick{at: s.From.Add(after), label: c.Locale.Since(after), day: h > 0 && h%24 == 0 && step < 24})
	}
	return out
}

// axisX draws the ticks of a time axis below y; the first label says the day where the axis begins
// between days, and the end of the axis has its label where there is room.
func (c Canvas) axisX(p *pen, s Span, x, width, y, top float64, grid bool) {
	right := math.Inf(-1)
	ticks := c.ticks(s, width)
	for i, t := range ticks {
		if long := c.Locale.ShortWeekday(t.at) + " " + t.label; i == 0 && !t.day && !s.Since { // which day it begins on
			room := math.Inf(1)
			if len(ticks) > 1 {
				room = (s.at(ticks[1].at)-s.at(t.at))*width - c.width(ticks[1].label)/2
			}
			if c.width(long)/2+c.Text*0.6 <= room {
				t.label = long
			}
		}
		tx := math.Round(x + s.at(t.at)*width)
		if grid || t.day {
			dash := "2 6"
			if t.day {
				dash = ""
			}
			p.rule(tx, top, tx, y, c.Theme.Line, dash)
		}
		p.rule(tx, y, tx, y+6, c.Theme.Strong, "")
		w := words{fill: c.Theme.Soft, anchor: "middle"}
		if t.day {
			w.fill, w.weight = c.Theme.Ink, strong
		}
		half := c.Measure(t.label, c.Text, max(w.weight, regular)) / 2
		lx := min(max(tx, half), c.Width-half)
		if lx-half < right+c.Text/2 {
			continue
		}
		c.text(p, lx, y+c.Text*1.35, t.label, w)
		right = lx + half
	}
	if n := len(ticks); n == 0 || s.Since || !ticks[n-1].at.Before(s.To) {
		return
	}
	label := c.Locale.Hour(s.To)
	if c.Locale.In(s.To).Minute() != 0 {
		label = c.Locale.Clock(s.To)
	}
	end := math.Round(x + width)
	half := c.width(label) / 2
	if lx := min(end, c.Width-half); lx-half >= right+c.Text/2 {
		p.rule(end, y, end, y+6, c.Theme.Strong, "")
		c.text(p, lx, y+c.Text*1.35, label, words{anchor: "middle"})
	}
}

// nowLine marks where what is known ends, while more is to come.
func (c Canvas) nowLine(p *pen, s Span, f plot) {
	if s.running() && s.now().After(s.From) {
		x := math.Round(f.x + s.at(s.now())*f.width)
		p.rule(x, f.y, x, f.y+f.height, c.Theme.Soft, "6 4")
	}
}
