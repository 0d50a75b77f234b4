package render

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/go-text/typesetting/font"
	ot "github.com/go-text/typesetting/font/opentype"
	"github.com/go-text/typesetting/fontscan"
)

// shippedFonts are the fonts that every picture can rely on; fonts/README.md says where they are from.
//
//go:embed fonts/*.ttf fonts/*.otf
var shippedFonts embed.FS

const (
	// defaultFamily sets what names no family that is there.
	defaultFamily = "Inter"
	// emojiFamily is the shipped font with emoji in colour.
	emojiFamily = "Twemoji Mozilla"
)

// weightTag is the axis of a variable font.
const weightTag = "wght"

// typeface is one font file, or one font of a collection.
type typeface struct {
	font   *font.Font
	family string
	weight int
	italic bool
	// minWeight and maxWeight are the ends of a variable font's weight; equal in one that is not.
	minWeight, maxWeight int
	// colors has the layers of a font with emoji in colour, nil for other fonts.
	colors *colorGlyphs
	// shipped fonts come after those that were given, where both have a family of the same name.
	shipped bool
}

// instance of a typeface at a weight: what glyphs are taken from.
type faceKey struct {
	face *typeface
	// weight is the place on the weight axis, 0 for a font that has none.
	weight int
	// slant asks for the upright outlines to be slanted, where a family has no italic.
	slant bool
}

// library has the fonts by family. It is read only after loading, but for system fonts, which are
// looked for when a character needs them.
type library struct {
	faces    []*typeface
	families map[string][]*typeface // by lower-case name, given ones first

	system *systemFonts // nil without
}

func newLibrary(given fs.FS, system bool) (*library, error) {
	l := &library{families: map[string][]*typeface{}}
	if given != nil {
		if err := l.load(given, false); err != nil {
			return nil, err
		}
	}
	if err := l.load(shippedFonts, true); err != nil {
		return nil, err
	}
	if system {
		l.system = &systemFonts{faces: map[*font.Font]*typeface{}}
	}
	return l, nil
}

// load reads the fonts of a folder and those below it. A file that is no font by its name is passed
// over; one that should be and can't be read is an error that names it.
func (l *library) load(files fs.FS, shipped bool) error {
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read the fonts: %w", err)
		}
		ext := strings.ToLower(path.Ext(name))
		if d.IsDir() || !slices.Contains([]string{".ttf", ".otf", ".ttc", ".otc"}, ext) {
			return nil
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return fmt.Errorf("read font %s: %w", name, err)
		}
		faces, err := parseFonts(data)
		if err != nil {
			return fmt.Errorf("font %s: %w", name, err)
		}
		for _, f := range faces {
			f.shipped = shipped
			l.faces = append(l.faces, f)
			key := strings.ToLower(f.family)
			l.families[key] = append(l.families[key], f)
		}
		return nil
	})
}

// parseFonts reads a font file or collection. The parser is not ours: what makes it panic is refused
// like any other broken file.
func parseFonts(data []byte) (faces []*typeface, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is broken: %v", p)
		}
	}()
	loaders, err := ot.NewLoaders(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("not a TTF, OTF or TTC file: %w", err)
	}
	for _, ld := range loaders {
		f, err := font.NewFont(ld)
		if err != nil {
			return nil, fmt.Errorf("the file is broken: %w", err)
		}
		if f.Upem() == 0 {
			return nil, errors.New("the file is broken: it has no units per em")
		}
		d := f.Describe()
		t := &typeface{font: f, family: d.Family, weight: int(d.Aspect.Weight), italic: d.Aspect.Style == font.StyleItalic}
		t.minWeight, t.maxWeight = t.weight, t.weight
		if raw, err := ld.RawTable(ot.MustNewTag("fvar")); err == nil {
			if low, high, ok := weightAxis(raw); ok {
				t.minWeight, t.maxWeight = low, high
			}
		}
		colr, err1 := ld.RawTable(ot.MustNewTag("COLR"))
		cpal, err2 := ld.RawTable(ot.MustNewTag("CPAL"))
		if err1 == nil && err2 == nil {
			t.colors = parseColors(colr, cpal)
		}
		faces = append(faces, t)
	}
	return faces, nil
}

// weightAxis finds the ends of the weight axis in an 'fvar' table: a header with the offset, number
// and size of the axes, each axis a tag and its least, usual and greatest value as 16.16.
func weightAxis(fvar []byte) (low, high int, ok bool) {
	word := func(at int) int {
		if at < 0 || at+2 > len(fvar) {
			return 0
		}
		return int(fvar[at])<<8 | int(fvar[at+1])
	}
	start, count, size := word(4), word(8), word(10)
	for i := range count {
		at := start + i*size
		if at+16 > len(fvar) {
			return 0, 0, false
		}
		if string(fvar[at:at+4]) == weightTag {
			return word(at + 4), word(at + 12), true
		}
	}
	return 0, 0, false
}

