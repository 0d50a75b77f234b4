package web

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/charity/totals"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Bounds of what is read and shown.
const (
	window      = 60 // minutes
	trend       = 30 // minutes
	maxEvents   = 200
	maxChannels = 5000
	maxMembers  = 500
	// perTick is how many minutes' channel documents are read for one snapshot, so that a start in
	// the middle of an event fills the hour little by little.
	perTick = 2
	// Every so many snapshots the whole hour and the channels are read again: a minute that was
	// recounted and a channel that was added show within half a minute.
	rereadEvery = 30
	// A member that has not been heard of for so long has been taken away.
	forget = time.Hour
	// Gaps and names listed.
	maxGaps  = 40
	maxNames = 6
)

// builder makes snapshots. It belongs to one goroutine.
type builder struct {
	cfg   Config
	log   *slog.Logger
	speed float64

	round    int
	last     *Snapshot // the last whole one
	good     time.Time // when
	failing  bool
	event    *record.Event
	channels []record.Channel
	// minutes are those of the event as a whole in the window, cells those of its channels.
	minutes map[time.Time]statistics
	cells   map[time.Time]minuteChannels
	beats   map[string]beat
	// since is when a condition found by the page itself was first seen, by name and subject.
	since map[string]time.Time
	// inserted counts the documents that consumers have inserted while the page looked on; marks
	// are its values of the last ten seconds.
	inserted     int64
	insertedBy   map[string]insertedOf
	insertedAt   []insertedMark
	depthFailing bool

	live   *totals.Live
	raised *Raised
}

func newBuilder(cfg Config) *builder {
	c := &builder{cfg: cfg, log: cfg.Logger, speed: 1}
	if s, ok := cfg.Clock.(interface{ Speed() float64 }); ok {
		c.speed = s.Speed()
	}
	c.beats = map[string]beat{}
	c.since = map[string]time.Time{}
	c.insertedBy = map[string]insertedOf{}
	return c
}

// next is a new snapshot. When the store does not answer it is the last one again, which says so.
func (b *builder) next(ctx context.Context) *Snapshot {
	began := time.Now()
	snap, err := b.build(ctx, began)
	if err == nil {
		if b.failing {
			b.log.Info("status page: the store answers again")
		}
		b.failing, b.good, b.last = false, time.Now(), snap
		b.round++
		return snap
	}
	if !b.failing {
		b.log.Warn("status page: can't read the store, showing the last numbers", "err", err)
	}
	b.failing = true
	stale := Snapshot{Version: b.cfg.Version, Speed: b.speed, Now: unknownNumbers()}
	if b.last != nil {
		stale = *b.last
	}
	stale.At = b.cfg.Clock.Now().UTC()
	stale.Demo = b.demo()
	stale.Store = StoreState{Seconds: time.Since(began).Seconds()}
	if !b.good.IsZero() {
		good := b.good.UTC()
		stale.Store.Good = &good
	}
	stale.Stages = slices.Clone(stale.Stages)
	for i := range stale.Stages {
		stale.Stages[i].Health = HealthUnknown
		if stale.Stages[i].Name == StageStore {
			stale.Stages[i].Health = HealthBad
		}
	}
	stale.Conditions = slices.Clone(stale.Conditions)
	stale.Conditions = slices.DeleteFunc(stale.Conditions, func(x Condition) bool { return x.Name == condStore })
	stale.Conditions = slices.Insert(stale.Conditions, 0,
		Condition{Name: condStore, Health: HealthBad, Since: stale.Store.Good})
	return &stale
}

func (b *builder) demo() *DemoInfo {
	if b.cfg.Demo == nil {
		return nil
	}
	d := b.cfg.Demo()
	return &DemoInfo{Phase: d.Phase, Sent: d.Sent, Elapsed: d.Elapsed.Seconds(), Remaining: d.Remaining.Seconds()}
}

