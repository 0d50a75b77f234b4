package backfill

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
)

// What ends a VOD before its end.
var (
	errCut    = errors.New("is cut off")
	errSyntax = errors.New("is not JSON from here on")
)

const (
	maxNesting = 64 // of what is not a comment; the exports have less than ten
	maxWord    = 64 // bytes kept of a key or of an id
)

// scanner finds the comments in a VOD without holding more than one of them. It wants brackets to
// fit and is lenient with the rest: each comment is parsed strictly by whoever uses it.
//
// Comments are the elements of an array "comments", or of an array "edges" in an object "comments".
type scanner struct {
	in    *bufio.Reader
	stack []frame
	buf   []byte
	// owner is the id of the channel that was named last before the comment: by the export's
	// streamer, or by a page's creator or owner. Empty when nothing named one.
	owner string
	// found says that there was an array of comments.
	found bool
}

// frame is an object or array that is open.
type frame struct {
	array    bool
	comments bool
	keyNext  bool   // in an object: the next string is a key
	key      string // in an object: of the member
}

// element is one element of an array of comments. What is too long has no data.
type element struct {
	data    []byte
	tooLong bool
}

func newScanner(r io.Reader) *scanner { return &scanner{in: bufio.NewReaderSize(r, 32<<10)} }

func (s *scanner) top() *frame {
	if len(s.stack) == 0 {
		return nil
	}
	return &s.stack[len(s.stack)-1]
}

// next is the next comment; its data is valid until the one after it. The error is io.EOF at the
// end of a whole file, errCut, errSyntax, or the reader's.
func (s *scanner) next() (element, error) {
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			return element{}, s.ended(err)
		}
		top := s.top()
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ':':
			continue
		case c == ',':
			if top != nil && !top.array {
				top.keyNext = true
			}
			continue
		case c == '}' || c == ']':
			if top == nil || top.array != (c == ']') {
				return element{}, errSyntax
			}
			s.stack = s.stack[:len(s.stack)-1]
			continue
		case top != nil && top.comments:
			return s.capture(c)
		case c == '{' || c == '[':
			if len(s.stack) == maxNesting {
				return element{}, errSyntax
			}
			s.stack = append(s.stack, frame{array: c == '[', comments: c == '[' && s.holdsComments(), keyNext: c == '{'})
			s.found = s.found || s.top().comments
			continue
		case top == nil && s.mark(c):
			continue
		case top == nil:
			return element{}, errSyntax
		}
		word, err := s.word(c)
		if err != nil {
			return element{}, s.ended(err)
		}
		s.scalar(top, word, c == '"')
	}
}

// mark passes over a byte order mark.
func (s *scanner) mark(c byte) bool {
	if c != byteOrderMark[0] {
		return false
	}
	rest, err := s.in.Peek(2)
	if err != nil || string(rest) != byteOrderMark[1:] {
		return false
	}
	_, err = s.in.Discard(2)
	return err == nil
}

func (s *scanner) ended(err error) error {
	if errors.Is(err, io.EOF) && len(s.stack) > 0 {
		return errCut
	}
	return err
}

// holdsComments reports whether an array that begins here is one of comments.
func (s *scanner) holdsComments() bool {
	top := s.top()
	if top == nil || top.array {
		return false
	}
	return top.key == "comments" || top.key == "edges" && s.parentKey() == "comments"
}

// parentKey is the key of the object that is open.
func (s *scanner) parentKey() string {
	if len(s.stack) < 2 {
		return ""
	}
	return s.stack[len(s.stack)-2].key
}

// scalar takes note of a key, or of the id of whose channel it is.
func (s *scanner) scalar(top *frame, word []byte, quoted bool) {
	if top.array {
		return
	}
	if top.keyNext && quoted {
		top.key, top.keyNext = unquote(word), false
		return
	}
	if top.keyNext || top.key != "id" {
		return
	}
	switch s.parentKey() {
	case "streamer", "creator", "owner":
		if s.owner = string(word); quoted {
			s.owner = unquote(word)
		} else if s.owner == "null" || s.owner == "0" {
			s.owner = ""
		}
	}
}

// unquote reads a string of JSON; what is none stays as it is.
func unquote(quoted []byte) string {
	var text string
	if json.Unmarshal(quoted, &text) != nil {
		return string(quoted)
	}
	return text
}

// word reads a string, or a number or another literal, of which it keeps the beginning.
func (s *scanner) word(first byte) ([]byte, error) {
	s.buf = append(s.buf[:0], first)
	escaped := false
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			return nil, err
		}
		if first != '"' && delimits(c) {
			return s.buf, s.in.UnreadByte()
		}
		if len(s.buf) < maxWord || c == '"' && !escaped {
			s.buf = append(s.buf, c)
		}
		switch {
		case first != '"':
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			return s.buf, nil
		}
	}
}

func delimits(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ':', '"', '{', '}', '[', ']':
		return true
	}
	return false
}

// capture reads an element of an array of comments. It counts brackets and does not mind which.
func (s *scanner) capture(first byte) (element, error) {
	var (
		e       element
		depth   = 0
		quoted  = first == '"'
		escaped = false
		literal = !delimits(first)
	)
	if first == '{' || first == '[' {
		depth = 1
	}
	s.buf = append(s.buf[:0], first)
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			return element{}, s.ended(err)
		}
		if literal && delimits(c) {
			if err := s.in.UnreadByte(); err != nil {
				return element{}, err
			}
			break
		}
		if e.tooLong = e.tooLong || len(s.buf) == MaxCommentBytes; !e.tooLong {
			s.buf = append(s.buf, c)
		}
		if literal {
			continue
		}
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if depth == 0 && !quoted {
			break
		}
	}
	if !e.tooLong {
		e.data = s.buf
	}
	return e, nil
}
