package charts

import (
	"math"
	"strings"
	"time"
)

// Point is a value of the time from Time on. One that is not Known is a gap.
type Point struct {
	Time  time.Time
	Value float64
	Known bool
}

// Series are points in the order of time.
type Series struct {
	Points []Point
	// Every is how long a point holds; where the next one comes later, a gap begins. Zero: a point holds
	// until the next one, the last one until the end of the span.
	Every time.Duration
	// Colour is that of the line and, thinner, of the area under it. Default: the theme's accent.
	Colour string
	// Line says that there is no area.
	Line bool
}

// The kinds of a Marker.
const (
	MarkPeak  = "peak"
	MarkGoal  = "goal"
	MarkRaid  = "raid"
	MarkBurst = "burst"
)

// Marker is a moment with a few words.
type Marker struct {
	Time  time.Time
	Kind  string
	Label string
}

// Tick writes a number of an axis that ends at top: all of its numbers in the unit of the last.
type Tick func(v, top float64) string

// Curve is one or more series over time, on one scale that begins at 0.
type Curve struct {
	Span   Span
	Series []Series
	// Steps draws values that hold until the next one, as of running totals; otherwise a line joins the
	// points that follow one another.
	Steps bool
	// Counts says that there are no fractions on the axis.
	Counts bool
	// Tick writes a number of the axis. Default: the locale's TickOf.
	Tick Tick
	// Markers are shown in this order of importance, as far as there is room.
	Markers []Marker
	// Rows is how many rows of labels may stand above the plot. Default: 2 where there are markers.
	Rows int
	// Gutter is the least width of the axis' labels, so that charts above one another can agree. Default:
	// as wide as they are.
	Gutter float64
	// NoAxis leaves out the time axis.
	NoAxis bool
	// Empty is what is said where there is nothing to show. Default: nothing.
	Empty string
}

// column is what lies in one column of pixels: the highest and the last value.
type column struct {
	known         bool
	high, last    float64
	at            float64 // where the highest is
	first, lastAt float64
}

// columns reduces a series to columns of pixels, so that every peak stays.
func columns(s Series, span Span, width int) []column {
	out := make([]column, max(width, 1))
	n := float64(len(out))
	put := func(i int, x, v float64) {
		if i < 0 || i >= len(out) {
			return
		}
		c := &out[i]
		if !c.known {
			*c = column{known: true, high: v, last: v, at: x, first: v, lastAt: x}
			return
		}
		if v > c.high {
			c.high, c.at = v, x
		}
		c.last, c.lastAt = v, x
	}
	for i, p := range s.Points {
		end := span.now()
		if i+1 < len(s.Points) {
			end = s.Points[i+1].Time
		}
		if s.Every > 0 && p.Time.Add(s.Every).Before(end) {
			end = p.Time.Add(s.Every)
		}
		if !p.Known || !end.After(span.From) || !p.Time.Before(span.To) {
			continue
		}
		from, to := max(span.at(p.Time), 0)*n, min(span.at(end), 1)*n
		put(int(from), from, p.Value)
		// Of what holds longer than a column, each column that it fills has the value too.
		for j := int(from) + 1; float64(j+1) <= to+1e-9; j++ {
			put(j, float64(j), p.Value)
		}
	}
	return out
}

// highest is the highest known value in the span.
func highest(series []Series, span Span) float64 {
	top := 0.0
	for _, s := range series {
		for i, p := range s.Points {
			visible := span.has(p.Time) || p.Time.Before(span.From) && (i+1 == len(s.Points) || s.Points[i+1].Time.After(span.From)) && s.Every == 0
			if p.Known && visible && p.Value > top {
				top = p.Value
			}
		}
	}
	return top
}

type plot struct {
	x, y, width, height float64 // of the inside
	top                 float64 // highest value of the axis
}

func (f plot) value(v float64) float64 { return f.y + f.height*(1-v/f.top) }

// axisY draws grid and labels, and returns the plot that is left.
func (c Canvas) axisY(p *pen, top, bottom, high float64, counts bool, tick Tick, gutter float64) plot {
	if tick == nil {
		tick = c.Locale.TickOf
	}
	height := math.Round(bottom - top)
	most := max(1, min(5, int(height/(c.Text*1.9))))
	step, ceiling := ceilings(high, most)
	if counts {
		step, ceiling = whole(high, most)
	}
	if high == 0 { // an axis of nothing has no numbers
		tick = func(float64, float64) string { return "" }
	}
	var labels []string
	for i := 0; float64(i)*step <= ceiling*(1+1e-9); i++ {
		labels = append(labels, tick(float64(i)*step, ceiling))
	}
	for _, l := range labels {
		gutter = max(gutter, math.Ceil(c.width(l)+c.Text*0.7))
	}
	f := plot{x: gutter, y: math.Round(top), width: math.Floor(c.Width - gutter), height: height, top: ceiling}
	for i, l := range labels {
		y := math.Round(f.value(float64(i) * step))
		stroke := c.Theme.Line
		if i == 0 {
			stroke = c.Theme.Strong
		}
		p.rule(f.x, y, f.x+f.width, y, stroke, "")
		c.text(p, f.x-c.Text*0.7, y+c.Text*0.35, l, words{anchor: "end"})
	}
	return f
}

