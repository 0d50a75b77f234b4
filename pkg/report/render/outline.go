package render

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // pictures inside of an SVG
	_ "image/jpeg" // may be
	_ "image/png"  // any of these
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The bounds of an SVG. A picture of a report is far below; one above is refused before it costs time.
const (
	maxSVG   = 64 << 20
	maxDepth = 200
	// maxElements bounds what is drawn, counting an element once for each time it is referred to.
	maxElements = 200_000
	// maxLayers does the same for what takes a surface of its own: masks, filters, clips and patterns.
	maxLayers = 5_000
)

// document is an SVG that can be drawn: text is outlined, and nothing refers to the outside.
type document struct {
	svg           []byte
	width, height float64 // in user units
}

// outline replaces the texts of an SVG by paths and refuses what must not be drawn.
func (t *typesetter) outline(svg []byte) (document, error) {
	if len(svg) > maxSVG {
		return document{}, fmt.Errorf("an SVG of %d MB: %w", len(svg)>>20, ErrTooLarge)
	}
	svg = bytes.TrimPrefix(svg, []byte("\ufeff"))
	sh, _ := t.pool.Get().(*shaper)
	defer t.pool.Put(sh)
	o := &outliner{setter: t, shaper: sh, in: svg, dec: xml.NewDecoder(bytes.NewReader(svg)), refs: newReferences()}
	if bytes.Contains(svg, []byte("<style")) || bytes.Contains(svg, []byte("<clipPath")) {
		if err := o.survey(); err != nil {
			return document{}, err
		}
	}
	if err := o.run(); err != nil {
		var syntax *xml.SyntaxError
		if errors.As(err, &syntax) {
			return document{}, fmt.Errorf("not well-formed: %w", err)
		}
		return document{}, err
	}
	return document{svg: o.out, width: o.width, height: o.height}, nil
}

type outliner struct {
	setter *typesetter
	shaper *shaper
	in     []byte
	dec    *xml.Decoder
	rules  []cssRule
	refs   *references
	// idleClips has the clips that cover the whole picture, by id.
	idleClips map[string]bool

	out    []byte
	copied int64 // of in to out
	stack  []scope

	width, height float64
}

// scope is an open element.
type scope struct {
	name  string
	style textStyle
	moved bool // by a transform or a viewport of its own
}

func (o *outliner) line() int {
	line, _ := o.dec.InputPos()
	return line
}

func (o *outliner) errorf(format string, args ...any) error {
	return &LineError{Line: o.line(), Offset: o.dec.InputOffset(), Err: fmt.Errorf(format, args...)}
}

func (o *outliner) run() error {
	o.out = make([]byte, 0, len(o.in)+len(o.in)/2)
	for {
		start := o.dec.InputOffset()
		tok, err := o.dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch tok := tok.(type) {
		case xml.Directive:
			if bytes.Contains(tok, []byte("[")) || bytes.Contains(tok, []byte("ENTITY")) {
				return o.errorf("entities of a DOCTYPE are not drawn: export the file without them")
			}
		case xml.ProcInst:
			if tok.Target != "xml" {
				return o.errorf("the instruction %s: %w", tok.Target, ErrExternal)
			}
		case xml.StartElement:
			if err := o.start(tok, start); err != nil {
				return err
			}
		case xml.EndElement:
			o.refs.end()
			o.stack = o.stack[:len(o.stack)-1]
		}
	}
	if o.width == 0 {
		return errors.New("there is no <svg> element")
	}
	o.out = append(o.out, o.in[o.copied:]...)
	return o.refs.check()
}

