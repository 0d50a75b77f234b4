package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// GateAge is how old what is known of an event may be when records of it become durable: from the
// moment that a tombstone can be read, nothing that ignores it is stored after GateAge, or it is taken
// out again by whoever stored it. Who erases a person therefore does it once more later than that.
const GateAge = 2 * time.Second

// maxEvents bounds the events that a gate remembers. There are never as many, but for their names
// anything may come out of the queue.
const maxEvents = 1000

// gate knows what may be stored: nothing of frozen events, nothing of people whom an event has
// forgotten, no text and no answer of events whose texts or answers were erased.
//
// What it reads is kept for GateAge/2. For tombstones that is enough, see GateAge. For the state of an
// event it is where the event was live and its end to come: an event is frozen only when it has ended
// and its last minute was closed, that is no sooner than the grace after its end, and stopping it sets
// its end to that moment. So within the grace, less the skew of the clocks, an event that was seen
// like this can't become frozen; that must be more than GateAge (in a fast replay it is not), else
// nothing is kept. Of all other events the state is read before each insert and after it. Texts and answers
// are erased after the end as well.
type gate struct {
	store store.Store
	clock clock.Clock
	// keeps says that the grace is long enough for the state of live events to be kept.
	keeps bool

	mu     sync.Mutex
	events map[string]standing
}

// standing is what is known of an event.
type standing struct {
	// stateAt and peopleAt are the moments before the state and the tombstones were read.
	stateAt, peopleAt moment
	frozen            bool
	// lapsed says what is not kept any more: texts, answers.
	lapsed record.Lapsed
	// safe says that it can't be frozen within GateAge of stateAt.
	safe bool
	// people are the pseudonyms of the forgotten; nil when there are none. It is never changed.
	people map[string]struct{}
}

func newGate(s store.Store, c clock.Clock, grace, skew time.Duration) *gate {
	speed := 1.0
	if fast, ok := c.(interface{ Speed() float64 }); ok {
		speed = max(fast.Speed(), 0)
	}
	return &gate{
		store: s, clock: c, keeps: float64(grace-skew) > speed*float64(GateAge),
		events: map[string]standing{},
	}
}

// forgotten reports whether a pseudonym is of someone whom the event has forgotten.
func (s standing) forgotten(pseudonym string) bool {
	_, ok := s.people[pseudonym]
	return ok
}

// cleans reports whether anything has to be taken out of the event's records.
func (s standing) cleans() bool { return len(s.people) > 0 || s.lapsed != record.Lapsed{} }

// clean takes the forgotten out of a record of the event, and what is not kept any more.
func (s standing) clean(r record.Record) (record.Record, record.Redaction) {
	what := record.Kept
	if len(s.people) > 0 {
		r, what = record.Redact(r, s.forgotten)
	}
	if what == record.Removed {
		return r, what
	}
	out, more := s.lapsed.From(r)
	return out, max(what, more)
}

// moment is a time by two clocks: the one that nobody sets stands still while the machine is
// suspended.
type moment struct{ steady, wall time.Time }

func thisMoment() moment {
	now := time.Now()
	return moment{steady: now, wall: now.Round(0)}
}

// within reports whether a moment is no longer ago than d, by both clocks.
func (m moment) within(d time.Duration, now moment) bool {
	return now.steady.Sub(m.steady) <= d && now.wall.Sub(m.wall) <= d
}

// before is what is to be known before records of an event are stored.
func (g *gate) before(ctx context.Context, event string) (standing, error) {
	return g.read(ctx, event, GateAge/2)
}

// after is what is to be known when records were stored by someone who knew s. It is s itself where
// that can't have become wrong before they were durable.
func (g *gate) after(ctx context.Context, event string, s standing) (standing, error) {
	if now := thisMoment(); s.safe && s.stateAt.within(GateAge, now) && s.peopleAt.within(GateAge, now) {
		return s, nil
	}
	return g.read(ctx, event, GateAge)
}

// read gives what is known and at most of that age, but the state of events that are not safe always
// new.
func (g *gate) read(ctx context.Context, event string, age time.Duration) (standing, error) {
	g.mu.Lock()
	s := g.events[event]
	g.mu.Unlock()
	at, changed := thisMoment(), false
	if !s.safe || !s.stateAt.within(age, at) {
		now := g.clock.Now()
		e, err := g.event(ctx, event)
		if err != nil {
			return standing{}, err
		}
		s.stateAt, s.frozen, s.lapsed = at, e.state == record.EventFrozen, e.lapsed
		s.safe = g.keeps && e.state == record.EventLive && now.Before(e.end)
		changed = true
	}
	if at = thisMoment(); s.peopleAt.steady.IsZero() || !s.peopleAt.within(age, at) {
		people, err := g.people(ctx, event)
		if err != nil {
			return standing{}, err
		}
		s.peopleAt, s.people = at, people
		changed = true
	}
	if changed {
		g.keep(event, s)
	}
	return s, nil
}

// keep remembers the newer of what two have read at the same time.
func (g *gate) keep(event string, s standing) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.events) >= maxEvents {
		clear(g.events)
	}
	if old, ok := g.events[event]; ok && old.peopleAt.steady.After(s.peopleAt.steady) {
		s.peopleAt, s.people = old.peopleAt, old.people
	}
	g.events[event] = s
}

// facts are what the gate reads of an event.
type facts struct {
	state  string
	end    time.Time
	lapsed record.Lapsed
}

// event reads what is known of an event; of one that is not there, nothing.
func (g *gate) event(ctx context.Context, slug string) (e facts, err error) {
	raw, err := g.store.Get(ctx, store.Events, slug)
	if errors.Is(err, store.ErrNotFound) {
		return facts{}, nil
	}
	if err != nil {
		return facts{}, fmt.Errorf("read event %s: %w", slug, err)
	}
	var ok bool
	if e.state, ok = raw.Lookup("state").StringValueOK(); !ok {
		return facts{}, fmt.Errorf("read event %s: its document has no state", slug)
	}
	if ms, ok := raw.Lookup("end").DateTimeOK(); ok {
		e.end = time.UnixMilli(ms)
	}
	_, e.lapsed.Texts = raw.Lookup("text_erased").DateTimeOK()
	_, e.lapsed.Answers = raw.Lookup("answers_erased").DateTimeOK()
	return e, nil
}

func (g *gate) people(ctx context.Context, event string) (map[string]struct{}, error) {
	var people map[string]struct{}
	for raw, err := range g.store.Find(ctx, store.Query{Collection: store.Tombstones, Event: event}) {
		if err != nil {
			return nil, fmt.Errorf("read tombstones of event %s: %w", event, err)
		}
		var t record.Tombstone
		if err := bson.Unmarshal(raw, &t); err != nil {
			return nil, fmt.Errorf("decode a tombstone of event %s: %w", event, err)
		}
		if people == nil {
			people = map[string]struct{}{}
		}
		for _, pseudonym := range [...]string{t.User, t.Name} {
			if pseudonym != "" {
				people[pseudonym] = struct{}{}
			}
		}
	}
	return people, nil
}
