package render

import "github.com/go-text/typesetting/font"

// colorGlyphs are the glyphs of a font that are made of layers, each an outline in one colour: version
// 0 of the 'COLR' table with the first palette of 'CPAL'
// (https://learn.microsoft.com/typography/opentype/spec/colr).
type colorGlyphs struct {
	bases   map[font.GID][2]int // the first layer and their number
	records []colorLayer
}

// colorLayer is an outline with its colour; an empty fill is the text's own.
type colorLayer struct {
	id      font.GID
	fill    string
	opacity float64
}

func (c *colorGlyphs) layers(id font.GID) []colorLayer {
	if c == nil {
		return nil
	}
	span, ok := c.bases[id]
	if !ok {
		return nil
	}
	return c.records[span[0] : span[0]+span[1]]
}

// parseColors returns nil for tables of another version, and for broken ones: the font is drawn in one
// colour then.
func parseColors(colr, cpal []byte) *colorGlyphs {
	u16 := func(b []byte, at int) int {
		if at < 0 || at+2 > len(b) {
			return 0
		}
		return int(b[at])<<8 | int(b[at+1])
	}
	u32 := func(b []byte, at int) int { return u16(b, at)<<16 | u16(b, at+2) }
	if len(colr) < 14 || u16(colr, 0) != 0 || len(cpal) < 14 {
		return nil
	}
	const ownColor = 0xFFFF
	entries, colors, start := u16(cpal, 2), u32(cpal, 8), u16(cpal, 12)
	bases, layers, count := u32(colr, 4), u32(colr, 8), u16(colr, 12)
	c := &colorGlyphs{bases: make(map[font.GID][2]int, u16(colr, 2))}
	for i := range count {
		at := layers + 4*i
		if at+4 > len(colr) {
			return nil
		}
		l := colorLayer{id: font.GID(u16(colr, at)), opacity: 1}
		if p := u16(colr, at+2); p != ownColor {
			rgb := colors + 4*(start+p)
			if p >= entries || rgb+4 > len(cpal) {
				return nil
			}
			l.fill = hexColor(cpal[rgb+2], cpal[rgb+1], cpal[rgb])
			l.opacity = float64(cpal[rgb+3]) / 255
		}
		c.records = append(c.records, l)
	}
	for i := range u16(colr, 2) {
		at := bases + 6*i
		first, n := u16(colr, at+2), u16(colr, at+4)
		if at+6 > len(colr) || first+n > len(c.records) {
			return nil
		}
		c.bases[font.GID(u16(colr, at))] = [2]int{first, n}
	}
	return c
}
