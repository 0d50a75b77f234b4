package totals

import (
	"context"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Total is what was raised for one channel, or for the event, as of its last sample.
type Total struct {
	Channel string `json:"channel"`
	Fund
	// By is what Raw is: BySamples, ByChannels or ByDonations.
	By string `json:"by"`
	// Raw is as the source says it, Corrected what the standing corrections leave of it; in cents.
	Raw       int64 `json:"raw"`
	Corrected int64 `json:"corrected"`
	// At is the last sample, or for a sum of donations the end of the last minute that is in it.
	At time.Time `json:"at"`
	// Coverage is record.Complete where the last sample is not older than Stale, or the sum is known to
	// have every donation since the event's start; else record.Partial, as is a sum of channels one of
	// which was not sampled with the others: its last total is in it. What nothing is said of has no
	// Total: it is unknown.
	Coverage string `json:"coverage"`
	// Count and Largest are of single donations; 0 where the source tells none.
	Count   int64 `json:"count"`
	Largest int64 `json:"largest"`
}

// Stale is how old the last sample of a total may be, at the end of the event or now, for it to be
// complete.
const Stale = 5 * time.Minute

// Current is what was raised so far.
type Current struct {
	// Fund is the event's own (Main); Known is false where no source has said anything yet.
	Fund  Fund
	Known bool
	// Singles is the fund whose single donations are told beside its totals: itself, or where it has none
	// the first by name in the same currency that has some. The zero Fund where there is none.
	Singles Fund
	// Through is the start of the last closed minute that is in it, Event of the event, Channels by
	// Twitch id.
	Through  time.Time
	Event    Total
	Channels map[string]Total
	// Corrections are all of the event, Effects what the standing ones of the fund add.
	Corrections []record.Correction
	Effects     Effects
	// Until is when corrections must be dated to count: now, and the zero time (whenever) once the event
	// is over.
	Until time.Time

	// sampled is by channel what Fund says of it, of those whose total was sampled.
	sampled map[string]record.Donations
	// given is by channel what Singles says of single donations.
	given map[string]given
}

// given is a number of single donations, their sum and the largest of them.
type given struct{ count, cents, largest int64 }

// ReadCurrent reads what was raised so far in an event: its total documents, and the minutes, open
// ones too, that those do not hold yet. source names another fund's source than the event's own; empty
// is that.
func ReadCurrent(ctx context.Context, s Store, e record.Event, source string, now time.Time) (*Current, error) {
	return readCurrent(ctx, s, e, source, now)
}
