package backfill

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	twitch "github.com/gempir/go-twitch-irc/v4"

	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

const (
	lineTooLong = "is longer than any line of IRC"
	noIRC       = "is no raw line of IRC: use a log that keeps the lines as Twitch sends them, tags included"
	noTags      = "has no tags: without Twitch's id and time it can't be told from what is stored already"
	noCommand   = "has no command: cut off, perhaps"
)

// stamp is a time that a logger put before a line: digits and what stands between them, in brackets
// or not.
var stamp = regexp.MustCompile(`^[\[(]?[0-9][0-9T:./,+\- ]*Z?(?: UTC)?[\])]?[ \t]+`)

// unstamped is the line without a logger's time.
func unstamped(line []byte) []byte {
	if len(line) == 0 || line[0] == '@' || line[0] == ':' {
		return line
	}
	return line[len(stamp.Find(line)):]
}

func (c *converter) irc(chunk []byte) {
	for line := range bytes.Lines(bytes.TrimPrefix(chunk, []byte(byteOrderMark))) {
		c.out.Lines++
		c.line(bytes.TrimSuffix(line, []byte("\n")))
	}
}

func (c *converter) line(line []byte) {
	if len(line) > MaxLineBytes {
		c.faulty(lineTooLong)
		return
	}
	if line = bytes.TrimRight(line, "\r\n"); len(bytes.TrimSpace(line)) == 0 {
		c.out.Ignored++
		return
	}
	raw := string(unstamped(line))
	if !strings.HasPrefix(raw, "@") && !strings.HasPrefix(raw, ":") {
		// The server's commands come without a sender.
		switch word, _, _ := strings.Cut(raw, " "); word {
		case "PING", "PONG", "RECONNECT":
			c.out.Ignored++
		default:
			c.faulty(noIRC)
		}
		return
	}
	m, err := chat.Parse(raw)
	if err != nil {
		c.faulty(err.Error())
		return
	}
	var (
		login string
		tags  map[string]string
	)
	switch m := m.(type) {
	case *twitch.PrivateMessage:
		login, tags = m.Channel, m.Tags
	case *twitch.UserNoticeMessage:
		login, tags = m.Channel, m.Tags
	case *twitch.ClearChatMessage:
		login, tags = m.Channel, m.Tags
	case *twitch.ClearMessage:
		login, tags = m.Channel, m.Tags
	case *twitch.RawMessage:
		if m.RawType == "" {
			c.faulty(noCommand)
			return
		}
		c.out.Ignored++
		return
	default:
		c.out.Ignored++
		return
	}
	switch {
	case !c.wanted(tags["room-id"], login):
		c.out.OtherChannel++
		name := strings.TrimPrefix(login, "#")
		if strings.EqualFold(name, c.to.Channel.Login) {
			name = tags["room-id"] // its login was another's then
		}
		c.out.other(strings.ToLower(name))
	case len(tags) == 0:
		c.faulty(noTags)
	default:
		c.store(chat.Line{Message: m})
	}
}

// wanted reports whether a line is of the channel. Its id decides: a login can have been another's.
func (c *converter) wanted(id, login string) bool {
	if _, err := strconv.ParseUint(id, 10, 64); err != nil {
		return strings.EqualFold(strings.TrimPrefix(login, "#"), c.to.Channel.Login)
	}
	return id == c.to.Channel.ID
}
