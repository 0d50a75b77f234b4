package charts

import (
	"cmp"
	"encoding/base64"
	"math"
	"net/http"
	"slices"
	"strconv"
)

// Node is one of a network, Weight its size.
type Node struct {
	ID, Name string
	Weight   float64
	// Picture is shown in the node: PNG or JPEG, square. Default: Initials on a disc.
	Picture  []byte
	Initials string
}

// Edge joins two nodes by their ids. Thicker is stronger.
type Edge struct {
	A, B     string
	Strength float64
}

// bigNodes is how many nodes stand out by their names.
const bigNodes = 8

// Network draws what is joined near each other. The same values are the same drawing.
func (c Canvas) Network(nodes []Node, edges []Edge) string {
	c = c.withDefaults()
	p := &pen{}
	p.open("g", "data-chart", "network")
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b Node) int { return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.ID, b.ID)) })
	index := make(map[string]int, len(nodes))
	most := 0.0
	for i, n := range nodes {
		index[n.ID] = i
		most = max(most, n.Weight)
	}
	var links []link
	strongest := 0.0
	for _, e := range edges {
		a, okA := index[e.A]
		b, okB := index[e.B]
		if okA && okB && a != b && e.Strength > 0 {
			links = append(links, link{a, b, e.Strength})
			strongest = max(strongest, e.Strength)
		}
	}
	slices.SortStableFunc(links, func(a, b link) int { return cmp.Compare(a.strength, b.strength) })
	radius := make([]float64, len(nodes))
	scale := math.Sqrt(c.Width * c.Height)
	for i, n := range nodes {
		radius[i] = scale * 0.011
		if most > 0 {
			radius[i] += scale * 0.034 * math.Sqrt(n.Weight/most)
		}
	}
	at := layout(len(nodes), links, strongest, radius, c.Width, c.Height, c.Text)
	for _, l := range links {
		s := l.strength / strongest
		colour := c.Theme.Strong
		if s > 0.5 {
			colour = c.Theme.Accent
		}
		a, b := at[l.a], at[l.b]
		// A slight bend, so that lines that share their way can be told apart.
		mx, my := (a.x+b.x)/2+(b.y-a.y)*0.08, (a.y+b.y)/2-(b.x-a.x)*0.08
		p.el("path", "d", "M"+num(a.x)+" "+num(a.y)+"Q"+num(mx)+" "+num(my)+" "+num(b.x)+" "+num(b.y),
			"fill", "none", "stroke", colour, "stroke-width", num(1+5*s), "stroke-opacity", num(0.25+0.6*s), "stroke-linecap", "round")
	}
	var taken []area
	for i := range nodes {
		taken = append(taken, area{at[i].x - radius[i], at[i].y - radius[i], at[i].x + radius[i], at[i].y + radius[i]})
	}
	for i, n := range nodes {
		c.node(p, i, n, at[i], radius[i])
	}
	for i, n := range nodes { // the largest first: theirs are the names that matter
		size, weight := c.Text, regular
		if i < bigNodes {
			weight = strong
		}
		name := c.fit(n.Name, size, weight, c.Text*9)
		w, h := c.Measure(name, size, weight), size
		r := radius[i] + size*0.3
		q := r * 0.75
		places := []area{ // below, above, right, left, and between
			{at[i].x - w/2, at[i].y + r, at[i].x + w/2, at[i].y + r + h},
			{at[i].x - w/2, at[i].y - r - h, at[i].x + w/2, at[i].y - r},
			{at[i].x + r, at[i].y - h/2, at[i].x + r + w, at[i].y + h/2},
			{at[i].x - r - w, at[i].y - h/2, at[i].x - r, at[i].y + h/2},
			{at[i].x + q, at[i].y + q, at[i].x + q + w, at[i].y + q + h},
			{at[i].x - q - w, at[i].y + q, at[i].x - q, at[i].y + q + h},
			{at[i].x + q, at[i].y - q - h, at[i].x + q + w, at[i].y - q},
			{at[i].x - q - w, at[i].y - q - h, at[i].x - q, at[i].y - q},
		}
		if i < 2*bigNodes { // at last on the node, and over a part of it
			for _, down := range []float64{0, 1, -1, 2, -2} {
				y := at[i].y + down*h*0.7
				left := min(max(at[i].x-w/2, 0), max(c.Width-w, 0))
				places = append(places, area{left, y - h/2, left + w, y + h/2})
			}
		}
		for k, o := range places {
			hidden := taken
			if k >= 8 {
				hidden = taken[len(nodes):] // over nodes, but over no other name
			}
			if o.x1 < 0 || o.y1 < 0 || o.x2 > c.Width || o.y2 > c.Height || slices.ContainsFunc(hidden, func(t area) bool { return t.hits(o, 3) }) {
				continue
			}
			taken = append(taken, o)
			c.text(p, o.x1, o.y1+h*0.82, name, words{size: size, weight: weight, fill: c.Theme.Ink, halo: c.Theme.Ground})
			break
		}
	}
	p.close("g")
	return p.b.String()
}