// Curve draws series over time.
func (c Canvas) Curve(v Curve) string {
	c = c.withDefaults()
	p := &pen{}
	if v.Rows == 0 && len(v.Markers) > 0 {
		v.Rows = 2
	}
	if len(v.Markers) == 0 {
		v.Rows = 0
	}
	line := math.Round(c.Text * 1.5)
	top := math.Round(c.Text*0.5) + float64(v.Rows)*line
	if v.Rows > 0 {
		top += c.Text * 0.5
	}
	bottom := c.Height - math.Round(c.Text*1.8)
	if v.NoAxis {
		bottom = c.Height - math.Round(c.Text*0.5)
	}
	p.open("g", "data-chart", "curve")
	high := highest(v.Series, v.Span)
	f := c.axisY(p, top, bottom, high, v.Counts, v.Tick, v.Gutter)
	if !v.NoAxis {
		c.axisX(p, v.Span, f.x, f.width, f.y+f.height, f.y, true)
	} else {
		c.grid(p, v.Span, f)
	}
	var first []column
	for i, s := range v.Series {
		cols := columns(s, v.Span, int(f.width))
		if i == 0 {
			first = cols
			c.gaps(p, cols, f, v.Span)
		}
		c.series(p, s, cols, f, v.Steps)
	}
	c.nowLine(p, v.Span, f)
	c.markers(p, v, first, f, line)
	if high == 0 {
		c.empty(p, f, v.Empty)
	}
	p.close("g")
	return p.b.String()
}

// empty says in the middle of a plot that there is nothing in it.
func (c Canvas) empty(p *pen, f plot, text string) {
	c.text(p, f.x+f.width/2, f.y+f.height/2+c.Text*0.35, text, words{anchor: "middle", halo: c.Theme.Ground})
}

// grid draws the lines of a time axis without its labels.
func (c Canvas) grid(p *pen, s Span, f plot) {
	for _, t := range c.ticks(s, f.width) {
		dash := "2 6"
		if t.day {
			dash = ""
		}
		x := math.Round(f.x + s.at(t.at)*f.width)
		p.rule(x, f.y, x, f.y+f.height, c.Theme.Line, dash)
	}
}

// gaps shows what nothing is known of; of what is still to come that is no gap.
func (c Canvas) gaps(p *pen, cols []column, f plot, s Span) {
	if s.running() {
		cols = cols[:min(max(int(s.at(s.now())*float64(len(cols))), 0), len(cols))]
	}
	for i := 0; i < len(cols); {
		j := i
		for j < len(cols) && !cols[j].known {
			j++
		}
		if j > i {
			c.hatch(p, f.x+float64(i), f.y, float64(j-i), f.height)
		}
		i = max(j, i+1)
	}
}

// hatch fills a rectangle with slanted lines.
func (c Canvas) hatch(p *pen, x, y, w, h float64) {
	p.veil(x, y, w, h, 0, c.Theme.Line, 0.35)
	if w < 6 {
		return
	}
	var d strings.Builder
	const pitch = 12.0
	for o := pitch; o < w+h; o += pitch {
		x1, y1 := x+o, y
		if o > w {
			x1, y1 = x+w, y+o-w
		}
		x2, y2 := x, y+o
		if o > h {
			x2, y2 = x+o-h, y+h
		}
		d.WriteString("M" + num(x1) + " " + num(y1) + "L" + num(x2) + " " + num(y2))
	}
	p.el("path", "d", d.String(), "stroke", c.Theme.Line, "fill", "none")
}

// series draws the runs of known columns, each on its own.
func (c Canvas) series(p *pen, s Series, cols []column, f plot, steps bool) {
	colour := s.Colour
	if colour == "" {
		colour = c.Theme.Accent
	}
	var lines, areas strings.Builder
	base := num(f.y + f.height)
	for i := 0; i < len(cols); {
		if !cols[i].known {
			i++
			continue
		}
		j := i
		var d strings.Builder
		at := func(x, v float64) {
			sign := "L"
			if d.Len() == 0 {
				sign = "M"
			}
			d.WriteString(sign + num(x) + " " + num(f.value(v)))
		}
		for ; j < len(cols) && cols[j].known; j++ {
			col := cols[j]
			x := f.x + float64(j)
			if steps {
				at(x, col.first)
				if col.last != col.first {
					at(x+0.5, col.first)
					at(x+0.5, col.last)
				}
				continue
			}
			at(x+0.5, col.high)
		}
		end := f.x + float64(j)
		at(end, cols[j-1].last)
		if j-i == 1 && !steps { // a lone value is a dot
			p.el("circle", "cx", num(f.x+float64(i)+0.5), "cy", num(f.value(cols[i].high)), "r", "2", "fill", colour)
		}
		lines.WriteString(d.String())
		begin := f.x + float64(i)
		if !steps {
			begin += 0.5
		}
		areas.WriteString(d.String() + "L" + num(end) + " " + base + "L" + num(begin) + " " + base + "Z")
		i = j
	}
	if lines.Len() == 0 {
		return
	}
	if !s.Line {
		p.el("path", "d", areas.String(), "fill", colour, "fill-opacity", "0.2")
	}
	p.el("path", "d", lines.String(), "fill", "none", "stroke", colour, "stroke-width", "2.5", "stroke-linejoin", "round", "stroke-linecap", "round")
}

