package consumer

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
)

// rateWindow is the span of the rate that the member document tells.
const rateWindow = 10 * time.Second

// The names of conditions.
const (
	conditionWaiting = "consumer-waiting"
	conditionStalled = "consumer-stalled"
	conditionLetters = "dead-letters"
	conditionClerk   = "letters-waiting"
)

// status is what the member document tells.
type status struct {
	batches, inserted, existed, dead, marks atomic.Int64
	filed, replayed, letters                atomic.Int64
	held, depth                             atomic.Int64
	lag                                     atomic.Int64 // nanoseconds
	acked                                   atomic.Int64 // Unix milliseconds; 0: never

	mu         sync.Mutex
	conditions map[subject]control.Condition
}

// subject is what a condition is about.
type subject struct{ name, subject string }

// acknowledged takes note of an acknowledgement.
func (s *status) acknowledged(at time.Time) {
	s.batches.Add(1)
	s.held.Add(-1)
	s.acked.Store(at.UnixMilli())
}

// failing raises, or renews, a condition.
func (s *status) failing(name, what string, since time.Time, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conditions == nil {
		s.conditions = map[subject]control.Condition{}
	}
	if before, ok := s.conditions[subject{name, what}]; ok && before.Since.Before(since) {
		since = before.Since // of another group, which waits for longer
	}
	s.conditions[subject{name, what}] = control.Condition{Name: name, Subject: what, Since: since.UTC(), Detail: detail}
}

// recovered takes a condition away.
func (s *status) recovered(name, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conditions, subject{name, what})
}

// forget takes away all conditions of a name.
func (s *status) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.conditions, func(k subject, _ control.Condition) bool { return k.name == name })
}

// has reports whether there is a condition of a name.
func (s *status) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.conditions {
		if k.name == name {
			return true
		}
	}
	return false
}

func (s *status) list() []control.Condition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.conditions), func(a, b control.Condition) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Subject, b.Subject))
	})
}

// member tells the member document: a closure, for it remembers what the rate is made of.
func (c *Consumer) member() func(now time.Time) control.Member {
	type point struct {
		at    time.Time
		total int64
	}
	points := []point{{at: time.Now()}}
	return func(now time.Time) control.Member {
		total := c.status.inserted.Load() + c.status.existed.Load()
		points = append(points, point{at: now, total: total})
		for len(points) > 2 && now.Sub(points[1].at) >= rateWindow {
			points = points[1:]
		}
		rate := 0.0
		if span := now.Sub(points[0].at).Seconds(); span > 0 {
			rate = float64(total-points[0].total) / span
		}
		m := control.Member{
			Role: control.RoleConsumer, Name: c.cfg.Name, Node: c.cfg.Node, Run: c.run, Version: c.cfg.Version,
			Conditions: c.status.list(),
			Consumer: &control.ConsumerStatus{
				Batches: c.status.batches.Load(), Inserted: c.status.inserted.Load(), Existed: c.status.existed.Load(),
				Dead: c.status.dead.Load(), Marks: c.status.marks.Load(), Rate: rate, Lag: time.Duration(c.status.lag.Load()),
				Held: int(c.status.held.Load()), Depth: int(c.status.depth.Load()),
				Filed: c.status.filed.Load(), Replayed: c.status.replayed.Load(), Letters: int(c.status.letters.Load()),
			},
		}
		if at := c.status.acked.Load(); at != 0 {
			m.Consumer.Acked = time.UnixMilli(at).UTC()
		}
		c.metrics.held.Set(float64(m.Consumer.Held))
		c.metrics.depth.Set(float64(m.Consumer.Depth))
		return m
	}
}
