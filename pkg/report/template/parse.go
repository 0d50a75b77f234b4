package template

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tungstene/tungstene/pkg/report/render"
)

// maxNesting bounds how deep elements stand in each other.
const maxNesting = 200

// maxSource bounds a file.
const maxSource = 64 << 20

// node is an element of the file. Everything that is not filled is copied from the source as it is.
type node struct {
	el     xml.StartElement
	parent *node
	// The element is source[start:end], what is in it source[open:shut].
	start, open, shut, end int
	line                   int
	layer                  string // the name that the designer gave it
	children               []*node
	text                   []chunk
	inherited              render.Inherited
	toRoot                 matrix // from the units inside of the element to those of the picture

	place     *place   // what comes here, nil for nothing; texts have textPlace
	textPlace *place   // of the <text> that is filled
	pattern   *pattern // of a <text>
	live      bool     // whether something at or below it is filled
}

// chunk is character data with its place in the source.
type chunk struct {
	start, end int
	value      string
}

// place is a placeholder as the file has it.
type place struct {
	Placeholder
	negated bool // {{if:!name}}
	options options
	target  *node // the <text> or the shape that is filled
	slots   []*node
}

// options are what follows the name.
type options struct {
	align        Align
	width, min   float64
	lines, max   int
	down, across float64
}

// name is a parsed {{...}}.
type name struct {
	kind    Kind // "" for the kind of the element
	name    string
	negated bool
	options options
}

var (
	layerName = regexp.MustCompile(`(?s)^\s*\{\{(.*)\}\}\s*(?:_\d+_?)?\s*$`)
	markName  = regexp.MustCompile(`(?s)\{\{(.*?)\}\}`)
	plainName = regexp.MustCompile(`^[\p{L}\p{N}_][\p{L}\p{N}_.\-]*$`)
	escaped   = regexp.MustCompile(`_x([0-9A-Fa-f]{2,5})_`)
)

// box is a layer that gives a text its box.
const box Kind = "box"

