// Package goals says how far donation goals are (record.Goal), which one falls next and when, and reads
// lists of goals as streamers keep them. Everything is a pure function of totals and goals.
package goals

import (
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Point is a corrected running total at a moment, in cents.
type Point struct {
	Time  time.Time
	Cents int64
}

// Single is a single donation, in cents.
type Single struct {
	Time  time.Time
	Cents int64
}

// Status is how far a goal is.
type Status struct {
	Goal record.Goal `json:"goal"`
	// Known says whether what decides the goal is known: a total, or the single donations. Where it is
	// not, all that follows is zero. Of an incentive, which nothing but a person decides, it always is.
	Known bool `json:"known"`
	// Reached is as of now: a correction can take it back. ReachedAt is the first sample at which the
	// (corrected) total was enough, or the donation that was (donation_largest: the largest); of recurent
	// that of the last time. Who gave the largest donation is settled at the event's end: until then that
	// goal is not reached.
	Reached   bool      `json:"reached"`
	ReachedAt time.Time `json:"reached_at,omitzero"`
	// Times is how often it was reached: of donation_equal and donation_more_than the donations that
	// fit, of recurent the whole multiples of the amount. Of others it is 0 or 1.
	Times int64 `json:"times"`
	// Current is what counts towards it, in cents: the total; of donation_more_than and donation_largest
	// the largest single donation; of recurent what the total has above the last multiple.
	Current int64 `json:"current"`
	// Missing is what it still needs, in cents; 0 where reached (recurent: to the next multiple).
	Missing int64 `json:"missing"`
	// Progress is Current of the amount in thousandths, 0 to 1000; never 1000 before it is reached.
	Progress int `json:"progress_permille"`
	// ETA is when it falls, of categories that a total decides and that are not reached yet.
	ETA Estimate `json:"eta"`
}

// The certainties of an Estimate.
const (
	// Likely: at least four fifths of the window are known, the speed was steady in it (the upper quartile
	// at most four times the lower), and the time lies within four windows. On a week of AGDQ 2020 two
	// thirds of such times took between half and twice as long as told.
	Likely = "likely"
	// Possible: there is a speed, but it varied much or parts of the window are not known.
	Possible = "possible"
	// Unsure: no time can be told.
	Unsure = "unknown"
)

// Estimate is when an amount is reached if things go on as they do.
type Estimate struct {
	// Certainty is Likely, Possible or Unsure; with Unsure all else is zero.
	Certainty string `json:"certainty"`
	// At is by the median speed, From and To by the upper and lower quartile of the speeds: half of the
	// window's steps were within them. To is zero where it is beyond the horizon, or will not come at all
	// at that speed.
	At   time.Time `json:"at,omitzero"`
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

// Speed is how fast a total grows.
type Speed struct {
	// PerHour is the median over the window in cents per hour, Low and High the quartiles.
	PerHour int64 `json:"per_hour"`
	Low     int64 `json:"low"`
	High    int64 `json:"high"`
	// Step is the time that growth was measured over, Steps how many of them in the window were known,
	// Expected how many there are.
	Step     time.Duration `json:"step"`
	Steps    int           `json:"steps"`
	Expected int           `json:"expected"`
}

// Config is how times are estimated. The zero value of a field is its default.
type Config struct {
	// Window is how far back speeds are measured. Default 30 minutes.
	Window time.Duration
	// Horizon is the furthest ahead that a time is told. Default 12 times Window.
	Horizon time.Duration
	// End is the event's: no time after it is told, and who gave the largest donation is settled then.
	// Default: none.
	End time.Time
	// Currency is that of the totals: a goal in another one is not known. Default: any.
	Currency string
}

// Overview is all goals of an event at a moment.
type Overview struct {
	// Goals are by channel (the event's first), then category, amount, name and id; deleted ones are
	// not among them.
	Goals []Status `json:"goals"`
	// Next are the next goal to fall of each channel, and under record.AllChannels that of the event:
	// those that a total decides, by what is missing.
	Next map[string]Status `json:"next"`
}
