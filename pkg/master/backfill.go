package master

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/backfill"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

const (
	// backfillTimeout bounds one chunk's request, and backfillRead its reading: within the bounds
	// of HTTPServer.
	backfillTimeout = 50 * time.Second
	backfillRead    = 28 * time.Second
)

// Intake stores records that come from elsewhere than the collectors, as a consumer stores those of
// the queue: what is stored already is left alone, frozen events and forgotten people are heeded,
// and minutes that have closed are counted again.
type Intake interface {
	// Write stores records. After an error any of them may be stored, and it can be repeated.
	Write(ctx context.Context, records []record.Record) (Taken, error)
}

// Taken is what became of the records of a Write; each is in one of the counts.
type Taken struct {
	// Inserted are new, Existed were stored before.
	Inserted, Existed int
	// Refused are those that the store won't take, Reasons why, by the record's id, of some.
	Refused int
	Reasons map[string]string
	// Frozen are those of events that are frozen, Forgotten those of people who were forgotten.
	Frozen, Forgotten int
}

type backfillInput struct {
	Slug    string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	Channel string `path:"channel" maxLength:"200" doc:"The channel's Twitch id or login"`
	Format  string `query:"format" required:"true" enum:"irc,vod" doc:"irc: raw lines of IRC with tags. vod: the chat of a broadcast as JSON."`
	Origin  string `query:"origin" maxLength:"100" default:"upload" doc:"Names the file; the records say backfill: and this name"`
	RawBody []byte
}

// backfill stores what a chunk of recorded chat holds of one channel, within the event.
func (m *Master) backfill(ctx context.Context, in *backfillInput) (control.Backfilled, error) {
	var out control.Backfilled
	if m.cfg.Intake == nil {
		return out, huma.Error501NotImplemented("this master can't store records")
	}
	e, err := m.event(ctx, in.Slug)
	if err != nil {
		return out, err
	}
	switch e.State {
	case record.EventFrozen:
		return out, conflict("event %s is frozen: nothing is added to it any more", e.Slug)
	case record.EventDraft, record.EventScheduled:
		if !e.End.IsZero() && !e.End.After(m.cfg.Clock.Now()) {
			return out, conflict("event %s is %s, and its end has passed: run tungstene event stop %s first", e.Slug, e.State, e.Slug)
		}
		return out, conflict("event %s is %s: it has not begun", e.Slug, e.State)
	}
	if !e.RecordsErased.IsZero() {
		return out, conflict("the records of event %s were erased on %s, as its retention says: none are added", e.Slug, stamp(e.RecordsErased))
	}
	c, err := m.channel(ctx, e.Slug, in.Channel)
	if err != nil {
		return out, err
	}
	to, err := m.backfillTarget(ctx, e, c)
	if err != nil {
		return out, err
	}
	to.Origin = "backfill:" + in.Origin
	res, err := backfill.Convert(backfill.Format(in.Format), in.RawBody, to)
	if err != nil {
		return out, badValue("body", "%s", err.Error())
	}
	out = control.Backfilled{
		Lines: res.Lines, Outside: res.Outside, OtherChannel: res.OtherChannel, Others: res.Others, Ignored: res.Ignored, Skipped: res.Faulty,
	}
	for _, p := range res.Problems {
		out.Problems = append(out.Problems, control.BackfillProblem(p))
	}
	if len(res.Records) == 0 {
		return out, nil
	}
	records, excluded, err := m.withoutExcluded(ctx, e.Slug, res.Records)
	if err != nil {
		return out, fmt.Errorf("backfill event %s: %w", e.Slug, err)
	}
	out.Excluded = excluded
	taken, err := m.cfg.Intake.Write(ctx, records)
	if err != nil {
		return out, fmt.Errorf("store %d records of channel %s of event %s: %w", len(records), c.Login, e.Slug, err)
	}
	if taken.Frozen > 0 {
		return out, conflict("event %s was frozen just now: %d records were not stored", e.Slug, taken.Frozen)
	}
	out.Inserted, out.Existed = taken.Inserted, taken.Existed
	out.Excluded += taken.Forgotten
	out.Skipped += taken.Refused
	for _, id := range slices.Sorted(maps.Keys(taken.Reasons)) {
		if len(out.Problems) < control.MaxBackfillProblems {
			out.Problems = append(out.Problems, control.BackfillProblem{Reason: "the store refuses " + id + ": " + taken.Reasons[id]})
		}
	}
	m.log.Info("backfilled", "event", e.Slug, "channel", c.Login, "origin", to.Origin, "lines", out.Lines,
		"inserted", out.Inserted, "existed", out.Existed, "skipped", out.Skipped)
	return out, nil
}

