package statistics

import "time"

// Curve is what happened step by step. It has one point for each step of its range, also of those in
// which nothing was observed.
type Curve struct {
	Event string `json:"event"`
	Streamer
	Range
	// Step is a minute, or a divisor or a multiple of an hour; the first and the last may be shorter.
	Step time.Duration `json:"step"`
	// Source and Currency are those of the donations.
	Source   string  `json:"source,omitempty"`
	Currency string  `json:"currency,omitempty"`
	Points   []Point `json:"points"`
}

// Point is one step of a Curve. Offline is not unsampled: a channel that was sampled offline has 0
// viewers and is complete.
type Point struct {
	// Time is when the step starts.
	Time     time.Time `json:"time"`
	Messages Count     `json:"messages"`
	Emotes   Count     `json:"emotes"`
	// Viewers is the average over the step's minutes with a live sample, Peak the highest number.
	Viewers      Measure `json:"viewers"`
	Peak         Count   `json:"peak"`
	WatchMinutes Measure `json:"watch_minutes"`
	// Subs are new, renewed and gifted subscriptions.
	Subs Count `json:"subs"`
	// Donations counts single donations, Largest is the largest of them. Total is the running total at
	// the end of the step, and Raised by how much it grew in it, as Donations.Raised; all in cents.
	// Total is unknown in a step without a sample.
	Donations       Count `json:"donations"`
	Largest         Count `json:"largest"`
	Total           Count `json:"total"`
	Corrected       Count `json:"corrected"`
	Raised          Count `json:"raised"`
	RaisedCorrected Count `json:"raised_corrected"`
}
