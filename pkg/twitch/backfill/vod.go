package backfill

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	twitch "github.com/gempir/go-twitch-irc/v4"

	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

const (
	commentTooLong = "is longer than any comment"
	noComment      = "is no comment in JSON"
	noCommentID    = "has no id: it can't be told from what is stored already"
	noMessage      = "has no message"
	noComments     = "the file holds no comments"
)

// comment is one comment of a VOD. The names with underscores are those of Twitch's API until 2022
// and of TwitchDownloader, the others those of Twitch's GraphQL, where a Node holds all.
// https://github.com/lay295/TwitchDownloader has both in TwitchDownloaderCore/TwitchObjects.
type comment struct {
	UnderID    text       `json:"_id"`
	ID         text       `json:"id"`
	CreatedAt  text       `json:"created_at"`
	CreatedAtG text       `json:"createdAt"`
	Channel    text       `json:"channel_id"`
	Source     text       `json:"source"`
	Commenter  *commenter `json:"commenter"`
	Message    *message   `json:"message"`
	Node       *comment   `json:"node"`
}

type commenter struct {
	UnderID      text `json:"_id"`
	ID           text `json:"id"`
	Name         text `json:"name"`
	Login        text `json:"login"`
	DisplayName  text `json:"display_name"`
	DisplayNameG text `json:"displayName"`
}

type message struct {
	Body      text       `json:"body"`
	Action    truth      `json:"is_action"`
	Bits      text       `json:"bits_spent"`
	Fragments []fragment `json:"fragments"`
	Badges    []badge    `json:"user_badges"`
	BadgesG   []badge    `json:"userBadges"`
	Notice    *struct {
		Type  text `json:"msg-id"`
		TypeU text `json:"msg_id"`
	} `json:"user_notice_params"`
}

type fragment struct {
	Text     text `json:"text"`
	Emoticon *struct {
		ID text `json:"emoticon_id"`
	} `json:"emoticon"`
	Emote *struct {
		ID text `json:"emoteID"`
	} `json:"emote"`
}

type badge struct {
	ID      text `json:"_id"`
	Set     text `json:"setID"`
	Version text `json:"version"`
}

// text is a string, or a number as it is written: exports differ. Anything else is empty.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	switch c := b[0]; {
	case c == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err //nolint:wrapcheck // of one comment, of which it is enough to know that it is none
		}
		*t = text(s)
	case c == '-' || c >= '0' && c <= '9':
		*t = text(b)
	default:
		*t = ""
	}
	return nil
}

// truth is true, and everything else isn't.
type truth bool

// UnmarshalJSON implements json.Unmarshaler.
func (t *truth) UnmarshalJSON(b []byte) error {
	*t = string(b) == "true"
	return nil
}

// either is the one that is there.
func either(a, b text) string {
	if a != "" {
		return string(a)
	}
	return string(b)
}

func (c *converter) vod(chunk []byte) {
	s := newScanner(bytes.NewReader(chunk))
	for {
		e, err := s.next()
		if errors.Is(err, io.EOF) && s.found {
			return
		}
		c.out.Lines++
		switch {
		case errors.Is(err, io.EOF):
			c.faulty(noComments)
			return
		case err != nil: // of the syntax: bytes in memory can be read
			c.faulty("the file " + err.Error())
			return
		case e.tooLong:
			c.faulty(commentTooLong)
			continue
		}
		var read comment
		if err := json.Unmarshal(e.data, &read); err != nil {
			c.faulty(noComment)
			continue
		}
		if read.Node != nil {
			read = *read.Node
		}
		c.comment(&read, s.owner)
	}
}

