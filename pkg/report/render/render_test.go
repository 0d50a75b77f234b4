package render_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/report/render"
)

var update = flag.Bool("update", false, "write the golden pictures anew")

// shared is one renderer for all tests: it takes seconds to make.
var shared = sync.OnceValues(func() (*render.Renderer, error) {
	dir, err := os.MkdirTemp("", "render")
	if err != nil {
		return nil, err
	}
	return render.New(context.Background(), render.Options{CacheDir: dir, Workers: 2})
})

func renderer(t testing.TB) *render.Renderer {
	t.Helper()
	r, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPictures compares with pictures that were looked at. Machines may differ in the last bit of a
// float: a few pixels may differ a little, none by much.
func TestPictures(t *testing.T) {
	files, err := filepath.Glob("testdata/*.svg")
	if err != nil || len(files) == 0 {
		t.Fatal("no pictures", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			svg, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := renderer(t).PNG(t.Context(), svg, 0)
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".svg") + ".png"
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, got, want)
		})
	}
}

func compare(t *testing.T, got, want []byte) {
	t.Helper()
	a, b := decode(t, got), decode(t, want)
	if a.Bounds() != b.Bounds() {
		t.Fatalf("the picture is %v, want %v", a.Bounds(), b.Bounds())
	}
	different := 0
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			r1, g1, b1, a1 := a.At(x, y).RGBA()
			r2, g2, b2, a2 := b.At(x, y).RGBA()
			for _, d := range [][2]uint32{{r1, r2}, {g1, g2}, {b1, b2}, {a1, a2}} {
				if max(d[0], d[1])-min(d[0], d[1]) > 16<<8 {
					different++
					break
				}
			}
		}
	}
	if most := a.Bounds().Dx() * a.Bounds().Dy() / 2000; different > most {
		t.Errorf("%d pixels are not as they were, %d may be: look at it, and run the test with -update", different, most)
	}
}

func decode(t *testing.T, b []byte) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestWidthsOfHarfBuzz compares with what hb-shape (HarfBuzz 6.0.0) says of the same font files, in font
// units: hb-shape --variations=wght=N --language=fr FILE TEXT, the advances added up.
func TestWidthsOfHarfBuzz(t *testing.T) {
	r := renderer(t)
	for _, tt := range []struct {
		family string
		weight int
		upem   float64
		text   string
		width  float64
	}{
		{"Inter", 400, 2816, "AVATAR", 10376},
		{"Inter", 800, 2816, "AVATAR", 11372},
		{"Inter", 400, 2816, "Tâché, Œuvre", 18172},
		{"Inter", 800, 2816, "Tâché, Œuvre", 19066},
		{"Inter", 400, 2816, "To. Wa. 1 234 567,89 €", 30316},
		{"Inter", 800, 2816, "To. Wa. 1 234 567,89 €", 31033},
		{"Inter", 400, 2816, "Привет", 10096},
		{"Inter", 800, 2816, "Привет", 10627},
		{"Inter", 400, 2816, "Ελληνικά", 12588},
		{"Inter", 800, 2816, "Ελληνικά", 13554},
		{"Inter", 400, 2816, "l'équipe — “gagnée”", 26800},
		{"Inter", 800, 2816, "l'équipe — “gagnée”", 27883},
		{"Inter", 400, 2816, "Hello, Wörld! fi", 19252},
		{"Inter", 800, 2816, "Hello, Wörld! fi", 20325},
		{"Barlow Condensed", 700, 1000, "AVATAR", 2608},
		{"Barlow Condensed", 700, 1000, "To. Wa. 1 234 567,89 €", 7854},
		{"Barlow Condensed", 700, 1000, "Tâché, Œuvre", 4915},
		{"Noto Sans Arabic", 500, 1000, "محمد", 2320},
		{"Noto Sans Arabic", 500, 1000, "عربي", 1939},
		{"Noto Sans Arabic", 500, 1000, "نص", 1662},
		{"Noto Sans Arabic", 500, 1000, "لا", 597},
	} {
		got := r.Measure(tt.text, render.Style{Family: tt.family, Weight: tt.weight, Size: tt.upem})
		// HarfBuzz rounds each advance of a variable font to a unit.
		if d := got.Width - tt.width; d > float64(len(tt.text)) || d < -float64(len(tt.text)) {
			t.Errorf("%s %d %q is %.1f wide, want %.0f", tt.family, tt.weight, tt.text, got.Width, tt.width)
		}
		if len(got.Missing) > 0 {
			t.Errorf("%q has missing %q", tt.text, got.Missing)
		}
	}
}

