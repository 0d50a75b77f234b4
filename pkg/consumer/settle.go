package consumer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// settle does what must be durable before a written group may be acknowledged.
func (c *Consumer) settle(ctx, work context.Context, g *group) error {
	if err := c.bury(ctx, work, g); err != nil {
		return err
	}
	return c.mark(ctx, work, g)
}

// mark writes a fresh dirty mark for every minute of the group's records that count, new ones or not,
// that is closed or about to be. The time is judged here, after the insert: a record that was stored while
// its minute was surely open is seen by the scan that closes it. Records that were there before
// count as well: whoever stored them may have died before it could mark.
func (c *Consumer) mark(ctx, work context.Context, g *group) error {
	type key struct {
		event  string
		minute int64
	}
	var (
		now   = c.cfg.Clock.Now()
		dirty = map[key]struct{}{}
		last  key
		docs  []store.Doc
	)
	for i, r := range g.results {
		if r.Outcome == store.Refused {
			continue
		}
		rec := &g.records[i]
		if !rec.Kind.Counted() {
			continue // the minute's documents stay the same
		}
		k := key{event: rec.Event, minute: record.Minute(rec.Time).Unix()}
		if k == last {
			continue // batches are mostly of one minute
		}
		last = k
		if _, ok := dirty[k]; ok || !due(record.Minute(rec.Time), now, c.cfg.Grace, c.cfg.Skew) {
			continue
		}
		dirty[k] = struct{}{}
		m := record.NewMark(rec.Event, rec.Time, rand.Text())
		raw, err := bson.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode mark %s: %w", m.ID, err)
		}
		docs = append(docs, store.Doc{ID: m.ID, Raw: raw})
	}
	if len(docs) == 0 {
		return nil
	}
	err := c.retry(ctx, work, "write dirty marks", func() error {
		return c.cfg.Store.Put(work, store.Marks, docs)
	})
	if err != nil {
		return fmt.Errorf("write %d dirty marks: %w", len(docs), err)
	}
	c.metrics.marks.Add(float64(len(docs)))
	c.status.marks.Add(int64(len(docs)))
	return nil
}

// ackers is how many acknowledgements wait for the queue at once.
const ackers = 16

// acknowledge tells the queue that a group's deliveries are dealt with. As long as the queue can't take note, the
// deliveries stay ours and would never come again, so it tries again until work ends.
func (c *Consumer) acknowledge(work context.Context, pending []queue.Delivery) {
	err := c.retry(work, work, "acknowledge batches", func() error {
		var err error
		pending, err = c.tell(work, pending)
		return err
	})
	if err != nil {
		c.metrics.stale.Add(float64(len(pending)))
		c.leave(pending, err)
	}
}

// tell acknowledges deliveries and returns those for which it must be tried again, with the error of
// one of them. One that is no longer ours is none: that batch comes again, which does no harm.
func (c *Consumer) tell(work context.Context, deliveries []queue.Delivery) (again []queue.Delivery, err error) {
	var (
		wg     sync.WaitGroup
		errs   = make([]error, len(deliveries))
		failed error
	)
	for i := range deliveries {
		c.acks <- struct{}{}
		wg.Go(func() {
			defer func() { <-c.acks }()
			errs[i] = deliveries[i].Ack(work)
		})
	}
	wg.Wait()
	for i, err := range errs {
		switch {
		case err == nil:
			c.metrics.batches.Inc()
			c.status.batches.Add(1)
		case errors.Is(err, queue.ErrStale), errors.Is(err, queue.ErrClosed):
			c.metrics.stale.Inc()
		default:
			again, failed = append(again, deliveries[i]), err
		}
	}
	return again, failed
}

// The pauses between attempts.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// final is an error after which retry does not try again.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// retry calls f until it succeeds, with growing pauses. It gives up when it has failed after the end
// of ctx, or when work has ended, or with a final error.
func (c *Consumer) retry(ctx, work context.Context, what string, f func() error) error {
	var (
		began time.Time
		pause = firstPause
	)
	for {
		err := f()
		if err == nil {
			if !began.IsZero() {
				c.status.recovered(what)
				c.cfg.Logger.Info("works again", "what", what, "after", time.Since(began))
			}
			return nil
		}
		if ctx.Err() != nil || work.Err() != nil {
			return err
		}
		if f := (final{}); errors.As(err, &f) {
			c.status.recovered(what) // whoever called goes on
			return f.error
		}
		c.metrics.retries.Inc()
		if began.IsZero() {
			began = time.Now()
			c.cfg.Logger.Error("consuming waits and tries again", "what", what, "err", err)
		}
		c.status.failing(began, what, err)
		timer := time.NewTimer(pause/2 + mathrand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-work.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}
