// Package render turns SVG into PNG, the same on every machine: no browser, no cgo, no program
// beside ours. Text is shaped here (kerning, ligatures, right-to-left, fallback fonts, emoji in
// colour) and becomes outlines; the drawing itself is done by resvg, compiled to WebAssembly and
// run in the process.
package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"sync"
)

// Options says what a Renderer draws with. The zero value draws with the fonts that ship, on as many
// workers as there are processors.
type Options struct {
	// Fonts is where further TTF, OTF and TTC files are, searched with its sub-folders. They are
	// preferred to those that ship where the family has the same name. Default: none.
	Fonts fs.FS
	// SystemFonts lets characters that no other font has be drawn with the machine's own fonts.
	// A picture that needs them may differ from machine to machine. Default: no.
	SystemFonts bool
	// Workers is how many pictures are drawn at the same time. Default: the number of processors.
	Workers int
	// CacheDir keeps the compiled form of the drawing module between runs (about 8 MB), which saves
	// some seconds at the start. Default: it is compiled anew in every process.
	CacheDir string
	// MaxPixels bounds a picture's width times height. Default: 50,000,000.
	MaxPixels int
}

// Style is how a line of text is set.
type Style struct {
	// Family is a list of font families as in CSS, best first ("Barlow Condensed, sans-serif").
	// Default: Inter.
	Family string
	// Size is the font size in user units (pixels of the template).
	Size float64
	// Weight is 100 to 900. Default: 400.
	Weight int
	// Italic asks for the slanted face.
	Italic bool
	// LetterSpacing stands between characters, in user units.
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
	// Fallback has the names of the fonts used that are not of the families asked for, each once,
	// emoji aside.
	Fallback []string
}

var (
	// ErrTooLarge is returned for a picture of more than MaxPixels, and for an SVG that would take
	// too long to draw.
	ErrTooLarge = errors.New("the picture is too large")
	// ErrExternal is returned for an SVG that names a file or an address: only data: images are drawn.
	ErrExternal = errors.New("the SVG refers to something outside of itself")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the renderer is closed")
)

// LineError says in which line of an SVG stands what is not drawn.
type LineError struct {
	Line int // from 1
	// Offset is where the start tag of the element ends, in bytes, after a byte order mark.
	Offset int64
	Err    error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

// Renderer draws SVG. It is safe for concurrent use.
type Renderer struct {
	options Options
	setter  *typesetter
	engine  *engine

	turns    chan *instance // one for each worker; nil for an instance not started
	encoders chan *encoder
	done     chan struct{} // closed by Close
	once     sync.Once
	err      error // of Close
}

// New loads the fonts and compiles the drawing module, once for all pictures: some seconds, or some
// tens of milliseconds with a CacheDir that has been used before. Close releases it.
func New(ctx context.Context, o Options) (*Renderer, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.MaxPixels <= 0 {
		o.MaxPixels = 50_000_000
	}
	fonts, err := newLibrary(o.Fonts, o.SystemFonts)
	if err != nil {
		return nil, err
	}
	e, err := newEngine(ctx, o.CacheDir)
	if err != nil {
		return nil, err
	}
	r := &Renderer{
		options: o, setter: newTypesetter(fonts), engine: e,
		turns: make(chan *instance, o.Workers), encoders: make(chan *encoder, o.Workers), done: make(chan struct{}),
	}
	for range o.Workers {
		r.turns <- nil
		r.encoders <- &encoder{}
	}
	return r, nil
}

// PNG draws an SVG at the given width in pixels, its height following; 0 is the SVG's own width.
// The SVG needs width and height or a viewBox. At most Workers run at a time, others wait for their
// turn or for ctx; a picture that has begun is finished.
func (r *Renderer) PNG(ctx context.Context, svg []byte, width int) ([]byte, error) {
	doc, err := r.setter.outline(svg)
	if err != nil {
		return nil, err
	}
	if width <= 0 {
		width = int(math.Ceil(doc.width))
	}
	if height := math.Ceil(doc.height * float64(width) / doc.width); height*float64(width) > float64(r.options.MaxPixels) {
		return nil, fmt.Errorf("%d by %.0f pixels: %w (at most %d)", width, height, ErrTooLarge, r.options.MaxPixels)
	}
	return r.draw(ctx, doc.svg, width)
}

// largeMemory is the memory in bytes above which an instance is not kept: WebAssembly memory only
// grows, and one huge picture must not hold it for the rest of the run.
const largeMemory = 256 << 20

func (r *Renderer) draw(ctx context.Context, svg []byte, width int) ([]byte, error) {
	var in *instance
	select {
	case <-r.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case in = <-r.turns:
	}
	defer func() { r.turns <- in }()
	select {
	case <-r.done:
		return nil, ErrClosed
	default:
	}
	// A picture that has begun is finished: interrupting the module would leave it half done, and
	// looking for the interruption costs it ten times its speed.
	ctx = context.WithoutCancel(ctx)
	var err error
	if in == nil {
		if in, err = r.engine.instantiate(ctx); err != nil {
			return nil, err
		}
	}
	img, err := in.draw(ctx, svg, width)
	if err != nil {
		var refused *svgError
		if !errors.As(err, &refused) {
			err = errors.Join(err, in.mod.Close(ctx))
			in = nil
		}
		return nil, fmt.Errorf("draw the SVG: %w", err)
	}
	if in.mod.Memory().Size() > largeMemory {
		err = in.mod.Close(ctx)
		in = nil
		if err != nil {
			return nil, fmt.Errorf("release a large picture: %w", err)
		}
	}
	e := <-r.encoders // there are as many as turns
	defer func() { r.encoders <- e }()
	return e.encode(img)
}

// Outline returns the SVG with each text replaced by the outlines that PNG draws, so that it looks
// the same in every viewer, whatever fonts that has. The words stay readable for machines: they are
// kept in an aria-label.
func (r *Renderer) Outline(svg []byte) ([]byte, error) {
	doc, err := r.setter.outline(svg)
	if err != nil {
		return nil, err
	}
	return doc.svg, nil
}

// Measure returns what a line of text takes.
func (r *Renderer) Measure(text string, s Style) Extent {
	return r.setter.line(text, s, false).extent(s)
}

// Families lists the font families by name, those of the machine left out.
func (r *Renderer) Families() []string { return r.setter.fonts.names() }

// Close waits for the pictures under way and releases the module.
func (r *Renderer) Close() error {
	r.once.Do(func() {
		close(r.done)
		for range cap(r.turns) {
			<-r.turns
		}
		r.err = r.engine.close(context.Background())
		for range cap(r.turns) {
			r.turns <- nil
		}
	})
	return r.err
}
