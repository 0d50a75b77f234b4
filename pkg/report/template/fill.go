package template

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

type attribute = xml.Attr

// Fill returns the template with the values in their places. Text that is too wide is made smaller,
// down to its smallest size, and then cut with an ellipsis between two graphemes.
func (t *Template) Fill(m Measurer, v Values) ([]byte, error) {
	f := &filler{t: t, m: m, scopes: []Values{v}}
	f.out = make([]byte, 0, 2*len(t.source))
	f.out = append(f.out, t.source[:t.root.start]...)
	f.element(t.root)
	if len(f.errs) > 0 {
		return nil, errors.Join(f.errs...)
	}
	return append(f.out, t.source[t.root.end:]...), nil
}

// filler writes one picture.
type filler struct {
	t      *Template
	m      Measurer
	out    []byte
	scopes []Values // the innermost last
	clips  int
	errs   []error

	// note is told what a designer should know; nil when filling for good.
	note func(p *place, s Severity, format string, args ...any)
	seen map[*place]bool
	set  []setText // the texts of the picture
	// shiftX and shiftY are how far the row under way is from the one that the template shows.
	shiftX, shiftY float64
}

// maxErrors ends the listing of errors.
const maxErrors = 10

// fail notes what keeps the picture from being made.
func (f *filler) fail(p *place, err error) {
	if f.note != nil {
		f.note(p, Error, "%v", err)
		return
	}
	if len(f.errs) < maxErrors {
		f.errs = append(f.errs, fmt.Errorf("template %s:%d: %s: %w", f.t.name, p.Line, p.ID, err))
	}
}

func (f *filler) tell(p *place, s Severity, format string, args ...any) {
	if f.note != nil {
		f.note(p, s, format, args...)
	}
}

// lookup finds a name in the innermost scope that has it.
func lookup[T any](scopes []Values, of func(Values) map[string]T, name string) (v T, ok bool) {
	for _, s := range slices.Backward(scopes) {
		if v, ok := of(s)[name]; ok {
			return v, true
		}
	}
	return v, false
}

func texts(v Values) map[string]string   { return v.Text }
func images(v Values) map[string][]byte  { return v.Images }
func charts(v Values) map[string]Drawing { return v.Charts }
func rows(v Values) map[string][]Values  { return v.Rows }

// holds decides an optional section. known is false for a name that no value has.
func (f *filler) holds(name string) (yes, known bool) {
	for _, s := range slices.Backward(f.scopes) {
		if v, ok := s.If[name]; ok {
			return v, true
		}
		if v, ok := s.Text[name]; ok {
			return strings.TrimSpace(v) != "", true
		}
		if v, ok := s.Images[name]; ok {
			return len(v) > 0, true
		}
		if v, ok := s.Charts[name]; ok {
			return v != nil, true
		}
		if v, ok := s.Rows[name]; ok {
			return len(v) > 0, true
		}
	}
	return false, false
}

// element writes an element with what is filled in it.
func (f *filler) element(n *node) {
	p := n.place
	if p == nil {
		if n.textPlace != nil {
			f.text(n.textPlace)
			return
		}
		f.inside(n)
		return
	}
	if f.seen != nil {
		f.seen[p] = true
	}
	switch p.Kind {
	case box:
	case If:
		yes, known := f.holds(p.Name)
		if !known {
			f.tell(p, Error, "%s", f.unknown("condition", p.Name))
		}
		if yes != p.negated {
			f.inside(n)
		}
	case Rows:
		f.rows(n, p)
	case Image:
		f.image(n, p)
	case Chart:
		f.chart(n, p)
	default:
		f.inside(n)
	}
}

// inside copies an element, its children filled.
func (f *filler) inside(n *node) {
	f.still(n)
	at := n.start
	if n.live {
		for _, c := range n.children {
			if c.live {
				f.out = append(f.out, f.t.source[at:c.start]...)
				f.element(c)
				at = c.end
			}
		}
	}
	f.out = append(f.out, f.t.source[at:n.end]...)
}

