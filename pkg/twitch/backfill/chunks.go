package backfill

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

const byteOrderMark = "\uFEFF"

// detectBytes is how much of a file Detect wants to see.
const detectBytes = 4 << 10

// Open finds out what a file holds, which may be compressed with gzip. The reader gives the file
// from its beginning, unpacked. The error wraps ErrFormat when it is neither format.
func Open(r io.Reader) (io.Reader, Format, error) {
	b := bufio.NewReaderSize(r, detectBytes)
	head, err := b.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("read the chat: %w", err)
	}
	if string(head) == "\x1f\x8b" {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, "", fmt.Errorf("unpack the chat: %w", err)
		}
		b = bufio.NewReaderSize(z, detectBytes)
	}
	head, err = b.Peek(detectBytes)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, "", fmt.Errorf("read the chat: %w", err)
	}
	f, err := Detect(head)
	if err != nil {
		return nil, "", err
	}
	return b, f, nil
}

// Detect tells the format by the beginning of a file, of which 4 KiB are enough. The error wraps
// ErrFormat.
func Detect(prefix []byte) (Format, error) {
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(prefix, []byte(mark)) {
			return "", fmt.Errorf("%w: the file is UTF-16; save it as UTF-8", ErrFormat)
		}
	}
	prefix = bytes.TrimPrefix(prefix, []byte(byteOrderMark))
	text := bytes.TrimSpace(prefix)
	if len(text) == 0 {
		return "", fmt.Errorf("%w: the file is empty", ErrFormat)
	}
	if text[0] == '{' {
		return VOD, nil
	}
	// "[" begins pages of comments, or the time that a logger put before a line.
	if inner := bytes.TrimSpace(text[1:]); text[0] == '[' && len(inner) > 0 && inner[0] == '{' {
		return VOD, nil
	}
	for line := range bytes.Lines(prefix) {
		line = unstamped(bytes.TrimSpace(line))
		if len(line) > 0 && (line[0] == '@' || line[0] == ':') && bytes.IndexByte(line, ' ') > 0 {
			return IRC, nil
		}
	}
	return "", fmt.Errorf("%w: the file holds neither raw lines of IRC nor a broadcast's chat as JSON", ErrFormat)
}

// Chunks cuts a file into pieces of whole lines or comments that Convert takes, each of at most
// maxBytes unless a single line or comment is longer. It holds little more than one of them in
// memory, and leaves out what of a VOD Convert does not read: a chunk holds its comments and whose
// channel they are of. Converted one by one and added up, the chunks give what the whole file does.
//
// A chunk is valid until the next one is asked for. An error, which is the reader's, comes last,
// after what could be read.
func Chunks(r io.Reader, f Format, maxBytes int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var err error
		give := func(chunk []byte) bool { return yield(chunk, nil) }
		switch f {
		case IRC:
			err = lineChunks(r, maxBytes, give)
		case VOD:
			err = commentChunks(r, maxBytes, give)
		default:
			err = fmt.Errorf("%w %q: use %s or %s", ErrFormat, f, IRC, VOD)
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

// errStopped ends the cutting when nobody wants more.
var errStopped = errors.New("stopped")

func lineChunks(r io.Reader, maxBytes int, give func([]byte) bool) error {
	var (
		in    = bufio.NewReaderSize(r, 32<<10)
		chunk []byte // whole lines
		line  []byte // the one being read, at most one byte more than is allowed
	)
	for {
		part, err := in.ReadSlice('\n')
		ended := err == nil
		part = bytes.TrimSuffix(part, []byte("\n"))
		line = append(line, part[:min(len(part), MaxLineBytes+1-len(line))]...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if ended || len(line) > 0 {
			if len(chunk) > 0 && len(chunk)+len(line)+1 > maxBytes {
				if !give(chunk) {
					return errStopped
				}
				chunk = chunk[:0]
			}
			chunk = append(append(chunk, line...), '\n')
			line = line[:0]
		}
		if ended {
			continue
		}
		if len(chunk) > 0 && !give(chunk) {
			return errStopped
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("read the chat: %w", err)
	}
}

// cutter collects comments into a chunk.
type cutter struct {
	give  func([]byte) bool
	max   int
	owner string
	chunk []byte
	count int // comments in the chunk
}

const (
	chunkEnd = "]}"
	chunkCut = ","  // ends as the file does: within; the comma ends the last comment
	chunkBad = "}"  // a bracket that does not fit, as in the file
	noChat   = "{}" // a file without comments
)

func (c *cutter) open(owner string) error {
	c.owner = owner
	name, err := json.Marshal(owner)
	if err != nil {
		return fmt.Errorf("cut the chat of channel %q: %w", owner, err)
	}
	c.chunk = append(c.chunk[:0], `{"streamer":{"id":`...)
	c.chunk = append(append(c.chunk, name...), `},"comments":[`...)
	c.count = 0
	return nil
}

func (c *cutter) close(end string) error {
	if c.chunk = append(c.chunk, end...); !c.give(c.chunk) {
		return errStopped
	}
	c.chunk = c.chunk[:0]
	return nil
}

func (c *cutter) add(owner string, e element) error {
	data := e.data
	if e.tooLong {
		// As long as what it stands for, so that it is the same problem.
		data = append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, MaxCommentBytes)...), '"')
	}
	if len(c.chunk) > 0 && c.count > 0 && (owner != c.owner || len(c.chunk)+1+len(data)+len(chunkEnd) > c.max) {
		if err := c.close(chunkEnd); err != nil {
			return err
		}
	}
	if c.count == 0 || len(c.chunk) == 0 {
		if err := c.open(owner); err != nil {
			return err
		}
	} else {
		c.chunk = append(c.chunk, ',')
	}
	c.chunk = append(c.chunk, data...)
	c.count++
	return nil
}

func commentChunks(r io.Reader, maxBytes int, give func([]byte) bool) error {
	var (
		s   = newScanner(r)
		c   = cutter{give: give, max: maxBytes}
		end = chunkEnd
	)
	for {
		e, err := s.next()
		if err == nil {
			if err := c.add(s.owner, e); err != nil {
				return err
			}
			continue
		}
		switch {
		case errors.Is(err, io.EOF):
			if !s.found {
				if !give([]byte(noChat)) {
					return errStopped
				}
				return nil
			}
			if c.count == 0 {
				return nil
			}
			return c.close(end)
		case errors.Is(err, errSyntax):
			end, err = chunkBad, nil
		case errors.Is(err, errCut):
			end, err = chunkCut, nil
		default: // the reader's: what came before it is cut off, too
			end, err = chunkCut, fmt.Errorf("read the chat: %w", err)
		}
		if c.count == 0 {
			if err := c.open(s.owner); err != nil {
				return err
			}
		}
		return errors.Join(c.close(end), err)
	}
}
