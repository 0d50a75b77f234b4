package render

import (
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/go-text/typesetting/di"
	"github.com/go-text/typesetting/font"
	ot "github.com/go-text/typesetting/font/opentype"
	"github.com/go-text/typesetting/language"
	"github.com/go-text/typesetting/shaping"
	"github.com/rivo/uniseg"
	"golang.org/x/image/math/fixed"
	"golang.org/x/text/unicode/bidi"
)

// maxLine is the longest text that is shaped, in bytes: far more than a picture shows.
const maxLine = 16 << 10

// line is a shaped line of text at size 1, in visual order.
type line struct {
	width           float64 // without letter spacing
	clusters        int     // that letter spacing stands between
	ascent, descent float64
	xHeight         float64
	runs            []glyphRun
	missing         []string
	fallback        []string
}

// glyphRun is a stretch of a line from one face.
type glyphRun struct {
	key    faceKey
	glyphs []glyph
}

// glyph is placed relative to the start of the line on the baseline, y downwards.
type glyph struct {
	id   font.GID
	x, y float64
	// cluster counts the clusters before this one in visual order, for letter spacing.
	cluster int
}

// typesetter shapes lines. Shaping keeps state, so each caller takes one from a pool; what was shaped
// is shared.
type typesetter struct {
	fonts *library
	pool  sync.Pool // of *shaper

	mu    sync.Mutex
	lines map[lineKey]*line
	paths map[glyphKey]*glyphShape
}

type lineKey struct {
	text, family string
	weight       int
	italic       bool
	spaced       bool
	tabular      bool
}

// shaper is what one goroutine shapes with.
type shaper struct {
	seg   shaping.Segmenter
	faces map[faceKey]*shapingFace
}

// shapingFace has a shaper of its own: a shaper remembers fonts, and takes the weights of a variable
// font for one and the same.
type shapingFace struct {
	*font.Face
	shaping.HarfbuzzShaper
}

// The caches are emptied when they are full: a report's words are few, and come again and again.
const (
	maxLines  = 8192
	maxGlyphs = 16384
	maxFaces  = 64
)

func newTypesetter(fonts *library) *typesetter {
	t := &typesetter{fonts: fonts, lines: map[lineKey]*line{}, paths: map[glyphKey]*glyphShape{}}
	t.pool.New = func() any { return &shaper{faces: map[faceKey]*shapingFace{}} }
	return t
}

func (sh *shaper) face(k faceKey) *shapingFace {
	f := sh.faces[k]
	if f == nil {
		if len(sh.faces) >= maxFaces {
			clear(sh.faces)
		}
		f = &shapingFace{Face: font.NewFace(k.face.font)}
		if k.weight != 0 {
			f.SetVariations([]font.Variation{{Tag: ot.MustNewTag(weightTag), Value: float32(k.weight)}})
		}
		sh.faces[k] = f
	}
	return f
}

// line shapes a text, or finds it shaped. It depends on the style but not on the size.
func (t *typesetter) line(text string, s Style, tabular bool) *line {
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "")
	}
	if s.Weight == 0 {
		s.Weight = 400
	}
	key := lineKey{text, s.Family, s.Weight, s.Italic, s.LetterSpacing != 0, tabular}
	t.mu.Lock()
	l := t.lines[key]
	t.mu.Unlock()
	if l != nil {
		return l
	}
	sh, _ := t.pool.Get().(*shaper)
	l = t.shape(sh, text, s, tabular)
	t.pool.Put(sh)
	t.mu.Lock()
	if len(t.lines) >= maxLines {
		clear(t.lines)
	}
	t.lines[key] = l
	t.mu.Unlock()
	return l
}

// run is a stretch of text that is shaped at once.
type run struct {
	start, end int
	rtl        bool
	script     language.Script
	face       faceKey
}

