package template

import (
	"math"
	"strings"

	"github.com/tungstene/tungstene/pkg/report/render"
)

// setText is a text of a picture with the place that it takes, in the picture's units, now and with the
// designer's sample. place is nil for one that is not filled.
type setText struct {
	place       *place
	node        *node
	words       string
	now, sample Box
	card        Box // what the sample stands on, empty for nothing but the picture's ground
}

// The part of a font size that letters take above and below their line: of capitals and of "g".
const above, below = 0.72, 0.2

// block is the place of a line of text of a width, and of more below it, in the picture's units; ok is false for a text that is
// turned.
func block(n *node, align Align, x, y, width, size, more float64) (Box, bool) {
	tr := n.toRoot
	if tr.b != 0 || tr.c != 0 || tr.a <= 0 {
		return Box{}, false
	}
	return tr.box(Box{x - width*alignShare(align), y - above*size, width, more + (above+below)*size}), true
}

// extent is the place of lines of text.
func (f *filler) extent(n *node, s render.Style, lines []string, x, y, lineHeight float64, align Align) (Box, bool) {
	width := 0.0
	for _, l := range lines {
		width = max(width, f.m.Measure(l, s).Width)
	}
	return block(n, align, x, y, width, s.Size, float64(max(len(lines)-1, 0))*lineHeight)
}

// placed notes where a filled text is, for checking.
func (f *filler) placed(p *place, x float64, fit fitted) {
	if f.note == nil || len(fit.lines) == 0 {
		return
	}
	scale := fit.size / p.Style.Size
	if now, ok := f.extent(p.target, resize(p.Style, fit.size), fit.lines, x, p.target.pattern.lines[0].y, p.LineHeight*scale, p.Align); ok {
		f.noted(p, x, strings.Join(fit.lines, " "), now)
	}
}

// placedRich does the same of a line whose parts look different.
func (f *filler) placedRich(p *place, x, width, size float64, words string) {
	if f.note == nil {
		return
	}
	if now, ok := block(p.target, p.Align, x, p.target.pattern.lines[0].y, width, size, 0); ok {
		f.noted(p, x, words, now)
	}
}

func (f *filler) noted(p *place, x float64, words string, now Box) {
	pat := p.target.pattern
	var sample []string
	for _, l := range pat.lines {
		sample = append(sample, l.text)
	}
	old, _ := f.extent(p.target, p.Style, sample, x, pat.lines[0].y, p.LineHeight, p.Align)
	var card Box
	if p.options.width == 0 && f.t.boxOf(p) == nil { // else the designer has said how far it may go
		card = f.t.under(p.target, old)
	}
	f.set = append(f.set, setText{place: p, node: p.target, words: words, now: f.shifted(now), sample: f.shifted(old), card: f.shifted(card)})
}

// still notes the texts below a node that stay as they are.
func (f *filler) still(n *node) {
	if f.note == nil || inDefs(n) {
		return
	}
	if n.el.Name.Local == "text" {
		if n.live || n.pattern == nil || len(n.pattern.runs) > 0 {
			return
		}
		s, first := n.inherited.Style(), n.pattern.lines[0]
		var lines []string
		for _, l := range n.pattern.lines {
			lines = append(lines, l.text)
		}
		if b, ok := f.extent(n, s, lines, first.x, first.y, 1.2*s.Size, anchorAlign(n.inherited.Anchor())); ok {
			b = f.shifted(b)
			f.set = append(f.set, setText{node: n, words: strings.Join(lines, " "), now: b, sample: b})
		}
		return
	}
	for _, c := range n.children {
		if !c.live {
			f.still(c)
		}
	}
}

func (f *filler) shifted(b Box) Box {
	b.X += f.shiftX
	b.Y += f.shiftY
	return b
}

// meet says whether two boxes share more than a sliver.
func meet(a, b Box) bool {
	const sliver = 3
	return min(a.X+a.Width, b.X+b.Width)-max(a.X, b.X) > sliver && min(a.Y+a.Height, b.Y+b.Height)-max(a.Y, b.Y) > sliver
}

// checkOverlap tells of texts that run into others, and out of what they stand on, where their samples
// don't.
func (f *filler) checkOverlap() {
	for i, a := range f.set {
		for _, b := range f.set[:i] {
			if !meet(a.now, b.now) || meet(a.sample, b.sample) {
				continue
			}
			// The one that has grown more is told to make room.
			grown, other := a, b
			if b.place != nil && (a.place == nil || b.now.Width-b.sample.Width > a.now.Width-a.sample.Width) {
				grown, other = b, a
			}
			if grown.place != nil {
				f.tell(grown.place, Warning, "%s runs into %s: give it the room that it has, as in {{%s | width %s}}, or a {{box:%[3]s}}",
					quote(grown.words), quote(other.words), grown.place.Name, format(math.Floor(f.between(grown, other))))
			}
		}
		if a.place == nil || a.card.Width == 0 {
			continue
		}
		if over := max(a.now.X+a.now.Width-a.card.X-a.card.Width, a.card.X-a.now.X); over > 1 {
			f.tell(a.place, Warning, "%s runs %s over the edge of the shape that it stands on: give it the room that it has, as in {{%s | width %s}}, or a {{box:%[3]s}}",
				quote(a.words), format(math.Ceil(over)), a.place.Name, format(math.Floor((a.now.Width-over)/a.node.toRoot.a)))
		}
	}
}

// between is the width that a text has up to another, in its own units.
func (f *filler) between(a, other setText) float64 {
	left, right := other.now.X-a.now.X, a.now.X+a.now.Width-other.now.X-other.now.Width
	room := max(left, right)
	if a.place.Align == Center {
		room = 2*room - a.now.Width
	}
	return max(room, a.place.Style.Size) / a.node.toRoot.a
}

// under is the smallest shape that a text's sample stands on as a whole, the ground of the picture aside.
func (t *Template) under(n *node, sample Box) (best Box) {
	within := func(a, b Box) bool {
		return a.X >= b.X && a.Y >= b.Y && a.X+a.Width <= b.X+b.Width && a.Y+a.Height <= b.Y+b.Height
	}
	for _, c := range t.nodes {
		shape, ok := shapeBox(c)
		if !ok || c.start > n.start || c.el.Name.Local == "use" || c.place != nil || c.inherited.Fill() == "none" || inDefs(c) ||
			slotOf(c) != nil && slotOf(c) != slotOf(n) {
			continue
		}
		if b := c.toRoot.box(shape); within(sample, b) && b.Width < 0.98*t.width && (best.Width == 0 || b.Width*b.Height < best.Width*best.Height) {
			best = b
		}
	}
	return best
}
