package statistics

import "time"

// The numbers that leaderboards are by.
const (
	ByDonated     = "donations"       // cents, corrected, of the event's own source
	ByPeakViewers = "peak_viewers"    // viewers
	ByAverage     = "average_viewers" // viewers
	ByWatchTime   = "watch_minutes"   // minutes
	ByStreamTime  = "stream_minutes"  // minutes
	ByMessages    = "messages"        // messages
	ByChatters    = "chatters"        // people, approximate
	ByEmotes      = "emotes"          // uses
	BySubs        = "subs"            // new, renewed and gifted subscriptions
	ByBits        = "bits"            // bits
	ByRaids       = "raid_in_viewers" // viewers that raids brought
	ByFirst       = "first_messages"  // messages
)

// Board is a leaderboard: who has most of a number, in order.
type Board struct {
	By string `json:"by"`
	// Currency is that of cents.
	Currency string `json:"currency,omitempty"`
	// Range is what the numbers are of, Before the end of the earlier standing that Change compares
	// with; the zero time where there is none.
	Range
	Before time.Time `json:"before,omitzero"`
	Rows   []Rank    `json:"rows"`
}

// Rank is one row of a Board.
type Rank struct {
	// Place counts from 1; equals share a place and are in order of their channel's id.
	Place int `json:"place"`
	Streamer
	Value Count `json:"value"`
	// Share is of the sum of all; 0 where sums say nothing (peaks, averages, chatters).
	Share float64 `json:"share,omitempty"`
	// Change is by how many places it has gone up (positive) or down since Board.Before; New says that
	// it had no place then.
	Change int  `json:"change"`
	New    bool `json:"new,omitempty"`
}

// Race is a leaderboard hour by hour: the standings at the end of each hour since the start.
type Race struct {
	By       string `json:"by"`
	Currency string `json:"currency,omitempty"`
	// Times are the ends of the hours.
	Times []time.Time `json:"times"`
	Lanes []Lane      `json:"lanes"`
}

// Lane is one streamer's way through a Race; lanes are in the order of the last standing.
type Lane struct {
	Streamer
	// Places are by Race.Times, 0 where it had none yet; Values its numbers then.
	Places []int   `json:"places"`
	Values []Count `json:"values"`
}