func (b *builder) build(ctx context.Context, began time.Time) (*Snapshot, error) {
	now := b.cfg.Clock.Now().UTC()
	if err := b.chooseEvent(ctx, now); err != nil {
		return nil, err
	}
	members, err := b.members(ctx)
	if err != nil {
		return nil, err
	}
	snap := &Snapshot{
		At: now, Speed: b.speed, Version: b.cfg.Version, Demo: b.demo(), Now: unknownNumbers(),
		Minutes: []Minute{}, Gaps: []Gap{}, Collectors: []CollectorInfo{}, Members: []MemberInfo{},
		Conditions: []Condition{}, Rates: map[string]float64{}, Channels: []ChannelInfo{},
	}
	var total *statistics
	rollup := rollupOf(members, "")
	if b.event != nil {
		e := b.event
		snap.Event = &EventInfo{
			Slug: e.Slug, Name: e.Name, State: e.State, Start: e.Start.UTC(), End: e.End.UTC(),
			TimeZone: e.TimeZone, Replicas: e.Replicas,
		}
		rollup = rollupOf(members, e.Slug)
		if total, err = b.readEvent(ctx, now); err != nil {
			return nil, err
		}
	}
	readBy := b.readBy(members)
	b.fillMinutes(snap, now, rollup)
	b.fillChannels(snap, readBy)
	b.fillNumbers(snap, members, readBy, total, rollup)
	if b.event != nil {
		if snap.Raised, err = b.readRaised(ctx, now); err != nil {
			return nil, err
		}
	}
	b.fillGaps(snap)
	b.fillMembers(snap, members, now)
	depth, dead := b.depth(ctx, queue.Store), b.depth(ctx, queue.Dead)
	letters, err := b.letters(ctx)
	if err != nil {
		return nil, err
	}
	if letters > 0 {
		if dead != nil {
			letters += *dead
		}
		dead = &letters
	}
	snap.Now.Dead = dead
	snap.Store = StoreState{OK: true, Seconds: time.Since(began).Seconds()}
	good := time.Now().UTC()
	snap.Store.Good = &good
	b.fillStages(snap, members, depth, rollup, now)
	b.fillConditions(snap, members, rollup)
	return snap, nil
}

// read collects what a query finds.
func read[T any](ctx context.Context, s Store, q store.Query) ([]T, error) {
	var all []T
	for raw, err := range s.Find(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", q.Collection, err)
		}
		var t T
		if err := bson.Unmarshal(raw, &t); err != nil {
			return nil, fmt.Errorf("read %s: decode a document: %w", q.Collection, err)
		}
		all = append(all, t)
	}
	return all, nil
}

// chooseEvent reads the event to show; when it is another than before, all that was kept of the
// last one goes.
func (b *builder) chooseEvent(ctx context.Context, now time.Time) error {
	events, err := read[record.Event](ctx, b.cfg.Store, store.Query{Collection: store.Events, Limit: maxEvents})
	if err != nil {
		return err
	}
	chosen := choose(events, b.cfg.Event, now)
	if chosen == nil || b.event == nil || chosen.Slug != b.event.Slug {
		b.minutes, b.cells = map[time.Time]statistics{}, map[time.Time]minuteChannels{}
		b.channels, b.round = nil, 0
		b.live, b.raised = nil, nil
	}
	b.event = chosen
	return nil
}

// choose returns the event of the slug; without one, a live one (the last that began), else the next
// scheduled one, else the last that ended, else any.
func choose(events []record.Event, slug string, now time.Time) *record.Event {
	rank := func(e *record.Event) int {
		switch e.State {
		case record.EventLive:
			return 0
		case record.EventScheduled:
			return 1
		case record.EventEnded, record.EventFrozen:
			return 2
		}
		return 3
	}
	var best *record.Event
	for i := range events {
		e := &events[i]
		if slug != "" {
			if e.Slug == slug {
				return e
			}
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(rank(e), rank(best)),
			cmp.Compare(now.Sub(e.Start).Abs(), now.Sub(best.Start).Abs())) < 0 {
			best = e
		}
	}
	return best
}