// node draws a disc, or a picture with a ring around it.
func (c Canvas) node(p *pen, i int, n Node, at point, r float64) {
	x, y := num(at.x), num(at.y)
	p.el("circle", "cx", x, "cy", y, "r", num(r), "fill", c.Theme.Second, "stroke", c.Theme.Ground, "stroke-width", "2")
	if len(n.Picture) == 0 {
		size := math.Round(r * 0.8)
		c.text(p, at.x, at.y+size*0.36, n.Initials, words{size: size, weight: strong, anchor: "middle", fill: c.Theme.OnColour(c.Theme.Second)})
		return
	}
	inner, clip := r-2, "tungstene-node-"+strconv.Itoa(i)
	p.open("clipPath", "id", clip)
	p.el("circle", "cx", x, "cy", y, "r", num(inner))
	p.close("clipPath")
	p.el("image", "clip-path", "url(#"+clip+")", "x", num(at.x-inner), "y", num(at.y-inner), "width", num(2*inner), "height", num(2*inner),
		"preserveAspectRatio", "xMidYMid slice",
		"href", "data:"+http.DetectContentType(n.Picture)+";base64,"+base64.StdEncoding.EncodeToString(n.Picture))
}

type link struct {
	a, b     int
	strength float64
}

type area struct{ x1, y1, x2, y2 float64 }

func (a area) hits(b area, pad float64) bool {
	return a.x1 < b.x2+pad && b.x1 < a.x2+pad && a.y1 < b.y2+pad && b.y1 < a.y2+pad
}

type point struct{ x, y float64 }

// layout moves nodes from a spiral to where repulsion and links are in balance (Fruchterman and
// Reingold), then stretches the result to the frame and pushes apart what overlaps.
func layout(n int, links []link, strongest float64, radius []float64, width, height, text float64) []point {
	at := make([]point, n)
	if n == 0 {
		return at
	}
	const golden = 2.399963229728653
	for i := range at {
		r := math.Sqrt((float64(i)+0.5)/float64(n)) / 2
		at[i] = point{0.5 + r*math.Cos(float64(i)*golden), 0.5 + r*math.Sin(float64(i)*golden)}
	}
	k := math.Sqrt(1/float64(n)) * 0.9
	force := make([]point, n)
	const rounds = 400
	for round := range rounds {
		clear(force)
		for i := range at {
			for j := range i {
				dx, dy := at[i].x-at[j].x, at[i].y-at[j].y
				d := max(dx*dx+dy*dy, 1e-6)
				f := k * k / d
				force[i].x, force[i].y = force[i].x+dx*f, force[i].y+dy*f
				force[j].x, force[j].y = force[j].x-dx*f, force[j].y-dy*f
			}
			// A weak pull to the middle holds those together that nothing joins.
			force[i].x -= (at[i].x - 0.5) * 0.6
			force[i].y -= (at[i].y - 0.5) * 0.6
		}
		for _, l := range links {
			dx, dy := at[l.a].x-at[l.b].x, at[l.a].y-at[l.b].y
			d := math.Sqrt(dx*dx + dy*dy)
			f := d / k * (0.15 + 0.85*l.strength/strongest)
			force[l.a].x, force[l.a].y = force[l.a].x-dx*f, force[l.a].y-dy*f
			force[l.b].x, force[l.b].y = force[l.b].x+dx*f, force[l.b].y+dy*f
		}
		heat := 0.08 * (1 - float64(round)/rounds)
		for i := range at {
			d := math.Sqrt(force[i].x*force[i].x + force[i].y*force[i].y)
			if d > 0 {
				step := min(d, heat) / d
				at[i].x += force[i].x * step
				at[i].y += force[i].y * step
			}
		}
	}
	lo, hi := at[0], at[0]
	for _, p := range at {
		lo, hi = point{min(lo.x, p.x), min(lo.y, p.y)}, point{max(hi.x, p.x), max(hi.y, p.y)}
	}
	edge := text * 2.6
	for i := range at {
		stretch := func(v, lo, hi, size float64) float64 {
			if hi-lo < 1e-9 {
				return size / 2
			}
			return edge + (v-lo)/(hi-lo)*(size-2*edge)
		}
		at[i] = point{stretch(at[i].x, lo.x, hi.x, width), stretch(at[i].y, lo.y, hi.y, height)}
	}
	// Each needs room for itself and a line of text below.
	for range 120 {
		for i := range at {
			for j := range i {
				dx, dy := at[i].x-at[j].x, at[i].y-at[j].y
				d := max(math.Sqrt(dx*dx+dy*dy), 1e-3)
				if want := radius[i] + radius[j] + text*2.6; d < want {
					s := (want - d) / d / 2
					at[i].x, at[i].y = at[i].x+dx*s, at[i].y+dy*s
					at[j].x, at[j].y = at[j].x-dx*s, at[j].y-dy*s
				}
			}
		}
		for i := range at {
			at[i].x = min(max(at[i].x, edge), width-edge)
			at[i].y = min(max(at[i].y, edge), height-edge)
		}
	}
	return at
}
