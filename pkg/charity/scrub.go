package charity

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
)

// class is what may stand at a place of an answer without naming a person.
type class int

const (
	denied   class = iota // anything: a pseudonym takes its place
	public                // ids of donations, names of streamers: kept as they are
	figure                // a number, or text that is one
	moment                // a time
	currency              // a currency's code
	place                 // a country
	word                  // one of a few words: a state, a type
	said                  // what a donor wrote: its length takes its place
	donorID               // a donor's id: the pseudonym that the donation has takes its place
)

// scrubber takes whatever can name a person out of answers of one source.
//
// Nothing is let pass but what is known to be harmless: a value whose place the source's mapping
// knows, and whose form is that of what belongs there. Every other text becomes a pseudonym, and so do
// numbers that could be ids; what people wrote becomes its length; names of members that are not made
// of words which answers are made of become pseudonyms too. It reads token by token, without
// wanting the answer to be JSON: from the first place on where it is none, nothing is left of texts but
// their lengths.
type scrubber struct {
	donors string           // what donors' ids are prefixed with before they become pseudonyms
	places map[string]class // by path, without indexes
	words  map[string]bool  // what names of members are made of
}

func newScrubber(donors string, places map[string]class) *scrubber {
	s := &scrubber{donors: donors, places: places, words: make(map[string]bool, 512)}
	for w := range strings.FieldsSeq(schemaWords) {
		s.words[w] = true
	}
	return s
}

// maxScrubDepth is how deep places are known; what is nested deeper is no answer of a source.
const maxScrubDepth = 64

// longID is the length from which digits may be somebody's id, a telephone number or a card's.
const longID = 6

// scrub is what is harmless of an answer, whose root stands at base ("" or the path of a row). It is
// UTF-8, and JSON where the answer is.
func (s *scrubber) scrub(b []byte, base string, p *record.Pseudonyms) []byte {
	x := scrubbing{scrubber: s, pseudonyms: p, out: make([]byte, 0, len(b)+len(b)/4), path: base}
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	for len(b) > 0 {
		b = x.token(b)
	}
	return x.out
}

// level is one open object or list.
type level struct {
	object bool
	path   string // of the container
}

// expectation is what grammar wants next.
type expectation int

const (
	wantValue expectation = iota
	wantKey               // or an object's end
	wantColon
	wantNext // a comma, or the container's end
	wantEnd  // nothing more
)

type scrubbing struct {
	*scrubber
	pseudonyms *record.Pseudonyms
	out        []byte
	path       string // of the next value
	open       []level
	want       expectation
	fresh      bool // a container has just begun: it may end
	broken     bool // it is no JSON from here on
}

// token takes one token off b.
func (x *scrubbing) token(b []byte) []byte {
	switch c := b[0]; {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		n := 1
		for n < len(b) && (b[n] == ' ' || b[n] == '\t' || b[n] == '\n' || b[n] == '\r') {
			n++
		}
		return b[n:] // answers are kept without their indents
	case c == '"':
		return x.quoted(b)
	case strings.IndexByte("{}[],:", c) >= 0:
		x.punctuation(c)
		return b[1:]
	default:
		return x.bare(b)
	}
}

func (x *scrubbing) punctuation(c byte) {
	x.out = append(x.out, c)
	if x.broken {
		return
	}
	inObject := len(x.open) > 0 && x.open[len(x.open)-1].object
	ends := len(x.open) > 0 && (x.want == wantNext || x.fresh)
	switch {
	case c == '{' && x.want == wantValue && len(x.open) < maxScrubDepth:
		x.open = append(x.open, level{object: true, path: x.path})
		x.want, x.fresh = wantKey, true
	case c == '[' && x.want == wantValue && len(x.open) < maxScrubDepth:
		x.open = append(x.open, level{path: x.path})
		x.want, x.fresh = wantValue, true
	case c == '}' && ends && inObject, c == ']' && ends && !inObject:
		x.path = x.open[len(x.open)-1].path
		x.open = x.open[:len(x.open)-1]
		x.valueDone()
	case c == ',' && x.want == wantNext && len(x.open) > 0:
		x.want = wantValue
		if inObject {
			x.want = wantKey
		} else {
			x.path = x.open[len(x.open)-1].path
		}
		x.fresh = false
	case c == ':' && x.want == wantColon:
		x.want = wantValue
	default:
		x.broken = true
	}
}

