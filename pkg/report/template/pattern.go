package template

import (
	"fmt"
	"slices"
	"strings"
)

// pattern is the words of a text layer, with placeholders among them or as a whole.
type pattern struct {
	lines    []sampleLine
	segments []segment // of a text that is laid out anew: all lines, joined by line breaks
	runs     []textRun // of a text whose parts look different: they stay, their words are filled
}

// sampleLine is a line as the designer's program has placed it.
type sampleLine struct {
	x, y float64
	text string
}

// textRun is character data of a text, in the look of its element.
type textRun struct {
	at       chunk
	node     *node
	segments []segment
	newChunk bool // placed on its own, not after the run before
}

// segment is literal text or a placeholder.
type segment struct {
	literal string
	mark    *name
}

// readPattern reads a <text> with the lines that its tspans are.
func (t *Template) readPattern(n *node) (*pattern, error) {
	p := &pattern{}
	x, _ := number(attr(n.el, "x"))
	y, _ := number(attr(n.el, "y"))
	plain := true
	var words strings.Builder
	for _, c := range n.text {
		words.WriteString(c.value)
	}
	direct := words.String()
	for _, c := range n.children {
		if c.el.Name.Local == "title" || c.el.Name.Local == "desc" {
			continue
		}
		if c.el.Name.Local != "tspan" || len(c.children) > 0 || strings.TrimSpace(direct) != "" || !positional(c) {
			plain = false
			break
		}
		if v, ok := number(attr(c.el, "x")); ok {
			x = v
		}
		if v, ok := number(attr(c.el, "y")); ok {
			y = v
		}
		if v, ok := number(attr(c.el, "dy")); ok {
			y += v
		}
		p.lines = append(p.lines, sampleLine{x, y, clean(c)})
	}
	if plain {
		if len(p.lines) == 0 {
			p.lines = []sampleLine{{x, y, strings.Join(strings.Fields(direct), " ")}}
		}
		segments, err := split(p.sample())
		p.segments = segments
		return p, err
	}
	if len(p.lines) == 0 {
		p.lines = []sampleLine{{x, y, strings.Join(strings.Fields(direct), " ")}}
	}
	err := p.readRuns(n, true)
	return p, err
}

// positional says whether a tspan only says where its line is.
func positional(n *node) bool {
	if attr(n.el, "x") == "" && attr(n.el, "y") == "" && attr(n.el, "dy") == "" {
		return false
	}
	return !slices.ContainsFunc(n.el.Attr, func(a attribute) bool {
		return a.Name.Space == "" && !slices.Contains([]string{"x", "y", "dx", "dy", "id", "data-name"}, a.Name.Local)
	})
}

// clean is the text of a line without the line break that Figma ends it with.
func clean(n *node) string {
	var b strings.Builder
	for _, c := range n.text {
		b.WriteString(c.value)
	}
	return strings.Trim(b.String(), "\n\r\u2028")
}

func (p *pattern) readRuns(n *node, first bool) error {
	type item struct {
		at   int
		text *chunk
		node *node
	}
	var items []item
	for i := range n.text {
		items = append(items, item{n.text[i].start, &n.text[i], nil})
	}
	for _, c := range n.children {
		items = append(items, item{c.start, nil, c})
	}
	slices.SortFunc(items, func(a, b item) int { return a.at - b.at })
	for _, it := range items {
		if it.node != nil {
			if it.node.el.Name.Local == "tspan" {
				before := len(p.runs)
				if err := p.readRuns(it.node, first || attr(it.node.el, "x") != "" || attr(it.node.el, "y") != ""); err != nil {
					return err
				}
				first = first && len(p.runs) == before
			}
			continue
		}
		segments, err := split(it.text.value)
		if err != nil {
			return err
		}
		p.runs = append(p.runs, textRun{*it.text, n, segments, first})
		first = false
	}
	return nil
}

// split finds the placeholders in a text.
func split(text string) ([]segment, error) {
	var out []segment
	last := 0
	for _, m := range markName.FindAllStringSubmatchIndex(text, -1) {
		if m[0] > last {
			out = append(out, segment{literal: text[last:m[0]]})
		}
		n, err := parseName(strings.ReplaceAll(text[m[2]:m[3]], "\n", " "))
		if err != nil {
			return nil, err
		}
		if n.kind != "" && n.kind != Text {
			return nil, fmt.Errorf("{{%s}} among words: only texts can stand there", text[m[2]:m[3]])
		}
		out = append(out, segment{mark: &n})
		last = m[1]
	}
	if last < len(text) {
		out = append(out, segment{literal: text[last:]})
	}
	return out, nil
}

