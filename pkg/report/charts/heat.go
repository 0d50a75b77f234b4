package charts

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Heat is values by the hour: a row for each day of the zone, a column for each hour.
type Heat struct {
	Span Span
	// Bars are the hours. Where the clocks change, two may meet in one cell: the later one is shown.
	Bars []Bar
	// Label writes a value for the scale below.
	Label func(float64) string
}

// Heat draws hours as a calendar.
func (c Canvas) Heat(v Heat) string {
	c = c.withDefaults()
	p := &pen{}
	p.open("g", "data-chart", "heat")
	if v.Label == nil {
		v.Label = c.Locale.Compact
	}
	first := c.Locale.In(v.Span.From)
	day := func(t time.Time) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
	}
	var days []time.Time
	for d := day(first); d.Before(v.Span.To); d = d.AddDate(0, 0, 1) {
		days = append(days, d)
	}
	if len(days) == 0 {
		p.close("g")
		return p.b.String()
	}
	name, columns, begin := c.Locale.ShortWeekday, 24, days[0]
	labelled := columns
	if len(days) > 7 {
		name = c.Locale.ShortDay
	}
	tall := 2.8
	if hours := int(math.Ceil(v.Span.seconds() / 3600)); hours <= 24 { // a short event is one row, from its first hour
		columns, begin, tall = max(hours, 8), v.Span.From.Truncate(time.Hour), 3.2
		labelled = hours
		days = days[:1]
	}
	gutter := 0.0
	for _, d := range days {
		gutter = max(gutter, c.Measure(name(d), c.Text, strong))
	}
	gutter = math.Ceil(gutter + c.Text*0.8)
	foot := math.Round(c.Text * 2.1)
	legend := math.Round(c.Text * 2)
	cell := (c.Width - gutter) / float64(columns)
	left := func(i int) float64 { return math.Round(gutter + float64(i)*cell) } // of a column, on a whole pixel
	row := math.Floor(min((c.Height-foot-legend)/float64(len(days)), cell*tall, c.Text*5))
	// place is the cell of a time.
	place := func(at time.Time) (column, line int) {
		if columns < 24 || len(days) == 1 {
			return int(at.Sub(begin).Hours()), 0
		}
		t := c.Locale.In(at)
		return t.Hour(), int(math.Round(day(t).Sub(days[0]).Hours() / 24))
	}
	high, best := 0.0, -1
	for i, b := range v.Bars {
		if b.Known && b.Value > high {
			high, best = b.Value, i
		}
	}
	each := max(int(math.Ceil(c.Text*1.2/max(row, 1))), 1) // of low rows not all have room for their name
	for n, d := range days {
		if n%each == 0 {
			y := float64(n) * row
			c.text(p, 0, max(y+row/2+c.Text*0.35, c.Text*0.8), name(d), words{fill: c.Theme.Ink, weight: strong})
		}
	}
	for i, b := range v.Bars {
		if !v.Span.has(b.From) {
			continue
		}
		i0, n := place(b.From)
		if n < 0 || n >= len(days) || i0 < 0 || i0 >= columns {
			continue
		}
		x, y := left(i0), float64(n)*row
		w := left(i0+1) - x
		if !b.Known {
			if !b.From.Before(v.Span.now()) {
				continue // still to come
			}
			c.hatch(p, x+1, y+1, w-2, row-2)
			continue
		}
		p.rect(x+1, y+1, w-2, row-2, 3, c.heat(b.Value, high))
		if i == best {
			p.el("rect", "x", num(x+2), "y", num(y+2), "width", num(w-4), "height", num(row-4), "rx", "2", "fill", "none",
				"stroke", c.Theme.Ink, "stroke-width", "2")
		}
	}
	y := float64(len(days)) * row
	every := 24
	for _, every = range []int{1, 2, 3, 6, 12} {
		if float64(every)*cell >= c.width(c.Locale.Hour(first))+c.Text && (every > 2 || columns < 24) {
			break
		}
	}
	for h := 0; h < labelled; h += every {
		t := begin.Add(time.Duration(h) * time.Hour)
		if columns == 24 && len(days) > 1 { // hours of the day, also of one on which the clocks change
			t = time.Date(first.Year(), first.Month(), first.Day(), h, 0, 0, 0, first.Location())
		}
		c.text(p, left(h)+1, y+c.Text*1.2, c.Locale.Hour(t), words{})
	}
	if high > 0 {
		c.scale(p, gutter, y+foot, high, v.Label)
	}
	p.close("g")
	return p.b.String()
}

