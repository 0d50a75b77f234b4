package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Compression is how a batch's documents are compressed.
type Compression byte

// The compressions of a batch; their numbers are part of the encoding.
const (
	None Compression = 0
	Zstd Compression = 1 // the fastest level
)

// ParseCompression reads "none" or "zstd".
func ParseCompression(s string) (Compression, error) {
	switch s {
	case "none":
		return None, nil
	case "zstd":
		return Zstd, nil
	}
	return 0, fmt.Errorf("compression %q: use none or zstd", s)
}

// Bounds of a batch.
const (
	MaxBatchRecords = 10_000
	MaxBatchBytes   = 8 << 20 // the documents before compression
)

const (
	batchMagic   = "TB"
	batchVersion = 1
)

// ErrBatch is wrapped by every error about bytes that are no batch.
var ErrBatch = errors.New("invalid batch")

func badBatch(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBatch, fmt.Sprintf(format, args...))
}

// A batch is:
//
//	"TB"  version (1)  compression
//	uvarint number of documents  uvarint bytes of the documents uncompressed
//	the documents, one after the other, compressed as a whole
//	CRC-32C of all before it, 4 bytes, little-endian

//nolint:gochecknoglobals // tables and stateless coders, built once and safe for concurrent use
var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zstdWriter = sync.OnceValue(func() *zstd.Encoder {
		// One goroutine at a time encodes a batch, so concurrency would only cost memory.
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
			zstd.WithWindowSize(256<<10))
		if err != nil {
			panic(err) // only for options out of range
		}
		return w
	})
	zstdReader = sync.OnceValue(func() *zstd.Decoder {
		r, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxBatchBytes), zstd.WithDecoderConcurrency(2))
		if err != nil {
			panic(err) // only for options out of range
		}
		return r
	})
)

// EncodeBatch encodes 1 to MaxBatchRecords records of together at most MaxBatchBytes.
func EncodeBatch(records []Record, c Compression) ([]byte, error) {
	size := 0
	for i := range records {
		size += len(records[i].Doc)
	}
	if len(records) == 0 || len(records) > MaxBatchRecords || size > MaxBatchBytes {
		return nil, badBatch("%d records of %d bytes; use 1 to %d records of at most %d bytes",
			len(records), size, MaxBatchRecords, MaxBatchBytes)
	}
	const head = 2 + 1 + 1 + 2*binary.MaxVarintLen64
	room := size
	if c == Zstd {
		room = size / 4
	}
	out := make([]byte, 0, head+room+crc32.Size)
	out = append(out, batchMagic...)
	out = append(out, batchVersion, byte(c))
	out = binary.AppendUvarint(out, uint64(len(records)))
	out = binary.AppendUvarint(out, uint64(size))
	switch c {
	case None:
		for i := range records {
			out = append(out, records[i].Doc...)
		}
	case Zstd:
		raw := make([]byte, 0, size)
		for i := range records {
			raw = append(raw, records[i].Doc...)
		}
		out = zstdWriter().EncodeAll(raw, out)
	default:
		return nil, badBatch("compression %d is not known", c)
	}
	return binary.LittleEndian.AppendUint32(out, crc32.Checksum(out, castagnoli)), nil
}

// DecodeBatch reads a batch back. The records share one buffer. Bytes that are no batch, of a
// version that is not known, damaged, or beyond the bounds give an error that wraps ErrBatch; one
// document that is no record makes the whole batch one.
func DecodeBatch(b []byte) ([]Record, error) {
	if len(b) < len(batchMagic)+2+2+4 || string(b[:2]) != batchMagic {
		return nil, badBatch("%d bytes without the leading %q", len(b), batchMagic)
	}
	if b[2] != batchVersion {
		return nil, badBatch("version %d; this program reads version %d: use a newer one", b[2], batchVersion)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, badBatch("the checksum does not match: damaged or cut off")
	}
	compression, rest := Compression(body[3]), body[4:]
	count, n := binary.Uvarint(rest)
	if n <= 0 || count == 0 || count > MaxBatchRecords {
		return nil, badBatch("%d records; the most is %d", count, MaxBatchRecords)
	}
	rest = rest[n:]
	size, n := binary.Uvarint(rest)
	if n <= 0 || size > MaxBatchBytes {
		return nil, badBatch("%d bytes of documents; the most is %d", size, MaxBatchBytes)
	}
	rest = rest[n:]
	raw := rest
	if compression == Zstd {
		var err error
		if raw, err = zstdReader().DecodeAll(rest, make([]byte, 0, size)); err != nil {
			return nil, badBatch("decompress: %v", err)
		}
	} else if compression != None {
		return nil, badBatch("compression %d is not known: use a newer program", compression)
	}
	if uint64(len(raw)) != size {
		return nil, badBatch("%d bytes of documents where %d were announced", len(raw), size)
	}
	records := make([]Record, 0, count)
	for len(raw) > 0 {
		if len(raw) < 5 {
			return nil, badBatch("%d bytes left over", len(raw))
		}
		n := binary.LittleEndian.Uint32(raw)
		if n < 5 || uint64(n) > uint64(len(raw)) {
			return nil, badBatch("document %d says %d bytes of %d", len(records), n, len(raw))
		}
		r, err := Parse(raw[:n:n])
		if err != nil {
			return nil, fmt.Errorf("%w: document %d: %w", ErrBatch, len(records), err)
		}
		records, raw = append(records, r), raw[n:]
		if uint64(len(records)) > count {
			break
		}
	}
	if uint64(len(records)) != count {
		return nil, badBatch("%d documents where %d were announced", len(records), count)
	}
	return records, nil
}