// all lists the segments of the pattern.
func (p *pattern) all() []segment {
	if len(p.runs) == 0 {
		return p.segments
	}
	var out []segment
	for _, r := range p.runs {
		out = append(out, r.segments...)
	}
	return out
}

// marked says whether there are placeholders among the words.
func (p *pattern) marked() bool {
	return p != nil && slices.ContainsFunc(p.all(), func(s segment) bool { return s.mark != nil })
}

// first is the name of the first placeholder.
func (p *pattern) first() string {
	for _, s := range p.all() {
		if s.mark != nil {
			return s.mark.name
		}
	}
	return ""
}

// names lists the placeholders among the words.
func (p *pattern) names() []string {
	var out []string
	for _, s := range p.all() {
		if s.mark != nil {
			out = append(out, s.mark.name)
		}
	}
	return out
}

// options are those of the layer's name, then those that stand among the words.
func (p *pattern) options(o options) options {
	for _, s := range p.all() {
		if s.mark != nil {
			o = o.over(s.mark.options)
		}
	}
	return o
}

// whole makes the pattern one placeholder for all the words.
func (p *pattern) whole(name_ string) {
	p.segments = []segment{{mark: &name{name: name_}}}
	p.runs = nil
}

// sample is the text that the designer put there.
func (p *pattern) sample() string {
	lines := make([]string, len(p.lines))
	for i, l := range p.lines {
		lines[i] = l.text
	}
	return strings.Join(lines, "\n")
}

// complete fills in what a placeholder takes from the look of its layer.
func (t *Template) complete(p *place) {
	p.Style, p.Fill = p.target.inherited.Style(), p.target.inherited.Fill()
	if p.Kind != Text {
		return
	}
	o, pat := p.options, p.target.pattern
	p.Sample = pat.sample()
	p.Align = o.align
	if p.Align == "" {
		p.Align = anchorAlign(p.target.inherited.Anchor())
	}
	p.LineHeight = 1.2 * p.Style.Size
	if len(pat.lines) > 1 && pat.lines[1].y > pat.lines[0].y {
		p.LineHeight = pat.lines[1].y - pat.lines[0].y
	}
	p.Box = Box{pat.lines[0].x, pat.lines[0].y - p.Style.Size, o.width, p.LineHeight}
	p.Lines = o.lines
	if p.Lines == 0 {
		p.Lines = len(pat.lines)
	}
	if b := t.boxOf(p); b != nil {
		p.Box = p.target.toRoot.inverse().box(b.toBox())
		if o.lines == 0 {
			// The last line's letters may hang below by half of what is between lines.
			p.Lines = max(p.Lines, int((p.Box.Height+0.5*(p.LineHeight-p.Style.Size))/p.LineHeight))
		}
		if o.width > 0 {
			p.Box.Width = min(o.width, p.Box.Width)
		}
	}
	p.MinSize = o.min
	if p.MinSize == 0 {
		p.MinSize = 0.6 * p.Style.Size
	}
	p.MinSize = min(p.MinSize, p.Style.Size)
	p.Box.Height = max(p.Box.Height, float64(p.Lines)*p.LineHeight)
}

// boxOf is the layer that gives a text its box: one of the text's name in the same row, or outside of
// all rows.
func (t *Template) boxOf(p *place) *node {
	names := append([]string{p.Name}, p.target.pattern.names()...)
	for _, n := range names {
		if b := t.boxes[p.Rows+"/"+n]; b != nil && sameSlot(b, p.target) {
			return b
		}
	}
	return nil
}

// sameSlot says whether two layers are in the same row: rows are told apart by the group below the
// rows that they are in.
func sameSlot(a, b *node) bool {
	return slotOf(a) == slotOf(b)
}

func slotOf(n *node) *node {
	for ; n.parent != nil; n = n.parent {
		if n.parent.place != nil && n.parent.place.Kind == Rows {
			return n
		}
	}
	return nil
}

// toBox is the box of a {{box:}} layer in the picture's units.
func (n *node) toBox() Box { return n.place.target.toRoot.box(n.place.Box) }

func anchorAlign(anchor string) Align {
	switch anchor {
	case "middle":
		return Center
	case "end":
		return Right
	}
	return Left
}