func TestEmojiAreOneEach(t *testing.T) {
	r := renderer(t)
	for _, text := range []string{"🎉", "👨‍👩‍👧‍👦", "🇫🇷", "👍🏽", "1️⃣", "❤️", "⭐", "🏴‍☠️", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"} {
		e := r.Measure(text, render.Style{Size: 100})
		if e.Width < 90 || e.Width > 130 || len(e.Missing) > 0 || len(e.Fallback) > 0 {
			t.Errorf("%s is %+v, want one glyph", text, e)
		}
	}
	if one, two := r.Measure("🇫🇷", render.Style{Size: 100}).Width, r.Measure("🇫🇷🇫🇷", render.Style{Size: 100}).Width; one < 108 || two < 2*one-1 {
		t.Errorf("a flag is %.1f wide, two are %.1f: they touch", one, two)
	}
	// Digits, and signs that are text unless told otherwise, stay text.
	for _, text := range []string{"2026", "#1", "© ™ ↔"} {
		out, err := r.Outline([]byte(`<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>` + text + `</text></svg>`))
		if err != nil || bytes.Contains(out, []byte(`fill="#`)) {
			t.Errorf("%s is drawn in colour: %s %v", text, out, err)
		}
	}
}

func TestMissingAndFallback(t *testing.T) {
	r := renderer(t)
	if e := r.Measure("ok 𓀀𓀁𓀀", render.Style{Size: 10}); fmt.Sprint(e.Missing) != "[𓀀 𓀁]" {
		t.Errorf("missing %q", e.Missing)
	}
	if e := r.Measure("ok", render.Style{Size: 10, Family: "Gotham"}); fmt.Sprint(e.Fallback) != "[Inter]" {
		t.Errorf("fallback of a family that is not there: %q", e.Fallback)
	}
	if e := r.Measure("ok 🎉 é", render.Style{Size: 10, Family: "Gotham, 'Inter'"}); len(e.Fallback) != 0 {
		t.Errorf("fallback %q", e.Fallback)
	}
	if e := r.Measure("", render.Style{Size: 10}); e.Width != 0 || e.Ascent <= 0 || e.Descent <= 0 {
		t.Errorf("an empty line is %+v", e)
	}
}

// TestMeasureIsWhatIsDrawn looks at the outlines: ink from the first letter's to the last one's, and
// nothing beyond the width but what letters overhang.
func TestPostScriptNames(t *testing.T) {
	r := renderer(t)
	for name, want := range map[string]render.Style{
		"BarlowCondensed-Bold": {Family: "Barlow Condensed", Size: 40, Weight: 700},
		"'Inter-SemiBold'":     {Family: "Inter", Size: 40, Weight: 600},
		"Inter-Light":          {Family: "Inter", Size: 40, Weight: 300},
	} {
		got := r.Measure("Hamburgefonts", render.Style{Family: name, Size: 40, Weight: 400})
		if should := r.Measure("Hamburgefonts", want); got.Width != should.Width || len(got.Fallback) > 0 {
			t.Errorf("%s is %.2f wide, %v fell back, want %.2f", name, got.Width, got.Fallback, should.Width)
		}
	}
}

