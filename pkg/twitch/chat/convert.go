package chat

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	twitch "github.com/gempir/go-twitch-irc/v4"

	"github.com/tungstene/tungstene/pkg/record"
)

// AnonymousGifter is the Twitch user id that anonymous gifts come from.
const AnonymousGifter = "274598607"

// Event is what a line is converted for.
type Event struct {
	Slug string
	// KeepText says that the text of messages is kept.
	KeepText bool
	// Pseudonyms are the event's; they must be there.
	Pseudonyms *record.Pseudonyms
}

// The modes of a ROOMSTATE, as its tags call them.
const (
	modeEmoteOnly       = "emote-only"
	modeUnique          = "r9k"
	modeSubscribersOnly = "subs-only"
	modeFollowersOnly   = "followers-only"
	modeSlow            = "slow"
)

// Convert makes the record of a line. Lines that are no record (PING, JOIN, NOTICE, a ROOMSTATE
// that is not whole) give nil. No identity of a chatter is in the document but as a pseudonym; see
// Notice for what happens to the parameters of a USERNOTICE. It fails for a line without the id
// that Twitch gives to every message. The time is tmi-sent-ts or, where that is missing or
// absurd, when the line was received.
func Convert(line Line, ev Event) (record.Document, error) {
	switch m := line.Message.(type) {
	case *twitch.PrivateMessage:
		return convertMessage(line, ev, m)
	case *twitch.UserNoticeMessage:
		return convertNotice(line, ev, m)
	case *twitch.ClearChatMessage:
		return convertClearChat(line, ev, m), nil
	case *twitch.ClearMessage:
		return convertClearMessage(line, ev, m), nil
	case *twitch.RoomStateMessage:
		if d := convertRoomState(line, ev, m); d != nil {
			return d, nil
		}
	}
	return nil, nil //nolint:nilnil // most commands are no record, which is no error
}

func header(line Line, ev Event, tags map[string]string) record.Header {
	channel := line.Channel.ID
	if channel == "" {
		channel = clean(tags["room-id"])
	}
	return record.Header{Event: ev.Slug, Channel: channel, Time: sentAt(tags["tmi-sent-ts"], line.Received), Received: line.Received}
}

