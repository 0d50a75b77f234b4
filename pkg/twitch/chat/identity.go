package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tungstene/tungstene/pkg/record"
)

// identities are the names and ids of people that a line's tags give, for finding them again in
// places where they are not expected.
type identities struct {
	pseudonyms *record.Pseudonyms
	names      []string // lower case
	ids        []string
}

// name notes a login or display name. Those of public channels may stay.
func (i *identities) name(s string) {
	if s = strings.ToLower(s); s != "" && !i.pseudonyms.IsPublic(s) {
		i.names = append(i.names, s)
	}
}

// id notes a Twitch user id.
func (i *identities) id(s string) {
	if _, public := i.pseudonyms.PublicLogin(s); s != "" && !public {
		i.ids = append(i.ids, s)
	}
}

// shortestPart is the number of bytes from which an identity is found inside of words too: a
// shorter one would be found everywhere.
const shortestPart = 4

// scrub replaces every identity by its pseudonym, and mentions. It is for values of which nothing
// is known.
func (i *identities) scrub(s string) string {
	s = i.words(s)
	for _, name := range i.names {
		if len(name) >= shortestPart {
			s = replaceFold(s, name, i.pseudonyms.Name(name))
		}
	}
	for _, id := range i.ids {
		if len(id) >= shortestPart {
			s = replaceFold(s, id, i.pseudonyms.User(id))
		}
	}
	return s
}

// words replaces mentions, and every identity that stands as a word of its own. It is for text
// that people wrote.
func (i *identities) words(s string) string {
	s = i.pseudonyms.Text(s)
	if len(i.names)+len(i.ids) == 0 || !i.occurs(s) {
		return s
	}
	var b strings.Builder
	for s != "" {
		start := strings.IndexFunc(s, isWord)
		if start < 0 {
			break
		}
		b.WriteString(s[:start])
		s = s[start:]
		end := strings.IndexFunc(s, func(r rune) bool { return !isWord(r) })
		if end < 0 {
			end = len(s)
		}
		b.WriteString(i.word(s[:end]))
		s = s[end:]
	}
	b.WriteString(s)
	return b.String()
}

// occurs is a quick look whether there is anything to replace.
func (i *identities) occurs(s string) bool {
	lower := strings.ToLower(s)
	for _, name := range i.names {
		if strings.Contains(lower, name) {
			return true
		}
	}
	for _, id := range i.ids {
		if strings.Contains(s, id) {
			return true
		}
	}
	return false
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func (i *identities) word(w string) string {
	lower := strings.ToLower(w)
	for _, name := range i.names {
		if lower == name {
			return i.pseudonyms.Name(name)
		}
	}
	for _, id := range i.ids {
		if w == id {
			return i.pseudonyms.User(id)
		}
	}
	return w
}

// holds reports whether scrub would change s.
func (i *identities) holds(s string) bool {
	return len(i.names)+len(i.ids) > 0 && i.occurs(s) && i.scrub(s) != s
}

// replaceFold replaces old, which is lower case, in s whatever the case it has there.
func replaceFold(s, old, replacement string) string {
	var b strings.Builder
	last := 0
	for at := 0; at < len(s); {
		if n, ok := prefixFold(s[at:], old); ok {
			b.WriteString(s[last:at])
			b.WriteString(replacement)
			at += n
			last = at
			continue
		}
		_, n := utf8.DecodeRuneInString(s[at:])
		at += n
	}
	if last == 0 {
		return s
	}
	b.WriteString(s[last:])
	return b.String()
}

// prefixFold reports whether s begins with old, which is lower case, and how many bytes that takes.
func prefixFold(s, old string) (int, bool) {
	n := 0
	for _, want := range old {
		r, size := utf8.DecodeRuneInString(s[n:])
		if size == 0 || unicode.ToLower(r) != unicode.ToLower(want) {
			return 0, false
		}
		n += size
	}
	return n, true
}
