// Package render turns SVG into PNG, the same on every machine: no browser, no cgo, no program
// beside ours. Text is shaped here (kerning, ligatures, right-to-left, fallback fonts, emoji in
// colour) and becomes outlines; the drawing itself is done by resvg, compiled to WebAssembly and
// run in the process.
package render

import (
	"context"
	"errors"
	"io/fs"
)

// Options says what a Renderer draws with. The zero value draws with the fonts that ship, on as many
// workers as there are processors.
type Options struct {
	// Fonts is where further TTF, OTF and TTC files are, searched with its sub-folders. They are
	// preferred to those that ship where the family has the same name. Default: none.
	Fonts fs.FS
	// SystemFonts lets scripts that no shipped font covers be drawn with the machine's own fonts.
	// A picture that needs them may differ from machine to machine. Default: no.
	SystemFonts bool
	// Workers is how many pictures are drawn at the same time; each holds about 60 MB.
	// Default: the number of processors.
	Workers int
	// CacheDir keeps the compiled form of the drawing module between runs (about 8 MB), which saves
	// about a second at the start. Default: it is compiled anew in every process.
	CacheDir string
	// MaxPixels bounds a picture's width times height. Default: 50,000,000.
	MaxPixels int
}

// Style is how a line of text is set.
type Style struct {
	// Family is a list of font families as in CSS, best first ("Sora, Inter, sans-serif").
	// Default: Inter.
	Family string
	// Size is the font size in user units (pixels of the template). Default: 16.
	Size float64
	// Weight is 100 to 900. Default: 400.
	Weight int
	// Italic asks for the slanted face.
	Italic bool
	// LetterSpacing is added after every cluster, in user units. Default: 0.
	LetterSpacing float64
}

// Extent is what a line of text takes.
type Extent struct {
	// Width is the advance of the line, in user units; exactly what PNG draws.
	Width float64
	// Ascent and Descent are the font's height above and below the baseline, both positive.
	Ascent, Descent float64
	// Missing has the characters that no font has a glyph for, each once, in the order of the text.
	Missing []string
	// Fallback has the names of the fonts used that are not of the families asked for, each once.
	Fallback []string
}

var (
	// ErrTooLarge is returned for a picture of more than MaxPixels, or an SVG of more than 64 MB.
	ErrTooLarge = errors.New("the picture is too large")
	// ErrExternal is returned for an SVG that names a file or an address: only data: images are drawn.
	ErrExternal = errors.New("the SVG refers to something outside of itself")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the renderer is closed")
)

// Renderer draws SVG. It is safe for concurrent use.
type Renderer struct{}

// New loads the fonts and compiles the drawing module, once for all pictures (about a second, less
// with CacheDir). Close releases it.
func New(ctx context.Context, o Options) (*Renderer, error) { return nil, errors.ErrUnsupported }

// PNG draws an SVG at the given width in pixels, its height following; 0 is the SVG's own width.
// The SVG needs width and height or a viewBox. At most Workers run at a time, others wait for their
// turn or for ctx.
func (r *Renderer) PNG(ctx context.Context, svg []byte, width int) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// Outline returns the SVG with each text replaced by the outlines that PNG draws, so that it looks
// the same in every viewer, whatever fonts that has. The text stays readable for machines: it is
// kept in an aria-label.
func (r *Renderer) Outline(svg []byte) ([]byte, error) { return nil, errors.ErrUnsupported }

// Measure returns what a line of text takes.
func (r *Renderer) Measure(text string, s Style) Extent { return Extent{} }

// Families lists the font families by name.
func (r *Renderer) Families() []string { return nil }

// Close waits for the pictures under way and releases the module.
func (r *Renderer) Close() error { return nil }