func (o *outliner) start(el xml.StartElement, at int64) error {
	name := el.Name.Local
	if err := o.checkElement(el); err != nil {
		return err
	}
	style := defaultStyle()
	if n := len(o.stack); n > 0 {
		style = o.stack[n-1].style
	} else {
		if name != "svg" {
			return o.errorf("the file begins with <%s>, not with <svg>", name)
		}
		var err error
		if o.width, o.height, err = rootSize(el); err != nil {
			return o.errorf("%w", err)
		}
	}
	if len(o.stack) >= maxDepth {
		return o.errorf("elements are nested more than %d deep", maxDepth)
	}
	style = style.apply(declarations(el, o.rules))
	if name == "text" && !o.inside("foreignObject") {
		o.out = append(o.out, o.in[o.copied:at]...)
		if err := o.text(el, style); err != nil {
			return err
		}
		o.copied = o.dec.InputOffset()
		o.refs.end()
		return nil
	}
	moved := len(o.stack) > 0 && (o.stack[len(o.stack)-1].moved || name == "svg" || name == "symbol" || attrOf(el, "transform") != "")
	if clip := attrOf(el, "clip-path"); !moved && strings.HasPrefix(clip, "url(#") && o.idleClips[strings.TrimSuffix(clip[5:], ")")] {
		o.out = append(o.out, o.in[o.copied:at]...)
		o.copied = o.dec.InputOffset()
		tag := string(o.in[at:o.copied])
		for _, quote := range []string{`"`, `'`} {
			tag = strings.Replace(tag, ` clip-path=`+quote+clip+quote, "", 1)
		}
		o.out = append(o.out, tag...)
	}
	o.stack = append(o.stack, scope{name, style, moved})
	return nil
}

func (o *outliner) inside(name string) bool {
	return slices.ContainsFunc(o.stack, func(s scope) bool { return s.name == name })
}

// rootSize reads the size of the picture in user units: width and height, or those of the viewBox.
func rootSize(el xml.StartElement) (width, height float64, err error) {
	var box []float64
	for _, a := range el.Attr {
		switch a.Name.Local {
		case "width":
			width, _ = length(a.Value, 0, 0)
		case "height":
			height, _ = length(a.Value, 0, 0)
		case "viewBox":
			box = numbers(a.Value)
		}
	}
	if len(box) == 4 {
		switch {
		case width <= 0 && height <= 0:
			width, height = box[2], box[3]
		case width <= 0 && box[3] > 0:
			width = height * box[2] / box[3]
		case height <= 0 && box[2] > 0:
			height = width * box[3] / box[2]
		}
	}
	if !(width > 0) || !(height > 0) || width > 1e6 || height > 1e6 {
		return 0, 0, errors.New("the <svg> needs a width and a height, or a viewBox, between 0 and a million")
	}
	return width, height, nil
}

// checkElement refuses what refers to the outside and what would take unbounded time.
func (o *outliner) checkElement(el xml.StartElement) error {
	name := el.Name.Local
	o.refs.begin(name)
	for _, a := range el.Attr {
		v := strings.TrimSpace(a.Value)
		switch a.Name.Local {
		case "id":
			o.refs.name(a.Value)
		case "href":
			switch {
			case name == "a" || v == "":
			case strings.HasPrefix(v, "#"):
				o.refs.use(v[1:])
			case name == "image" || name == "feImage":
				if err := checkImage(v); err != nil {
					return o.errorf("<%s>: %w", name, err)
				}
			default:
				return o.errorf("<%s> to %s: %w", name, short(v), ErrExternal)
			}
		case "numOctaves", "radius", "order":
			if n := numbers(v); strings.HasPrefix(name, "fe") && slices.ContainsFunc(n, func(f float64) bool { return f > 128 || a.Name.Local == "numOctaves" && f > 12 }) {
				return o.errorf("<%s>: %s=%q would take too long to draw", name, a.Name.Local, short(v))
			}
		}
		if strings.Contains(v, "url(") {
			if err := o.checkURLs(v); err != nil {
				return o.errorf("%s of <%s>: %w", a.Name.Local, name, err)
			}
		}
	}
	return nil
}

func short(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return strings.ToValidUTF8(s, "")
}

// maxImagePixels bounds a picture inside of an SVG.
const maxImagePixels = 50_000_000

