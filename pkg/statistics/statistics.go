// Package statistics turns the minute, hour and total documents of an event, and its records where only
// they know, into the numbers that people ask for: what a streamer or the event did in a span of time,
// curves, leaderboards, bursts, audiences, and comparisons with other editions.
//
// What computes is a pure function of values; Reader fetches those from a store. Statistics over a span
// are folds of documents, whole hours from hours and the edges from minutes. What a sketch can't say
// exactly (who chats where) is counted from the records in one pass.
//
// Every number says how much of what it speaks of was observed. Nothing is interpolated: what was not
// observed is unknown, and a sum over a span with gaps is partial, a lower bound.
package statistics

import (
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Value is a number and how much of what it speaks of was observed.
type Value[N int64 | float64] struct {
	// N is 0 where the coverage is unknown.
	N N `json:"value"`
	// Coverage is record.Complete, record.Partial (a lower bound, of an average: of a part of the time)
	// or record.Unknown.
	Coverage string `json:"coverage"`
	// Error is the relative standard error of an approximate number; 0 for an exact one.
	Error float64 `json:"error,omitempty"`
}

// Count is a whole number: of things, or of cents.
type Count = Value[int64]

// Measure is a mean, a ratio or a sum of fractions.
type Measure = Value[float64]

// Known reports whether anything was observed.
func (v Value[N]) Known() bool { return v.Coverage == record.Complete || v.Coverage == record.Partial }

// Range is a span of time, [From, To).
type Range struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Within is the part of the range that lies in another; empty (From is To) where none does.
func (r Range) Within(other Range) Range {
	r.From, r.To = later(r.From, other.From), earlier(r.To, other.To)
	if r.To.Before(r.From) {
		r.To = r.From
	}
	return r
}

// Empty reports whether no time lies in the range.
func (r Range) Empty() bool { return !r.From.Before(r.To) }

// Length is the time from From to To.
func (r Range) Length() time.Duration { return max(r.To.Sub(r.From), 0) }

// Contains reports whether t lies in the range.
func (r Range) Contains(t time.Time) bool { return !t.Before(r.From) && t.Before(r.To) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Streamer says whose channel is spoken of: its Twitch id and what it is called, as known last. Of the
// event as a whole Channel is record.AllChannels, Login its slug and Name its name.
type Streamer struct {
	Channel string `json:"channel"`
	Login   string `json:"login"`
	Name    string `json:"name"`
	Picture string `json:"picture,omitempty"`
}
