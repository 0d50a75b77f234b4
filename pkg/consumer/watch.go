package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tungstene/tungstene/pkg/queue"
)

var errStalled = errors.New("it has work and acknowledges nothing")

const (
	// stallTicks is how many looks Stall is divided into. Looks are counted, not time: a process that
	// was stopped for a while has not stalled.
	stallTicks = 20
	// maxPatience bounds how much longer than Stall it waits when subscribing anew didn't help: a store
	// that needs longer for every insert must not be asked for ever from the beginning.
	maxPatience = 32
	// depthEvery is how often the queue is asked for its depth.
	depthEvery = 5 * time.Second
)

// watchdog notices that a consumer stands still for no reason that it knows: batches are in hand, or
// wait in the queue while none is delivered, and none is acknowledged. Where a retry is going on the
// reason is known, and told by that.
type watchdog struct {
	consumer *Consumer
	// patience is how many times Stall it waits; doubled with every subscription that did not help.
	patience int
}

// watch watches over one subscription, and reports that it stands still; false when the context ends.
func (w *watchdog) watch(ctx context.Context) bool {
	var (
		c      = w.consumer
		ticker = time.NewTicker(max(c.cfg.Stall/stallTicks, time.Millisecond))
		acked  = c.status.batches.Load()
		idle   = 0
		since  = time.Now()
	)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
		held, depth, now := c.status.held.Load(), c.status.depth.Load(), c.status.batches.Load()
		working := now != acked || held <= 0 && depth <= 0
		if working {
			w.patience = 1
			c.status.forget(conditionStalled)
		}
		if acked = now; working || c.status.has(conditionWaiting) {
			idle, since = 0, time.Now()
			continue
		}
		if idle++; idle < stallTicks*w.patience {
			continue
		}
		c.metrics.stalls.Inc()
		c.cfg.Logger.Error("nothing is acknowledged though nothing fails; subscribing anew",
			"held", held, "depth", depth, "for", time.Since(since))
		c.status.failing(conditionStalled, "", since, fmt.Sprintf(
			"%d batches are in hand and %d in the queue, and for %s none was acknowledged though nothing fails. "+
				"It subscribes anew by itself; if this stays, look at its log and restart it.",
			held, max(depth, 0), time.Since(since).Round(time.Millisecond)))
		w.patience = min(2*w.patience, maxPatience)
		return true
	}
}

// measure asks the queue for its depth until the context ends.
func (c *Consumer) measure(ctx context.Context) {
	ticker := time.NewTicker(max(min(depthEvery, c.cfg.Stall/4), time.Millisecond))
	defer ticker.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, depthEvery)
		n, err := c.cfg.Queue.Depth(ask, queue.Store)
		cancel()
		if err != nil {
			n = -1 // shown as that; who can't reach the queue says so elsewhere
		}
		c.status.depth.Store(int64(n))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