// checkImage accepts the pictures that are drawn: those that are in the file. The drawing module leaves
// a broken one out without a word, so they are looked at here.
func checkImage(href string) error {
	head, data, _ := strings.Cut(strings.TrimPrefix(href, "data:"), ",")
	mime, coding, _ := strings.Cut(head, ";")
	switch {
	case !strings.HasPrefix(href, "data:"):
		return fmt.Errorf("the picture %s: %w", short(href), ErrExternal)
	case mime != "image/png" && mime != "image/jpeg" && mime != "image/jpg" && mime != "image/gif":
		return fmt.Errorf("a picture of type %s is not drawn: use PNG, JPEG or GIF", short(mime))
	case coding != "base64":
		return errors.New("a data: picture must be in base64")
	}
	white := strings.NewReplacer(" ", "", "\n", "", "\r", "", "\t", "")
	cfg, _, err := image.DecodeConfig(base64.NewDecoder(base64.StdEncoding, strings.NewReader(white.Replace(data))))
	if err != nil {
		return fmt.Errorf("the picture is broken: %w", err)
	}
	if cfg.Width*cfg.Height > maxImagePixels {
		return fmt.Errorf("a picture of %d by %d pixels: %w", cfg.Width, cfg.Height, ErrTooLarge)
	}
	return nil
}

// checkURLs looks at each url(...) of a value.
func (o *outliner) checkURLs(v string) error {
	for {
		_, rest, ok := strings.Cut(v, "url(")
		if !ok {
			return nil
		}
		target, after, _ := strings.Cut(rest, ")")
		target = strings.Trim(strings.TrimSpace(target), `"'`)
		if !strings.HasPrefix(target, "#") {
			return fmt.Errorf("url(%s): %w", short(target), ErrExternal)
		}
		o.refs.use(target[1:])
		v = after
	}
}

// textElement is a <text> or a <tspan> while its text is laid out.
type textElement struct {
	attrs    string // what stays of its attributes, written
	style    textStyle
	parent   *textElement
	position map[string][]float64 // x, y, dx, dy
	first    int                  // the character that it begins with
}

// char is a character of a text with the element that it is in.
type char struct {
	r  rune
	el *textElement
}

// text reads a <text> to its end and writes its outlines.
func (o *outliner) text(el xml.StartElement, style textStyle) error {
	line, offset := o.line(), o.dec.InputOffset()
	root, err := o.textElement(el, style, nil, 0)
	if err != nil {
		return err
	}
	elements := []*textElement{root}
	current := root
	var chars []char
	depth := 1
	for depth > 0 {
		tok, err := o.dec.Token()
		if err != nil {
			return err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if err := o.checkElement(tok); err != nil {
				return err
			}
			depth++
			if len(o.stack)+depth > maxDepth {
				return o.errorf("elements are nested more than %d deep", maxDepth)
			}
			switch tok.Name.Local {
			case "tspan", "a":
			case "title", "desc":
				if err := o.dec.Skip(); err != nil {
					return err
				}
				depth--
				o.refs.end()
				continue
			default:
				return o.errorf("<%s> in a text is not drawn: convert the text to outlines", tok.Name.Local)
			}
			child, err := o.textElement(tok, current.style.apply(declarations(tok, o.rules)), current, len(chars))
			if err != nil {
				return err
			}
			elements = append(elements, child)
			current = child
		case xml.EndElement:
			depth--
			if depth > 0 {
				o.refs.end()
				current = current.parent
			}
		case xml.CharData:
			if len(chars)+len(tok) > maxLine {
				return o.errorf("a text of more than %d characters", maxLine)
			}
			for _, r := range string(tok) {
				chars = append(chars, char{r, current})
			}
		}
	}
	chars = collapse(chars, elements)
	if err := o.write(root, elements, chars); err != nil {
		return &LineError{Line: line, Offset: offset, Err: err}
	}
	return nil
}

