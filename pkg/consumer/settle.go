package consumer

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/store"
)

// settle does what must be durable before a written group may be acknowledged.
func (c *Consumer) settle(ctx, work context.Context, g *group) error {
	if err := c.bury(ctx, work, g); err != nil {
		return err
	}
	return c.mark(ctx, work, g)
}

// mark writes the dirty marks that a group's records call for.
func (c *Consumer) mark(ctx, work context.Context, g *group) error {
	docs, err := c.writer.marks(g.load)
	if err != nil || len(docs) == 0 {
		return err
	}
	err = c.retry(ctx, work, "write dirty marks", func() error {
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
			c.status.acknowledged(time.Now())
		case errors.Is(err, queue.ErrStale), errors.Is(err, queue.ErrClosed):
			c.metrics.stale.Inc()
			c.status.held.Add(-1)
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
				c.status.recovered(conditionWaiting, what)
				c.cfg.Logger.Info("works again", "what", what, "after", time.Since(began))
			}
			return nil
		}
		if ctx.Err() != nil || work.Err() != nil {
			return err
		}
		if f := (final{}); errors.As(err, &f) {
			c.status.recovered(conditionWaiting, what) // whoever called goes on
			return f.error
		}
		c.metrics.retries.Inc()
		if began.IsZero() {
			began = time.Now()
			c.cfg.Logger.Error("consuming waits and tries again", "what", what, "err", err)
		}
		c.status.failing(conditionWaiting, what, began, fmt.Sprintf(
			"Consuming waits because it cannot %s (%v); it goes on by itself. Check the store and the queue.", what, err))
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