func (x *scrubbing) valueDone() {
	x.fresh = false
	x.want = wantNext
	if len(x.open) == 0 {
		x.want = wantEnd
	}
}

// quoted takes a string off b, one without an end whole.
func (x *scrubbing) quoted(b []byte) []byte {
	p := jsonParser{b: b}
	s, ended := p.text()
	s = strings.ToValidUTF8(s, "\ufffd")
	rest := b[p.at:]
	isKey := !x.broken && x.want == wantKey
	if !ended || !isKey && x.want != wantValue {
		x.broken = true
	}
	if isKey && ended {
		key := x.schemaName(s)
		x.append(key)
		at := x.open[len(x.open)-1].path
		if at != "" {
			at += "."
		}
		// A name with a dot in it leads nowhere: no mapping can mean it.
		if strings.ContainsRune(s, '.') {
			s = "."
		}
		x.path = at + s
		x.want, x.fresh = wantColon, false
		return rest
	}
	if x.broken {
		x.append("[" + strconv.Itoa(utf8.RuneCountInString(s)) + "]")
		return rest
	}
	x.append(x.harmless(s))
	x.valueDone()
	return rest
}

// append appends text as JSON. All that comes here is short, or a streamer's name.
func (x *scrubbing) append(s string) { x.out = appendJSON(x.out, s) }

func appendJSON(out []byte, s string) []byte {
	out = append(out, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r < ' ':
			out = append(out, `\u00`...)
			out = append(out, "0123456789abcdef"[r>>4], "0123456789abcdef"[r&15])
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	return append(out, '"')
}

// harmless is what may be kept of a text at the current path.
func (x *scrubbing) harmless(s string) string {
	switch x.classOf() {
	case public:
		return s
	case figure:
		if isNumber(s) && len(s) < 24 {
			return s
		}
	case moment:
		if isTime(s) || isNumber(s) && len(s) < 24 {
			return s
		}
	case currency:
		if _, ok := money.Digits(s); ok {
			return s
		}
	case place:
		if isPlace(s) {
			return s
		}
	case word:
		if isWord(s) {
			return s
		}
	case said:
		return "[" + strconv.Itoa(utf8.RuneCountInString(s)) + "]"
	case donorID:
		return x.pseudonyms.User(x.donors + strings.TrimSpace(s))
	case denied:
	}
	return x.pseudonyms.Name(s)
}

func (x *scrubbing) classOf() class {
	if c, ok := x.places[x.path]; ok {
		return c
	}
	// What donors write is looked for by name too, wherever it stands.
	last := x.path[strings.LastIndexByte(x.path, '.')+1:]
	for _, s := range [...]string{"comment", "message", "text", "note"} {
		if strings.Contains(strings.ToLower(last), s) {
			return said
		}
	}
	return denied
}

// bare takes what stands outside quotes and is no punctuation off b.
func (x *scrubbing) bare(b []byte) []byte {
	n := 0
	for n < len(b) && isWordByte(b[n]) {
		n++
	}
	s := string(b[:n])
	literal := s == "true" || s == "false" || s == "null"
	if !x.broken && x.want == wantValue && (literal || isNumber(s)) {
		switch {
		case literal:
			x.out = append(x.out, s...)
		default:
			x.out = append(x.out, x.numeral(s)...)
		}
		x.valueDone()
		return b[n:]
	}
	if x.broken || x.want != wantValue || n == 0 {
		x.broken = true
		// Up to where something with a form begins again, it may be anything.
		for n < len(b) && strings.IndexByte(`{}[],:" `, b[n]) < 0 {
			n++
		}
	}
	x.valueDone()
	if n <= 4 && (s == "NaN" || literal) {
		x.out = append(x.out, s...)
		return b[n:]
	}
	x.append("[" + strconv.Itoa(utf8.RuneCount(b[:n])) + "]")
	return b[n:]
}

// numeral is what may be kept of a number at the current path.
func (x *scrubbing) numeral(s string) []byte {
	switch c := x.classOf(); c {
	case public, figure, moment:
		return []byte(s)
	case donorID:
		return appendJSON(nil, x.pseudonyms.User(x.donors+s))
	case denied, currency, place, word, said:
	}
	digits := 0
	for i := range len(s) {
		if s[i] >= '0' && s[i] <= '9' {
			digits++
		}
	}
	if digits < longID {
		return []byte(s)
	}
	return appendJSON(nil, x.pseudonyms.Name(s))
}

func isTime(s string) bool {
	for _, layout := range [...]string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02T15:04:05", time.DateOnly} {
		if _, err := time.Parse(layout, s); err == nil {
			return true
		}
	}
	return false
}