func (o *outliner) textElement(el xml.StartElement, style textStyle, parent *textElement, first int) (*textElement, error) {
	t := &textElement{style: style, parent: parent, first: first, position: map[string][]float64{}}
	if style.vertical {
		return nil, o.errorf("vertical text is not drawn: convert it to outlines")
	}
	var b strings.Builder
	for _, a := range el.Attr {
		switch name := a.Name.Local; {
		case a.Name.Space != "" || name == "xmlns" || textOnly(name):
		case name == "x" || name == "y" || name == "dx" || name == "dy":
			full := o.width
			if strings.HasSuffix(name, "y") {
				full = o.height
			}
			for _, v := range strings.FieldsFunc(a.Value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }) {
				n, ok := length(v, style.size, full)
				if !ok {
					return nil, o.errorf("%s=%q of a text is no length", name, short(v))
				}
				t.position[name] = append(t.position[name], n)
			}
		case name == "textLength" || name == "rotate" && strings.Trim(a.Value, "0 ") != "":
			return nil, o.errorf("%s of a text is not drawn: convert the text to outlines", name)
		case name == "rotate" || name == "lengthAdjust" || name == "style" || parent != nil && name == "id":
		default:
			writeAttr(&b, name, a.Value)
		}
	}
	// What a style sheet says of text must reach the <g> that comes in its place.
	var kept []string
	for _, d := range styleDeclarations(el, o.rules) {
		if !textOnly(d.name) {
			kept = append(kept, d.name+":"+d.value)
		}
	}
	if len(kept) > 0 {
		writeAttr(&b, "style", strings.Join(kept, ";"))
	}
	t.attrs = b.String()
	return t, nil
}

func writeAttr(b *strings.Builder, name, value string) {
	b.WriteByte(' ')
	b.WriteString(name)
	b.WriteString(`="`)
	_ = xml.EscapeText(b, []byte(value)) // a strings.Builder takes all
	b.WriteByte('"')
}

// collapse treats white space as xml:space says: kept with line breaks as spaces, or one space between
// words and none at the ends. Elements begin where their first character has gone to.
func collapse(chars []char, elements []*textElement) []char {
	out := make([]char, 0, len(chars))
	moved := make([]int, len(chars)+1)
	for i, c := range chars {
		moved[i] = len(out)
		space := c.r == ' ' || c.r == '\n' || c.r == '\r' || c.r == '\t'
		switch {
		case !space:
			out = append(out, c)
		case c.el.style.preserve:
			// Figma ends lines with a line break inside of the tspan: it takes no room.
			if last := i+1 == len(chars) || chars[i+1].el != c.el; c.r != '\n' && c.r != '\r' || !last {
				c.r = ' '
				out = append(out, c)
			}
		case len(out) > 0 && out[len(out)-1].r != ' ' && i+1 < len(chars):
			c.r = ' '
			out = append(out, c)
		}
	}
	moved[len(chars)] = len(out)
	for n := len(out); n > 0 && out[n-1].r == ' ' && !out[n-1].el.style.preserve; n-- {
		out = out[:n-1]
	}
	for _, e := range elements {
		e.first = min(moved[e.first], len(out))
	}
	return out
}

// piece is a stretch of a text in one style, placed as a whole.
type piece struct {
	el     *textElement
	text   string
	line   *line
	x, y   float64 // NaN: where the piece before ends
	dx, dy float64
	width  float64
}

// write lays the characters out and writes the paths.
func (o *outliner) write(root *textElement, elements []*textElement, chars []char) error {
	pieces := o.pieces(elements, chars)
	inClip := o.inside("clipPath")
	w := &glyphWriter{}
	var label strings.Builder
	for _, c := range chars {
		label.WriteRune(c.r)
	}
	// A chunk is what text-anchor aligns: all pieces up to the next given position.
	x, y := 0.0, 0.0
	for i := 0; i < len(pieces); {
		j := i + 1
		for j < len(pieces) && math.IsNaN(pieces[j].x) && math.IsNaN(pieces[j].y) {
			j++
		}
		chunk := pieces[i:j]
		total := 0.0
		for k, p := range chunk {
			total += p.width
			if k > 0 {
				total += p.dx + chunk[k-1].el.style.spacing
			}
		}
		if p := chunk[0]; !math.IsNaN(p.x) {
			x = p.x
		}
		if p := chunk[0]; !math.IsNaN(p.y) {
			y = p.y
		}
		switch chunk[0].el.style.anchor {
		case "middle":
			x -= total / 2
		case "end":
			x -= total
		}
		for _, p := range chunk {
			x += p.dx
			y += p.dy
			if !inClip {
				w.out = append(w.out, openGroups(p.el, root)...)
			}
			o.draw(w, p, x, y)
			if !inClip {
				w.flush()
				w.out = append(w.out, closeGroups(p.el, root)...)
			}
			x += p.width + p.el.style.spacing
		}
		i = j
	}
	if inClip {
		// Only shapes clip, groups don't: all letters are one path.
		if len(w.path) > 0 {
			o.out = append(o.out, "<path"+root.attrs+` d="`...)
			o.out = append(o.out, w.path...)
			o.out = append(o.out, `"/>`...)
		}
		return nil
	}
	var b strings.Builder
	b.WriteString("<g")
	b.WriteString(root.attrs)
	if label.Len() > 0 && !strings.Contains(root.attrs, " aria-label=") {
		writeAttr(&b, "aria-label", label.String())
	}
	b.WriteByte('>')
	o.out = append(o.out, b.String()...)
	o.out = append(o.out, w.out...)
	o.out = append(o.out, "</g>"...)
	if len(o.out) > 4*maxSVG {
		return fmt.Errorf("its outlines take more than %d MB: %w", 4*maxSVG>>20, ErrTooLarge)
	}
	return nil
}