// parseName reads what stands between the braces.
func parseName(inner string) (name, error) {
	parts := strings.Split(inner, "|")
	var n name
	head := strings.Trim(parts[0], "_ \t\r\n") // Illustrator writes spaces as underscores
	if kind, rest, ok := strings.Cut(head, ":"); ok {
		n.kind, head = Kind(strings.TrimSpace(kind)), strings.TrimSpace(rest)
		if !slices.Contains([]Kind{Text, Image, Chart, If, Rows, box}, n.kind) {
			return n, fmt.Errorf("%q is no kind of placeholder: text, image, chart, if, rows and box are", string(n.kind))
		}
	}
	if n.kind == If && strings.HasPrefix(head, "!") {
		n.negated, head = true, strings.TrimSpace(head[1:])
	}
	if !plainName.MatchString(head) {
		return n, fmt.Errorf("%q is no name: letters, digits, dots, dashes and underscores are allowed", head)
	}
	n.name = head
	for _, opt := range parts[1:] {
		if err := n.options.set(opt); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (o *options) set(opt string) error {
	fields := strings.Fields(strings.ReplaceAll(strings.ToLower(opt), "_", " "))
	if len(fields) == 0 {
		return nil
	}
	if len(fields) == 1 {
		switch fields[0] {
		case "left":
			o.align = Left
			return nil
		case "center", "centre", "middle":
			o.align = Center
			return nil
		case "right":
			o.align = Right
			return nil
		}
	}
	const known = "left, center, right, width N, min N, lines N, max N, down N and across N are"
	if len(fields) != 2 {
		return fmt.Errorf("%q is no option: %s", strings.TrimSpace(opt), known)
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(fields[1], "px"), 64)
	if err != nil || !(v > 0) || v > 1e5 {
		return fmt.Errorf("%q is no option: %q is not a number above 0", strings.TrimSpace(opt), fields[1])
	}
	switch fields[0] {
	case "width":
		o.width = v
	case "min":
		o.min = v
	case "lines":
		o.lines = int(min(max(v, 1), 100))
	case "max":
		o.max = int(min(max(v, 1), 1000))
	case "down":
		o.down = v
	case "across":
		o.across = v
	default:
		return fmt.Errorf("%q is no option: %s", strings.TrimSpace(opt), known)
	}
	return nil
}

// over returns the options with those that are not given taken from other.
func (o options) over(other options) options {
	if o.align == "" {
		o.align = other.align
	}
	if o.width == 0 {
		o.width = other.width
	}
	if o.min == 0 {
		o.min = other.min
	}
	if o.lines == 0 {
		o.lines = other.lines
	}
	return o
}

// figmaName undoes what Figma's export does to a layer's name: each byte of a character outside of
// ASCII is written as a character of its own.
func figmaName(id string) string {
	b := make([]byte, 0, len(id))
	for _, r := range id {
		if r > 0xFF {
			return id
		}
		b = append(b, byte(r))
	}
	if len(b) < len(id) && utf8.Valid(b) {
		return string(b)
	}
	return id
}

// nameOf is the name of an element's layer. Figma writes it as the id; Illustrator too, with characters
// escaped (_x7B_ is {), or beside it as data-name; Inkscape as inkscape:label.
func nameOf(el xml.StartElement) string {
	id := attr(el, "id")
	for _, name := range []string{figmaName(id), illustratorName(id), attr(el, "data-name"), label(el)} {
		if strings.Contains(name, "{{") {
			return name
		}
	}
	return figmaName(id)
}

func illustratorName(id string) string {
	return escaped.ReplaceAllStringFunc(id, func(s string) string {
		r, err := strconv.ParseUint(s[2:len(s)-1], 16, 20)
		if err != nil {
			return s
		}
		return string(rune(r))
	})
}

func label(el xml.StartElement) string {
	for _, a := range el.Attr {
		if a.Name.Space == "inkscape" && a.Name.Local == "label" {
			return a.Value
		}
	}
	return ""
}

// Template is a parsed file. It is immutable and safe for concurrent use.
type Template struct {
	name          string
	source        []byte
	root          *node
	width, height float64
	pixels        float64 // of a user unit, in a picture at the template's own size
	nodes         []*node
	places        []*place
	boxes         map[string]*node // by the name of their text, with the rows before a slash
}

// Parse reads a template. name is the file's name for messages. An error names file, line and layer.
func Parse(file string, svg []byte) (*Template, error) {
	if len(svg) > maxSource {
		return nil, fmt.Errorf("template %s: the file has %d MB, more than %d: embed smaller pictures", file, len(svg)>>20, maxSource>>20)
	}
	t := &Template{name: file, source: bytes.TrimPrefix(svg, []byte("\ufeff")), boxes: map[string]*node{}}
	if err := t.readTree(); err != nil {
		return nil, fmt.Errorf("template %s: %w", file, err)
	}
	if err := t.readSize(); err != nil {
		return nil, fmt.Errorf("template %s:%d: %w", file, t.root.line, err)
	}
	var errs []error
	for _, n := range t.nodes {
		if err := t.readPlace(n); err != nil {
			errs = append(errs, fmt.Errorf("template %s:%d: %s: %w", file, n.line, n.layer, err))
			if len(errs) == 10 {
				break
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, p := range t.places {
		t.complete(p)
	}
	for _, n := range t.nodes {
		if n.place != nil || n.textPlace != nil {
			for p := n; p != nil && !p.live; p = p.parent {
				p.live = true
			}
		}
	}
	return t, nil
}

// readTree reads the elements. Names keep their prefix, as they are written.
func (t *Template) readTree() error {
	dec := xml.NewDecoder(bytes.NewReader(t.source))
	var current *node
	var css strings.Builder
	for {
		start := int(dec.InputOffset())
		line, _ := dec.InputPos()
		tok, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return t.broken(line, err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if current == nil && t.root != nil {
				return fmt.Errorf("line %d: a second root element <%s>", line, tok.Name.Local)
			}
			n := &node{el: tok.Copy(), parent: current, start: start, open: int(dec.InputOffset()), line: line, layer: nameOf(tok)}
			depth := 0
			for p := current; p != nil; p = p.parent {
				depth++
			}
			if depth > maxNesting {
				return fmt.Errorf("line %d: elements stand in each other more than %d deep", line, maxNesting)
			}
			if current == nil {
				t.root = n
			} else {
				current.children = append(current.children, n)
			}
			t.nodes = append(t.nodes, n)
			current = n
		case xml.Directive:
			if bytes.Contains(tok, []byte("ENTITY")) {
				return fmt.Errorf("line %d: entities of a DOCTYPE are not read: export without them (in Illustrator without 'Preserve Illustrator Editing Capabilities')", line)
			}
		case xml.EndElement:
			if current == nil || current.el.Name != tok.Name {
				return fmt.Errorf("line %d: </%s> closes no element", line, tok.Name.Local)
			}
			current.shut, current.end = start, int(dec.InputOffset())
			current = current.parent
		case xml.CharData:
			if current == nil {
				if len(bytes.TrimSpace(tok)) > 0 && t.root == nil {
					return errNoSVG
				}
				if len(bytes.TrimSpace(tok)) > 0 {
					return fmt.Errorf("line %d: text outside of the picture", line)
				}
				continue
			}
			current.text = append(current.text, chunk{start, int(dec.InputOffset()), string(tok)})
			if current.el.Name.Local == "style" {
				css.Write(tok)
			}
		}
	}
	if t.root == nil {
		return errNoSVG
	}
	if t.root.el.Name.Local != "svg" {
		return fmt.Errorf("%w: it begins with <%s>", errNoSVG, t.root.el.Name.Local)
	}
	if current != nil {
		return fmt.Errorf("line %d: <%s> is not closed", current.line, current.el.Name.Local)
	}
	sheet, err := render.ParseSheet(css.String())
	if err != nil {
		return err
	}
	for _, n := range t.nodes {
		if n.parent == nil {
			n.inherited, n.toRoot = sheet.Inherit(render.Root(), n.el), identity()
			continue
		}
		n.inherited = sheet.Inherit(n.parent.inherited, n.el)
		n.toRoot = n.parent.toRoot.times(parseTransform(attr(n.el, "transform")))
	}
	return nil
}

// errNoSVG is what else is said of a file that only is called .svg.
var errNoSVG = errors.New("the file is no SVG: export it from the design program as SVG")

// broken says why a file can't be read to its end.
func (t *Template) broken(line int, err error) error {
	var syntax *xml.SyntaxError
	switch {
	case t.root == nil && !bytes.HasPrefix(bytes.TrimSpace(t.source), []byte("<")):
		return errNoSVG
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: not well-formed: %s", syntax.Line, syntax.Msg)
	case strings.Contains(err.Error(), "CharsetReader"):
		return fmt.Errorf("line %d: the file must be saved as UTF-8", line)
	}
	return fmt.Errorf("line %d: not well-formed: %w", line, err)
}

func (t *Template) readSize() error {
	w, okW := number(attr(t.root.el, "width"))
	h, okH := number(attr(t.root.el, "height"))
	t.pixels = 1
	if view := numbers(attr(t.root.el, "viewBox")); len(view) == 4 {
		if px := physical(attr(t.root.el, "width")); px > 0 && view[2] > 0 {
			t.pixels = px / view[2]
		}
		w, h, okW, okH = view[2], view[3], true, true
	}
	if !okW || !okH || !(w > 0) || !(h > 0) || w > 1e5 || h > 1e5 {
		return errors.New("the <svg> needs a width and a height, or a viewBox, of 1 to 100,000")
	}
	t.width, t.height = w, h
	return nil
}

// physical is a length in pixels, 0 for one that is none. Inkscape gives its pages millimetres.
func physical(s string) float64 {
	for unit, px := range map[string]float64{"mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96, "pt": 96.0 / 72, "pc": 16} {
		if n, ok := strings.CutSuffix(strings.TrimSpace(s), unit); ok {
			v, _ := number(n)
			return v * px
		}
	}
	v, _ := number(s)
	return v
}

// readPlace finds the placeholder of a layer's name, and those among the words of a text.
func (t *Template) readPlace(n *node) error {
	id := n.layer
	local := n.el.Name.Local
	if local == "text" && n.pattern == nil {
		p, err := t.readPattern(n)
		if err != nil {
			return err
		}
		n.pattern = p
	}
	if !strings.Contains(id, "{{") {
		if n.pattern != nil && n.pattern.marked() {
			return t.addText(n, n, n.pattern.first(), n.pattern.options(options{}))
		}
		return nil
	}
	m := layerName.FindStringSubmatch(id)
	if len(m) < 2 || strings.Contains(m[1], "{{") || strings.Contains(m[1], "}}") {
		if local == "text" && n.pattern.marked() {
			// Figma names a text after its words: the words are what counts.
			return t.addText(n, n, n.pattern.first(), n.pattern.options(options{}))
		}
		return errors.New("the layer's name must be one {{placeholder}} and nothing else")
	}
	nm, err := parseName(m[1])
	if err != nil {
		return err
	}
	if local == "tspan" {
		return errors.New("a placeholder must be the name of a whole text layer, not of a part of it")
	}
	kind := nm.kind
	if kind == "" && local == "g" && nm.name == "row" && n.parent != nil {
		return nil // a row's own group
	}
	if kind == "" {
		kind = kindOf(n)
	}
	p := &place{options: nm.options, negated: nm.negated, target: n}
	p.Kind, p.Name, p.ID, p.Line = kind, nm.name, n.layer, n.line
	switch kind {
	case Text:
		target := n
		if local != "text" {
			if target = find(n, func(c *node) bool { return c.el.Name.Local == "text" }); target == nil {
				return errors.New("the layer has no text: if it was outlined on export, switch 'Outline text' off")
			}
			if target.pattern == nil {
				if target.pattern, err = t.readPattern(target); err != nil {
					return err
				}
			}
		}
		if !target.pattern.marked() {
			target.pattern.whole(nm.name)
		}
		return t.addText(n, target, nm.name, target.pattern.options(nm.options))
	case Image, Chart, box:
		if p.target = find(n, func(c *node) bool { _, ok := shapeBox(c); return ok && !inDefs(c) }); p.target == nil {
			return fmt.Errorf("the layer has no shape with a size to put the %s in", kind)
		}
		p.Box, _ = shapeBox(p.target)
		if kind == box {
			t.boxes[rowsOf(n)+"/"+nm.name] = n
			n.place = p
			return nil
		}
	case Rows:
		if local != "g" {
			return errors.New("rows must be a group of groups")
		}
		named := func(c *node) bool {
			m := layerName.FindStringSubmatch(c.layer)
			return len(m) > 1 && strings.TrimSpace(m[1]) == "row"
		}
		for _, only := range []func(*node) bool{named, func(*node) bool { return true }} {
			for _, c := range n.children {
				if c.el.Name.Local == "g" && only(c) {
					p.slots = append(p.slots, c)
				}
			}
			if len(p.slots) > 0 {
				break
			}
		}
		if len(p.slots) == 0 {
			return errors.New("the group has no group inside: each row must be one")
		}
		p.Slots = len(p.slots)
		if p.options.down > 0 || p.options.across > 0 {
			p.Slots = max(p.options.max, 1)
			if p.options.max == 0 {
				p.Slots = 1000
			}
		}
	default: // a section has nothing to look for
	}
	p.Rows = rowsOf(n)
	n.place = p
	t.places = append(t.places, p)
	return nil
}

func (t *Template) addText(n, target *node, name string, o options) error {
	if target.textPlace != nil {
		return nil // a group has said what its text is
	}
	p := &place{options: o, target: target}
	p.Kind, p.Name, p.ID, p.Line = Text, name, n.layer, n.line
	if p.ID == "" {
		p.ID = strings.TrimSpace(target.pattern.sample())
	}
	p.Rows = rowsOf(target)
	target.textPlace = p
	t.places = append(t.places, p)
	return nil
}

// kindOf is what a layer without a kind takes: texts take text, other shapes pictures.
func kindOf(n *node) Kind {
	if n.el.Name.Local == "text" {
		return Text
	}
	hasText := find(n, func(c *node) bool { return c.el.Name.Local == "text" }) != nil
	_, shape := shapeBox(n)
	hasShape := shape || find(n, func(c *node) bool { _, ok := shapeBox(c); return ok && !inDefs(c) }) != nil
	if hasText && !hasShape {
		return Text
	}
	return Image
}

// rowsOf is the name of the rows that a node is in.
func rowsOf(n *node) string {
	for p := n.parent; p != nil; p = p.parent {
		if p.place != nil && p.place.Kind == Rows {
			return p.place.Name
		}
	}
	return ""
}

// find looks for the first element at or below n.
func find(n *node, is func(*node) bool) *node {
	if is(n) {
		return n
	}
	for _, c := range n.children {
		if f := find(c, is); f != nil {
			return f
		}
	}
	return nil
}

func inDefs(n *node) bool {
	for ; n != nil; n = n.parent {
		switch n.el.Name.Local {
		case "defs", "clipPath", "mask", "pattern", "symbol", "filter":
			return true
		}
	}
	return false
}

func attr(el xml.StartElement, name string) string {
	for _, a := range el.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// Name returns the file's name.
func (t *Template) Name() string { return t.name }

// Size returns the picture's width and height in user units.
func (t *Template) Size() (width, height float64) { return t.width, t.height }

// Placeholders lists the places in the order of the file, each with its box and look. Texts are
// measured when they are filled: the box of one whose width is not given reaches to the picture's
// edge.
func (t *Template) Placeholders() []Placeholder {
	list := make([]Placeholder, 0, len(t.places))
	for _, p := range t.places {
		list = append(list, p.Placeholder)
	}
	return list
}