func (f *filler) rows(n *node, p *place) {
	list, known := lookup(f.scopes, rows, p.Name)
	if !known {
		f.tell(p, Error, "%s", f.unknown("list of rows", p.Name))
	}
	step := p.options.down > 0 || p.options.across > 0
	if len(list) > p.Slots {
		f.tell(p, Warning, "%d rows, and room for %d", len(list), p.Slots)
		list = list[:p.Slots]
	}
	at := n.start
	for i, slot := range p.slots {
		f.out = append(f.out, f.t.source[at:slot.start]...)
		at = slot.end
		switch {
		case step && i == 0:
			for k, row := range list {
				d := float64(k)
				f.shiftX, f.shiftY = d*p.options.across*n.toRoot.a, d*p.options.down*n.toRoot.d
				f.out = fmt.Appendf(f.out, `<g transform="translate(%s %s)">`, format(d*p.options.across), format(d*p.options.down))
				f.row(slot, row)
				f.out = append(f.out, "</g>"...)
			}
			f.shiftX, f.shiftY = 0, 0
		case !step && i < len(list):
			f.row(slot, list[i])
		}
	}
	f.out = append(f.out, f.t.source[at:n.end]...)
}

func (f *filler) row(slot *node, v Values) {
	f.scopes = append(f.scopes, v)
	f.element(slot)
	f.scopes = f.scopes[:len(f.scopes)-1]
}

// outer are the attributes of a shape that hold for what comes in its place too.
func outer() []string {
	return []string{"transform", "opacity", "filter", "mask", "clip-path", "display", "visibility"}
}

func (f *filler) image(n *node, p *place) {
	data, known := lookup(f.scopes, images, p.Name)
	if !known {
		f.tell(p, Error, "%s", f.unknown("picture", p.Name))
	}
	if len(data) == 0 {
		f.inside(n)
		return
	}
	mime, data, err := prepareImage(data, p.Box, matrix{a: f.t.pixels, d: f.t.pixels}.times(p.target.toRoot))
	if err != nil {
		f.fail(p, fmt.Errorf("the picture %s: %w", p.Name, err))
		f.inside(n)
		return
	}
	shape := p.target
	// What is around the shape in a group stays; the shape itself becomes the picture.
	f.out = append(f.out, f.t.source[n.start:shape.start]...)
	f.clips++
	clip := "tungstene-clip-" + strconv.Itoa(f.clips)
	b := &builder{out: f.out}
	b.open("g")
	b.attr("id", attr(shape.el, "id"))
	for _, name := range outer() {
		b.attr(name, attr(shape.el, name))
	}
	b.attr("style", keepStyle(attr(shape.el, "style"), func(prop string) bool { return prop == "mix-blend-mode" || slices.Contains(outer(), prop) }))
	b.raw(`><clipPath id="` + clip + `">`)
	if shape.el.Name.Local == "use" || shape.el.Name.Local == "image" {
		b.raw(`<rect x="` + format(p.Box.X) + `" y="` + format(p.Box.Y) + `" width="` + format(p.Box.Width) + `" height="` + format(p.Box.Height) + `"/>`)
	} else {
		b.geometry(shape.el)
		b.raw("/>")
	}
	b.raw(`</clipPath><image clip-path="url(#` + clip + `)" x="` + format(p.Box.X) + `" y="` + format(p.Box.Y) +
		`" width="` + format(p.Box.Width) + `" height="` + format(p.Box.Height) +
		`" preserveAspectRatio="xMidYMid slice" href="data:` + mime + `;base64,`)
	b.out = base64.StdEncoding.AppendEncode(b.out, data)
	b.raw(`"/>`)
	if stroke := attr(shape.el, "stroke"); stroke != "" && stroke != "none" {
		b.geometry(shape.el)
		for _, a := range shape.el.Attr {
			if a.Name.Space == "" && strings.HasPrefix(a.Name.Local, "stroke") {
				b.attr(a.Name.Local, a.Value)
			}
		}
		b.raw(` fill="none"/>`)
	}
	b.raw("</g>")
	b.out = append(b.out, f.t.source[shape.end:n.end]...)
	f.out = b.out
}

