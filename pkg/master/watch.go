package master

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

const (
	// watchEvery is the least time between two looks at the members.
	watchEvery = time.Second
	// watchTimeout bounds the store's part in one look.
	watchTimeout = 5 * time.Second
	// blindAfter is how long between two looks is time in which nobody could be heard.
	blindAfter = 3 * time.Second

	// silentAfter is how long a member other than a collector may be silent. It beats every two
	// seconds; three intervals of those that are configured otherwise.
	silentAfter = 15 * time.Second
	// stalledAfter is how long a consumer that has work may acknowledge nothing, and how long no rollup may
	// do anything. Another takes over within half of it.
	stalledAfter = 30 * time.Second
	// behindAfter is how far the closing of minutes may be behind its time.
	behindAfter = 30 * time.Second
	// apartAfter is how far clocks may be apart, on so many heartbeats in a row.
	apartAfter = 2 * time.Second
	apartBeats = 2
)

// watch looks from outside at those who may have stalled without a word, until the term ends.
func (m *Master) watch(ctx context.Context) error {
	w := &watcher{self: memberID(control.RoleMaster, m.cfg.Name), silent: max(silentAfter, 3*m.cfg.MemberInterval), grace: m.cfg.CloseGrace, speed: 1}
	if c, ok := m.cfg.Clock.(interface{ Speed() float64 }); ok {
		w.speed = max(c.Speed(), 1)
	}
	ticker := time.NewTicker(max(m.cfg.Interval, watchEvery))
	defer ticker.Stop()
	failing := false
	for {
		err := m.watchOnce(ctx, w)
		if ctx.Err() != nil {
			return ctx.Err() //nolint:wrapcheck // the end of the term
		}
		if err != nil && !failing {
			m.log.Warn("cannot look at the members; trying again", "err", err)
		}
		failing = err != nil
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the end of the term
		}
	}
}

// watchOnce is one look. When the store does not answer, what was found last stands.
func (m *Master) watchOnce(ctx context.Context, w *watcher) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	began := time.Now()
	members, err := m.members(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	events, err := m.events(ctx)
	if err != nil {
		return err
	}
	progress, err := find[record.Progress](ctx, m.cfg.Store, store.Query{Collection: store.Progress})
	if err != nil {
		return err
	}
	list := w.look(began, now, members)
	m.raise("watch", append(list, w.behind(m.cfg.Clock.Now(), events, progress)...))
	return nil
}

// watcher judges members by how their documents change, one look after another. It reads no clock:
// when a look began and ended are arguments, by the machine's clock.
//
//	              beat changes
//	      ┌─────────────────────────┐
//	      ▼                         │
//	  ┌───────┐ no beat for 15 s ┌────────┐ no beat for 10 min ┌───────────┐
//	─►│ heard ├─────────────────►│ silent ├───────────────────►│ forgotten │
//	  └───────┘                  └────────┘                    └─────┬─────┘
//	      ▲                                                          │
//	      └──────────────────────────────────────────────────────────┘
//	              beat changes
//
// Members that stop in good order say so, and are forgotten at once; their documents stay. One that
// was killed for good is told of for ten minutes. One that was silent for longer when the term began is forgotten from the start.
type watcher struct {
	self   string        // the own member document
	silent time.Duration // how long a member may be silent
	grace  time.Duration // how long after its end a minute is closed
	speed  float64       // of the event's clock, at least 1

	began, ended time.Time // of the last look
	members      map[string]*watched
	// worked is when a rollup that leads was last seen to have done something.
	worked time.Time
}

// watched is a member as its document tells.
type watched struct {
	run  string
	beat int64
	// changed is when the beat was last seen to change, or when the member was first seen.
	changed time.Time
	// forgotten says that it is not waited for.
	forgotten bool
	// apart is how many heartbeats in a row told a time that can't be, or a good one below 0;
	// offset is by how much the last of them did, at the least.
	apart  int
	told   bool
	offset time.Duration
	// stuck is since when a consumer has work and has acknowledged nothing; zero when it does.
	stuck   time.Time
	batches int64
	acked   time.Time
	// steps are those of a rollup.
	steps int64
}

// look takes in the members as a look found them that lasted from began until ended.
func (w *watcher) look(began, ended time.Time, members []control.Member) []control.Condition {
	if w.members == nil {
		w.members = make(map[string]*watched)
		w.began, w.ended, w.worked = began, ended, ended
	}
	// Time in which this leader was blind, because the store was away or its process stood still, is
	// nobody's silence.
	if blind := ended.Sub(w.ended); blind > max(blindAfter, w.silent/2) {
		w.worked = w.worked.Add(blind)
		for _, k := range w.members {
			k.changed = k.changed.Add(blind)
			if !k.stuck.IsZero() {
				k.stuck = k.stuck.Add(blind)
			}
		}
	}
	var list []control.Condition
	present := make(map[string]bool, len(members))
	for _, c := range members {
		if c.ID == w.self {
			continue
		}
		present[c.ID] = true
		k := w.hear(ended, c)
		if k.forgotten {
			continue
		}
		list = append(list, slices.DeleteFunc(w.judge(ended, c, k), func(x control.Condition) bool {
			return slices.ContainsFunc(c.Conditions, func(y control.Condition) bool { return x.Name == y.Name }) // it tells itself
		})...)
	}
	for id := range w.members {
		if !present[id] {
			delete(w.members, id)
		}
	}
	w.began, w.ended = began, ended
	return list
}