func (t *typesetter) shape(sh *shaper, text string, s Style, tabular bool) *line {
	faces, asked := t.fonts.match(s)
	l := &line{}
	first := sh.face(faces[0])
	if e, ok := first.FontHExtents(); ok {
		upem := float64(first.Upem())
		l.ascent, l.descent = float64(e.Ascender)/upem, -float64(e.Descender)/upem
		l.xHeight = float64(first.LineMetric(font.XHeight)) / upem
	}
	// Line breaks and other control characters have no glyphs: a space stands for them.
	runes := []rune(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text))
	if len(runes) == 0 {
		return l
	}
	byRune := t.assign(l, runes, s, faces, asked)
	var features []shaping.FontFeature
	if s.LetterSpacing != 0 {
		// Letters that are spaced out don't join.
		for _, tag := range []string{"liga", "clig"} {
			features = append(features, shaping.FontFeature{Tag: ot.MustNewTag(tag)})
		}
	}
	if tabular {
		features = append(features, shaping.FontFeature{Tag: ot.MustNewTag("tnum"), Value: 1})
	}
	x, clusters := 0.0, 0
	for _, r := range sh.runs(runes, byRune) {
		face := sh.face(r.face)
		upem := int(face.Upem())
		in := shaping.Input{
			Text: runes, RunStart: r.start, RunEnd: r.end, Face: face.Face, FontFeatures: features,
			// At the font's own size, positions are its units: nothing is rounded, and a line is as
			// wide as its size says.
			Size: fixed.I(upem), Script: r.script, Language: language.NewLanguage("fr"),
			Direction: di.DirectionLTR,
		}
		if r.rtl {
			in.Direction = di.DirectionRTL
		}
		out := face.Shape(in)
		g := glyphRun{key: r.face}
		unit := 64 * float64(upem)
		bearing := 0.0
		if r.face.face.colors != nil {
			bearing = emojiBearing
		}
		last := -1
		for _, gl := range out.Glyphs {
			if last >= 0 && gl.ClusterIndex != last {
				clusters++
			}
			last = gl.ClusterIndex
			g.glyphs = append(g.glyphs, glyph{
				id: gl.GlyphID, x: x + bearing + float64(gl.XOffset)/unit, y: -float64(gl.YOffset) / unit, cluster: clusters,
			})
			x += float64(gl.XAdvance)/unit + 2*bearing
		}
		if last >= 0 {
			clusters++
		}
		l.runs = append(l.runs, g)
	}
	l.width, l.clusters = x, clusters
	return l
}

// emojiBearing is the room on either side of an emoji, in em: those of the shipped font fill their whole
// width, and two flags in a row would be one.
const emojiBearing = 0.06

// runs splits a line by direction, script and face, and puts the runs in the order in which they are
// seen.
func (sh *shaper) runs(text []rune, faces []faceKey) []run {
	var levels []int
	var runs []run
	for _, d := range directions(text) {
		in := shaping.Input{Text: text, RunStart: d.start, RunEnd: d.end, Direction: di.DirectionLTR}
		for _, p := range sh.scripts(in) {
			at := p.RunStart
			for k := p.RunStart + 1; k <= p.RunEnd; k++ {
				if k == p.RunEnd || faces[k] != faces[at] {
					runs = append(runs, run{start: at, end: k, rtl: d.level%2 == 1, script: p.Script, face: faces[at]})
					levels = append(levels, d.level)
					at = k
				}
			}
		}
	}
	reorder(runs, levels)
	return runs
}

// directed is a stretch of text with its embedding level: odd ones run from right to left.
type directed struct{ start, end, level int }

// directions finds the stretches of a line that is read from left to right as a whole.
func directions(text []rune) []directed {
	ltr := []directed{{0, len(text), 0}}
	if !containsRTL(text) {
		return ltr
	}
	var p bidi.Paragraph
	// The first strong character decides the direction of the whole, whatever is asked for: a mark
	// from left to right comes first.
	const mark = "\u200e"
	if _, err := p.SetString(mark + string(text) + tail(text)); err != nil {
		return ltr
	}
	order, err := p.Order()
	if err != nil {
		return ltr
	}
	var list []directed
	start := 0
	for i := range order.NumRuns() {
		r := order.Run(i)
		_, last := r.Pos() // counts runes, the mark and the last one included
		d := directed{start: start, end: min(last, len(text))}
		if d.end <= d.start {
			continue
		}
		if r.Direction() == bidi.RightToLeft {
			d.level = 1
		} else if n := numberAfter(text[d.start:d.end]); n > 0 && len(list) > 0 {
			list = append(list, directed{d.start, d.start + n, 2})
			d.start += n
		}
		if d.start < d.end {
			list = append(list, d)
		}
		start = d.end
	}
	if start < len(text) {
		return ltr
	}
	return list
}

// tail is a mark that holds the ellipsis of a text that was cut where the text ends: left, where its
// first strong character runs from right to left.
func tail(text []rune) string {
	if len(text) == 0 || text[len(text)-1] != '…' {
		return ""
	}
	for _, r := range text {
		switch p, _ := bidi.LookupRune(r); p.Class() {
		case bidi.R, bidi.AL:
			return "\u200f"
		case bidi.L:
			return ""
		default: // weak or neutral
		}
	}
	return ""
}

