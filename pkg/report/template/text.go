package template

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"

	"github.com/tungstene/tungstene/pkg/report/render"
)

const ellipsis = "…"

// maxValue bounds a text's value in bytes: no picture shows more.
const maxValue = 4 << 10

// fitted is a text as it comes into its box.
type fitted struct {
	lines []string
	size  float64
	cut   bool
}

// fit sets a text in at most lines lines of a width: at the style's size, smaller down to minSize, and
// at last cut with an ellipsis between two graphemes. Line breaks of the text are kept where there is
// room for them. No line is wider than width, unless the ellipsis alone is.
func fit(m Measurer, text string, s render.Style, width, minSize float64, lines int) fitted {
	text = strings.ToValidUTF8(text[:min(len(text), maxValue)], "")
	if lines <= 1 {
		text = strings.Join(strings.Fields(text), " ")
	}
	if text == "" {
		return fitted{size: s.Size}
	}
	minSize = min(minSize, s.Size)
	measure := func(t string, size float64) float64 { return m.Measure(t, resize(s, size)).Width }
	if lines <= 1 {
		w := measure(text, s.Size)
		if w <= width {
			return fitted{lines: []string{text}, size: s.Size}
		}
		// Widths grow with the size: one division finds it. Sizes are rounded down to a tenth.
		size := math.Floor(s.Size*width/w*10) / 10
		if size >= minSize && measure(text, size) <= width {
			return fitted{lines: []string{text}, size: size}
		}
		return fitted{lines: []string{cut(text, width, func(t string) float64 { return measure(t, minSize) })}, size: minSize, cut: true}
	}
	for size := s.Size; ; size = max(math.Floor(size*0.95*10)/10, minSize) {
		at := func(t string) float64 { return measure(t, size) }
		last := size <= minSize
		wrapped, whole := wrap(text, width, at, last)
		if whole && len(wrapped) <= lines {
			return fitted{lines: wrapped, size: size}
		}
		if last {
			if len(wrapped) <= lines {
				return fitted{lines: wrapped, size: size, cut: true}
			}
			rest := strings.Join(wrapped[lines-1:], " ")
			wrapped = append(slices.Clone(wrapped[:lines-1]), cut(rest+ellipsis, width, at))
			return fitted{lines: wrapped, size: size, cut: true}
		}
	}
}

// resize is a style at another size; letter spacing keeps its relation.
func resize(s render.Style, size float64) render.Style {
	if s.Size > 0 {
		s.LetterSpacing *= size / s.Size
	}
	s.Size = size
	return s
}

// cut takes graphemes off the end until the text and an ellipsis are not wider than width.
func cut(text string, width float64, measure func(string) float64) string {
	text = strings.TrimSuffix(text, ellipsis)
	ends := []int{0}
	g := uniseg.NewGraphemes(text)
	for g.Next() {
		_, end := g.Positions()
		ends = append(ends, end)
	}
	with := func(i int) string { return strings.TrimRight(text[:ends[i]], " ,;:-") + ellipsis }
	// The width grows with the text but for kerning and ligatures: look for the last that fits by
	// halves, then make sure.
	low, high := 0, len(ends)-1
	for low < high {
		mid := (low + high + 1) / 2
		if measure(with(mid)) <= width {
			low = mid
		} else {
			high = mid - 1
		}
	}
	for low > 0 && measure(with(low)) > width {
		low--
	}
	return with(low)
}

// wrap breaks a text into lines where Unicode allows it. A word that is wider than a line is broken
// between graphemes if force is set; otherwise whole is false.
func wrap(text string, width float64, measure func(string) float64, force bool) (lines []string, whole bool) {
	whole = true
	line := ""
	flush := func() {
		lines = append(lines, strings.TrimRight(line, " \t\n\r\u2028"))
		line = ""
	}
	state := -1
	for rest := text; rest != ""; {
		var word string
		var must bool
		word, rest, must, state = uniseg.FirstLineSegmentInString(rest, state)
		if measure(strings.TrimRight(line+word, " \t\n\r\u2028")) > width {
			if line != "" {
				flush()
			}
			for measure(strings.TrimRight(word, " \t\n\r\u2028")) > width {
				whole = false
				if !force {
					break
				}
				head := fitHead(word, width, measure)
				lines = append(lines, head)
				word = word[len(head):]
			}
		}
		line += word
		if must && rest != "" {
			flush()
		}
	}
	if line != "" {
		flush()
	}
	return lines, whole
}

