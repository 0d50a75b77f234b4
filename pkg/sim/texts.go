package sim

import (
	"unicode/utf8"

	"github.com/tungstene/tungstene/pkg/record"
)

// Text is a chat message that someone once wrote.
type Text struct {
	Body string
	// Length is its number of Unicode code points.
	Length int
	// Action says that it was written with /me.
	Action bool
	// Emotes are in order of first use.
	Emotes []record.Emote
	// Badges are those of who wrote it that are not of one channel, as "name/version".
	Badges []string
}

// Texts is the recorded chat that the program carries: some five thousand messages of one big channel,
// people's names replaced.
func Texts() ([]Text, error) {
	c, err := loadCorpus()
	if err != nil {
		return nil, err
	}
	out := make([]Text, len(c.texts))
	for i := range c.texts {
		t := &c.texts[i]
		out[i] = Text{
			Body: t.body, Length: utf8.RuneCountInString(t.body), Action: t.action,
			Badges: globalBadges(c.styles[i].badges),
		}
		for _, e := range t.emotes {
			name := codePoints(t.body, e.at[0][0], e.at[0][1])
			out[i].Emotes = append(out[i].Emotes, record.Emote{ID: e.id, Name: name, Count: len(e.at)})
		}
	}
	return out, nil
}

// Name is the n-th of the simulator's names: it can be spoken, and belongs to nobody. Different numbers
// give different names.
func Name(n uint64) string { return string(appendName(nil, n)) }
