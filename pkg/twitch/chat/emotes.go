package chat

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tungstene/tungstene/pkg/record"
)

// maxEmoteName is more than the longest name that Twitch allows an emote.
const maxEmoteName = 100

// emotes reads the tag "id:from-to,from-to/id:from-to", whose positions count code points of the
// text, both included. Every range that is one counts as a use. A name is taken from the first
// range that lies in the text and holds a single word; where the ranges are wrong, it stays empty,
// as it does where it would give away who is named in the tags.
func emotes(tag, text string, who *identities) []record.Emote {
	if tag == "" {
		return nil
	}
	type use struct {
		record.Emote
		first int
	}
	uses := make([]use, 0, strings.Count(tag, "/")+1)
	for part := range strings.SplitSeq(tag, "/") {
		id, ranges, ok := strings.Cut(part, ":")
		if !ok || id == "" {
			continue
		}
		u := use{Emote: record.Emote{ID: id}, first: -1}
		for r := range strings.SplitSeq(ranges, ",") {
			from, to, ok := bounds(r)
			if !ok {
				continue
			}
			if u.first < 0 || from < u.first {
				u.first = from
			}
			u.Count++
			if u.Name == "" {
				u.Name = emoteName(codePoints(text, from, to), who)
			}
		}
		if u.Count == 0 {
			continue
		}
		i := slices.IndexFunc(uses, func(o use) bool { return o.ID == id })
		if i < 0 {
			u.ID = clean(id)
			uses = append(uses, u)
			continue
		}
		uses[i].Count += u.Count
		uses[i].first = min(uses[i].first, u.first)
		if uses[i].Name == "" {
			uses[i].Name = u.Name
		}
	}
	if len(uses) == 0 {
		return nil
	}
	slices.SortStableFunc(uses, func(a, b use) int { return a.first - b.first })
	out := make([]record.Emote, len(uses))
	for i := range uses {
		out[i] = uses[i].Emote
	}
	return out
}

func bounds(s string) (from, to int, ok bool) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		return 0, 0, false
	}
	from, err1 := strconv.Atoi(a)
	to, err2 := strconv.Atoi(b)
	return from, to, err1 == nil && err2 == nil && from >= 0 && to >= from
}

// codePoints is the text from one code point to another, both included; empty when it does not
// reach that far.
func codePoints(text string, from, to int) string {
	n, start := 0, -1
	for i := range text {
		if n == from {
			start = i
		}
		if n == to {
			_, size := utf8.DecodeRuneInString(text[i:])
			return text[start : i+size]
		}
		n++
	}
	return ""
}

func emoteName(s string, who *identities) string {
	if len(s) > maxEmoteName || strings.ContainsFunc(s, func(r rune) bool {
		return r == '@' || r == utf8.RuneError || unicode.IsSpace(r) || unicode.IsControl(r)
	}) || who.holds(s) {
		return ""
	}
	return s
}
