package render

import (
	"encoding/xml"
	"strings"
)

// Sheet is the style sheets of an SVG, for finding out how a text is set before it is drawn.
type Sheet struct{ rules []cssRule }

// ParseSheet reads the content of an SVG's <style> elements, as it is read for drawing: selectors of
// one element, its classes and its id. The error is ErrExternal for one that refers to the outside.
func ParseSheet(css string) (Sheet, error) {
	rules, err := parseSheet(css)
	return Sheet{rules}, err
}

// Inherited is how a text would be set inside of an element.
type Inherited struct{ s textStyle }

// Root is what an SVG begins with.
func Root() Inherited { return Inherited{defaultStyle()} }

// Inherit returns what holds inside of an element of a parent.
func (s Sheet) Inherit(parent Inherited, el xml.StartElement) Inherited {
	return Inherited{parent.s.apply(declarations(el, s.rules))}
}

// Style is the font.
func (i Inherited) Style() Style { return i.s.style() }

// Anchor is the text-anchor: start, middle or end.
func (i Inherited) Anchor() string {
	if i.s.anchor == "" {
		return "start"
	}
	return i.s.anchor
}

// Fill is the colour, as it is written; black where nothing says.
func (i Inherited) Fill() string {
	if i.s.fill == "" {
		return "black"
	}
	return strings.TrimSpace(i.s.fill)
}
