package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
)

// forwardWindow is how many batches are on their way to the queue at once.
const forwardWindow = 32

// forwarder carries batches from the outbox to the queue. A batch leaves the outbox only when the
// queue has confirmed it.
type forwarder struct {
	from    *outbox
	to      queue.Publisher
	logger  *slog.Logger
	metrics *metrics
	// pace is how fast a backlog goes; nil: as fast as it can.
	pace *rate.Limiter

	mu      sync.Mutex
	failing time.Time
	failure error
	sending time.Time // since when the queue has what it did not confirm yet
}

const (
	// backlogAge is how long the oldest batch must have waited for what is sent to be a backlog.
	backlogAge = 5 * time.Second
	// slowAfter is how long the queue may take to confirm before that is told.
	slowAfter = 5 * time.Second
)

// wait holds a backlog back to its pace. What comes live meanwhile stands behind it in the outbox, so
// order is kept. Without a backlog it returns at once.
func (f *forwarder) wait(ctx context.Context, held []queue.Delivery) error {
	if f.pace == nil {
		return nil
	}
	_, _, oldest, err := f.from.Stats(ctx)
	if err != nil || oldest.IsZero() || time.Since(oldest) < backlogAge {
		return nil //nolint:nilerr // it is only a matter of pace
	}
	for _, d := range held {
		for left := len(d.Body); left > 0; {
			n := min(left, f.pace.Burst())
			if err := f.pace.WaitN(ctx, n); err != nil {
				return err
			}
			left -= n
		}
	}
	return nil
}

func (f *forwarder) run(ctx context.Context) error {
	deliveries, err := f.from.Subscribe(ctx, outboxQueue, 2*forwardWindow)
	if err != nil {
		return err
	}
	for d := range deliveries {
		held := []queue.Delivery{d}
	gather:
		for len(held) < forwardWindow {
			select {
			case d, ok := <-deliveries:
				if !ok {
					break gather
				}
				held = append(held, d)
			default:
				break gather
			}
		}
		if err := f.forward(ctx, held); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // stopping: what is held stays in the outbox
			}
			return err
		}
	}
	return nil
}

// forward publishes until it is confirmed, or the context ends, and only then takes the batches
// out of the outbox.
func (f *forwarder) forward(ctx context.Context, held []queue.Delivery) error {
	messages := make([]queue.Message, len(held))
	for i, d := range held {
		messages[i] = d.Message
	}
	if err := f.wait(ctx, held); err != nil {
		return err
	}
	start := time.Now()
	f.set(start)
	defer f.set(time.Time{})
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := f.to.Publish(ctx, queue.Store, messages...)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.fail(err)
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.recover()
	f.metrics.confirm.Observe(time.Since(start).Seconds())
	f.metrics.forwarded.Add(float64(len(held)))
	return f.acknowledge(ctx, held)
}

// acknowledge takes confirmed batches out of the outbox. Where the outbox can't note it (its disk is
// full) it tries again until it can, or the context ends: a delivery that is neither acknowledged
// nor given back would count against the window for ever. What then stays is sent again at the next
// start, which is harmless.
func (f *forwarder) acknowledge(ctx context.Context, held []queue.Delivery) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		// They go together so that the outbox takes them in one transaction.
		errs := make([]error, len(held))
		var wg sync.WaitGroup
		for i, d := range held {
			wg.Go(func() { errs[i] = d.Ack(ctx) })
		}
		wg.Wait()
		var left []queue.Delivery
		for i, err := range errs {
			if err != nil && !errors.Is(err, queue.ErrStale) {
				left = append(left, held[i])
			}
		}
		if len(left) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.logger.Warn("confirmed batches can't be taken out of the outbox yet",
			slog.Int("batches", len(left)), slog.Any("err", errors.Join(errs...)))
		held = left
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *forwarder) set(sending time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sending = sending
}

func (f *forwarder) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing.IsZero() {
		f.failing = time.Now()
		f.logger.Warn("the queue takes nothing; records wait in the outbox", slog.Any("err", err))
	}
	f.failure = err
}

func (f *forwarder) recover() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.failing.IsZero() {
		f.logger.Info("the queue takes records again", slog.Duration("after", time.Since(f.failing)))
		f.failing, f.failure = time.Time{}, nil
	}
}

func (f *forwarder) conditions() []control.Condition {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing.IsZero() {
		if f.sending.IsZero() || time.Since(f.sending) < slowAfter {
			return nil
		}
		return []control.Condition{{
			Name: "queue-unavailable", Since: f.sending,
			Detail: fmt.Sprintf("the queue has confirmed nothing for %s: it is away, blocks or is slow; records wait on disk and are sent when it is back",
				roughly(time.Since(f.sending))),
		}}
	}
	detail := f.failure.Error() + ": records wait on disk and are sent when the queue is back"
	if errors.Is(f.failure, queue.ErrUnroutable) {
		detail = "the queue does not exist: run `tungstene queue declare`; records wait on disk"
	}
	return []control.Condition{{Name: "queue-unavailable", Since: f.failing, Detail: detail}}
}
