package rollup

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Bounds of what is kept of open minutes.
const (
	liveMinutes = 6         // of one event: more than are open at once, for clocks that differ
	liveAhead   = 2         // minutes in the future that are believed
	liveRecords = 1_000_000 // of one minute
)

// live aggregates the open minutes from the live feed. It is safe for concurrent use: the feed adds
// while the leader writes.
type live struct {
	now     func() time.Time
	metrics *metrics

	mu     sync.Mutex
	events map[string]*liveEvent
}

type liveEvent struct {
	start, end time.Time
	closed     time.Time // the last closed minute; what lies at or before it is dropped
	minutes    map[int64]*liveMinute
	newest     *record.Statistics
}

type liveMinute struct {
	agg  *Aggregator
	seen *Seen
}

func newLive(now func() time.Time, m *metrics) *live {
	return &live{now: now, metrics: m, events: map[string]*liveEvent{}}
}

// follow begins or goes on to count an event, whose minutes through closed are closed. It reports
// whether it began.
func (l *live) follow(e record.Event, end, closed time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.events[e.Slug]
	began := v == nil
	if began {
		v = &liveEvent{minutes: map[int64]*liveMinute{}}
		l.events[e.Slug] = v
	}
	if !v.start.Equal(e.Start) || !v.end.Equal(end) {
		clear(v.minutes) // rare; closing has the right numbers
	}
	v.start, v.end, v.closed = e.Start, end, closed
	for unix := range v.minutes {
		if unix <= closed.Unix() {
			delete(v.minutes, unix)
		}
	}
	return began
}

// forget stops counting an event.
func (l *live) forget(event string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.events, event)
}

// add counts records of open minutes, each id once.
func (l *live) add(records []record.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	horizon := l.now().Add(liveAhead * time.Minute)
	dropped := 0
	for i := range records {
		if !l.addOne(&records[i], horizon) {
			dropped++
		}
	}
	l.metrics.live.Add(float64(len(records) - dropped))
	l.metrics.liveDrops.Add(float64(dropped))
}

func (l *live) addOne(r *record.Record, horizon time.Time) bool {
	v := l.events[r.Event]
	if v == nil || r.Time.Before(v.start) || !r.Time.Before(v.end) || r.Time.After(horizon) {
		return false
	}
	minute := record.Minute(r.Time)
	if !minute.After(v.closed) {
		return false
	}
	unix := minute.Unix()
	m := v.minutes[unix]
	if m == nil {
		if len(v.minutes) >= liveMinutes {
			oldest := unix
			for u := range v.minutes {
				oldest = min(oldest, u)
			}
			if oldest == unix {
				return false
			}
			delete(v.minutes, oldest)
		}
		m = &liveMinute{agg: NewAggregator(r.Event, minute, v.start, v.end), seen: NewSeen()}
		v.minutes[unix] = m
	}
	if m.seen.Len() >= liveRecords {
		return false
	}
	if m.seen.Add(r.ID) {
		m.agg.Add(*r)
	}
	return true
}

// openDocs is the changed documents of one open minute.
type openDocs struct {
	minute time.Time
	docs   []record.Statistics
}

// changes returns the documents of an event's open minutes that changed since the last call, in the
// order of time.
func (l *live) changes(event string, epoch int64) []openDocs {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.events[event]
	if v == nil {
		return nil
	}
	var out []openDocs
	for _, m := range v.minutes {
		if len(m.agg.changed) == 0 {
			continue
		}
		docs := m.agg.result(m.agg.changed)
		clear(m.agg.changed)
		if len(docs) == 0 {
			continue
		}
		for i := range docs {
			docs[i].State, docs[i].Epoch, docs[i].Counted = record.StateOpen, epoch, record.Millis(l.now())
		}
		if all := docs[0]; v.newest == nil || !all.Time.Before(v.newest.Time) {
			v.newest = &all
		}
		out = append(out, openDocs{minute: m.agg.minute, docs: docs})
	}
	slices.SortFunc(out, func(x, y openDocs) int { return cmp.Compare(x.minute.Unix(), y.minute.Unix()) })
	return out
}

// again makes channels of a minute changed that could not be written.
func (l *live) again(event string, o openDocs) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.events[event]
	if v == nil {
		return
	}
	if m := v.minutes[o.minute.Unix()]; m != nil {
		for i := range o.docs {
			m.agg.changed[o.docs[i].Channel] = struct{}{}
		}
	}
}

// newest is the event's document of the newest open minute, of when it was written last.
func (l *live) newest(event string) *record.Statistics {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.events[event]
	if v == nil || v.newest == nil || !v.newest.Time.After(v.closed) {
		return nil
	}
	return v.newest
}

// writeOpen writes what changed in an event's open minutes. It runs on the goroutine that closes
// minutes, so that no open document of ours comes after the closed one; those of a later leader
// are fenced.
func (l *live) writeOpen(ctx context.Context, s store.Store, c *closer) error {
	for _, o := range l.changes(c.event.Slug, c.epoch) {
		if !o.minute.After(c.progress.ClosedThrough) {
			continue
		}
		if err := putStatistics(ctx, s, store.Minutes, c.epoch, o.docs); err != nil {
			l.again(c.event.Slug, o)
			return err
		}
	}
	return nil
}

// catchUp counts the open minutes' stored records, which the feed had before we listened.
func (l *live) catchUp(ctx context.Context, s store.Store, c *closer) error {
	now := l.now()
	from := later(c.next(), record.Minute(now).Add(-(liveMinutes-liveAhead-1)*time.Minute))
	batch := make([]record.Record, 0, 500)
	for raw, err := range s.Find(ctx, store.Query{
		Collection: store.Records, Event: c.event.Slug, From: from, To: now.Add(liveAhead * time.Minute),
	}) {
		if err != nil {
			return err
		}
		r, err := record.Parse(raw)
		if err != nil {
			continue // not ours, see closeDue
		}
		if batch = append(batch, r); len(batch) == cap(batch) {
			l.add(batch)
			batch = batch[:0]
		}
	}
	l.add(batch)
	return nil
}
