package charts

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Bar is a value of a span of time. One that is not Known is a gap; one that is Partial is a lower
// bound, and drawn lighter.
type Bar struct {
	From, To time.Time
	Value    float64
	Known    bool
	Partial  bool
}

// Bars are values over time.
type Bars struct {
	Span Span
	Bars []Bar
	// Tick and Gutter are as a Curve's.
	Tick   Tick
	Gutter float64
	Counts bool
	// Label writes the value of the highest bar over it. Default: no label.
	Label func(Bar) string
	// Colour is the bars'. Default: the theme's accent.
	Colour string
	// Empty is what is said where there is nothing to show. Default: nothing.
	Empty string
}

// Bars draws bars over time.
func (c Canvas) Bars(v Bars) string {
	c = c.withDefaults()
	p := &pen{}
	if v.Colour == "" {
		v.Colour = c.Theme.Accent
	}
	top := math.Round(c.Text * 0.5)
	if v.Label != nil {
		top = math.Round(c.Text * 1.5)
	}
	high, best := 0.0, -1
	for i, b := range v.Bars {
		if b.Known && b.Value > high {
			high, best = b.Value, i
		}
	}
	p.open("g", "data-chart", "bars")
	f := c.axisY(p, top, c.Height-math.Round(c.Text*1.8), high, v.Counts, v.Tick, v.Gutter)
	c.axisX(p, v.Span, f.x, f.width, f.y+f.height, f.y, false)
	for i, b := range v.Bars {
		if !b.To.After(v.Span.From) || !b.From.Before(v.Span.To) {
			continue
		}
		left := math.Round(f.x + max(v.Span.at(b.From), 0)*f.width)
		right := math.Round(f.x + min(v.Span.at(b.To), 1)*f.width)
		gap := 1.0
		if right-left > 10 {
			gap = 2
		}
		if right-left < 4 {
			gap = 0
		}
		if v.Span.running() { // what is to come is no gap, and of the hour that goes on only a part is there
			now := math.Round(f.x + v.Span.at(v.Span.now())*f.width)
			if b.Known {
				now = max(now, left+6)
			}
			right = min(right, now)
		}
		if !b.Known {
			if right > left {
				c.hatch(p, left, f.y, right-left, f.height)
			}
			continue
		}
		y := math.Round(f.value(b.Value))
		if b.Value > 0 {
			y = min(y, f.y+f.height-2) // something is never nothing
		}
		h := f.y + f.height - y
		opacity := 1.0
		if i != best && v.Label != nil {
			opacity = 0.7
		}
		p.veil(left+gap, y, right-left-2*gap, h, 2, v.Colour, opacity)
		if b.Partial && h > 2 {
			c.stripes(p, left+gap, y, right-left-2*gap, h)
		}
	}
	c.nowLine(p, v.Span, f)
	if high == 0 {
		c.empty(p, f, v.Empty)
	}
	if v.Label != nil && best >= 0 {
		b := v.Bars[best]
		label := v.Label(b)
		x := f.x + (v.Span.at(b.From)+v.Span.at(b.To))/2*f.width
		half := c.Measure(label, c.Text, strong) / 2
		c.text(p, min(max(x, f.x+half), c.Width-half), f.value(b.Value)-c.Text*0.4, label, words{
			fill: c.Theme.Ink, weight: strong, anchor: "middle", halo: c.Theme.Ground,
		})
	}
	p.close("g")
	return p.b.String()
}

// stripes takes slanted lines of the ground out of a bar: a lower bound.
func (c Canvas) stripes(p *pen, x, y, w, h float64) {
	var d strings.Builder
	for o := 5.0; o < w+h; o += 6 {
		x1, y1 := x+min(o, w), y+max(o-w, 0)
		x2, y2 := x+max(o-h, 0), y+min(o, h)
		fmt.Fprintf(&d, "M%s %sL%s %s", num(x1), num(y1), num(x2), num(y2))
	}
	p.el("path", "d", d.String(), "stroke", c.Theme.Ground, "stroke-width", "1.5", "fill", "none")
}

// Share draws one bar, filled by a share of its length from 0 to 1.
func (c Canvas) Share(share float64, colour string) string {
	c = c.withDefaults()
	p := &pen{}
	if colour == "" {
		colour = c.Theme.Accent
	}
	if math.IsNaN(share) {
		share = 0
	}
	share = min(max(share, 0), 1)
	w, h := math.Round(c.Width), math.Round(c.Height)
	p.open("g", "data-chart", "share")
	p.rect(0, 0, w, h, h/2, c.Theme.Line)
	if share > 0 {
		p.rect(0, 0, max(math.Round(share*w), h), h, h/2, colour)
	}
	p.close("g")
	return p.b.String()
}

// Spark draws a small curve without axes.
func (c Canvas) Spark(s Series, span Span) string {
	c = c.withDefaults()
	p := &pen{}
	f := plot{x: 0, y: 2, width: math.Floor(c.Width), height: math.Round(c.Height) - 3, top: max(highest([]Series{s}, span), 1)}
	p.open("g", "data-chart", "spark")
	cols := columns(s, span, int(f.width))
	c.gaps(p, cols, f, span)
	c.series(p, s, cols, f, false)
	p.close("g")
	return p.b.String()
}
