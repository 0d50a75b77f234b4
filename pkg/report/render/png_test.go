package render

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"testing"

	"pgregory.net/rapid"
)

// TestEncode reads the files back with the standard library.
func TestEncode(t *testing.T) {
	e := &encoder{}
	rapid.Check(t, func(t *rapid.T) {
		width, height := rapid.IntRange(1, 40).Draw(t, "width"), rapid.IntRange(1, 12).Draw(t, "height")
		flat, bare := rapid.Bool().Draw(t, "flat"), rapid.Bool().Draw(t, "bare")
		img := image.NewRGBA(image.Rect(0, 0, width, height))
		for y := range height {
			for x := range width {
				c := color.RGBA{A: 255}
				if !flat || x == y {
					c.R, c.G, c.B = rapid.Byte().Draw(t, "r"), rapid.Byte().Draw(t, "g"), rapid.Byte().Draw(t, "b")
				}
				if bare && x == 0 {
					c = color.RGBA{}
				}
				img.SetRGBA(x, y, c)
			}
		}
		file, err := e.encode(img)
		if err != nil {
			t.Fatal(err)
		}
		back, err := png.Decode(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if back.Bounds() != img.Rect {
			t.Fatalf("%v came back as %v", img.Rect, back.Bounds())
		}
		for y := range height {
			for x := range width {
				r, g, b, a := back.At(x, y).RGBA()
				wr, wg, wb, wa := img.At(x, y).RGBA()
				if r != wr || g != wg || b != wb || a != wa {
					t.Fatalf("pixel %d,%d: %v came back as %v", x, y, img.At(x, y), back.At(x, y))
				}
			}
		}
	})
}
