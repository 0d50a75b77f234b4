// Package template fills SVG files that designers export from Figma. A layer's name says what comes
// there: Figma writes it as the element's id.
//
//	{{streamer.name}}              a text layer: its words are replaced, its look stays
//	{{avatar}}                     a shape: filled with a picture, cropped to the shape
//	{{chart:viewers}}              a rectangle: a drawing of that size comes in its place
//	{{if:goals}}, {{if:!goals}}    a group: left out unless there are goals (or unless there are none)
//	{{rows:top}}                   a group of equal groups, one for each row; those left over go
//
// Options follow the name, each after a bar: {{streamer.name | width 600 | center | min 24 | lines 2}}.
// A text layer may also have placeholders among its words: "{{messages}} messages".
package template

import "github.com/tungstene/tungstene/pkg/report/render"

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
	// Box is the place, in the units of the group the layer is in. A text's box has the width that it
	// may take and the height of its lines.
	Box Box
	// The look of a text: font, fill, alignment, the smallest size before it is cut, its lines and
	// the distance of their baselines. Fill is there for shapes too: a chart takes the colour of its
	// rectangle.
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

// Problem is something that a designer should know.
type Problem struct {
	File string
	Line int
	// ID is the layer's name.
	ID string
	// Severity is "error" for what makes the picture wrong and "warning" for what makes it less good.
	Severity string
	// Message says what is wrong and what to do.
	Message string
}

// String returns the problem as "file:line: id: message".
func (p Problem) String() string { return p.Message }

// Template is a parsed file. It is immutable and safe for concurrent use.
type Template struct{}

// Parse reads a template. name is the file's name for messages. An error names line and layer.
func Parse(name string, svg []byte) (*Template, error) { return nil, nil }

// Size returns the picture's width and height in user units.
func (t *Template) Size() (width, height float64) { return 0, 0 }

// Placeholders lists the places in the order of the file, each with its box and look.
func (t *Template) Placeholders() []Placeholder { return nil }

// Fill returns the template with the values in their places. Text that is too wide is made smaller,
// down to its smallest size, and then cut with an ellipsis between two graphemes.
func (t *Template) Fill(m Measurer, v Values) ([]byte, error) { return nil, nil }

// Check says what is wrong with a template on these values: placeholders that no value has (with the
// nearest name), values in expected that no placeholder shows, text that is cut even at its smallest
// size, characters that no font has, fonts that are not there, rows that do not fit.
// expected may be nil.
func (t *Template) Check(m Measurer, v Values, expected []string) []Problem { return nil }