// numberAfter returns how much of a stretch that follows text from the right is a number of that text:
// it is read from left to right, but its place is among the words from the right.
func numberAfter(text []rune) int {
	n := 0
	for i, r := range text {
		switch p, _ := bidi.LookupRune(r); p.Class() {
		case bidi.EN, bidi.AN:
			n = i + 1
		case bidi.L:
			return n
		default: // what stands between
		}
	}
	return n
}

func containsRTL(text []rune) bool {
	return containsClass(text, bidi.R) || containsClass(text, bidi.AL) || containsClass(text, bidi.AN) ||
		containsClass(text, bidi.RLE) || containsClass(text, bidi.RLO) || containsClass(text, bidi.RLI)
}

func containsClass(text []rune, class bidi.Class) bool {
	for _, r := range text {
		if p, _ := bidi.LookupRune(r); p.Class() == class {
			return true
		}
	}
	return false
}

// scripts splits an input by script alone.
func (sh *shaper) scripts(in shaping.Input) []shaping.Input {
	return sh.seg.Split(in, anyFace{})
}

// anyFace answers the segmenter's question for a face: ours are chosen by cluster.
type anyFace struct{}

func (anyFace) ResolveFace(rune) *font.Face { return nil }

// reorder is rule L2 of the bidirectional algorithm: from the highest level down to the lowest odd
// one, each sequence of runs at that level or above is reversed.
func reorder(runs []run, levels []int) {
	highest := 0
	for _, l := range levels {
		highest = max(highest, l)
	}
	for level := highest; level > 0; level-- {
		for i := 0; i < len(runs); i++ {
			if levels[i] < level {
				continue
			}
			j := i
			for j < len(runs) && levels[j] >= level {
				j++
			}
			for a, b := i, j-1; a < b; a, b = a+1, b-1 {
				runs[a], runs[b] = runs[b], runs[a]
				levels[a], levels[b] = levels[b], levels[a]
			}
			i = j
		}
	}
}

// assign chooses the face of each character. What belongs together for the eye (a letter and its
// accents, the parts of an emoji) has one face.
func (t *typesetter) assign(l *line, runes []rune, s Style, faces []faceKey, asked int) []faceKey {
	byRune := make([]faceKey, 0, len(runes))
	var emoji *faceKey
	for i := range faces {
		if faces[i].face.colors != nil {
			emoji = &faces[i]
			break
		}
	}
	previous := faces[0]
	g := uniseg.NewGraphemes(string(runes))
	for g.Next() {
		cluster := g.Runes()
		face, found := faces[0], false
		if emoji != nil && isEmoji(cluster) && covers(*emoji, cluster) {
			face, found = *emoji, true
		}
		if !found && unicode.IsSpace(cluster[0]) {
			// A space is as wide as its neighbour's, and no reason for a run of its own.
			face, found = previous, covers(previous, cluster)
		}
		for i := 0; i < len(faces) && !found; i++ {
			if covers(faces[i], cluster) {
				face, found = faces[i], true
				if i >= asked && (emoji == nil || face != *emoji) {
					note(&l.fallback, face.face.family)
				}
			}
		}
		if !found && t.fonts.system != nil {
			if k, ok := t.fonts.system.find(cluster[0], s); ok && covers(k, cluster) {
				face, found = k, true
				note(&l.fallback, k.face.family)
			}
		}
		if !found {
			// The letter without its accent is better than neither.
			for i := range faces {
				if _, ok := faces[i].face.font.NominalGlyph(cluster[0]); ok {
					face = faces[i]
					break
				}
			}
			note(&l.missing, string(cluster))
		}
		previous = face
		for range cluster {
			byRune = append(byRune, face)
		}
	}
	return byRune
}

func note(list *[]string, s string) {
	for _, have := range *list {
		if have == s {
			return
		}
	}
	*list = append(*list, s)
}

// covers says whether a face has glyphs for all of a cluster. Marks that change how a neighbour looks
// (joiners, variation selectors, tags) need none.
func covers(k faceKey, cluster []rune) bool {
	for _, r := range cluster {
		switch {
		case ignorable(r), r == 0x20E3 && len(cluster) > 1 && k.face.colors != nil:
			continue
		}
		if _, ok := k.face.font.NominalGlyph(r); !ok {
			return decomposed(k, r)
		}
	}
	return true
}

