package consumer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/store"
)

// The rhythm of the member document, and the span of its rate.
const (
	beatEvery  = 2 * time.Second
	rateWindow = 10 * time.Second
)

// status is what the member document tells.
type status struct {
	batches, inserted, existed, dead, marks atomic.Int64
	lag                                     atomic.Int64 // nanoseconds

	mu      sync.Mutex
	waiting map[string]control.Condition // by what can't be done
}

func (s *status) failing(since time.Time, what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = map[string]control.Condition{}
	}
	if before, ok := s.waiting[what]; ok && before.Since.Before(since) {
		since = before.Since // of another group, which waits for longer
	}
	s.waiting[what] = control.Condition{
		Name: "consumer-waiting", Subject: what, Since: since.UTC(),
		Detail: fmt.Sprintf("Consuming waits because it cannot %s (%v); it goes on by itself. Check the store and the queue.", what, err),
	}
}

func (s *status) recovered(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, what)
}

func (s *status) conditions() []control.Condition {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []control.Condition
	for _, what := range slices.Sorted(maps.Keys(s.waiting)) {
		out = append(out, s.waiting[what])
	}
	return out
}

// announce writes the member document every two seconds until the context ends, and once more then.
func (c *Consumer) announce(ctx context.Context) {
	type point struct {
		at    time.Time
		total int64
	}
	var (
		started = time.Now()
		beat    int64
		points  = []point{{at: started}}
		ticker  = time.NewTicker(beatEvery)
		failed  bool
	)
	defer ticker.Stop()
	write := func(ctx context.Context) {
		beat++
		now, total := time.Now(), c.status.inserted.Load()+c.status.existed.Load()
		points = append(points, point{at: now, total: total})
		for len(points) > 2 && now.Sub(points[1].at) >= rateWindow {
			points = points[1:]
		}
		rate := 0.0
		if span := now.Sub(points[0].at).Seconds(); span > 0 {
			rate = float64(total-points[0].total) / span
		}
		m := control.Member{
			ID: control.RoleConsumer + "/" + c.cfg.Name, Role: control.RoleConsumer, Name: c.cfg.Name, Node: c.cfg.Node,
			Run: c.run, Version: c.cfg.Version, Started: started.UTC(), Seen: now.UTC(), Beat: beat,
			Conditions: c.status.conditions(),
			Consumer: &control.ConsumerStatus{
				Batches: c.status.batches.Load(), Inserted: c.status.inserted.Load(), Existed: c.status.existed.Load(),
				Dead: c.status.dead.Load(), Marks: c.status.marks.Load(), Rate: rate, Lag: time.Duration(c.status.lag.Load()),
			},
		}
		raw, err := bson.Marshal(m)
		if err == nil {
			ctx, cancel := context.WithTimeout(ctx, beatEvery)
			err = c.cfg.Store.Put(ctx, store.Members, []store.Doc{{ID: m.ID, Raw: raw}})
			cancel()
		}
		if err != nil && !failed && ctx.Err() == nil {
			c.cfg.Logger.Warn("cannot write the member document; trying again", "err", err)
		}
		failed = err != nil
	}
	for {
		write(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			write(context.WithoutCancel(ctx))
			return
		}
	}
}