type box struct{ left, right float64 }

func (b box) hits(o box, pad float64) bool { return b.left < o.right+pad && o.left < b.right+pad }

// markers places labels in rows above the plot, each with a thin line down to its moment. Where a
// label would touch another one, or a line to one, the next row is tried; where no row has room the
// moment is left out: a sign without words says nothing. The peak keeps its sign.
func (c Canvas) markers(p *pen, v Curve, cols []column, f plot, line float64) {
	rows := make([][]box, v.Rows)
	var leaders []box // by row: x of each line, with the row it begins in
	var leaderRow []int
	sign := c.Text * 0.8
	for _, m := range v.Markers {
		if !v.Span.has(m.Time) {
			continue
		}
		i := min(int(v.Span.at(m.Time)*float64(len(cols))), len(cols)-1)
		x := math.Round(f.x + float64(i))
		y := f.y + f.height
		if i >= 0 && len(cols) > 0 && cols[i].known {
			y = f.value(cols[i].high)
		}
		colour := c.markColour(m.Kind)
		row, at := -1, box{}
		wide := c.width(m.Label) + sign
		if m.Label != "" {
			for r := range rows {
				for _, left := range []float64{x - wide/2, x - sign/2, x - wide + sign/2} {
					left = min(max(left, f.x), c.Width-wide)
					b := box{left, left + wide}
					if left < 0 || c.blocked(b, x, r, rows, leaders, leaderRow) {
						continue
					}
					row, at = r, b
					break
				}
				if row >= 0 {
					break
				}
			}
		}
		if row >= 0 {
			rows[row] = append(rows[row], at)
			leaders, leaderRow = append(leaders, box{x, x}), append(leaderRow, row)
			base := math.Round(c.Text*1.1) + float64(row)*line
			p.rule(x, base+c.Text*0.45, x, y-5, colour, "1 3")
			c.mark(p, m.Kind, at.left+sign*0.4, base-c.Text*0.34, c.Text*0.28, colour)
			c.text(p, at.left+sign*1.05, base, m.Label, words{fill: c.Theme.Ink})
		}
		if row < 0 && m.Label != "" && m.Kind != MarkPeak {
			continue
		}
		p.el("circle", "cx", num(x+0.5), "cy", num(y), "r", "5", "fill", colour, "stroke", c.Theme.Ground, "stroke-width", "2")
	}
}

func (c Canvas) blocked(b box, x float64, row int, rows [][]box, leaders []box, leaderRow []int) bool {
	pad := c.Text * 0.7
	for r := range rows {
		for _, o := range rows[r] {
			if r == row && b.hits(o, pad) || r > row && o.left-4 < x && x < o.right+4 {
				return true
			}
		}
	}
	for i, l := range leaders {
		if leaderRow[i] < row && b.left-4 < l.left && l.left < b.right+4 {
			return true
		}
	}
	return false
}

func (c Canvas) markColour(kind string) string {
	switch kind {
	case MarkGoal:
		return c.Theme.Good
	case MarkRaid:
		return c.Theme.Series[4]
	case MarkBurst:
		return c.Theme.Note
	}
	return c.Theme.AccentText
}

// mark draws the sign of a kind: they differ in shape, not in colour alone.
func (c Canvas) mark(p *pen, kind string, x, y, r float64, fill string) {
	switch kind {
	case MarkGoal: // a diamond
		p.el("path", "d", "M"+num(x)+" "+num(y-r*1.2)+"L"+num(x+r*1.2)+" "+num(y)+"L"+num(x)+" "+num(y+r*1.2)+"L"+num(x-r*1.2)+" "+num(y)+"Z", "fill", fill)
	case MarkRaid: // an arrowhead
		p.el("path", "d", "M"+num(x-r)+" "+num(y-r)+"L"+num(x+r*1.1)+" "+num(y)+"L"+num(x-r)+" "+num(y+r)+"Z", "fill", fill)
	case MarkBurst: // a star of four rays
		q := r * 0.38
		p.el("path", "d", "M"+num(x)+" "+num(y-r*1.4)+"L"+num(x+q)+" "+num(y-q)+"L"+num(x+r*1.4)+" "+num(y)+"L"+num(x+q)+" "+num(y+q)+
			"L"+num(x)+" "+num(y+r*1.4)+"L"+num(x-q)+" "+num(y+q)+"L"+num(x-r*1.4)+" "+num(y)+"L"+num(x-q)+" "+num(y-q)+"Z", "fill", fill)
	default:
		p.el("circle", "cx", num(x), "cy", num(y), "r", num(r), "fill", fill)
	}
}
