package template

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // a picture may be a GIF
	_ "image/jpeg" // or a JPEG
	"image/png"
	"math"

	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp" // or WebP
)

const (
	// maxImage and maxImagePixels bound a picture before it is decoded.
	maxImage       = 20 << 20
	maxImagePixels = 40_000_000
	// sharpness is how many pixels are kept for each unit of the box: pictures are drawn at up to
	// twice the template's size.
	sharpness = 2
)

// prepareImage returns a picture as the renderer takes it: PNG and JPEG as they are unless they are
// much larger than their box, others as PNG.
func prepareImage(data []byte, box Box, m matrix) (mime string, out []byte, err error) {
	if len(data) > maxImage {
		return "", nil, fmt.Errorf("it has %d MB, more than %d", len(data)>>20, maxImage>>20)
	}
	cfg, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return "", nil, fmt.Errorf("it is no PNG, JPEG, GIF or WebP: %w", err)
	}
	if cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width*cfg.Height > maxImagePixels {
		return "", nil, fmt.Errorf("it has %d by %d pixels, more than %d", cfg.Width, cfg.Height, maxImagePixels)
	}
	scale := math.Sqrt(math.Abs(m.a*m.d - m.b*m.c))
	need := sharpness * scale * max(box.Width/float64(cfg.Width), box.Height/float64(cfg.Height))
	if need > 0.5 && (format == "png" || format == "jpeg") {
		return "image/" + format, data, nil
	}
	img, err := decode(data)
	if err != nil {
		return "", nil, err
	}
	if need <= 0.5 && need > 0 {
		w := max(1, int(math.Ceil(float64(cfg.Width)*need)))
		h := max(1, int(math.Ceil(float64(cfg.Height)*need)))
		small := image.NewRGBA(image.Rect(0, 0, w, h))
		draw.CatmullRom.Scale(small, small.Bounds(), img, img.Bounds(), draw.Src, nil)
		img = small
	}
	var b bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := encoder.Encode(&b, img); err != nil {
		return "", nil, fmt.Errorf("write it as PNG: %w", err)
	}
	return "image/png", b.Bytes(), nil
}

// decode reads a picture. A decoder that panics on a broken file gives an error like any other.
func decode(data []byte) (img image.Image, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the file is broken")
		}
	}()
	img, _, err = image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("the file is broken: %w", err)
	}
	return img, nil
}
