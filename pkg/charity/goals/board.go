package goals

import (
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Board keeps the corrected totals of an event's channels, and says how far the goals are. It is not
// safe for concurrent use. A new total costs a look at that channel's window alone.
type Board struct {
	cfg    Config
	tracks map[string]*track
}

type track struct{ points []Point }

// NewBoard makes a board without totals.
func NewBoard(cfg Config) *Board { return &Board{cfg: cfg, tracks: make(map[string]*track)} }

// Set replaces all that is known of a channel's corrected running total (of the event's:
// record.AllChannels), in any order: samples no further apart than a minute, where there are any.
func (b *Board) Set(channel string, points []Point) { b.tracks[channel] = &track{points: points} }

// Add adds one later sample to a channel's total; one that is not later than the last is put in its
// place in time.
func (b *Board) Add(channel string, p Point) {
	b.tracks[channel].points = append(b.tracks[channel].points, p)
}

// SetSingles replaces the single donations of a channel (of the event: record.AllChannels), in any
// order. Where none are set, goals that they decide are not known.
func (b *Board) SetSingles(channel string, singles []Single) {}

// Speed is how fast a channel's total has grown in the window before now; false where nothing is known.
func (b *Board) Speed(channel string, now time.Time) (Speed, bool) { return Speed{}, false }

// Evaluate says how far goals are. It depends on nothing but the board, the goals and now.
func (b *Board) Evaluate(goals []record.Goal, now time.Time) Overview { return Overview{} }
