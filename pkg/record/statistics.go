package record

import "time"

// The states of a statistics document.
const (
	StateOpen   = "open"   // provisional: from the live feed, still changing
	StateClosed = "closed" // a pure function of the stored records
)

// The completeness of a number.
const (
	Complete = "complete" // the whole span was observed
	Partial  = "partial"  // a part of the span was observed: the number is a lower bound
	Unknown  = "unknown"  // nothing observed the span
)

// AllChannels is the Channel of the documents that speak of the event as a whole.
const AllChannels = "*"

// Statistics is one document of the collections minutes, hours and totals: what happened on one
// channel, or on all of an event (Channel is AllChannels), in one minute, one hour, or the event
// so far. The same fields mean the same in each.
//
// A minute document is there for each channel that something counted here happened on or that was
// being read, and for the event if it is there for any channel. An hour document sums up the
// closed minute documents of its channel and clock hour (UTC), a total all of its channel.
type Statistics struct {
	// ID is event, channel and, but for totals, the start in Unix seconds, joined by "/".
	ID      string `bson:"_id"     json:"id"`
	Event   string `bson:"event"   json:"event"`
	Channel string `bson:"channel" json:"channel"`
	// Time is the start of the span.
	Time  time.Time `bson:"time"  json:"time"`
	State string    `bson:"state" json:"state"`
	// Epoch is the term of the rollup leader that wrote it; a lower one never replaces a higher.
	Epoch int64 `bson:"epoch" json:"epoch"`
	// Counted is when it was computed.
	Counted time.Time `bson:"counted" json:"counted"`
	// Minutes is how many closed minute documents it sums up; 1 in a minute document.
	Minutes int `bson:"minutes" json:"minutes"`
	// Through is the start of the last closed minute of the span, whether or not that minute has a
	// document.
	Through time.Time `bson:"through" json:"through"`

	// Messages counts chat messages, shared-chat copies from other channels left out. No field but
	// SharedCopies counts a copy, be it of a message or of a notice.
	Messages int64 `bson:"messages" json:"messages"`
	// SharedCopies counts the copies of messages.
	SharedCopies int64 `bson:"shared_copies" json:"shared_copies"`
	// FirstMessages counts messages of chatters who had never written in the channel before.
	FirstMessages int64    `bson:"first_messages" json:"first_messages"`
	Chatters      Chatters `bson:"chatters"       json:"chatters"`
	Emotes        Emotes   `bson:"emotes"         json:"emotes"`
	// Bits is the sum of bits cheered, Cheers the number of messages with some.
	Bits   int64 `bson:"bits"   json:"bits"`
	Cheers int64 `bson:"cheers" json:"cheers"`
	// Subs are new subscriptions, Resubs renewed ones, Gifts those given to others (each single
	// one), GiftBombs the announcements of several gifts at once, Upgrades the gifted or Prime
	// subscriptions that went on as paid ones.
	Subs      int64 `bson:"subs"       json:"subs"`
	Resubs    int64 `bson:"resubs"     json:"resubs"`
	Gifts     int64 `bson:"gifts"      json:"gifts"`
	GiftBombs int64 `bson:"gift_bombs" json:"gift_bombs"`
	Upgrades  int64 `bson:"upgrades"   json:"upgrades"`
	// Raids are raids received, RaidViewers the viewers that they brought.
	Raids       int64 `bson:"raids"        json:"raids"`
	RaidViewers int64 `bson:"raid_viewers" json:"raid_viewers"`
	// Notices counts every notice, those named above among them.
	Notices  int64 `bson:"notices"  json:"notices"`
	Bans     int64 `bson:"bans"     json:"bans"`
	Timeouts int64 `bson:"timeouts" json:"timeouts"`
	Deletes  int64 `bson:"deletes"  json:"deletes"`
	Clears   int64 `bson:"clears"   json:"clears"`

	Viewers  Audience `bson:"viewers"  json:"viewers"`
	Coverage Covered  `bson:"coverage" json:"coverage"`
	// Donations are by source and then currency, those that say anything of the span.
	Donations []Donations `bson:"donations,omitempty" json:"donations,omitempty"`
}

