package render

import (
	"encoding/xml"
	"math"
)

// clipSurvey finds clips that cover the whole picture. Figma clips each frame to its own rectangle, the
// outermost too: that cuts nothing off, and drawing through it costs more than all the rest.
type clipSurvey struct {
	view  []float64 // x, y, width, height of what is seen; nil if that is not clear
	idle  map[string]bool
	id    string // of the <clipPath> that is open
	shape int    // elements in it
	cover bool
}

// viewOf is what a picture shows, in its own units. It is nil where the proportions of the viewBox are
// not those of the picture: more than the viewBox can be seen then.
func viewOf(el xml.StartElement) []float64 {
	width, height, err := rootSize(el)
	if err != nil {
		return nil
	}
	box := numbers(attrOf(el, "viewBox"))
	if len(box) != 4 {
		return []float64{0, 0, width, height}
	}
	if math.Abs(box[2]*height-box[3]*width) > 0.01*width {
		return nil
	}
	return box
}

func (c *clipSurvey) start(el xml.StartElement) {
	switch {
	case el.Name.Local == "clipPath":
		c.id, c.shape = attrOf(el, "id"), 0
		c.cover = c.view != nil && attrOf(el, "clipPathUnits") != "objectBoundingBox" && plain(el)
	case c.id != "":
		c.shape++
		number := func(name string) float64 { n, _ := length(attrOf(el, name), 0, 0); return n }
		x, y := number("x"), number("y")
		if !c.cover || el.Name.Local != "rect" || !plain(el) || number("rx") != 0 || number("ry") != 0 ||
			x > c.view[0] || y > c.view[1] ||
			x+number("width") < c.view[0]+c.view[2] || y+number("height") < c.view[1]+c.view[3] {
			c.cover = false
		}
	}
}

func (c *clipSurvey) end(el xml.EndElement) {
	if el.Name.Local != "clipPath" || c.id == "" {
		return
	}
	if c.cover && c.shape == 1 {
		if c.idle == nil {
			c.idle = map[string]bool{}
		}
		c.idle[c.id] = true
	}
	c.id = ""
}

// plain says that nothing moves an element, cuts it or hides it.
func plain(el xml.StartElement) bool {
	for _, name := range []string{"transform", "clip-path", "style", "class", "display", "visibility"} {
		if attrOf(el, name) != "" {
			return false
		}
	}
	return true
}

func attrOf(el xml.StartElement, name string) string {
	for _, a := range el.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}