// Twitch began in 2011; a stamp outside of these years is not one.
var (
	earliest = time.Date(2005, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() //nolint:gochecknoglobals // a constant
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() //nolint:gochecknoglobals // a constant
)

func sentAt(tag string, received time.Time) time.Time {
	ms, err := strconv.ParseInt(tag, 10, 64)
	if err != nil || ms < earliest || ms > latest {
		return received
	}
	return time.UnixMilli(ms).UTC()
}

var errNoID = errors.New("has no id")

func convertMessage(line Line, ev Event, m *twitch.PrivateMessage) (record.Document, error) {
	tags := m.Tags
	id := clean(tags["id"])
	if id == "" {
		return nil, fmt.Errorf("message in %s %w", line.Channel.Login, errNoID)
	}
	who := identities{pseudonyms: ev.Pseudonyms}
	d := &record.Message{
		Header:     header(line, ev, tags),
		MessageID:  id,
		Chatter:    chatter(ev.Pseudonyms, tags["user-id"], m.User.Name),
		Length:     utf8.RuneCountInString(m.Message),
		Action:     m.Action,
		Bits:       positive(tags["bits"]),
		Badges:     badges(tags["badges"]),
		Subscriber: months(tags["badge-info"]),
		First:      tags["first-msg"] == "1",
		Returning:  tags["returning-chatter"] == "1",
		Reward:     clean(tags["custom-reward-id"]),
		Source:     source(tags, line.Channel.ID),
	}
	if tags["emotes"] != "" || ev.KeepText {
		who.fromTags(tags)
		who.name(m.User.Name)
		d.Emotes = emotes(tags["emotes"], m.Message, &who)
	}
	if ev.KeepText {
		d.Text = who.words(clean(m.Message))
	}
	if parent := clean(tags["reply-parent-msg-id"]); parent != "" {
		d.Reply = &record.Reply{
			Message: parent,
			Chatter: chatter(ev.Pseudonyms, tags["reply-parent-user-id"], tags["reply-parent-user-login"]),
			Thread:  clean(tags["reply-thread-parent-msg-id"]),
		}
	}
	return d, nil
}

// fromTags notes everyone whom the tags of a message name.
func (i *identities) fromTags(tags map[string]string) {
	i.id(tags["user-id"])
	i.name(tags["login"])
	i.name(tags["display-name"])
	i.id(tags["reply-parent-user-id"])
	i.name(tags["reply-parent-user-login"])
	i.name(tags["reply-parent-display-name"])
	i.name(tags["reply-thread-parent-user-login"])
	i.name(tags["reply-thread-parent-display-name"])
	i.id(tags["reply-thread-parent-user-id"])
}

// chatter is the pseudonym of who has an id or, where Twitch gives none, a name.
func chatter(p *record.Pseudonyms, id, name string) string {
	if id != "" {
		return p.User(id)
	}
	if p.IsPublic(name) {
		// Name would give the login itself, which as an author is a pseudonym too.
		return p.User("login:" + strings.ToLower(name))
	}
	return p.Name(name)
}

func convertClearChat(line Line, ev Event, m *twitch.ClearChatMessage) record.Document {
	d := &record.Moderation{
		Header:  header(line, ev, m.Tags),
		Action:  record.ActionClear,
		Chatter: chatter(ev.Pseudonyms, m.Tags["target-user-id"], m.TargetUsername),
	}
	if d.Chatter == "" {
		return d
	}
	d.Action = record.ActionBan
	if duration, timed := m.Tags["ban-duration"]; timed {
		d.Action, d.Seconds = record.ActionTimeout, positive(duration)
	}
	return d
}

func convertClearMessage(line Line, ev Event, m *twitch.ClearMessage) record.Document {
	return &record.Moderation{
		Header:  header(line, ev, m.Tags),
		Action:  record.ActionDelete,
		Chatter: chatter(ev.Pseudonyms, m.Tags["target-user-id"], m.Login),
		Message: clean(m.TargetMsgID),
	}
}

func convertRoomState(line Line, ev Event, m *twitch.RoomStateMessage) *record.RoomState {
	for _, mode := range [...]string{modeEmoteOnly, modeUnique, modeSubscribersOnly, modeFollowersOnly, modeSlow} {
		if _, ok := m.State[mode]; !ok {
			return nil
		}
	}
	return &record.RoomState{
		Header:          header(line, ev, m.Tags),
		EmoteOnly:       m.State[modeEmoteOnly] != 0,
		Unique:          m.State[modeUnique] != 0,
		SubscribersOnly: m.State[modeSubscribersOnly] != 0,
		FollowersOnly:   max(-1, m.State[modeFollowersOnly]),
		Slow:            max(0, m.State[modeSlow]),
	}
}

// source is set for a shared-chat copy of what was written in another channel.
func source(tags map[string]string, channel string) *record.Source {
	from := tags["source-room-id"]
	if room := tags["room-id"]; room != "" {
		channel = room
	}
	if from == "" || from == channel {
		return nil
	}
	return &record.Source{Channel: clean(from), Message: clean(tags["source-id"])}
}

// badges are the elements of the tag, "name/version" each.
func badges(tag string) []string {
	if tag == "" {
		return nil
	}
	return slices.DeleteFunc(strings.Split(clean(tag), ","), func(s string) bool { return s == "" })
}

// months is what badge-info says of a subscription: "subscriber/14" or, of a channel's first
// subscribers, "founder/14".
func months(badgeInfo string) int {
	for badge := range strings.SplitSeq(badgeInfo, ",") {
		name, value, _ := strings.Cut(badge, "/")
		if name == "subscriber" || name == "founder" {
			// 0 is what the first month shows as.
			return max(1, positive(value))
		}
	}
	return 0
}

// positive reads a number that can't be negative. What is none is 0.
func positive(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return min(max(n, 0), math.MaxInt32)
}

// clean makes text fit for a document: valid UTF-8 without NUL.
func clean(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return s
}