// fitHead is the longest start of a word that fits; one grapheme at least.
func fitHead(word string, width float64, measure func(string) float64) string {
	head := ""
	g := uniseg.NewGraphemes(word)
	for g.Next() {
		if next := head + g.Str(); head == "" || measure(next) <= width {
			head = next
			continue
		}
		break
	}
	return head
}

// edge is what a text without a width keeps free at the picture's edge, as a part of its width.
const edge = 0.02

// room is the point that a text is aligned at and the width that it may take.
func (f *filler) room(p *place) (x, width float64) {
	pat := p.target.pattern
	if f.t.boxOf(p) != nil {
		return p.Box.X + p.Box.Width*alignShare(p.Align), p.Box.Width
	}
	x = pat.lines[0].x
	if have := anchorAlign(p.target.inherited.Anchor()); have != p.Align {
		// Figma writes where a line begins, however it is aligned: its sample tells the rest.
		w := f.m.Measure(pat.lines[0].text, p.Style).Width
		x += w * (alignShare(p.Align) - alignShare(have))
	}
	if p.options.width > 0 {
		return x, p.options.width
	}
	tr := p.target.toRoot
	if tr.b != 0 || tr.c != 0 || tr.a <= 0 {
		return x, f.t.width
	}
	left := (edge*f.t.width - tr.e) / tr.a
	right := ((1-edge)*f.t.width - tr.e) / tr.a
	switch p.Align {
	case Center:
		width = 2 * min(x-left, right-x)
	case Right:
		width = x - left
	default:
		width = right - x
	}
	return x, max(width, p.Style.Size)
}

// alignShare is the part of a line that is before its point.
func alignShare(a Align) float64 {
	switch a {
	case Center:
		return 0.5
	case Right:
		return 1
	default:
		return 0
	}
}

// value fills the placeholders of a text; one that has no value leaves nothing.
func (f *filler) value(p *place, segments []segment) string {
	var b strings.Builder
	for _, s := range segments {
		if s.mark == nil {
			b.WriteString(s.literal)
			continue
		}
		v, ok := lookup(f.scopes, texts, s.mark.name)
		if !ok {
			f.tell(p, Error, "%s", f.unknown("text", s.mark.name))
		}
		b.WriteString(v)
	}
	return b.String()
}

// text writes a <text> with its value.
func (f *filler) text(p *place) {
	if f.seen != nil {
		f.seen[p] = true
	}
	if len(p.target.pattern.runs) > 0 {
		f.richText(p)
		return
	}
	pat := p.target.pattern
	value := f.value(p, pat.segments)
	x, width := f.room(p)
	fit := fit(f.m, value, p.Style, width, p.MinSize, p.Lines)
	f.check(p, value, p.Style, width, fit.cut)
	f.placed(p, x, fit)
	if len(fit.lines) == 0 {
		return
	}
	b := &builder{out: f.out}
	b.start(p.target, []string{"x", "y", "dx", "dy", "text-anchor", "font-size"}, f.textStyle(p, fit.size, true))
	b.raw(">")
	first := pat.lines[0]
	for i, line := range fit.lines {
		y := first.y + float64(i)*p.LineHeight*fit.size/p.Style.Size
		b.raw(`<tspan x="` + format(x) + `" y="` + format(y) + `">`)
		b.escape(line)
		b.raw("</tspan>")
	}
	b.raw("</text>")
	f.out = b.out
}

// textStyle is what a fitted text says of itself, stronger than any style sheet.
func (f *filler) textStyle(p *place, size float64, anchor bool) string {
	var kept []string
	if s := keepStyle(attr(p.target.el, "style"), func(prop string) bool {
		return prop != "font-size" && prop != "text-anchor" && prop != "letter-spacing"
	}); s != "" {
		kept = append(kept, s)
	}
	kept = append(kept, "font-size:"+format(size)+"px")
	if s := resize(p.Style, size); s.LetterSpacing != 0 {
		kept = append(kept, "letter-spacing:"+format(s.LetterSpacing)+"px")
	}
	if anchor {
		kept = append(kept, "text-anchor:"+map[Align]string{Left: "start", Center: "middle", Right: "end"}[p.Align])
	}
	return strings.Join(kept, ";")
}

// start writes an element's start tag without its end, leaving some attributes out.
func (b *builder) start(n *node, without []string, style string) {
	name := n.el.Name.Local
	if n.el.Name.Space != "" {
		name = n.el.Name.Space + ":" + name
	}
	b.open(name)
	for _, a := range n.el.Attr {
		switch {
		case a.Name.Space != "":
			b.attr(a.Name.Space+":"+a.Name.Local, a.Value)
		case a.Name.Local != "style" && !slices.Contains(without, a.Name.Local):
			b.attr(a.Name.Local, a.Value)
		}
	}
	b.attr("style", style)
}

