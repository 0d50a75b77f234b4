package statistics

import (
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Summary is what one streamer, or the event (Streamer.Channel is record.AllChannels), did in a range.
type Summary struct {
	Event string `json:"event"`
	Streamer
	// Range is what was asked for. Only what lies within the event and is counted is in it: Through is
	// the start of the last closed minute.
	Range
	Through time.Time `json:"through,omitzero"`
	// Channels is how many channels have anything in the range; 1 for a streamer who has.
	Channels int `json:"channels"`

	// StreamMinutes counts the minutes (of the event: channel-minutes) with a live sample.
	StreamMinutes Count `json:"stream_minutes"`
	// Sessions are the streams that touch the range, by their start; of the event only where they were
	// asked for.
	Sessions []Session `json:"sessions,omitempty"`
	// WatchMinutes is the time that viewers spent, in minutes.
	WatchMinutes Measure `json:"watch_minutes"`
	// AverageViewers is over the minutes with a live sample, PeakViewers the highest number at one slot,
	// first at PeakAt; of the event, of the sum over its channels.
	AverageViewers Measure   `json:"average_viewers"`
	PeakViewers    Count     `json:"peak_viewers"`
	PeakAt         time.Time `json:"peak_at,omitzero"`

	Messages      Count `json:"messages"`
	SharedCopies  Count `json:"shared_copies"`
	FirstMessages Count `json:"first_messages"`
	// Chatters is approximate: see its Error.
	Chatters Count `json:"chatters"`
	// MessagesPerMinute is over the time in which chat was read; MessagesPerChatter over the chatters.
	MessagesPerMinute  Measure `json:"messages_per_minute"`
	MessagesPerChatter Measure `json:"messages_per_chatter"`
	// MessagesPerViewer is over the average viewers, MessagesPerViewerHour over the hours that viewers
	// spent. Both are unknown where nobody watched.
	MessagesPerViewer     Measure `json:"messages_per_viewer"`
	MessagesPerViewerHour Measure `json:"messages_per_viewer_hour"`

	Emotes Count `json:"emotes"`
	// TopEmotes are at most 50; TopEmotesExact says that their counts are no lower bounds.
	TopEmotes      []record.Emote `json:"top_emotes,omitempty"`
	TopEmotesExact bool           `json:"top_emotes_exact"`

	Bits      Count `json:"bits"`
	Cheers    Count `json:"cheers"`
	Subs      Count `json:"subs"`
	Resubs    Count `json:"resubs"`
	Gifts     Count `json:"gifts"`
	GiftBombs Count `json:"gift_bombs"`
	Upgrades  Count `json:"upgrades"`

	// RaidsIn and RaidInViewers are raids received and the viewers that they brought. RaidsOut are those
	// sent to channels of the event; unknown where raids were not asked for.
	RaidsIn        Count `json:"raids_in"`
	RaidInViewers  Count `json:"raid_in_viewers"`
	RaidsOut       Count `json:"raids_out"`
	RaidOutViewers Count `json:"raid_out_viewers"`

	Bans     Count `json:"bans"`
	Timeouts Count `json:"timeouts"`
	Deletes  Count `json:"deletes"`
	Clears   Count `json:"clears"`
	// ModerationPer1000 is the four by a thousand messages.
	ModerationPer1000 Measure `json:"moderation_per_1000_messages"`

	// Donations are by source and currency, the event's own source first.
	Donations []Donations `json:"donations,omitempty"`
}

// Donations is what one charity source says of a range, in cents of one currency.
type Donations struct {
	Source   string `json:"source"`
	Currency string `json:"currency"`
	// Main says that the source is the one whose numbers are the event's.
	Main bool `json:"main"`
	// Total is the running total at the end of the range, what was there before it included, as the
	// source says it; it was last sampled at At. A sum of fewer channels' totals than one before it is
	// partial. Corrected is Total with the corrections that hold.
	Total     Count     `json:"total"`
	Corrected Count     `json:"corrected"`
	At        time.Time `json:"at,omitzero"`
	// By says what Total is: one of the constants below.
	By string `json:"by"`
	// Raised is by how much Total grew within the range: since the last sample before it, or where there
	// is none since the first in it. Raised of a range is the sum of Raised of its parts.
	Raised          Count `json:"raised"`
	RaisedCorrected Count `json:"raised_corrected"`
	// Count is the number of single donations in the range, Cents their sum, Mean their mean and Largest
	// the largest; unknown of sources that have none.
	Count   Count   `json:"count"`
	Cents   Count   `json:"cents"`
	Mean    Measure `json:"mean"`
	Largest Count   `json:"largest"`
}

// What Donations.Total is.
const (
	BySamples   = "samples"   // the total that the source shows
	ByChannels  = "channels"  // of the event: the sum of the totals that the source shows of channels
	ByDonations = "donations" // the sum of single donations, of a source that shows no totals
)

// MainDonations are those of the event's own source; ok is false where there are none.
func (s *Summary) MainDonations() (d Donations, ok bool) {
	for _, d := range s.Donations {
		if d.Main {
			return d, true
		}
	}
	return Donations{}, false
}

// Session is one stream of one channel as far as it lies in a range.
type Session struct {
	Channel string `json:"channel"`
	Stream  string `json:"stream"`
	// Range is the part in the range that was asked for. Started and Ended are those of the stream;
	// Ended is the zero time as long as no end is known, and the part then ends with what is counted.
	Range
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended,omitzero"`
	Category string    `json:"category,omitempty"`
	Title    string    `json:"title,omitempty"`
}

// Stint is a time in which a channel streamed one category.
type Stint struct {
	Channel string `json:"channel"`
	Range
}

// Category is what was streamed of one category in a range, by one channel or by all.
type Category struct {
	// ID is Twitch's; empty where only the name is known. Name is empty for no category.
	ID   string `json:"id,omitempty"`
	Name string `json:"name"`
	// Channels is how many streamed it, StreamMinutes and WatchMinutes are of the minutes in which it
	// was streamed, Peak is of one channel's viewers.
	Channels      int           `json:"channels"`
	Time          time.Duration `json:"time"`
	StreamMinutes Count         `json:"stream_minutes"`
	WatchMinutes  Measure       `json:"watch_minutes"`
	Messages      Count         `json:"messages"`
	Peak          Count         `json:"peak"`
	PeakAt        time.Time     `json:"peak_at,omitzero"`
	PeakChannel   string        `json:"peak_channel,omitempty"`
	Stints        []Stint       `json:"stints,omitempty"`
}

// Raid is one raid from one channel of the event to another, or from outside (From is empty).
type Raid struct {
	Time    time.Time `json:"time"`
	From    string    `json:"from,omitempty"`
	To      string    `json:"to"`
	Viewers int64     `json:"viewers"`
}
