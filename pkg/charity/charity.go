// Package charity polls the sources that tell what was donated, and turns their answers into
// records: single donations, samples of running totals, the answers themselves, and coverage that
// says for which time the single donations are known to be all there are.
//
// Sources are described in a file of their own, which [LoadSources] reads. Each is one of five
// kinds; all of them are read by one [mapping] of paths to facts, which the kind json leaves to the
// operator. [Poller] asks each source at scheduled slots, one request at a time (of Twitch's broadcasters
// eight), and keeps what it is answered even where it cannot be read.
//
// Nothing of who donated leaves this package but pseudonyms; the streamers donated to are public.
// Money is integer cents from the first digit on.
package charity

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// Event is what a Poller must know of an event that sources are polled for.
type Event struct {
	// Slug names it; a source says by it which events it belongs to.
	Slug string
	// Start and End bound the donations and samples that are recorded (End exclusive).
	Start, End time.Time
	// KeepText says that what donors wrote is stored, their mentions of others as pseudonyms.
	KeepText bool
	// Pseudonyms are the event's. Required.
	Pseudonyms *record.Pseudonyms
	// Channels are all channels of the event by Twitch id, those that other collectors read too.
	Channels map[string]Channel
}

// Channel is a channel of an event.
type Channel struct {
	Login string
	// Name is the display name; empty where it is not known.
	Name string
}

// Config configures a Poller.
type Config struct {
	// Sources are what LoadSources gave. None: Run waits for its context.
	Sources []Source
	// Collector is the name of the collector that polls, for coverage. Required.
	Collector string
	// Dir is a folder of the collector's own, which must exist, for what is remembered from one run to the
	// next: charity-NAME.json of each source. Default "": nothing is.
	Dir string
	// Clock is the event's time, by which slots are. Default clock.System.
	Clock clock.Clock
	// Emit takes the documents of one answer or a part of them, and returns when they are kept. On an
	// error they are emitted again with a later answer; ids are made of facts, so that is safe when some
	// were kept. At most 1,000 documents a call, or one of up to 4 MiB, of one event, and calls may overlap.
	// Required.
	Emit func(ctx context.Context, docs []record.Document) error
	// Events are the events that are polled for now. Asked at every slot and by Status; it must return
	// quickly, and not call the Poller. An event stays until an hour after its end, so that its last
	// donations are still seen: totals are sampled until End, donations polled until a poll at or after
	// End was complete, for an hour at most. Required.
	Events func() []Event
	// HTTP carries the requests. Default a transport of its own, which goes by HTTPS_PROXY.
	HTTP http.RoundTripper
	// Logger is where lasting trouble is told. Default slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics. Default nil: none.
	Registerer prometheus.Registerer
}

// SourceStatus is how one source is doing. Counts are since the start.
type SourceStatus struct {
	// Source is its name, Kind what it is.
	Source string
	Kind   SourceKind
	// Events are the slugs of the events that it is polled for now, sorted: those that totals or donations
	// will still be asked for by Config.Events, and those that a poll is under way for.
	Events []string
	// LastSlot is the slot up to which it was polled, answered or not: of totals and donations the earlier.
	// LastSuccess is the last slot of either that was answered usably. Both are by the event's clock; zero
	// before the first.
	LastSlot, LastSuccess time.Time
	// CompleteUntil is up to when the single donations are known to be all there are, of the event that
	// is furthest behind; zero where they are not, and of a source that has only totals.
	CompleteUntil time.Time
	// Backfilling says that all donations are being read again, from the first on.
	Backfilling bool
	// Donations is how many single donations are known, Outside how many of them lie before or after
	// every event and are not recorded.
	Donations, Outside int64
	// Requests counts requests, Failures those without a usable answer.
	Requests, Failures int64
	// Conditions are what is wrong with it now; their Subject begins with the source's name.
	Conditions []control.Condition
}

// The conditions of a source.
const (
	ConditionUnreachable = "source-unreachable" // no answer, or one of 5xx
	ConditionRefused     = "source-refused"     // 401 or 403, a redirect elsewhere
	ConditionLimited     = "source-limited"     // 429
	ConditionShape       = "source-shape"       // an answer, or a part of it, can't be read
	ConditionStale       = "source-stale"       // no success for three intervals
	ConditionIncomplete  = "source-incomplete"  // donations may be missing between two polls
	ConditionUnmatched   = "source-unmatched"   // members that are no channel of the event
	ConditionCurrency    = "source-currency"    // an amount without a currency, or in another one
)
