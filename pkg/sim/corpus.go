package sim

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

//go:embed data/chat-2019.txt.gz
var chat2019 []byte

// text is what someone once wrote, with the emotes in it.
type text struct {
	body   string // without the frame of an action
	action bool
	emotes []emoteUses
	uses   int  // emotes in all
	only   bool // nothing but emotes
}

// emoteUses are the places of one emote: first and last code point, as Twitch counts them.
type emoteUses struct {
	id string
	at [][2]int
}

// emote is an emote that texts can be made of.
type emote struct{ id, name string }

// style is how a chatter appears: colour and badges, those left out that depend on the channel.
type style struct{ color, badges string }

// corpus is the real chat that messages are drawn from.
type corpus struct {
	texts  []text
	plain  []int32         // texts without emotes
	byUses map[int][]int32 // texts by number of emotes
	emotes []emote
	styles []style
}

func loadCorpus() (*corpus, error) {
	z, err := gzip.NewReader(bytes.NewReader(chat2019))
	if err != nil {
		return nil, fmt.Errorf("embedded chat: %w", err)
	}
	c := &corpus{byUses: map[int][]int32{}}
	known := map[string]bool{}
	sc := bufio.NewScanner(z)
	sc.Buffer(nil, 1<<20)
	for n := 1; sc.Scan(); n++ {
		tags, rest, ok := strings.Cut(strings.TrimRight(sc.Text(), "\r"), " ")
		fields := strings.SplitN(rest, " ", 4)
		if !ok || len(fields) < 4 || fields[1] != "PRIVMSG" || !strings.HasPrefix(fields[3], ":") {
			continue // moderation and notices are made, not drawn
		}
		t := text{body: fields[3][1:]}
		if inner, ok := strings.CutPrefix(t.body, "\x01ACTION "); ok {
			t.body, t.action = strings.TrimSuffix(inner, "\x01"), true
		}
		var st style
		for tag := range strings.SplitSeq(strings.TrimPrefix(tags, "@"), ";") {
			key, value, _ := strings.Cut(tag, "=")
			switch key {
			case "emotes":
				if t.emotes, t.uses, err = parseEmotes(value, t.body); err != nil {
					return nil, fmt.Errorf("embedded chat: line %d: %w", n, err)
				}
			case "emote-only":
				t.only = true
			case "color":
				st.color = value
			case "badges":
				st.badges = strings.Join(globalBadges(value), ",")
			}
		}
		i := int32(len(c.texts))
		c.texts, c.styles = append(c.texts, t), append(c.styles, st)
		c.byUses[t.uses] = append(c.byUses[t.uses], i)
		for _, e := range t.emotes {
			name := codePoints(t.body, e.at[0][0], e.at[0][1])
			if !known[e.id] && isWord(name) && len(name) <= 16 {
				known[e.id] = true
				c.emotes = append(c.emotes, emote{e.id, name})
			}
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("embedded chat: %w", err)
	}
	if c.plain = c.byUses[0]; len(c.plain) == 0 || len(c.emotes) == 0 {
		return nil, fmt.Errorf("embedded chat: %d texts and %d emotes: it is not the file that it should be", len(c.texts), len(c.emotes))
	}
	return c, nil
}

// globalBadges leaves out the badges that say what someone is in one channel.
func globalBadges(badges string) []string {
	var kept []string
	for b := range strings.SplitSeq(badges, ",") {
		name, _, _ := strings.Cut(b, "/")
		switch name {
		case "", "subscriber", "founder", "moderator", "vip", "broadcaster", "bits":
		default:
			kept = append(kept, b)
		}
	}
	return kept
}

// parseEmotes reads an emotes tag, "id:first-last,first-last/id:…", and holds it against the text.
func parseEmotes(tag, body string) ([]emoteUses, int, error) {
	if tag == "" {
		return nil, 0, nil
	}
	var out []emoteUses
	uses, length := 0, utf8.RuneCountInString(body)
	for part := range strings.SplitSeq(tag, "/") {
		id, places, ok := strings.Cut(part, ":")
		if !ok || id == "" {
			return nil, 0, fmt.Errorf("emotes %q: an emote without places", tag)
		}
		e := emoteUses{id: id}
		for place := range strings.SplitSeq(places, ",") {
			first, last, _ := strings.Cut(place, "-")
			a, errA := strconv.Atoi(first)
			b, errB := strconv.Atoi(last)
			if errA != nil || errB != nil || a < 0 || b < a || b >= length {
				return nil, 0, fmt.Errorf("emotes %q: the place %q is not in a text of %d code points", tag, place, length)
			}
			e.at = append(e.at, [2]int{a, b})
		}
		uses += len(e.at)
		out = append(out, e)
	}
	return out, uses, nil
}

// codePoints is what stands between two code points of s, both included.
func codePoints(s string, first, last int) string {
	n, from := 0, -1
	for i := range s {
		if n == first {
			from = i
		}
		if n == last+1 {
			return s[from:i]
		}
		n++
	}
	if from < 0 {
		return ""
	}
	return s[from:]
}

// isWord says whether a name is of ASCII letters and digits alone.
func isWord(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return s != ""
}