// Chatters is an approximate number of distinct authors of the messages that Messages counts.
type Chatters struct {
	// Estimate is of a HyperLogLog sketch, and always approximate.
	Estimate int64 `bson:"estimate" json:"estimate"`
	// Error is the relative standard error of Estimate: 1.04 by the square root of the sketch's
	// registers (2^12 for a channel, 2^14 for an event). Small numbers are far more exact.
	Error float64 `bson:"error" json:"error"`
	// Sketch is the encoded sketch (github.com/axiomhq/hyperloglog, of the bytes of the
	// pseudonyms). Sketches of channels merge with each other, over time and over channels; those
	// of events with those of events. Open documents have none.
	Sketch []byte `bson:"sketch,omitempty" json:"-"`
}

// Emotes counts the uses of Twitch's own emotes in the messages that Messages counts.
type Emotes struct {
	Total int64 `bson:"total" json:"total"`
	// Top are the 50 most used, most used first, equals by id.
	Top []Emote `bson:"top,omitempty" json:"top,omitempty"`
	// Truncated says that more emotes were used than Top holds. In a closed minute the counts of
	// Top are exact all the same; in an hour or a total they are then lower bounds, for an emote is
	// missing from minutes in which it was not among the most used. Total is always exact.
	Truncated bool `bson:"truncated,omitempty" json:"truncated,omitempty"`
}

// Audience is what viewer samples say. A sample stands for the minute that its slot lies in; where
// several sources sampled a channel at one slot, the highest counts. A minute's average is the mean
// over its slots, a slot at which the channel was offline counting as 0; of an event, the mean over
// all slots of the minute of the sum over its channels. For a channel that has no sample at one of
// these, its sample before stands, or its first of the minute.
//
// A sample is expected of each minute that begins within the event's start and end, for the slots
// are at the beginning of minutes. Of the minute that an event starts in the middle of none is, and
// it is not missed there; where the slots are closer together and there is one, it counts like all.
type Audience struct {
	// Average is the mean of the minutes' averages over the minutes with a live sample (SpanMinutes):
	// WatchMinutes by SpanMinutes.
	Average float64 `bson:"average" json:"average"`
	// Peak is the highest number at one slot; of an event, the highest sum over its channels.
	Peak int64 `bson:"peak" json:"peak"`
	// PeakAt is the first slot of the peak; the zero time where nothing was live.
	PeakAt time.Time `bson:"peak_at" json:"peak_at,omitzero"`
	// WatchMinutes is the sum over the minutes of their averages: the time that viewers spent.
	WatchMinutes float64 `bson:"watch_minutes" json:"watch_minutes"`
	// LiveMinutes and SampledMinutes count channel-minutes: those with a live sample, and those
	// with any sample.
	LiveMinutes    int64 `bson:"live_minutes"    json:"live_minutes"`
	SampledMinutes int64 `bson:"sampled_minutes" json:"sampled_minutes"`
	// SpanMinutes counts the minutes that Average is over: for an event, minutes in which anything
	// was live.
	SpanMinutes int64 `bson:"span_minutes" json:"span_minutes"`
}

// Covered says how much of the span was observed, in channel-seconds for an event. A channel's span
// is all of the minute, of the hour, or of the event so far, as far as it is closed and within the
// event's start and end, whether or not each of its minutes has a document: a minute that nothing
// observed is a gap. An event's is the sum of the spans of the channels that have a document.
type Covered struct {
	// Chat is complete when the union of all connections' coverage fills the span, unknown when
	// nothing covers it, else partial.
	Chat string `bson:"chat" json:"chat"`
	// Seconds is the covered time, Expected the span: the time that would be complete.
	Seconds  float64 `bson:"seconds"  json:"seconds"`
	Expected float64 `bson:"expected" json:"expected"`
	// Viewers is complete when every minute (and channel) of the span that a sample is expected of
	// has one, unknown when there is no sample at all, expected or not, else partial.
	Viewers string `bson:"viewers" json:"viewers"`
}