func (c *converter) comment(read *comment, owner string) {
	id := either(read.UnderID, read.ID)
	channel := owner
	if read.Channel != "" {
		channel = string(read.Channel)
	}
	switch {
	case id == "":
		c.faulty(noCommentID)
		return
	case channel != "" && channel != c.to.Channel.ID:
		c.out.OtherChannel++
		c.out.other(channel)
		return
	case read.Message == nil:
		c.faulty(noMessage)
		return
	}
	who := commenter{}
	if read.Commenter != nil {
		who = *read.Commenter
	}
	body, emotes := read.Message.content()
	display := strings.TrimSpace(either(who.DisplayName, who.DisplayNameG))
	if read.Source == "comment" || read.Message.isNotice(display, body) {
		c.out.Ignored++
		return
	}
	sent := ""
	if t, ok := createdAt(either(read.CreatedAt, read.CreatedAtG)); ok {
		sent = strconv.FormatInt(t.UnixMilli(), 10)
	}
	login := strings.ToLower(either(who.Name, who.Login))
	c.store(chat.Line{Message: &twitch.PrivateMessage{
		User:    twitch.User{Name: login},
		Channel: c.to.Channel.Login,
		Message: body,
		Action:  bool(read.Message.Action),
		Tags: map[string]string{
			"id":           id,
			"tmi-sent-ts":  sent,
			"user-id":      either(who.UnderID, who.ID),
			"login":        login,
			"display-name": display,
			"badges":       read.Message.badges(),
			"bits":         whole(read.Message.Bits),
			"emotes":       emotes,
		},
	}})
}

// createdAt reads the time of a comment: RFC 3339 with a fraction of a second or without; where the
// zone is missing, UTC.
func createdAt(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// whole is a number without its fraction, which some exports write.
func whole(t text) string {
	f, err := strconv.ParseFloat(string(t), 64)
	if err != nil || f < 0 || f > math.MaxInt32 {
		return ""
	}
	return strconv.Itoa(int(f))
}

// content is a message's text, and its emotes as the tag "emotes" gives them.
func (m *message) content() (body, emotes string) {
	var (
		b   strings.Builder
		tag strings.Builder
		at  = 0
	)
	for _, f := range m.Fragments {
		id := ""
		if f.Emoticon != nil {
			id = string(f.Emoticon.ID)
		} else if f.Emote != nil {
			id = string(f.Emote.ID)
		}
		n := utf8.RuneCountInString(string(f.Text))
		if id != "" && n > 0 && !strings.ContainsAny(id, ":/,") {
			if tag.Len() > 0 {
				tag.WriteByte('/')
			}
			tag.WriteString(id + ":" + strconv.Itoa(at) + "-" + strconv.Itoa(at+n-1))
		}
		b.WriteString(string(f.Text))
		at += n
	}
	if b.Len() == 0 {
		return string(m.Body), ""
	}
	return b.String(), tag.String()
}

func (m *message) badges() string {
	list := m.Badges
	if len(list) == 0 {
		list = m.BadgesG
	}
	names := make([]string, 0, len(list))
	for _, b := range list {
		if name := either(b.ID, b.Set); name != "" {
			names = append(names, name+"/"+string(b.Version))
		}
	}
	return strings.Join(names, ",")
}

// isNotice reports whether a comment is what is a USERNOTICE live: a subscription, a raid. A VOD
// tells it as a sentence in the name of who caused it, which names others, and since October 2022
// does not mark it any more (https://github.com/lay295/TwitchDownloader/issues/393): then only the
// sentence can tell.
func (m *message) isNotice(display, body string) bool {
	if m.Notice != nil {
		// Of messages: highlighted-message, skip-subs-mode-message, gigantified-emote-message.
		if typ := either(m.Notice.Type, m.Notice.TypeU); typ != "" {
			return !strings.HasSuffix(typ, "-message")
		}
	}
	if rest, ok := strings.CutPrefix(body, display); ok && display != "" && namedSentence.MatchString(rest) {
		return true
	}
	return sentence.MatchString(body)
}

// The sentences that Twitch makes of notices: after the name of who caused it, and without.
var (
	namedSentence = regexp.MustCompile(`^(?: subscribed (?:at Tier \d|with Prime)` +
		`| is gifting \d+ | gifted (?:a Tier \d|\d+ months?) | is continuing the Gift Sub | is paying forward the Gift ` +
		`| converted from a | watched \d+ consecutive streams |: Donated .* to support )`)
	sentence = regexp.MustCompile(`^(?:An anonymous user (?:gifted a|is gifting \d+) Tier \d` +
		`|\d+ raiders from .* have joined!|We added \d+ Gift Subs |bits badge tier notification *$)`)
)