// hear takes in one member.
func (w *watcher) hear(now time.Time, c control.Member) *watched {
	k := w.members[c.ID]
	switch {
	case k == nil:
		k = &watched{changed: now, forgotten: c.Left || now.Sub(c.Seen) > forgetAfter}
		w.members[c.ID] = k
	case k.beat == c.Beat && k.run == c.Run:
		k.forgotten = k.forgotten || now.Sub(k.changed) >= forgetAfter
		return k
	default:
		if k.run != c.Run {
			k.stuck, k.batches = time.Time{}, -1
		}
		k.changed, k.forgotten = now, c.Left
		w.compare(now, c, k)
	}
	k.run, k.beat = c.Run, c.Beat
	if r := c.Rollup; r != nil {
		if r.Leader && r.Steps != k.steps {
			w.worked = now
		}
		k.steps = r.Steps
	}
	if c.Consumer == nil {
		return k
	}
	s := c.Consumer
	moved := s.Batches != k.batches || !s.Acked.Equal(k.acked)
	k.batches, k.acked = s.Batches, s.Acked
	switch {
	case moved, s.Depth <= 0 && s.Held <= 0:
		k.stuck = time.Time{}
	case k.stuck.IsZero():
		k.stuck = now
	}
	return k
}

// compare judges the clock that a heartbeat tells. It was written after the look before began and
// before this one ended, so a time outside of that is another clock's, or that of a heartbeat that
// was long on its way: that does not happen again and again.
func (w *watcher) compare(now time.Time, c control.Member, k *watched) {
	var offset time.Duration
	switch {
	case c.Role == control.RoleCollector:
		if c.Collector != nil { // a master has written when it was seen
			offset = c.Collector.Status.ClockOffset
		}
	case c.Seen.After(now):
		offset = c.Seen.Sub(now)
	case c.Seen.Before(w.began):
		offset = c.Seen.Sub(w.began)
	}
	if offset.Abs() > apartAfter {
		k.offset = offset
		k.apart = max(k.apart, 0) + 1
	} else {
		k.apart = min(k.apart, 0) - 1
	}
	if k.apart >= apartBeats {
		k.told = true
	} else if k.apart <= -apartBeats {
		k.told = false
	}
}

// judge says what is wrong with a member that is not forgotten.
func (w *watcher) judge(now time.Time, c control.Member, k *watched) []control.Condition {
	var list []control.Condition
	if now.Sub(k.changed) >= w.silent {
		if c.Role == control.RoleCollector {
			return nil // the planner tells of those
		}
		return []control.Condition{{
			Name: "member-silent", Subject: c.ID,
			Detail: fmt.Sprintf("No heartbeat since %s. See whether its process runs and reaches the store, and start it again; "+
				"if it was stopped for good, this ends %v later by itself.", stamp(c.Seen), forgetAfter),
		}}
	}
	if k.told {
		way := "ahead of"
		if k.offset < 0 {
			way = "behind"
		}
		list = append(list, control.Condition{
			Name: "clock-apart", Subject: c.ID,
			Detail: fmt.Sprintf("Its clock is at least %v %s that of the leading master. Minutes could be closed before their records are there: "+
				"see to the time synchronisation of both machines.", k.offset.Abs().Round(100*time.Millisecond), way),
		})
	}
	if c.Consumer != nil && !k.stuck.IsZero() && now.Sub(k.stuck) >= stalledAfter {
		list = append(list, control.Condition{
			Name: "consumer-stalled", Subject: c.ID,
			Detail: fmt.Sprintf("It holds %d batches, %s wait in the queue, and it has acknowledged none for more than %v. "+
				"Look at its log and at the store; if both are well, restart it: nothing is lost.",
				c.Consumer.Held, depthText(c.Consumer.Depth), stalledAfter),
		})
	}
	return list
}

func depthText(depth int) string {
	if depth < 0 {
		return "an unknown number"
	}
	return strconv.Itoa(depth)
}

// behind tells of events whose minutes are not closed in time, or will not be because no rollup works. That
// is seen before a minute is late: the next may be due in a minute only. Now is the event's time.
func (w *watcher) behind(now time.Time, events []record.Event, progress []record.Progress) []control.Condition {
	closed := make(map[string]time.Time, len(progress))
	for _, p := range progress {
		closed[p.ID] = p.ClosedThrough
	}
	var list []control.Condition
	for _, e := range events {
		if e.State != record.EventLive && e.State != record.EventEnded {
			continue
		}
		next := record.Minute(e.Start)
		if c := closed[e.Slug]; !c.IsZero() {
			next = maxTime(next, c.Add(time.Minute))
		}
		if !next.Before(e.End) {
			continue // all are closed
		}
		var detail string
		late := now.Sub(next.Add(time.Minute + w.grace))
		switch idle := w.ended.Sub(w.worked); {
		case idle >= stalledAfter && !now.Before(next):
			detail = fmt.Sprintf("No rollup has done anything since %s. See whether a consumer runs and reaches the store; "+
				"if one leads and stands still, restart it: minutes that wait are counted then.", stamp(w.worked))
		case late > time.Duration(float64(behindAfter)*w.speed):
			detail = fmt.Sprintf("The minute %s should have been closed %v ago. See whether the store is well; "+
				"minutes that wait are counted by themselves.", stamp(next), late.Round(time.Second))
		default:
			continue
		}
		list = append(list, control.Condition{Name: "rollup-behind", Subject: e.Slug, Detail: detail})
	}
	return list
}
