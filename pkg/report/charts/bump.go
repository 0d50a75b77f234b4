package charts

import (
	"math"
	"strconv"
	"time"
)

// Lane is one competitor's way: its place at each time, 0 where it had none.
type Lane struct {
	Name   string
	Places []int
	// Value is written behind the name.
	Value string
}

// Bump is how places changed.
type Bump struct {
	Times []time.Time
	Lanes []Lane
	// Places is how many are shown; those below are off the chart. Default: 10.
	Places int
	// Strong is how many lanes, by their last place, stand out. Default: 3.
	Strong int
}

// Bump draws places over time, names at the end.
func (c Canvas) Bump(v Bump) string {
	c = c.withDefaults()
	if v.Places == 0 {
		v.Places = 10
	}
	if v.Strong == 0 {
		v.Strong = 3
	}
	p := &pen{}
	p.open("g", "data-chart", "bump")
	if len(v.Times) == 0 {
		p.close("g")
		return p.b.String()
	}
	names, values := 0.0, 0.0
	for _, l := range v.Lanes {
		if last := place(l, len(v.Times)-1); last < 1 || last > v.Places {
			continue
		}
		names = max(names, c.Measure(l.Name, c.Text, strong))
		values = max(values, c.Measure(l.Value, c.Text, regular))
	}
	names = min(names, c.Width*0.22)
	left := math.Ceil(c.Measure("00", c.Text, regular) + c.Text)
	right := math.Ceil(names + values + c.Text*3.4)
	f := plot{x: left, y: 0, width: math.Floor(c.Width - left - right), height: c.Height - c.Text*1.9}
	span := Span{From: v.Times[0], To: v.Times[len(v.Times)-1]}
	if !span.To.After(span.From) {
		span.To = span.From.Add(time.Second)
	}
	row := f.height / float64(v.Places)
	y := func(n int) float64 { return math.Round((float64(n) - 0.5) * row) }
	for n := 1; n <= v.Places; n++ {
		p.rule(f.x, y(n), f.x+f.width, y(n), c.Theme.Line, "")
		c.text(p, left-c.Text*0.8, y(n)+c.Text*0.35, strconv.Itoa(n), words{anchor: "end"})
	}
	c.axisX(p, span, f.x, f.width, f.height, 0, false)
	// The first ones are drawn last, over the others.
	for _, front := range []bool{false, true} {
		for i := len(v.Lanes) - 1; i >= 0; i-- {
			l := v.Lanes[i]
			last := place(l, len(v.Times)-1)
			if front != (last >= 1 && last <= v.Strong) {
				continue
			}
			colour, width := c.Theme.Strong, "2"
			if front {
				colour, width = c.Theme.Series[(last-1)%len(c.Theme.Series)], "4"
			}
			d := ""
			var px, py float64
			joined := false
			for j, t := range v.Times {
				n := place(l, j)
				if n < 1 || n > v.Places {
					joined = false
					continue
				}
				x := f.x + span.at(t)*f.width
				switch {
				case !joined:
					d += "M" + num(x) + " " + num(y(n))
				case py == y(n):
					d += "H" + num(x)
				default:
					m := (px + x) / 2
					d += "C" + num(m) + " " + num(py) + " " + num(m) + " " + num(y(n)) + " " + num(x) + " " + num(y(n))
				}
				joined, px, py = true, x, y(n)
			}
			if d == "" {
				continue
			}
			p.el("path", "d", d, "fill", "none", "stroke", c.Theme.Ground, "stroke-width", num(7), "stroke-linejoin", "round")
			p.el("path", "d", d, "fill", "none", "stroke", colour, "stroke-width", width, "stroke-linejoin", "round", "stroke-linecap", "round")
			if last < 1 || last > v.Places {
				continue
			}
			end := f.x + f.width
			p.el("circle", "cx", num(end), "cy", num(y(last)), "r", num(c.Text*0.75), "fill", colour)
			c.text(p, end, y(last)+c.Text*0.28, strconv.Itoa(last), words{
				size: c.Text * 0.8, weight: strong, fill: c.Theme.OnColour(colour), anchor: "middle",
			})
			weight := regular
			if front {
				weight = strong
			}
			c.text(p, end+c.Text*1.3, y(last)+c.Text*0.35, c.fit(l.Name, c.Text, weight, names), words{fill: c.Theme.Ink, weight: weight})
			c.text(p, c.Width, y(last)+c.Text*0.35, l.Value, words{anchor: "end"})
		}
	}
	p.close("g")
	return p.b.String()
}

func place(l Lane, i int) int {
	if i < 0 || i >= len(l.Places) {
		return 0
	}
	return l.Places[i]
}