func openGroups(el, root *textElement) string {
	s := ""
	for ; el != root; el = el.parent {
		if el.attrs != "" {
			s = "<g" + el.attrs + ">" + s
		}
	}
	return s
}

func closeGroups(el, root *textElement) string {
	n := 0
	for ; el != root; el = el.parent {
		if el.attrs != "" {
			n++
		}
	}
	return strings.Repeat("</g>", n)
}

// pieces splits the characters where an element or a given position begins, and shapes them.
func (o *outliner) pieces(elements []*textElement, chars []char) []piece {
	at := map[string]map[int]float64{"x": {}, "y": {}, "dx": {}, "dy": {}}
	for _, e := range elements {
		for name, values := range e.position {
			for i, v := range values {
				at[name][e.first+i] = v
			}
		}
	}
	given := func(name string, i int, otherwise float64) float64 {
		if v, ok := at[name][i]; ok {
			return v
		}
		return otherwise
	}
	var pieces []piece
	for i := 0; i < len(chars); {
		j := i + 1
		for j < len(chars) && chars[j].el == chars[i].el {
			placed := false
			for _, m := range at {
				if _, ok := m[j]; ok {
					placed = true
				}
			}
			if placed {
				break
			}
			j++
		}
		var b strings.Builder
		for _, c := range chars[i:j] {
			b.WriteRune(c.r)
		}
		el := chars[i].el
		p := piece{
			el: el, text: b.String(),
			x: given("x", i, math.NaN()), y: given("y", i, math.NaN()), dx: given("dx", i, 0), dy: given("dy", i, 0),
		}
		p.line = o.setter.line(p.text, el.style.style(), el.style.tabular)
		p.width = p.line.advance(el.style.size, el.style.spacing)
		pieces = append(pieces, p)
		i = j
	}
	return pieces
}

// obliqueSlant is how far an upright letter leans where a family has no italic, as browsers do.
const obliqueSlant = 0.25

func (o *outliner) draw(w *glyphWriter, p piece, x, y float64) {
	s := p.el.style
	switch s.baseline {
	case "middle":
		y += p.line.xHeight / 2 * s.size
	case "central":
		y += (p.line.ascent - p.line.descent) / 2 * s.size
	case "hanging":
		y += 0.8 * p.line.ascent * s.size
	case "text-before-edge", "text-top":
		y += p.line.ascent * s.size
	case "text-after-edge", "text-bottom", "ideographic":
		y -= p.line.descent * s.size
	}
	y -= s.shift
	for _, r := range p.line.runs {
		scale := s.size / float64(r.key.face.font.Upem())
		skew := 0.0
		if r.key.slant && r.key.face.colors == nil {
			skew = obliqueSlant
		}
		for _, g := range r.glyphs {
			shape := o.setter.glyph(o.shaper, glyphKey{r.key, g.id})
			w.glyph(shape, x+g.x*s.size+float64(g.cluster)*s.spacing, y+g.y*s.size, s.size, scale, skew)
		}
	}
	for _, d := range []struct {
		on  bool
		top float64
	}{{s.underline, -0.1}, {s.strike, p.line.xHeight / 2}} {
		if d.on && p.width > 0 {
			thick := s.size / 16
			w.path = append(w.path, 'M')
			w.path = appendNumber(w.path, x)
			w.path = append(w.path, ' ')
			w.path = appendNumber(w.path, y-d.top*s.size)
			w.path = append(w.path, 'h')
			w.path = appendNumber(w.path, p.width)
			w.path = append(w.path, 'v')
			w.path = appendNumber(w.path, thick)
			w.path = append(w.path, 'h')
			w.path = appendNumber(w.path, -p.width)
			w.path = append(w.path, 'Z')
		}
	}
}

