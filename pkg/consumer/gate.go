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
// forgotten.
//
// What it reads is kept for GateAge/2. For tombstones that is enough, see GateAge. For the state of an
// event it is where the event was live and its end to come: an event is frozen only when it has ended
// and its last minute was closed, that is no sooner than the grace after its end, and stopping it sets
// its end to that moment. So within the grace, less the skew of the clocks, an event that was seen
// like this can't become frozen; that must be more than GateAge (in a fast replay it is not), else
// nothing is kept. Of all other events the state is read before each insert and after it.
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
	stateAt, peopleAt time.Time
	frozen            bool
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

// before is what is to be known before records of an event are stored.
func (g *gate) before(ctx context.Context, event string) (standing, error) {
	return g.read(ctx, event, GateAge/2)
}

// after is what is to be known when records were stored by someone who knew s. It is s itself where
// that can't have become wrong before they were durable.
func (g *gate) after(ctx context.Context, event string, s standing) (standing, error) {
	if s.safe && time.Since(s.stateAt) <= GateAge && time.Since(s.peopleAt) <= GateAge {
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
	changed := false
	if !s.safe || time.Since(s.stateAt) > age {
		at, now := time.Now(), g.clock.Now()
		state, end, err := g.event(ctx, event)
		if err != nil {
			return standing{}, err
		}
		s.stateAt, s.frozen = at, state == record.EventFrozen
		s.safe = g.keeps && state == record.EventLive && now.Before(end)
		changed = true
	}
	if s.peopleAt.IsZero() || time.Since(s.peopleAt) > age {
		at := time.Now()
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
	if old, ok := g.events[event]; ok && old.peopleAt.After(s.peopleAt) {
		s.peopleAt, s.people = old.peopleAt, old.people
	}
	g.events[event] = s
}

// event reads the state and the end of an event; of one that is not there, nothing.
func (g *gate) event(ctx context.Context, slug string) (state string, end time.Time, err error) {
	raw, err := g.store.Get(ctx, store.Events, slug)
	if errors.Is(err, store.ErrNotFound) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("read event %s: %w", slug, err)
	}
	state, ok := raw.Lookup("state").StringValueOK()
	if !ok {
		return "", time.Time{}, fmt.Errorf("read event %s: its document has no state", slug)
	}
	if ms, ok := raw.Lookup("end").DateTimeOK(); ok {
		end = time.UnixMilli(ms)
	}
	return state, end, nil
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