// heat is the colour of a value: nothing is the first, and the steps below are smaller than those above, so
// that quiet hours differ beside a loud last one.
func (c Canvas) heat(value, high float64) string {
	if high <= 0 || value <= 0 {
		return c.Theme.Heat[0]
	}
	n := len(c.Theme.Heat)
	return c.Theme.Heat[min(int(math.Pow(value/high, 0.7)*float64(n-1))+1, n-1)]
}

// scale is the legend: from 0 to the highest.
func (c Canvas) scale(p *pen, x, y, high float64, label func(float64) string) {
	low := label(0)
	c.text(p, x, y+c.Text*0.8, low, words{})
	x += math.Ceil(c.width(low) + c.Text*0.5)
	w := c.Text * 1.6
	for i, h := range c.Theme.Heat {
		p.rect(x+float64(i)*w, y, w-2, c.Text*0.9, 2, h)
	}
	c.text(p, x+float64(len(c.Theme.Heat))*w+c.Text*0.4, y+c.Text*0.8, label(high), words{})
}

// Segment is a stretch of time with a name: a category that was played.
type Segment struct {
	From, To time.Time
	Name     string
}

// Segments draws stretches on one line, those of one name in one colour, with a legend of the longest
// ones below. What lies between them is a gap.
func (c Canvas) Segments(span Span, segments []Segment, other string) string {
	c = c.withDefaults()
	p := &pen{}
	p.open("g", "data-chart", "segments")
	total := map[string]time.Duration{}
	var names []string
	for _, s := range segments {
		from, to := maxTime(s.From, span.From), minTime(s.To, span.To)
		if !to.After(from) {
			continue
		}
		if _, ok := total[s.Name]; !ok {
			names = append(names, s.Name)
		}
		total[s.Name] += to.Sub(from)
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(total[b], total[a]) })
	colour := map[string]string{}
	last := len(c.Theme.Series) - 1
	for i, n := range names {
		colour[n] = c.Theme.Series[min(i, last)]
	}
	strip := math.Round(c.Text * 1.5)
	p.rect(0, 0, c.Width, strip, 4, c.Theme.Line)
	for _, s := range segments {
		from, to := maxTime(s.From, span.From), minTime(s.To, span.To)
		if !to.After(from) {
			continue
		}
		x1, x2 := math.Round(span.at(from)*c.Width), math.Round(span.at(to)*c.Width)
		p.rect(x1, 0, max(x2-x1-1, 1), strip, 2, colour[s.Name])
	}
	c.axisX(p, span, 0, c.Width, strip+2, strip+2, false)
	// The legend: rows of a square and a name, as many as there is room for.
	lines := max(int((c.Height-strip-c.Text*2.4)/(c.Text*1.6)), 0)
	x, y := 0.0, strip+c.Text*3.5
	for i, n := range names {
		label := n
		if i >= last && len(names) > last+1 {
			label = other
		}
		text := c.fit(label, c.Text, regular, c.Width*0.48-c.Text*1.4)
		share := c.Locale.Duration(total[n])
		if label != n {
			share = ""
		}
		w := c.Text*1.2 + c.width(text)
		if share != "" {
			w += c.Text*0.4 + c.width(share)
		}
		if x > 0 && x+w > c.Width {
			x, y = 0, y+c.Text*1.6
			lines--
		}
		if lines <= 0 {
			break
		}
		p.rect(x, math.Round(y-c.Text*0.75), math.Round(c.Text*0.8), math.Round(c.Text*0.8), 2, colour[n])
		c.text(p, x+c.Text*1.2, y, text, words{fill: c.Theme.Ink})
		if share != "" {
			c.text(p, x+c.Text*1.6+c.width(text), y, share, words{})
		}
		x += w + c.Text*1.4
		if label != n {
			break
		}
	}
	p.close("g")
	return p.b.String()
}

func maxTime(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