// references counts what an SVG draws when each reference is followed.
type references struct {
	elements []refElement
	open     []int
	byID     map[string]int
}

type refElement struct {
	end   int // the index after the last element inside
	uses  []string
	layer bool
}

func newReferences() *references { return &references{byID: map[string]int{}} }

func (r *references) begin(string) {
	r.open = append(r.open, len(r.elements))
	r.elements = append(r.elements, refElement{})
}

func (r *references) end() {
	if n := len(r.open); n > 0 {
		r.elements[r.open[n-1]].end = len(r.elements)
		r.open = r.open[:n-1]
	}
}

func (r *references) name(id string) {
	if _, ok := r.byID[id]; !ok {
		r.byID[id] = r.open[len(r.open)-1]
	}
}

func (r *references) use(id string) {
	e := &r.elements[r.open[len(r.open)-1]]
	e.uses = append(e.uses, id)
	e.layer = true
}

// check adds up, for each element, itself and what it refers to. A reference to an element around
// itself is left out, as it is when drawing.
func (r *references) check() error {
	type cost struct {
		elements, layers int
		state            byte // 0 unknown, 1 under way, 2 known
	}
	costs := make([]cost, len(r.elements))
	var visit func(i, depth int) cost
	visit = func(i, depth int) cost {
		c := &costs[i]
		if c.state != 0 || depth > maxDepth {
			return *c
		}
		c.state = 1
		var sum cost
		for k := i; k < max(r.elements[i].end, i+1); k++ {
			sum.elements++
			if r.elements[k].layer {
				sum.layers++
			}
			for _, id := range r.elements[k].uses {
				if target, ok := r.byID[id]; ok {
					add := visit(target, depth+1)
					sum.elements = min(sum.elements+add.elements, 1<<40)
					sum.layers = min(sum.layers+add.layers, 1<<40)
				}
			}
		}
		sum.state = 2
		*c = sum
		return sum
	}
	if len(r.elements) == 0 {
		return nil
	}
	total := visit(0, 0)
	if total.elements > maxElements || total.layers > maxLayers {
		return fmt.Errorf("%d elements and %d layers to draw, at most %d and %d are: %w",
			total.elements, total.layers, maxElements, maxLayers, ErrTooLarge)
	}
	return nil
}

// numbers reads a list of numbers, up to the first that is none.
func numbers(s string) []float64 {
	var out []float64
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }) {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			break
		}
		out = append(out, n)
	}
	return out
}

// length reads an SVG length. em is the font size, full what 100% is.
func length(s string, em, full float64) (float64, bool) {
	s = strings.TrimSpace(s)
	unit := strings.TrimLeft(s, "+-.0123456789eE")
	if strings.HasSuffix(s, "em") || strings.HasSuffix(s, "ex") {
		unit = s[len(s)-2:]
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(s, unit), 64)
	if err != nil || math.IsNaN(n) || math.Abs(n) > 1e9 {
		return 0, false
	}
	switch unit {
	case "", "px":
		return n, true
	case "em", "rem":
		return n * em, true
	case "ex":
		return n * em / 2, true
	case "%":
		return n * full / 100, true
	case "pt":
		return n * 4 / 3, true
	case "pc":
		return n * 16, true
	case "in":
		return n * 96, true
	case "cm":
		return n * 96 / 2.54, true
	case "mm":
		return n * 96 / 25.4, true
	}
	return 0, false
}