// decomposed says whether a face can spell r in parts; the shaper puts them together. Precomposed
// letters that fonts leave out are rare enough for a list to do without: spaces of other widths.
func decomposed(k faceKey, r rune) bool {
	if unicode.Is(unicode.Zs, r) {
		_, ok := k.face.font.NominalGlyph(' ')
		return ok
	}
	return false
}

func ignorable(r rune) bool {
	return unicode.Is(unicode.Variation_Selector, r) || unicode.Is(unicode.Join_Control, r) ||
		unicode.Is(unicode.Cf, r)
}

// isEmoji says whether a cluster is shown in colour: it asks for it with a variation selector or a
// keycap, or its character is one that Unicode shows so by itself.
func isEmoji(cluster []rune) bool {
	for _, r := range cluster[1:] {
		switch r {
		case 0xFE0E:
			return false
		case 0xFE0F, 0x20E3:
			return true
		}
	}
	return cluster[0] >= 0x1F000 || emojiPresentation(cluster[0])
}

// emojiPresentation says whether a character below U+1F000 has Emoji_Presentation=Yes in Unicode's
// emoji-data.txt. Above, a character that the emoji font has is always shown from it.
func emojiPresentation(r rune) bool {
	switch {
	case r >= 0x231A && r <= 0x231B,
		r >= 0x23E9 && r <= 0x23EC,
		r == 0x23F0,
		r == 0x23F3,
		r >= 0x25FD && r <= 0x25FE,
		r >= 0x2614 && r <= 0x2615,
		r >= 0x2648 && r <= 0x2653,
		r == 0x267F,
		r == 0x2693,
		r == 0x26A1,
		r >= 0x26AA && r <= 0x26AB,
		r >= 0x26BD && r <= 0x26BE,
		r >= 0x26C4 && r <= 0x26C5,
		r == 0x26CE,
		r == 0x26D4,
		r == 0x26EA,
		r >= 0x26F2 && r <= 0x26F3,
		r == 0x26F5,
		r == 0x26FA,
		r == 0x26FD,
		r == 0x2705,
		r >= 0x270A && r <= 0x270B,
		r == 0x2728,
		r == 0x274C,
		r == 0x274E,
		r >= 0x2753 && r <= 0x2755,
		r == 0x2757,
		r >= 0x2795 && r <= 0x2797,
		r == 0x27B0,
		r == 0x27BF,
		r >= 0x2B1B && r <= 0x2B1C,
		r == 0x2B50,
		r == 0x2B55:
		return true
	}
	return false
}

// extent is a line at a size.
func (l *line) extent(s Style) Extent {
	return Extent{
		Width:  l.advance(s.Size, s.LetterSpacing),
		Ascent: l.ascent * s.Size, Descent: l.descent * s.Size,
		Missing: l.missing, Fallback: l.fallback,
	}
}

// advance is the line's width with its letter spacing, which stands between clusters only.
func (l *line) advance(size, spacing float64) float64 {
	return l.width*size + spacing*float64(max(l.clusters-1, 0))
}

type glyphKey struct {
	face faceKey
	id   font.GID
}

// glyphShape is how a glyph is drawn: paths in em units with y downwards, each with the colour of its
// layer, or an image for fonts that have pictures for glyphs.
type glyphShape struct {
	layers []glyphLayer
	image  *glyphImage
}

type glyphLayer struct {
	fill     string // "" is the text's own colour
	opacity  float64
	segments []ot.Segment
}

// glyphImage is a picture with its box in em units.
type glyphImage struct {
	data                []byte
	mime                string
	x, y, width, height float64
}

// glyph returns the shape of a glyph, which is shared and not to be changed.
func (t *typesetter) glyph(sh *shaper, k glyphKey) *glyphShape {
	t.mu.Lock()
	g := t.paths[k]
	t.mu.Unlock()
	if g != nil {
		return g
	}
	g = loadGlyph(sh.face(k.face).Face, k.face.face.colors, k.id)
	t.mu.Lock()
	if len(t.paths) >= maxGlyphs {
		clear(t.paths)
	}
	t.paths[k] = g
	t.mu.Unlock()
	return g
}

func hexColor(r, g, b uint8) string {
	const digits = "0123456789abcdef"
	return string([]byte{'#', digits[r>>4], digits[r&15], digits[g>>4], digits[g&15], digits[b>>4], digits[b&15]})
}

func appendNumber(b []byte, v float64) []byte {
	// Three decimals are a thousandth of a pixel; trailing zeros go.
	b = strconv.AppendFloat(b, v, 'f', 3, 64)
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	if b[len(b)-1] == '.' {
		b = b[:len(b)-1]
	}
	return b
}
