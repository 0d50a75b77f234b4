package report

import (
	"fmt"
	"strings"

	"github.com/tungstene/tungstene/pkg/report/template"
)

// Name is a placeholder that templates can have.
type Name struct {
	// Name is what stands between the braces; one that ends in * stands for several.
	Name string
	Kind template.Kind
	// Where it can be: everywhere, in pictures of the event, in those of streamers, or in rows.
	Where string
	Help  string
}

// Where names can be used.
const (
	Everywhere  = "everywhere"
	OfTheEvent  = "event"
	OfStreamers = "streamer"
)

// Names lists all placeholders. Those of rows are written as ROWS/NAME.
func Names() []Name {
	const text, image, chart, cond, rows = template.Text, template.Image, template.Chart, template.If, template.Rows
	return []Name{
		{"event.name", text, Everywhere, "the event's name"},
		{"event.dates", text, Everywhere, "its days: 4–7 September 2026"},
		{"note", text, Everywhere, "what is to be taken with care: partial data with the share observed, until when is counted; empty where nothing is"},
		{"made", text, Everywhere, "who counted"},
		{"text.*", text, Everywhere, "words in the picture's language: see texts.json"},
		{"hero.value", text, Everywhere, "the number that matters most: what was raised, else the time watched"},
		{"hero.label", text, Everywhere, "what that is"},
		{"hero.note", text, Everywhere, "rank, goals, and the total before corrections where it differs"},
		{"donations", text, Everywhere, "what was raised, corrected"},
		{"donations.raw", text, Everywhere, "what the charity source shows"},
		{"donations.source", text, Everywhere, "the charity source's name"},
		{"donations.count", text, Everywhere, "single donations"},
		{"donations.mean", text, Everywhere, "their mean"},
		{"donations.largest", text, Everywhere, "the largest"},
		{"viewers.peak", text, Everywhere, "viewers at the peak"},
		{"viewers.peak_at", text, Everywhere, "when that was"},
		{"viewers.peak_line", text, Everywhere, "both in a line; empty where nobody watched"},
		{"viewers.average", text, Everywhere, "viewers on average, while live"},
		{"watch_hours", text, Everywhere, "the time that viewers spent, in hours"},
		{"stream_time", text, Everywhere, "how long was streamed: 54 h 12 min"},
		{"stream_hours", text, Everywhere, "the same in hours: 12,431 h"},
		{"messages", text, Everywhere, "chat messages"},
		{"messages.per_minute", text, Everywhere, "per minute that chat was read"},
		{"messages.per_chatter", text, Everywhere, "per person in chat"},
		{"messages.per_viewer_hour", text, Everywhere, "per hour that a viewer spent"},
		{"messages.first", text, Everywhere, "by people who had never written in the channel"},
		{"messages.line", text, Everywhere, "the minute with most messages (of streamers empty)"},
		{"chatters", text, Everywhere, "people who wrote; an estimate, and marked as one"},
		{"emotes.count", text, Everywhere, "emotes used"},
		{"subs", text, Everywhere, "subscriptions: new, renewed and gifted"},
		{"subs.new", text, Everywhere, "new subscriptions"},
		{"subs.renewed", text, Everywhere, "renewed ones"},
		{"subs.gifted", text, Everywhere, "gifted ones"},
		{"bits", text, Everywhere, "bits cheered"},
		{"cheers", text, Everywhere, "messages with bits"},
		{"raids.in", text, Everywhere, "raids received"},
		{"raids.in_viewers", text, Everywhere, "the viewers that they brought"},
		{"raids.out", text, Everywhere, "raids sent to channels of the event"},
		{"raids.out_viewers", text, Everywhere, "the viewers that were sent"},
		{"bans", text, Everywhere, "bans"},
		{"timeouts", text, Everywhere, "timeouts"},
		{"deletes", text, Everywhere, "deleted messages"},
		{"hours.title", text, Everywhere, "what the chart hours shows"},
		{"hours.line", text, Everywhere, "the best hour of it"},
		{"goals.reached", text, Everywhere, "goals reached, of the streamer or of all"},
		{"goals.count", text, Everywhere, "goals in all"},
		{"goals.legend", text, Everywhere, "what the diamonds in chart:viewers are; empty where there are none"},

		{"channels", text, OfTheEvent, "how many streamers"},
		{"goals.line", text, OfTheEvent, "“of 800 goals reached”, to stand under goals.reached"},
		{"goals.kept_line", text, OfTheEvent, "how many promises were kept"},
		{"goals.next_title", text, OfTheEvent, "what goals.next are: next to fall, or when the event is over almost reached"},
		{"board.*.title", text, OfTheEvent, "the title of a leaderboard"},
		{"board.since", text, OfTheEvent, "since when its changes are"},
		{"top.title", text, OfTheEvent, "the title of top"},
		{"race.title", text, OfTheEvent, "the title of the race"},
		{"compare.here", text, OfTheEvent, "the edition's name"},
		{"compare.there", text, OfTheEvent, "that of the earlier one"},

		{"streamer.name", text, OfStreamers, "display name"},
		{"streamer.login", text, OfStreamers, "login"},
		{"streamer.initials", text, OfStreamers, "one or two letters, for who has no picture"},
		{"streamer.line", text, OfStreamers, "login and stream time in a line"},
		{"initials", text, OfStreamers, "as streamer.initials"},
		{"rank.*", text, OfStreamers, "the place in a leaderboard: rank.donations, rank.messages, …"},
		{"avatar", image, OfStreamers, "the streamer's picture; missing where it can't be had"},

		{"viewers", chart, Everywhere, "viewers over the event with markers: peak, goals, raids"},
		{"viewers.spark", chart, Everywhere, "the same without axes"},
		{"messages", chart, Everywhere, "messages per minute"},
		{"donations", chart, Everywhere, "the running total"},
		{"hours", chart, Everywhere, "bars by hour: donations, else messages"},
		{"hours.donations", chart, Everywhere, "donations by hour"},
		{"hours.messages", chart, Everywhere, "messages by hour"},
		{"heat.messages", chart, Everywhere, "messages by day and hour"},
		{"heat.donations", chart, Everywhere, "donations by day and hour"},
		{"heat.viewers", chart, Everywhere, "viewers by day and hour"},
		{"categories", chart, OfStreamers, "what was streamed when"},
		{"race", chart, OfTheEvent, "the places hour by hour"},
		{"network", chart, OfTheEvent, "who shares an audience with whom"},
		{"goals.share", chart, OfTheEvent, "a bar: the share of goals that are reached"},
		{"compare.viewers", chart, OfTheEvent, "viewers of two editions"},
		{"compare.messages", chart, OfTheEvent, "messages so far of two editions"},
		{"compare.donations", chart, OfTheEvent, "the running totals of two editions"},

		{"donations", cond, Everywhere, "the event has donations"},
		{"hero.watched", cond, Everywhere, "hero.value is the time watched"},
		{"note", cond, Everywhere, "the note says something"},
		{"goals", cond, OfTheEvent, "there are goals"},
		{"compare", cond, OfTheEvent, "there is an earlier edition"},

		{"emotes", rows, Everywhere, "most used emotes: name, value, chart share"},
		{"categories", rows, Everywhere, "of the event the most watched, of streamers the longest streamed: name, value, chart share"},
		{"goals", rows, OfStreamers, "the streamer's goals by amount: as goals.global"},
		{"overlaps", rows, OfStreamers, "whose chats the chatters wrote in too: as top"},
		{"top", rows, OfTheEvent, "the streamers who raised most, else were watched most: name, login, initials, avatar, place, value, change, conditions up, down and new, chart share"},
		{"board.*", rows, OfTheEvent, "a leaderboard: board.donations, board.peak_viewers, …, and board.first which is donations or else chatters; as top"},
		{"records", rows, OfTheEvent, "records: title, value, name, initials, avatar, when, detail; conditions name and detail"},
		{"goals.global", rows, OfTheEvent, "goals of the event: name, amount, status, line, who, initials, avatar, condition reached, chart progress"},
		{"goals.latest", rows, OfTheEvent, "those of streamers that were reached last: as goals.global"},
		{"goals.next", rows, OfTheEvent, "those that come next: as goals.global"},
		{"pairs", rows, OfTheEvent, "pairs that share most chatters: name, initials, avatar, other, value, chart share"},
		{"bursts", rows, OfTheEvent, "when chats went wild: name, initials, avatar, value (×14), when, detail, chart share"},
	}
}

// NamesTable is the list as a table of the documentation.
func NamesTable() string {
	var b strings.Builder
	b.WriteString("| placeholder | where | what |\n|---|---|---|\n")
	for _, n := range Names() {
		id := n.Name
		if n.Kind != template.Text && n.Kind != template.Image {
			id = string(n.Kind) + ":" + n.Name
		}
		kind := ""
		if n.Kind == template.Image {
			kind = "picture: "
		}
		fmt.Fprintf(&b, "| `{{%s}}` | %s | %s%s |\n", id, n.Where, kind, n.Help)
	}
	return b.String()
}
