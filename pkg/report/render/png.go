package render

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
)

// encoder writes PNG files, one after the other. The standard library's tries five filters on each line and
// takes the best, which is most of its time; for drawings it is nearly always none of them.
type encoder struct {
	z   *zlib.Writer
	row []byte
}

// Parts of a PNG file: https://www.w3.org/TR/png-3/
const (
	pngSignature = "\x89PNG\r\n\x1a\n"
	filterNone   = 0
	filterSub    = 1 // each value less that of the pixel on the left
)

// encode is the PNG file of a picture with premultiplied pixels.
func (e *encoder) encode(img *image.RGBA) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(len(img.Pix) / 16)
	if !img.Opaque() { // its colours are to be divided by their alpha
		enc := png.Encoder{CompressionLevel: png.BestSpeed}
		if err := enc.Encode(&out, img); err != nil {
			return nil, fmt.Errorf("encode the PNG: %w", err)
		}
		return out.Bytes(), nil
	}
	out.WriteString(pngSignature)
	begin := beginChunk(&out, "IHDR")
	head := binary.BigEndian.AppendUint32(nil, uint32(img.Rect.Dx()))
	head = binary.BigEndian.AppendUint32(head, uint32(img.Rect.Dy()))
	out.Write(append(head, 8, 2, 0, 0, 0)) // 8 bits each of red, green, blue; the only compression and filters there are; not interlaced
	endChunk(&out, begin)
	begin = beginChunk(&out, "IDAT")
	if err := e.lines(&out, img); err != nil {
		return nil, fmt.Errorf("encode the PNG: %w", err)
	}
	endChunk(&out, begin)
	endChunk(&out, beginChunk(&out, "IEND"))
	return out.Bytes(), nil
}

// beginChunk leaves room for the length of a part, which endChunk fills in.
func beginChunk(out *bytes.Buffer, name string) (begin int) {
	begin = out.Len()
	out.WriteString("\x00\x00\x00\x00" + name)
	return begin
}

func endChunk(out *bytes.Buffer, begin int) {
	b := out.Bytes()[begin:]
	binary.BigEndian.PutUint32(b, uint32(len(b)-8))
	out.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b[4:])))
}

// lines writes the pixels.
func (e *encoder) lines(out *bytes.Buffer, img *image.RGBA) (err error) {
	if e.z == nil {
		if e.z, err = zlib.NewWriterLevel(out, zlib.BestSpeed); err != nil {
			return err
		}
	} else {
		e.z.Reset(out)
	}
	width := img.Rect.Dx()
	if len(e.row) != 1+3*width {
		e.row = make([]byte, 1+3*width)
	}
	row, pixels := e.row, e.row[1:]
	for y := range img.Rect.Dy() {
		line := img.Pix[y*img.Stride:][:4*width]
		same := 0 // pixels as the one on the left
		var r, g, b byte
		for i, j := 0, 0; i < len(line); i, j = i+4, j+3 {
			p, q := line[i:i+3:i+3], pixels[j:j+3:j+3]
			if p[0] == r && p[1] == g && p[2] == b {
				same++
			}
			r, g, b = p[0], p[1], p[2]
			q[0], q[1], q[2] = r, g, b
		}
		row[0] = filterNone
		if same < width/2 { // a photograph
			row[0] = filterSub
			for j := len(pixels) - 1; j >= 3; j-- {
				pixels[j] -= pixels[j-3]
			}
		}
		if _, err := e.z.Write(row); err != nil {
			return err
		}
	}
	return e.z.Close()
}