// Event is one document of the collection events: a marathon that is collected.
type Event struct {
	// Slug names the event in ids, URLs and commands.
	Slug string `bson:"_id" json:"slug"`
	// Rev is the revision that compare-and-set goes by.
	Rev  int64  `bson:"rev"  json:"rev"`
	Name string `bson:"name" json:"name"`
	// State is draft, scheduled, live, ended or frozen.
	State string `bson:"state" json:"state"`
	// Start and End bound it by event time: [Start, End).
	Start time.Time `bson:"start" json:"start,omitzero"`
	End   time.Time `bson:"end"   json:"end,omitzero"`
	// TimeZone is the IANA name that its days and displayed times go by.
	TimeZone string `bson:"time_zone" json:"time_zone"`
	// Currency is the ISO 4217 code that its money is shown in.
	Currency string `bson:"currency" json:"currency"`
	// Donations is the name of the charity source whose numbers are the event's, where there are several;
	// empty: the first by name that has running totals, else the first.
	Donations string `bson:"donations,omitempty" json:"donations,omitempty"`
	// KeepText says that the text of messages is stored.
	KeepText bool `bson:"keep_text" json:"keep_text"`
	// Replicas is on how many collectors each channel is read, 1 or 2.
	Replicas int       `bson:"replicas" json:"replicas"`
	Created  time.Time `bson:"created"  json:"created,omitzero"`
	// TextDays and RecordDays are how many days after its end the texts of messages, and all records
	// that speak of chatters, are erased; 0 is never. Records are erased only of a frozen event.
	TextDays int `bson:"text_days,omitempty"   json:"text_days,omitempty"`
	// AnswerDays is the same of the answers of charity sources (the kind answer, and Raw of donations).
	AnswerDays int `bson:"answer_days,omitempty" json:"answer_days,omitempty"`
	RecordDays int `bson:"record_days,omitempty" json:"record_days,omitempty"`
	// TextErased and RecordsErased are when that was done; zero as long as it is not. The statistics of
	// an event whose records were erased are final: nothing is counted again.
	TextErased    time.Time `bson:"text_erased,omitempty"    json:"text_erased,omitzero"`
	AnswersErased time.Time `bson:"answers_erased,omitempty" json:"answers_erased,omitzero"`
	RecordsErased time.Time `bson:"records_erased,omitempty" json:"records_erased,omitzero"`
	// Held is until when corrections or goals of it may be being written, by the machines' clocks: it is
	// frozen no sooner.
	Held time.Time `bson:"held,omitempty" json:"-"`
	// KeyDestroyed is when the event's pseudonym key was destroyed.
	KeyDestroyed time.Time `bson:"key_destroyed,omitempty" json:"key_destroyed,omitzero"`
}

// The states of an Event.
const (
	EventDraft     = "draft"     // being prepared, nothing is collected
	EventScheduled = "scheduled" // collection begins by itself shortly before its start
	EventLive      = "live"      // collected
	EventEnded     = "ended"     // collection has stopped
	EventFrozen    = "frozen"    // nothing changes any more
)

// Channel is one document of the collection channels: a channel's part in one event. Its logins
// and names are those known last; their history is in the change records.
type Channel struct {
	// ID is event and the channel's Twitch id joined by "/"; of a login that is not resolved yet,
	// event and "login:" and the login.
	ID    string `bson:"_id"   json:"id"`
	Rev   int64  `bson:"rev"   json:"rev"`
	Event string `bson:"event" json:"event"`
	// Channel is the Twitch id; empty until resolved.
	Channel string `bson:"channel" json:"channel"`
	Login   string `bson:"login"   json:"login"`
	Name    string `bson:"name"    json:"name"`
	Picture string `bson:"picture" json:"picture"`
	// Status is active, unresolved (not looked up yet) or unknown (Twitch knows no such login).
	Status string    `bson:"status" json:"status"`
	Added  time.Time `bson:"added"  json:"added,omitzero"`
}

// The statuses of a Channel.
const (
	ChannelActive     = "active"
	ChannelUnresolved = "unresolved"
	ChannelUnknown    = "unknown"
)