func (f *filler) chart(n *node, p *place) {
	draw, known := lookup(f.scopes, charts, p.Name)
	if !known {
		f.tell(p, Error, "%s", f.unknown("chart", p.Name))
	}
	if draw == nil {
		return
	}
	drawing, err := draw(p.Placeholder)
	if err != nil {
		f.fail(p, fmt.Errorf("draw the chart %s: %w", p.Name, err))
		return
	}
	if err := wellFormed(drawing); err != nil {
		f.fail(p, fmt.Errorf("the chart %s is not well-formed: %w", p.Name, err))
		return
	}
	// The drawing comes in the place of the whole layer, in the units that its shape has.
	b := &builder{out: f.out}
	b.open("g")
	b.attr("id", attr(n.el, "id"))
	for _, name := range outer() {
		b.attr(name, attr(n.el, name))
	}
	b.raw(">")
	var chain []*node
	for s := p.target; s != n; s = s.parent {
		chain = append(chain, s)
	}
	open := 2
	for _, s := range slices.Backward(chain) {
		if tr := attr(s.el, "transform"); tr != "" {
			b.open("g")
			b.attr("transform", tr)
			b.raw(">")
			open++
		}
	}
	b.open("g")
	b.attr("transform", "translate("+format(p.Box.X)+" "+format(p.Box.Y)+")")
	b.raw(">")
	b.out = append(b.out, drawing...)
	b.raw(strings.Repeat("</g>", open))
	f.out = b.out
}

// wellFormed makes sure that a fragment does not break the file that it comes into.
func wellFormed(fragment []byte) error {
	dec := xml.NewDecoder(strings.NewReader("<g>" + string(fragment) + "</g>"))
	depth, closed := 0, 0
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			if closed != 1 {
				return errors.New("an element is closed that was not opened")
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch tok.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			if depth--; depth == 0 {
				closed++
			}
		case xml.Directive, xml.ProcInst:
			return errors.New("only elements and text can stand in it")
		}
	}
}

// builder writes elements.
type builder struct{ out []byte }

func (b *builder) open(name string) { b.out = append(append(b.out, '<'), name...) }

func (b *builder) raw(s string) { b.out = append(b.out, s...) }

// attr writes an attribute unless its value is empty.
func (b *builder) attr(name, value string) {
	if value != "" {
		b.raw(" " + name + `="`)
		b.escape(value)
		b.raw(`"`)
	}
}

// escape writes text so that it is read back as it is; what XML can't hold becomes a space.
func (b *builder) escape(s string) {
	for _, r := range s {
		switch {
		case r == '&':
			b.raw("&amp;")
		case r == '<':
			b.raw("&lt;")
		case r == '>':
			b.raw("&gt;")
		case r == '"':
			b.raw("&#34;")
		case r < 0x20 || r == 0xFFFE || r == 0xFFFF || r >= 0xD800 && r < 0xE000:
			b.raw(" ")
		default:
			b.out = append(b.out, string(r)...)
		}
	}
}

// geometry writes the start of a shape with what gives it its form.
func (b *builder) geometry(el xml.StartElement) {
	b.open(el.Name.Local)
	for _, name := range []string{"x", "y", "width", "height", "rx", "ry", "cx", "cy", "r", "d", "points", "clip-rule", "fill-rule"} {
		b.attr(name, attr(el, name))
	}
}

// keepStyle returns the declarations of a style attribute whose property is kept.
func keepStyle(style string, keep func(prop string) bool) string {
	var kept []string
	for d := range strings.SplitSeq(style, ";") {
		prop, _, ok := strings.Cut(d, ":")
		if ok && keep(strings.ToLower(strings.TrimSpace(prop))) {
			kept = append(kept, strings.TrimSpace(d))
		}
	}
	return strings.Join(kept, ";")
}

// unknown says that no value has a name, with the nearest that one has.
func (f *filler) unknown(what, name string) string {
	msg := "there is no " + what + " called " + strconv.Quote(name)
	best, distance := "", max(2, len(name)/3)+1
	for _, s := range f.scopes {
		for _, known := range s.names() {
			if d := editDistance(name, known); d < distance || d == distance && best != "" && known < best {
				best, distance = known, d
			}
		}
	}
	switch _, isText := lookup(f.scopes, texts, name); {
	case isText && what == "picture":
		msg += ", it is a text: name a text layer so; if it was outlined on export, switch 'Outline text' off"
	case best != "":
		msg += ": did you mean " + strconv.Quote(best) + "?"
	default:
		msg += ": docs/reports.md lists the names"
	}
	return msg
}

// names lists all names that have a value.
func (v Values) names() []string {
	names := slices.Collect(maps.Keys(v.Text))
	names = slices.AppendSeq(names, maps.Keys(v.Images))
	names = slices.AppendSeq(names, maps.Keys(v.Charts))
	names = slices.AppendSeq(names, maps.Keys(v.If))
	names = slices.AppendSeq(names, maps.Keys(v.Rows))
	slices.Sort(names)
	return names
}

// editDistance counts the characters to add, drop or change.
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			cost := diagonal
			if x[i] != y[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(y)]
}
