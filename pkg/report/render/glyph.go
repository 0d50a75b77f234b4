package render

import (
	"encoding/base64"
	"net/http"

	"github.com/go-text/typesetting/font"
	ot "github.com/go-text/typesetting/font/opentype"
)

// bitmapSize is the size in pixels per em that pictures of glyphs are taken at, where a font has
// several.
const bitmapSize = 128

// loadGlyph reads a glyph from its font: layers in colour, a picture, or an outline. The parser is not
// ours: a glyph that makes it panic is drawn empty, like one that has no shape.
func loadGlyph(f *font.Face, colors *colorGlyphs, id font.GID) (g *glyphShape) {
	defer func() {
		if recover() != nil {
			g = &glyphShape{}
		}
	}()
	if layers := colors.layers(id); len(layers) > 0 {
		return colorLayers(f, layers)
	}
	segments, _ := outlineOf(f, id)
	if len(segments) == 0 {
		f.SetPpem(bitmapSize, bitmapSize)
		defer f.SetPpem(0, 0)
		if b, ok := f.GlyphData(id).(font.GlyphBitmap); ok {
			if im := bitmap(f, id, b); im != nil {
				return &glyphShape{image: im}
			}
		}
	}
	return &glyphShape{layers: []glyphLayer{{opacity: 1, segments: segments}}}
}

func outlineOf(f *font.Face, id font.GID) ([]ot.Segment, bool) {
	switch g := f.GlyphData(id).(type) {
	case font.GlyphOutline:
		return g.Segments, true
	case font.GlyphSVG:
		return g.Outline.Segments, true
	case font.GlyphBitmap:
		if g.Outline != nil {
			return g.Outline.Segments, true
		}
	}
	return nil, false
}

func colorLayers(f *font.Face, layers []colorLayer) *glyphShape {
	g := &glyphShape{}
	for _, l := range layers {
		if outline, ok := outlineOf(f, l.id); ok {
			g.layers = append(g.layers, glyphLayer{fill: l.fill, opacity: l.opacity, segments: outline})
		}
	}
	return g
}

func bitmap(f *font.Face, id font.GID, b font.GlyphBitmap) *glyphImage {
	mime := http.DetectContentType(b.Data)
	if mime != "image/png" && mime != "image/jpeg" {
		return nil
	}
	e, ok := f.GlyphExtents(id)
	if !ok {
		return nil
	}
	upem := float64(f.Upem())
	return &glyphImage{
		data: b.Data, mime: mime,
		x: float64(e.XBearing) / upem, y: -float64(e.YBearing) / upem,
		width: float64(e.Width) / upem, height: -float64(e.Height) / upem,
	}
}

// glyphWriter appends glyphs as SVG elements. Glyphs in the text's own colour share one path; layers
// in colour and pictures stand for themselves.
type glyphWriter struct {
	out  []byte
	path []byte // of the path under way
}

// flush ends the path under way.
func (w *glyphWriter) flush() {
	if len(w.path) > 0 {
		w.out = append(w.out, `<path d="`...)
		w.out = append(w.out, w.path...)
		w.out = append(w.out, `"/>`...)
		w.path = w.path[:0]
	}
}

// glyph draws g with its origin at x, y. scale turns font units into user units. skew slants.
func (w *glyphWriter) glyph(g *glyphShape, x, y, size, scale, skew float64) {
	if im := g.image; im != nil {
		w.flush()
		w.out = append(w.out, `<image x="`...)
		w.out = appendNumber(w.out, x+im.x*size)
		w.out = append(w.out, `" y="`...)
		w.out = appendNumber(w.out, y+im.y*size)
		w.out = append(w.out, `" width="`...)
		w.out = appendNumber(w.out, im.width*size)
		w.out = append(w.out, `" height="`...)
		w.out = appendNumber(w.out, im.height*size)
		w.out = append(w.out, `" href="data:`...)
		w.out = append(w.out, im.mime...)
		w.out = append(w.out, `;base64,`...)
		w.out = base64.StdEncoding.AppendEncode(w.out, im.data)
		w.out = append(w.out, `"/>`...)
		return
	}
	for _, l := range g.layers {
		if l.fill == "" {
			w.path = appendPath(w.path, l.segments, x, y, scale, skew)
			continue
		}
		w.flush()
		// A stroke of the text is not for its emoji.
		w.out = append(w.out, `<path fill="`...)
		w.out = append(w.out, l.fill...)
		if l.opacity < 1 {
			w.out = append(w.out, `" fill-opacity="`...)
			w.out = appendNumber(w.out, l.opacity)
		}
		w.out = append(w.out, `" stroke="none" d="`...)
		w.out = appendPath(w.out, l.segments, x, y, scale, skew)
		w.out = append(w.out, `"/>`...)
	}
}

func appendPath(b []byte, segments []ot.Segment, x, y, scale, skew float64) []byte {
	point := func(p ot.SegmentPoint) {
		px, py := float64(p.X)*scale, float64(p.Y)*scale
		b = appendNumber(b, x+px+skew*py)
		b = append(b, ' ')
		b = appendNumber(b, y-py)
	}
	open := false
	for _, s := range segments {
		n := 1
		switch s.Op {
		case ot.SegmentOpMoveTo:
			if open {
				b = append(b, 'Z')
			}
			open = true
			b = append(b, 'M')
		case ot.SegmentOpLineTo:
			b = append(b, 'L')
		case ot.SegmentOpQuadTo:
			b = append(b, 'Q')
			n = 2
		case ot.SegmentOpCubeTo:
			b = append(b, 'C')
			n = 3
		}
		for i := range n {
			if i > 0 {
				b = append(b, ' ')
			}
			point(s.Args[i])
		}
	}
	if open {
		b = append(b, 'Z')
	}
	return b
}