// backfillTarget is what a collector would know of the event.
func (m *Master) backfillTarget(ctx context.Context, e record.Event, c record.Channel) (backfill.Target, error) {
	var to backfill.Target
	key, err := m.cfg.Keys.Key(ctx, e.Slug)
	if errors.Is(err, ErrNoKey) {
		return to, conflict("nobody can be given a pseudonym: %s", err.Error())
	}
	if err != nil {
		return to, fmt.Errorf("backfill event %s: %w", e.Slug, err)
	}
	list, err := m.channelsOf(ctx, e.Slug)
	if err != nil {
		return to, err
	}
	names, err := record.NewPseudonyms(key, public(list))
	if err != nil {
		return to, fmt.Errorf("backfill event %s: %w", e.Slug, err)
	}
	return backfill.Target{
		Event:   chat.Event{Slug: e.Slug, KeepText: e.KeepText && e.TextErased.IsZero(), Pseudonyms: names},
		Channel: chat.Channel{ID: c.Channel, Login: c.Login},
		Start:   e.Start, End: e.End,
	}, nil
}

// withoutExcluded takes out what speaks of people who opted out or were forgotten, and says how many
// records are theirs.
func (m *Master) withoutExcluded(ctx context.Context, event string, records []record.Record) (kept []record.Record, dropped int, err error) {
	list, err := m.excluded(ctx, event)
	if err != nil {
		return nil, 0, err
	}
	people := func(pseudonym string) bool {
		_, found := slices.BinarySearch(list, pseudonym)
		return found
	}
	kept = make([]record.Record, 0, len(records))
	for _, r := range records {
		r, what := record.Redact(r, people)
		if what == record.Removed {
			dropped++
			continue
		}
		kept = append(kept, r)
	}
	return kept, dropped, nil
}

// repairRoutes are the operations that repair and that move things out of the way.
func (m *Master) repairRoutes() {
	get, post := http.MethodGet, http.MethodPost
	notFound, taken := http.StatusNotFound, http.StatusConflict

	serve(m, operation("list-letters", get, "/v1/letters", "List dead letters, newest first", roleOperator), m.listLetters)
	serve(m, operation("get-letter", get, "/v1/letters/{id}", "Read a dead letter", roleOperator, notFound), m.showLetter)
	serve(m, operation("replay-letters", post, "/v1/letters/replay", "Have dead letters tried again; twice is once", roleOperator, notFound),
		func(ctx context.Context, in *letterChoiceInput) (control.LetterOutcome, error) {
			return m.replayLetters(ctx, in.Body)
		})
	serve(m, operation("drop-letters", post, "/v1/letters/drop", "Delete dead letters for good", roleOperator, notFound),
		func(ctx context.Context, in *letterChoiceInput) (control.LetterOutcome, error) {
			return m.dropLetters(ctx, in.Body)
		})

	serve(m, operation("rebuild-minutes", post, "/v1/events/{slug}/rebuild", "Have closed minutes counted again", roleOperator, notFound, taken),
		func(ctx context.Context, in *rebuildInput) (control.Rebuilt, error) {
			return m.rebuild(ctx, in.Slug, in.Body)
		})
	serve(m, operation("get-rebuild", get, "/v1/events/{slug}/rebuild", "Count the minutes that wait for a recount", roleOperator, notFound),
		m.rebuildState)

	serve(m, operation("drain-collector", http.MethodPut, "/v1/collectors/{name}/drain", "Have a collector left without channels, until that is taken back", roleOperator, notFound),
		func(ctx context.Context, in *collectorInput) (control.Collector, error) {
			return m.drainCollector(ctx, in.Name)
		})
	huma.Register(m.api, operation("undrain-collector", http.MethodDelete, "/v1/collectors/{name}/drain", "Let a drained collector have channels again", roleOperator, notFound),
		func(ctx context.Context, in *collectorInput) (*struct{}, error) {
			return nil, m.problem(m.undrainCollector(ctx, in.Name))
		})

	fill := operation("backfill-channel", post, "/v1/events/{slug}/channels/{channel}/backfill", "Store recorded chat of a channel", roleOperator, notFound, taken)
	fill.Description = "The body is a piece of a file, of whole lines or comments. What is stored already stays as it is, so it can be repeated. " +
		"Only what lies within the event and is of the channel is stored."
	fill.MaxBodyBytes, fill.BodyReadTimeout = control.MaxBackfillBytes, backfillRead
	raw := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	fill.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": raw}}
	fill.SkipValidateBody = true // the lines are checked one by one
	m.lasting(fill, backfillTimeout)
	serve(m, fill, m.backfill)
}

// lasting gives an operation a time of its own.
func (m *Master) lasting(op huma.Operation, limit time.Duration) {
	if m.limits == nil {
		m.limits = make(map[string]time.Duration)
	}
	m.limits[op.Method+" "+op.Path] = limit
}