func TestMeasureIsWhatIsDrawn(t *testing.T) {
	r := renderer(t)
	rapid.Check(t, func(t *rapid.T) {
		text := "H" + rapid.StringOfN(rapid.RuneFrom([]rune("abcéÀŒffi 0123456789 AVTo.,'")), 0, 30, -1).Draw(t, "text") + "H"
		text = strings.Join(strings.Fields(text), " ")
		s := render.Style{
			Family: rapid.SampledFrom([]string{"Inter", "Barlow Condensed", ""}).Draw(t, "family"),
			Size:   rapid.Float64Range(4, 200).Draw(t, "size"), Weight: rapid.SampledFrom([]int{400, 700, 900}).Draw(t, "weight"),
			LetterSpacing: rapid.SampledFrom([]float64{0, 0, 3, -0.5}).Draw(t, "spacing"),
		}
		out, err := r.Outline(fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text font-family=%q font-size="%g" font-weight="%d" letter-spacing="%g">%s</text></svg>`,
			s.Family, s.Size, s.Weight, s.LetterSpacing, text))
		if err != nil {
			t.Fatal(err)
		}
		width := r.Measure(text, s).Width
		low, high := ink(t, out)
		if low < 0 || low > 0.15*s.Size || high > width+0.01 || high < width-0.15*s.Size {
			t.Fatalf("%q is drawn from %.2f to %.2f, measured %.2f", text, low, high, width)
		}
		// Widths grow with the size, exactly.
		twice := s
		twice.Size, twice.LetterSpacing = 2*s.Size, 2*s.LetterSpacing
		if w := r.Measure(text, twice).Width; w < 2*width-1e-6 || w > 2*width+1e-6 {
			t.Fatalf("%q is %.4f wide, at twice the size %.4f", text, width, w)
		}
	})
}

// ink finds the least and greatest x of a drawing's paths.
func ink(t *rapid.T, svg []byte) (low, high float64) {
	low, high = 1e9, -1e9
	dec := xml.NewDecoder(bytes.NewReader(svg))
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return low, high
		}
		if err != nil {
			t.Fatal(err)
		}
		el, ok := tok.(xml.StartElement)
		if !ok || el.Name.Local != "path" {
			continue
		}
		for _, a := range el.Attr {
			if a.Name.Local != "d" {
				continue
			}
			for i, f := range strings.FieldsFunc(a.Value, func(r rune) bool { return strings.ContainsRune("MLQCZ ", r) }) {
				var v float64
				if _, err := fmt.Sscan(f, &v); err != nil {
					t.Fatal(err)
				}
				if i%2 == 0 {
					low, high = min(low, v), max(high, v)
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	r := renderer(t)
	const open = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="10" height="10">`
	var bomb strings.Builder
	bomb.WriteString(open + `<g id="a0"><rect width="1" height="1"/></g>`)
	for i := range 30 {
		fmt.Fprintf(&bomb, `<g id="a%d"><use href="#a%d"/><use href="#a%d"/></g>`, i+1, i, i)
	}
	bomb.WriteString("</svg>")
	for name, tt := range map[string]struct {
		svg  string
		is   error
		says string
	}{
		"nothing":            {"", nil, "no <svg>"},
		"text":               {"hello", nil, "no <svg>"},
		"no picture":         {"<html></html>", nil, "not with <svg>"},
		"cut off":            {open + "<g>", nil, "not well-formed"},
		"no size":            {`<svg xmlns="http://www.w3.org/2000/svg"/>`, nil, "width and a height"},
		"endless":            {`<svg xmlns="http://www.w3.org/2000/svg" width="NaN" height="1e99"/>`, nil, "width and a height"},
		"huge":               {`<svg xmlns="http://www.w3.org/2000/svg" width="90000" height="90000"/>`, render.ErrTooLarge, "pixels"},
		"file":               {open + `<image href="/etc/passwd"/></svg>`, render.ErrExternal, "line 1: <image>"},
		"address":            {open + `<image xlink:href="http://localhost/a.png"/></svg>`, render.ErrExternal, "localhost"},
		"svg in svg":         {open + `<image href="data:image/svg+xml;base64,PHN2Zy8+"/></svg>`, nil, "image/svg+xml"},
		"a broken picture":   {open + `<image href="data:image/png;base64,AAAA"/></svg>`, nil, "broken"},
		"use of a file":      {open + `<use href="other.svg#a"/></svg>`, render.ErrExternal, "other.svg"},
		"fill from a file":   {open + `<rect fill="url(other.svg#a)"/></svg>`, render.ErrExternal, "other.svg"},
		"style from a file":  {open + `<style>@import "a.css";</style></svg>`, render.ErrExternal, "@import"},
		"picture in a style": {open + `<style>rect { fill: url(http://a/b) }</style></svg>`, render.ErrExternal, "style sheet"},
		"style instruction":  {`<?xml-stylesheet href="a.css"?>` + open + `</svg>`, render.ErrExternal, "xml-stylesheet"},
		"entities":           {`<!DOCTYPE svg [<!ENTITY a "b">]>` + open + `</svg>`, nil, "DOCTYPE"},
		"text on a path":     {open + `<text><textPath href="#a">x</textPath></text></svg>`, nil, "convert the text to outlines"},
		"vertical text":      {open + `<text writing-mode="tb">x</text></svg>`, nil, "vertical"},
		"a bomb of uses":     {bomb.String(), render.ErrTooLarge, "elements"},
		"endless noise":      {open + `<filter><feTurbulence numOctaves="100000"/></filter></svg>`, nil, "too long"},
		"deep":               {open + strings.Repeat("<g>", 5000) + strings.Repeat("</g>", 5000) + "</svg>", nil, "nested"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.PNG(t.Context(), []byte(tt.svg), 0)
			if err == nil || !strings.Contains(err.Error(), tt.says) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("the error is %v, want one with %q", err, tt.says)
			}
		})
	}
	// A link and an empty picture are nothing to refuse.
	if _, err := r.PNG(t.Context(), []byte(open+`<a href="https://example.org"><rect width="5" height="5"/></a><image href=""/></svg>`), 0); err != nil {
		t.Error(err)
	}
}

// TestBrokenModuleIsReplaced makes the module run out of memory: the next picture is drawn all the same.
func TestBrokenModuleIsReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("it fills a gigabyte")
	}
	r := renderer(t)
	const open = `<svg xmlns="http://www.w3.org/2000/svg" width="8000" height="6000">`
	deep := open + strings.Repeat(`<g opacity="0.5">`, 100) + `<rect width="8000" height="6000"/>` + strings.Repeat("</g>", 100) + "</svg>"
	if _, err := r.PNG(t.Context(), []byte(deep), 0); err == nil {
		t.Skip("it has the memory")
	}
	if _, err := r.PNG(t.Context(), []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>`), 0); err != nil {
		t.Fatal(err)
	}
}

func TestWidth(t *testing.T) {
	r := renderer(t)
	svg := []byte(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 200"><rect width="300" height="200" fill="#f00"/></svg>`)
	for width, want := range map[int]image.Point{0: {300, 200}, 600: {600, 400}, 150: {150, 100}} {
		b, err := r.PNG(t.Context(), svg, width)
		if err != nil {
			t.Fatal(err)
		}
		img := decode(t, b)
		if img.Bounds().Size() != want {
			t.Errorf("width %d gives %v, want %v", width, img.Bounds().Size(), want)
		}
		if c := fmt.Sprint(img.At(want.X-1, want.Y-1)); c != "{255 0 0 255}" {
			t.Errorf("the corner is %s", c)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	r := renderer(t)
	svg, err := os.ReadFile("testdata/text.svg")
	if err != nil {
		t.Fatal(err)
	}
	want, err := r.PNG(t.Context(), svg, 200)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := r.PNG(t.Context(), svg, 200)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("another picture: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestClose(t *testing.T) {
	dir := t.TempDir()
	r, err := render.New(t.Context(), render.Options{Workers: 1, CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	svg := []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// A picture may be drawn when its context has ended, if it was its turn already.
	if _, err := r.PNG(ctx, svg, 0); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if _, err := r.PNG(t.Context(), svg, 0); !errors.Is(err, render.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := render.New(t.Context(), render.Options{CacheDir: filepath.Join(file, "below")}); err == nil || !strings.Contains(err.Error(), "cache") {
		t.Errorf("a cache that can't be: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.ttf"), []byte("no font"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := render.New(t.Context(), render.Options{Fonts: os.DirFS(dir)}); err == nil || !strings.Contains(err.Error(), "font a.ttf") {
		t.Errorf("a font that is none: %v", err)
	}
}

func TestOutlineKeepsTheRest(t *testing.T) {
	r := renderer(t)
	svg := "<?xml version=\"1.0\"?>\n<!-- made by hand -->\n<svg xmlns=\"http://www.w3.org/2000/svg\" width='9'  height=\"9\"><g\n id='a'/><text/>é &amp; <rect  width=\"1\"/></svg>\n"
	out, err := r.Outline([]byte(svg))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(svg, "<text/>", "<g></g>", 1); string(out) != want {
		t.Errorf("it became %s", out)
	}
}

func FuzzOutline(f *testing.F) {
	for _, file := range []string{"testdata/text.svg", "testdata/shapes.svg"} {
		svg, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(svg)
	}
	f.Add([]byte(`<svg width="9" height="9"><style>text{font:bold 1em x}</style><text x="1 2" dy="1em">a<tspan x="3">b</tspan></text></svg>`))
	r := renderer(f) // takes longer than one input may
	f.Fuzz(func(t *testing.T, svg []byte) {
		out, err := r.Outline(svg)
		if err != nil {
			return
		}
		// What comes out is well-formed, has no text left, and is its own outline.
		again, err := r.Outline(out)
		if err != nil {
			t.Fatalf("the outline is refused: %v\n%s", err, out)
		}
		if !bytes.Equal(again, out) {
			t.Fatalf("the outline has text left:\n%s\n%s", out, again)
		}
		if len(svg) < 2000 {
			// The module may refuse it; it may not take the process down, nor be stuck.
			_, _ = r.PNG(t.Context(), svg, 16)
		}
	})
}

func BenchmarkPNG(b *testing.B) {
	r := renderer(b)
	for _, name := range []string{"text", "shapes"} {
		svg, err := os.ReadFile("testdata/" + name + ".svg")
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := r.PNG(b.Context(), svg, 1080); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOutline(b *testing.B) {
	r := renderer(b)
	svg, err := os.ReadFile("testdata/text.svg")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := r.Outline(svg); err != nil {
			b.Fatal(err)
		}
	}
}

// TestIdleClips leaves out clips that cover the whole picture, and only those.
func TestIdleClips(t *testing.T) {
	r := renderer(t)
	const clipped = `<g id="x" clip-path="url(#c)"><rect width="5" height="5"/></g>`
	for name, tt := range map[string]struct {
		root, body, clip string
		left             bool
	}{
		"whole":        {`width="100" height="50"`, clipped, `<rect width="100" height="50" fill="white"/>`, true},
		"larger":       {`viewBox="10 10 20 20"`, clipped, `<rect x="-5" width="100" height="50"/>`, true},
		"smaller":      {`width="100" height="50"`, clipped, `<rect width="100" height="49"/>`, false},
		"round":        {`width="100" height="50"`, clipped, `<rect width="100" height="50" rx="4"/>`, false},
		"circle":       {`width="100" height="50"`, clipped, `<circle r="500"/>`, false},
		"moved":        {`width="100" height="50"`, `<g transform="translate(9 9)">` + clipped + `</g>`, `<rect width="100" height="50"/>`, false},
		"letterboxed":  {`width="100" height="50" viewBox="0 0 10 10"`, clipped, `<rect width="10" height="10"/>`, false},
		"two shapes":   {`width="100" height="50"`, clipped, `<rect width="100" height="50"/><rect/>`, false},
		"nothing":      {`width="100" height="50"`, clipped, ``, false},
		"clip clipped": {`width="100" height="50"`, clipped, `<rect width="100" height="50" clip-path="url(#d)"/>`, false},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := r.Outline([]byte(`<svg xmlns="http://www.w3.org/2000/svg" ` + tt.root + `>` + tt.body + `<defs><clipPath id="c">` + tt.clip + `</clipPath></defs></svg>`))
			if err != nil {
				t.Fatal(err)
			}
			if left := !bytes.Contains(out, []byte(`<g id="x" clip-path`)); left != tt.left {
				t.Errorf("left out: %t, want %t: %s", left, tt.left, out)
			}
		})
	}
}

// TestTheEllipsisEndsTheText: of a text that was cut it stands where the text ends, which is left of one
// that is read from the right, in whatever direction the picture is.
func TestTheEllipsisEndsTheText(t *testing.T) {
	r := renderer(t)
	outline := func(text string) string {
		out, err := r.Outline([]byte(`<svg xmlns="http://www.w3.org/2000/svg" width="400" height="90"><text y="60">` + text + `</text></svg>`))
		if err != nil {
			t.Fatal(err)
		}
		_, shapes, _ := strings.Cut(string(out), "<path") // after what the text is for those who hear it
		return shapes
	}
	const name = "اسم المذيع"
	if got := outline(name + "…"); got != outline(name+"…\u200f") {
		t.Errorf("the ellipsis is not held by the text: %s", got)
	}
	if got := outline("abc " + name + "…"); got == outline("abc "+name+"…\u200f") {
		t.Error("a text that begins from the left ends on the right")
	}
}