// names lists the families.
func (l *library) names() []string {
	var names []string
	for _, f := range l.faces {
		if !slices.Contains(names, f.family) {
			names = append(names, f.family)
		}
	}
	slices.Sort(names)
	return names
}

// familyNames splits a CSS list of families and takes quotes off.
func familyNames(list string) []string {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.Trim(strings.TrimSpace(name), `"'`)
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// generic are CSS's words for any font of a kind: all mean ours.
func generic(name string) bool {
	switch strings.ToLower(name) {
	case "sans-serif", "serif", "monospace", "cursive", "fantasy", "system-ui", "ui-sans-serif", "inherit", "initial":
		return true
	}
	return false
}

// match returns the faces to look for a character in, best first, and how many of them are of the
// families that were asked for.
func (l *library) match(s Style) (faces []faceKey, asked int) {
	add := func(family string) {
		of, weight, italic := l.families[strings.ToLower(family)], s.Weight, s.Italic
		if of == nil {
			of, weight, italic = l.postScript(family, s)
		}
		if f, ok := closest(of, weight, italic); ok && !slices.ContainsFunc(faces, func(k faceKey) bool { return k.face == f.face }) {
			faces = append(faces, f)
		}
	}
	for _, name := range familyNames(s.Family) {
		if generic(name) {
			name = defaultFamily
		}
		add(name)
	}
	asked = len(faces)
	if s.Family == "" {
		asked = 1
	}
	add(defaultFamily)
	// Then every other family, the text fonts before the emoji.
	for _, f := range l.faces {
		if f.family != emojiFamily {
			add(f.family)
		}
	}
	add(emojiFamily)
	return faces, asked
}

// postScript finds the family of a PostScript name, such as BarlowCondensed-SemiBold: Illustrator writes
// fonts so. What the name says of weight and slant goes before the style.
func (l *library) postScript(name string, s Style) (faces []*typeface, weight int, italic bool) {
	family, look, _ := strings.Cut(strings.ToLower(name), "-")
	for key, f := range l.families {
		if strings.ReplaceAll(key, " ", "") == family {
			faces = f
		}
	}
	look, slanted := strings.CutSuffix(look, "italic")
	weight = map[string]int{
		"thin": 100, "extralight": 200, "light": 300, "regular": 400, "medium": 500, "semibold": 600, "demibold": 600,
		"bold": 700, "extrabold": 800, "black": 900, "heavy": 900,
	}[look]
	if weight == 0 {
		weight = s.Weight
	}
	return faces, weight, slanted || s.Italic
}

// closest picks the face of a family by CSS's rules: the slant first, then the weight, looking
// lighter first below 400, heavier first above 500.
func closest(faces []*typeface, weight int, italic bool) (faceKey, bool) {
	distance := func(f *typeface) int {
		d := 0
		switch w := min(max(weight, f.minWeight), f.maxWeight); {
		case w == weight:
		case weight <= 500 && w < weight, weight > 500 && w > weight:
			d = abs(w - weight)
		case weight >= 400 && weight <= 500 && w <= 500:
			d = abs(w - weight)
		default:
			d = 1000 + abs(w-weight)
		}
		if f.italic != italic {
			d += 10000
		}
		return d
	}
	var best *typeface
	for _, f := range faces {
		if best == nil || distance(f) < distance(best) {
			best = f
		}
	}
	if best == nil {
		return faceKey{}, false
	}
	k := faceKey{face: best, slant: italic && !best.italic}
	if best.minWeight < best.maxWeight {
		k.weight = min(max(weight, best.minWeight), best.maxWeight)
	}
	return k, true
}

func abs(n int) int { return max(n, -n) }

// systemFonts finds the machine's font for a character. The machine is searched at the first question.
type systemFonts struct {
	mu    sync.Mutex
	fonts *fontscan.FontMap
	err   error
	faces map[*font.Font]*typeface
}

// find returns a face with a glyph for r.
func (s *systemFonts) find(r rune, style Style) (faceKey, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fonts == nil && s.err == nil {
		m := fontscan.NewFontMap(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug))
		if s.err = m.UseSystemFonts(""); s.err == nil {
			s.fonts = m
		}
	}
	if s.err != nil {
		return faceKey{}, false
	}
	aspect := font.Aspect{Weight: font.Weight(style.Weight)}
	if style.Italic {
		aspect.Style = font.StyleItalic
	}
	s.fonts.SetQuery(fontscan.Query{Families: familyNames(style.Family), Aspect: aspect})
	f := s.fonts.ResolveFace(r)
	if f == nil {
		return faceKey{}, false
	}
	if _, ok := f.NominalGlyph(r); !ok {
		return faceKey{}, false
	}
	t := s.faces[f.Font]
	if t == nil {
		family, _ := s.fonts.FontMetadata(f.Font)
		t = &typeface{font: f.Font, family: family}
		s.faces[f.Font] = t
	}
	return faceKey{face: t}, true
}