// isPlace reports whether s has the form of a country's name or code: letters with spaces, hyphens and
// apostrophes (Côte d'Ivoire) between them.
func isPlace(s string) bool {
	if s == "" || utf8.RuneCountInString(s) > maxCountry {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsMark(r) && !strings.ContainsRune(" -'\u2019", r)
	})
}

// isWord reports whether s is one of the words that states and types are told by.
func isWord(s string) bool {
	if s == "" || len(s) > 24 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' && r != '-' })
}

// schemaName is the name of a member, or a pseudonym where it could be somebody's.
func (x *scrubbing) schemaName(s string) string {
	if s == "" || len(s) > 64 {
		return x.pseudonyms.Name(s)
	}
	start := 0
	for i := range len(s) + 1 {
		switch {
		case i == len(s) || s[i] == '_' || s[i] == '-' || s[i] >= 'A' && s[i] <= 'Z':
			if w := strings.ToLower(s[start:i]); w != "" && !x.words[w] {
				return x.pseudonyms.Name(s)
			}
			start = i
			if i < len(s) && (s[i] == '_' || s[i] == '-') {
				start++
			}
		case s[i] < 'a' || s[i] > 'z':
			return x.pseudonyms.Name(s)
		}
	}
	return s
}

// schemaWords are what names of members are made of, in English, as the sources write them.
const schemaWords = `
a about accepted account active address after age allowed amount amounts answer api at available
avatar average awarded badge bar before best billing bits body broadcaster by campaign campaigns
card category cause cents channel channels charity chat city claim claims code color comment
comments completed concert config converted count counter country created currency current cursor
custom data date day days decimal decimals default deleted desc description display donated donation
donations donor donors elements email emote end ended ends error errors event events exponent fee
fees field fields finished first follower followers for formatted from full fundraiser fundraising
game gateway gift goal goals gross group has hidden host hour i id ids image images in incentive
incentives index info international ip is iso item items key kind label language last legacy length
level limit link links list live local locale location login logins logo match matched matches
matching max media member members message messages meta metadata method milestone min minimum mode
money month name names net next no note now number object of offline offset on online order original
other owner page pages pagination paging parent participant participants partner path payment
payments per percent picture platform poll polls position prev previous price processed profile
progress provider public published quantity raised rank rate reason received recipient refund
refunded region request result results reward rewards row rows score seconds section self sender
sent settings short show size slug social source start started starts state status stream streamer
streamers streamlabs streams sub subscribers success sum supporter supporters supporting sustained
tag tags target team teams text thumbnail tiltify time timestamp timezone tip title to top total
totals twitch type unit unix updated url urls user username users uuid value values version view
viewer viewers visible web website week widget with year zevent zip
`