// richText fills a text whose parts look different: the parts stay, all become smaller together.
func (f *filler) richText(p *place) {
	runs := p.target.pattern.runs
	values := make([]string, len(runs))
	for i, r := range runs {
		values[i] = f.value(p, r.segments)
	}
	x, width := f.room(p)
	widest := func(scale float64) float64 {
		most, w := 0.0, 0.0
		for i, r := range runs {
			if r.newChunk {
				w = 0
			}
			s := r.node.inherited.Style()
			w += f.m.Measure(strings.ReplaceAll(values[i], "\n", " "), resize(s, s.Size*scale)).Width
			most = max(most, w)
		}
		return most
	}
	smallest := p.MinSize / p.Style.Size
	scale, shortened := 1.0, false
	if w := widest(1); w > width {
		scale = max(smallest, math.Floor(width/w*1000)/1000)
		for scale > smallest && widest(scale) > width {
			scale = max(smallest, scale-0.001)
		}
		// At the smallest size the longest value gives way, and the next when little is left of it.
		const little = 8
		longest := -1
		for widest(scale) > width {
			if longest < 0 || utf8.RuneCountInString(values[longest]) <= little {
				most := 1
				longest = -1
				for i, r := range runs {
					n := utf8.RuneCountInString(values[i])
					if n > most && slices.ContainsFunc(r.segments, func(s segment) bool { return s.mark != nil }) {
						longest, most = i, n
					}
				}
			}
			if longest < 0 {
				break
			}
			values[longest], shortened = shorten(values[longest]), true
		}
	}
	for i, r := range runs {
		f.check(p, values[i], r.node.inherited.Style(), width, false)
	}
	if shortened {
		f.tellCut(p, strings.Join(values, ""))
	}
	if !slices.ContainsFunc(runs[1:], func(r textRun) bool { return r.newChunk }) {
		f.placedRich(p, x, widest(scale), p.Style.Size*scale, strings.Join(values, ""))
	}
	f.richElement(p.target, p, scale, runs, values)
}

// shorten takes a grapheme off the end and puts an ellipsis there.
func shorten(s string) string {
	s = strings.TrimSuffix(s, ellipsis)
	last := 0
	g := uniseg.NewGraphemes(s)
	for g.Next() {
		last, _ = g.Positions()
	}
	return strings.TrimRight(s[:last], " ") + ellipsis
}

func (f *filler) richElement(n *node, p *place, scale float64, runs []textRun, values []string) {
	at := n.start
	if scale != 1 && (n == p.target || sized(n)) {
		b := &builder{out: f.out}
		s := n.inherited.Style()
		style := keepStyle(attr(n.el, "style"), func(prop string) bool { return prop != "font-size" && prop != "letter-spacing" })
		if style != "" {
			style += ";"
		}
		style += "font-size:" + format(s.Size*scale) + "px"
		if s.LetterSpacing != 0 {
			style += ";letter-spacing:" + format(s.LetterSpacing*scale) + "px"
		}
		b.start(n, []string{"font-size", "letter-spacing"}, style)
		b.raw(">")
		f.out = b.out
		at = n.open
	}
	type item struct {
		start, end int
		write      func()
	}
	var items []item
	for i, r := range runs {
		if r.node == n {
			items = append(items, item{r.at.start, r.at.end, func() {
				b := &builder{out: f.out}
				b.escape(values[i])
				f.out = b.out
			}})
		}
	}
	for _, c := range n.children {
		if c.el.Name.Local == "tspan" {
			items = append(items, item{c.start, c.end, func() { f.richElement(c, p, scale, runs, values) }})
		}
	}
	slices.SortFunc(items, func(a, b item) int { return a.start - b.start })
	for _, it := range items {
		f.out = append(f.out, f.t.source[at:it.start]...)
		it.write()
		at = it.end
	}
	f.out = append(f.out, f.t.source[at:n.end]...)
}

// sized says whether an element sets a font size or spacing of its own.
func sized(n *node) bool {
	style := attr(n.el, "style")
	return attr(n.el, "font-size") != "" || attr(n.el, "letter-spacing") != "" || attr(n.el, "class") != "" ||
		strings.Contains(style, "font") || strings.Contains(style, "letter-spacing")
}
