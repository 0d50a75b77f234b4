package charity

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// valueKind is what a JSON value is.
type valueKind int

const (
	absent valueKind = iota
	null
	boolean
	number
	text
	list
	object
	odd // a word that is no JSON: NaN, undefined, 01
)

func (k valueKind) String() string {
	switch k {
	case absent:
		return "nothing"
	case null:
		return "null"
	case boolean:
		return "true or false"
	case number:
		return "a number"
	case text:
		return "text"
	case list:
		return "a list"
	case object:
		return "an object"
	case odd:
	}
	return "something that is no JSON"
}

// value is one JSON value. Numbers keep their digits.
type value struct {
	kind valueKind
	// text is a string's content, a number's literal, or the word that a boolean or odd one is.
	text string
	// items are a list's values, or an object's, named by keys.
	items []value
	keys  []string
	// start and end are where it stands in the answer.
	start, end int
}

// get is an object's value of a name; of names that are there twice the last one's, as everywhere.
func (v value) get(key string) value {
	if v.kind != object {
		return value{}
	}
	for i := len(v.keys) - 1; i >= 0; i-- {
		if v.keys[i] == key {
			return v.items[i]
		}
	}
	return value{}
}

const (
	// maxDepth bounds nesting.
	maxDepth = 64
	// maxOdd bounds how many oddities of an answer are told.
	maxOdd = 3
)

// parseJSON reads as much of an answer as is JSON, and reports whether it was read to its end. The error
// says what is wrong with it, and where; what was read up to there is good all the same: an object
// without the members that did not come, a list without its last element where that is not whole. Words
// that are no JSON and text that is not UTF-8 are told, and read over.
func parseJSON(b []byte) (v value, whole bool, err error) {
	p := jsonParser{b: b}
	if len(b) >= 3 && string(b[:3]) == "\ufeff" {
		p.at = 3
	}
	v, _ = p.value(0)
	if p.fatal == nil {
		if p.space(); p.at < len(b) {
			p.fail("something follows the answer's end")
		}
	}
	return v, p.fatal == nil, errors.Join(append(p.odd, p.fatal)...)
}

type jsonParser struct {
	b     []byte
	at    int
	odd   []error
	fatal error
}

func (p *jsonParser) fail(what string) {
	if p.fatal != nil {
		return
	}
	if p.at >= len(p.b) {
		what = "it is cut off"
	}
	p.fatal = fmt.Errorf("%s at byte %d", what, p.at)
}

func (p *jsonParser) note(at int, what string) {
	if len(p.odd) < maxOdd {
		p.odd = append(p.odd, fmt.Errorf("%s at byte %d", what, at))
	}
}

func (p *jsonParser) space() {
	for p.at < len(p.b) {
		switch p.b[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *jsonParser) peek() byte {
	if p.space(); p.at < len(p.b) {
		return p.b[p.at]
	}
	return 0
}

// value reads a value, and reports whether it is whole.
func (p *jsonParser) value(depth int) (value, bool) {
	c := p.peek()
	switch {
	case depth > maxDepth:
		p.fail("it is nested deeper than " + strconv.Itoa(maxDepth))
		return value{}, false
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.list(depth)
	case c == '"':
		start := p.at
		s, ok := p.text()
		return value{kind: text, text: s, start: start, end: p.at}, ok
	default:
		return p.word()
	}
}

func (p *jsonParser) object(depth int) (value, bool) {
	v := value{kind: object, start: p.at}
	p.at++
	if p.peek() == '}' {
		p.at++
		v.end = p.at
		return v, true
	}
	for {
		if p.peek() != '"' {
			p.fail("the name of a member is missing")
			break
		}
		key, ok := p.text()
		if !ok {
			break
		}
		if p.peek() != ':' {
			p.fail("a colon is missing")
			break
		}
		p.at++
		item, whole := p.value(depth + 1)
		if whole || item.kind == list || item.kind == object {
			v.keys, v.items = append(v.keys, key), append(v.items, item)
		}
		if !whole {
			break
		}
		switch p.peek() {
		case ',':
			p.at++
			continue
		case '}':
			p.at++
			v.end = p.at
			return v, true
		}
		p.fail("a comma or brace is missing")
		break
	}
	v.end = p.at
	return v, false
}

func (p *jsonParser) list(depth int) (value, bool) {
	v := value{kind: list, start: p.at}
	p.at++
	if p.peek() == ']' {
		p.at++
		v.end = p.at
		return v, true
	}
	for {
		item, whole := p.value(depth + 1)
		if !whole {
			break
		}
		v.items = append(v.items, item)
		switch p.peek() {
		case ',':
			p.at++
			continue
		case ']':
			p.at++
			v.end = p.at
			return v, true
		}
		p.fail("a comma or bracket is missing")
		break
	}
	v.end = p.at
	return v, false
}

// word reads a number, true, false, null, or what stands in the place of one.
func (p *jsonParser) word() (value, bool) {
	start := p.at
	for p.at < len(p.b) && isWordByte(p.b[p.at]) {
		p.at++
	}
	s := string(p.b[start:p.at])
	v := value{text: s, start: start, end: p.at}
	switch {
	case s == "":
		p.fail("a value is missing")
		return value{}, false
	case s == "null":
		v.kind = null
	case s == "true" || s == "false":
		v.kind = boolean
	case p.at == len(p.b) && start > 0:
		// Digits may be missing.
		p.fail("")
		return value{}, false
	case isNumber(s):
		v.kind = number
	default:
		v.kind = odd
		p.note(start, "a word that is no JSON")
	}
	return v, true
}

func isWordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '+' || c == '.'
}

// isNumber reports whether s is a number as JSON writes them.
func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole, rest := digitsOf(s)
	if whole == "" || len(whole) > 1 && whole[0] == '0' {
		return false
	}
	if after, ok := strings.CutPrefix(rest, "."); ok {
		var decimals string
		if decimals, rest = digitsOf(after); decimals == "" {
			return false
		}
	}
	if rest == "" {
		return true
	}
	if rest[0] != 'e' && rest[0] != 'E' {
		return false
	}
	rest = rest[1:]
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		rest = rest[1:]
	}
	exponent, rest := digitsOf(rest)
	return exponent != "" && rest == ""
}

