package statistics

import "time"

// What a Burst is of.
const (
	OfMessages  = "messages"  // per minute
	OfDonations = "donations" // cents per minute
)

// Burst is a time in which chat or donations exploded against their own recent level.
type Burst struct {
	Streamer
	Of string `json:"of"`
	// Range is when it was above the threshold; PeakAt its highest minute, and Peak that minute's
	// number.
	Range
	Peak   int64     `json:"peak"`
	PeakAt time.Time `json:"peak_at"`
	// Sum is all of its minutes together.
	Sum int64 `json:"sum"`
	// Level is the median minute before it, Ratio Peak by Level, Score by how many robust standard
	// deviations Peak lies above Level. Bursts are ranked by Score.
	Level float64 `json:"level"`
	Ratio float64 `json:"ratio"`
	Score float64 `json:"score"`
	// Moments are what happened from shortly before it until its peak, the nearest to the peak first.
	Moments []Moment `json:"moments,omitempty"`
}

// The kinds of a Moment.
const (
	MomentGoal     = "goal"     // a donation goal was reached; Number is its cents
	MomentRaid     = "raid"     // a raid came in; Number is its viewers, Text who came
	MomentTitle    = "title"    // the title changed
	MomentCategory = "category" // the category changed
	MomentDonation = "donation" // the largest donation of a minute; Number is its cents
	MomentStart    = "start"    // a stream began
	MomentEnd      = "end"      // a stream ended
)

// Moment is something that happened on a channel.
type Moment struct {
	Time    time.Time `json:"time"`
	Channel string    `json:"channel"`
	Kind    string    `json:"kind"`
	Text    string    `json:"text,omitempty"`
	Number  int64     `json:"number,omitempty"`
}

// Feat is a record of the event in the sense of sports: the most, the longest, the first of something.
type Feat struct {
	// Name is one of the constants below.
	Name string `json:"name"`
	Streamer
	Value Count `json:"value"`
	// Unit is that of Value: messages, viewers, cents, minutes, emotes, subs, people, bits.
	Unit string `json:"unit"`
	// At is when, of something that lasts its start, and To its end.
	At time.Time `json:"at"`
	To time.Time `json:"to,omitzero"`
	// Other is the channel that a raid came from. Text is a category, an emote or a currency.
	Other *Streamer `json:"other,omitempty"`
	Text  string    `json:"text,omitempty"`
}

// The names of Feats.
const (
	MostMessages      = "most_messages_in_a_minute"       // of a channel
	MostMessagesEvent = "most_messages_in_a_minute_event" // of the event
	MostEmotes        = "most_emotes_in_a_minute"         // of a channel
	HighestPeak       = "highest_peak"                    // viewers of a channel
	HighestPeakEvent  = "highest_peak_event"              // viewers of the event
	LargestDonation   = "largest_donation"                // cents
	MostRaised        = "most_raised_in_an_hour"          // cents of a channel
	MostRaisedEvent   = "most_raised_in_an_hour_event"    // cents of the event
	BiggestRaid       = "biggest_raid"                    // viewers
	LongestStream     = "longest_stream"                  // minutes
	LongestSilence    = "longest_without_a_message"       // minutes of a channel that was live and read
	LongestWithout    = "longest_without_a_donation"      // minutes of the event
	FirstTo           = "first_to_"                       // and an amount of the currency, as first_to_100000: minutes since the start
	MostGifts         = "most_gifts_in_a_minute"          // subscriptions given on a channel
)
