// Package template fills SVG files that designers export from Figma. A layer's name says what comes
// there: Figma writes it as the element's id.
//
//	{{streamer.name}}              a text layer: its words are replaced, its look stays
//	{{avatar}}                     a shape: filled with a picture, cropped to the shape
//	{{chart:viewers}}              a rectangle: a drawing of that size comes in its place
//	{{if:goals}}, {{if:!goals}}    a group: left out unless there are goals (or unless there are none)
//	{{rows:top}}                   a group of equal groups, one for each row; those left over go
//	{{box:streamer.name}}          a rectangle: the room of the text of that name; it is not drawn
//
// Options follow the name, each after a bar: {{streamer.name | width 600 | center | min 24 | lines 2}}.
// A text layer may also have placeholders among its words: "{{messages}} messages".
package template

import (
	"fmt"

	"github.com/tungstene/tungstene/pkg/report/render"
)

// Measurer tells how wide a line of text is. A *render.Renderer is one.
type Measurer interface {
	Measure(text string, s render.Style) render.Extent
}

// Kind is what a placeholder takes.
type Kind string

// The kinds of placeholder.
const (
	Text  Kind = "text"
	Image Kind = "image"
	Chart Kind = "chart"
	If    Kind = "if"
	Rows  Kind = "rows"
)

// Align is where a text stands in its box.
type Align string

// The alignments.
const (
	Left   Align = "left"
	Center Align = "center"
	Right  Align = "right"
)

// Box is a rectangle in the template's user units.
type Box struct{ X, Y, Width, Height float64 }

// Placeholder is one place of a template that values come to.
type Placeholder struct {
	Kind Kind
	// Name is what stands between the braces, without kind, options and Figma's number.
	Name string
	// ID is the layer's name as it is written in the file; Line counts from 1.
	ID   string
	Line int
	// Rows is the name of the rows that the placeholder is in, empty outside.
	Rows string
	// Slots is how many rows there is room for (Rows only).
	Slots int
	// Box is the place, in the units of the group the layer is in. For a text it is where its first
	// line begins, with the width that was asked for (0: up to the picture's edge).
	Box Box
	// The look of a text: font, fill, alignment, the smallest size before it is cut, its lines and
	// the distance of their baselines. Style and Fill are there for shapes too: a chart takes the font
	// of its group and the colour of its rectangle.
	Style      render.Style
	Fill       string
	Align      Align
	MinSize    float64
	Lines      int
	LineHeight float64
	// Sample is the text that the designer put there.
	Sample string
}

// Values is what a template is filled with. A name without a value leaves the place empty, and Check
// says so.
type Values struct {
	// Text has the words of text placeholders.
	Text map[string]string
	// Images has PNG, JPEG, GIF or WebP files. An empty one leaves the designer's shape as it is.
	Images map[string][]byte
	// Charts has what draws into chart placeholders.
	Charts map[string]Drawing
	// If has the conditions of optional sections. A name that is not here is decided by whether Text,
	// Images, Charts or Rows have a value of that name that is not empty.
	If map[string]bool
	// Rows has the values of repeated groups, in their order. A row sees its own names first, then
	// those outside.
	Rows map[string][]Values
}

// Drawing draws an SVG fragment (elements, no <svg> around) with the origin at the top left and the
// size of p.Box.
type Drawing func(p Placeholder) ([]byte, error)

// Severity is how bad a problem is.
type Severity string

// The severities: an error makes the picture wrong, a warning less good.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is something that a designer should know.
type Problem struct {
	File string
	Line int // 0 for the file as a whole
	// ID is the layer's name, empty for the file as a whole.
	ID       string
	Severity Severity
	// Message says what is wrong and what to do.
	Message string
}

// String returns the problem as "file:line: id: message".
func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, p.Line)
	}
	if p.ID != "" {
		s += ": " + p.ID
	}
	return s + ": " + p.Message
}