func digitsOf(s string) (digits, rest string) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// text reads a string, and reports whether its end was there.
func (p *jsonParser) text() (string, bool) {
	p.at++
	plain := p.at
	for p.at < len(p.b) && p.b[p.at] != '"' && p.b[p.at] != '\\' && p.b[p.at] >= ' ' && p.b[p.at] < utf8.RuneSelf {
		p.at++
	}
	if p.at < len(p.b) && p.b[p.at] == '"' {
		p.at++
		return string(p.b[plain : p.at-1]), true
	}
	out := append([]byte(nil), p.b[plain:p.at]...)
	for p.at < len(p.b) {
		switch c := p.b[p.at]; {
		case c == '"':
			p.at++
			return string(out), true
		case c == '\\':
			r, n := unescape(p.b[p.at:])
			if n == 0 {
				p.at = len(p.b)
				p.fail("")
				return string(out), false
			}
			out = utf8.AppendRune(out, r)
			p.at += n
		case c < utf8.RuneSelf: // a bare line feed is let pass: nothing is lost by it
			out = append(out, c)
			p.at++
		default:
			r, n := utf8.DecodeRune(p.b[p.at:])
			if r == utf8.RuneError && n == 1 {
				p.note(p.at, "text that is not UTF-8")
			}
			out = utf8.AppendRune(out, r)
			p.at += n
		}
	}
	p.fail("")
	return string(out), false
}

// unescape reads what follows a backslash, and says how many bytes that is with it; 0 where its end
// is missing.
func unescape(b []byte) (rune, int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case 'n':
		return '\n', 2
	case 't':
		return '\t', 2
	case 'r':
		return '\r', 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'u':
		r, ok := hex4(b)
		switch {
		case len(b) < 6:
			return 0, 0
		case !ok:
			return utf8.RuneError, 2
		case utf16.IsSurrogate(r):
			if second, ok := hex4(b[6:]); ok {
				if pair := utf16.DecodeRune(r, second); pair != utf8.RuneError {
					return pair, 12
				}
			}
			return utf8.RuneError, 6
		}
		return r, 6
	}
	r, n := utf8.DecodeRune(b[1:])
	return r, 1 + n
}

// hex4 reads \uXXXX.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 32)
	return rune(n), err == nil
}

// step is one step of a path: a member's name, or where name is empty the index of a list's element.
type step struct {
	name  string
	index int
}

// path leads to a value: "donation.id", "data[0].amount", "$" for the answer itself.
type path []step

// parsePath reads a path: names of members joined by dots, and [n] for the element n of a list,
// counted from 0.
func parsePath(s string) (path, error) {
	if s == "$" {
		return path{}, nil
	}
	if s == "" {
		return nil, errors.New(`a path is wanted, like donation.id or data[0].amount; "$" is the answer itself`)
	}
	var out path
	for i, part := range strings.Split(s, ".") {
		name, rest, indexed := strings.Cut(part, "[")
		if name == "" && (i > 0 || !indexed) {
			return nil, fmt.Errorf("path %q: a name is missing", s)
		}
		if strings.Contains(name, "]") {
			return nil, fmt.Errorf("path %q: a ] without its [", s)
		}
		if name != "" {
			out = append(out, step{name: name})
		}
		for indexed {
			digits, after, ok := strings.Cut(rest, "]")
			n, err := strconv.Atoi(digits)
			if !ok || err != nil || n < 0 || digits[0] == '+' {
				return nil, fmt.Errorf("path %q: use [n] with n from 0 on", s)
			}
			out = append(out, step{index: n})
			if after == "" {
				break
			}
			if rest, indexed = strings.CutPrefix(after, "["); !indexed {
				return nil, fmt.Errorf("path %q: a dot is missing after ]", s)
			}
		}
	}
	return out, nil
}

func (p path) String() string {
	if len(p) == 0 {
		return "$"
	}
	var b strings.Builder
	for i, s := range p {
		switch {
		case s.name == "":
			fmt.Fprintf(&b, "[%d]", s.index)
		case i > 0:
			b.WriteString("." + s.name)
		default:
			b.WriteString(s.name)
		}
	}
	return b.String()
}

// of is the value that the path leads to from v.
func (p path) of(v value) value {
	for _, s := range p {
		switch {
		case s.name != "":
			v = v.get(s.name)
		case v.kind == list && s.index < len(v.items):
			v = v.items[s.index]
		default:
			return value{}
		}
	}
	return v
}
