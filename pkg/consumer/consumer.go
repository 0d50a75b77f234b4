// Package consumer writes what collectors published into the store. Any number of consumers may
// run; they compete for the batches of one queue.
package consumer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Queue is the part of a queue that a consumer uses.
type Queue interface {
	queue.Subscriber
	queue.Publisher
	// Depth is that of queue.Queue.
	Depth(ctx context.Context, queue string) (int, error)
}

// The headers of a dead letter. A batch that is no batch is published as it came; a record that the
// store refused, as a batch of one; what a batch holds of a frozen event, as a batch. Other headers of
// the message travel on.
const (
	HeaderReason = "reason" // why, as a sentence
	HeaderCode   = "code"   // why, as one of the codes of a record.Letter
	HeaderFailed = "failed" // when it failed first, RFC 3339, UTC
	HeaderQueue  = "queue"  // the queue that it came from
	HeaderRecord = "record" // the _id of the record; absent of a batch
	HeaderCount  = "count"  // how often it was dead-lettered, replays included
)

// Config configures a Consumer.
type Config struct {
	// Store takes the records. Required.
	Store store.Store
	// Queue gives the batches and takes dead letters. Required.
	Queue Queue
	// Clock is the event's time. Default the system's.
	Clock clock.Clock
	// Grace is how long after its end a minute is closed; the rollup's must be the same. Default 20 s.
	Grace time.Duration
	// Skew is how far the clocks of the consumers' and the rollup's machines may be apart. Records
	// stored nearer than this to the closing of their minute mark it. 0 means the default, not that
	// the clocks agree. Default 5 s.
	Skew time.Duration
	// Prefetch is the most deliveries held at once. Default 64.
	Prefetch int
	// MaxRecords is the number of records from which on no more batches are gathered into one
	// insert. Default 2000.
	MaxRecords int
	// StopTimeout is how long after the end of Run's context the deliveries in hand may take to be
	// stored and acknowledged. What is not by then is delivered again, to someone. Default 10 s.
	StopTimeout time.Duration
	// Stall is how long the consumer may have work and acknowledge nothing, while nothing fails, until
	// it is told as a condition and subscribes anew. It is doubled each time that this has not helped.
	// Default 20 s.
	Stall time.Duration
	// Name names this consumer among all, lasting over restarts. Required.
	Name string
	// Node is the machine that it runs on. Default empty.
	Node string
	// Version is the program's, for display. Default empty.
	Version string
	// Stored, if set, is called after each insert with the records that were new, before they are
	// acknowledged. It must not block, nor keep the slice. Default none.
	Stored func(records []record.Record)
	// Logger gets what happens. Default slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics. Default none.
	Registerer prometheus.Registerer
}

// Consumer writes batches of the queue "store" into the store.
//
// Deliveries go through three steps that run at the same time, each on what the one before has
// finished:
//
//	gather                     write                         settle
//	take deliveries, decode,   gate, insert, unordered,      1. dead letters, confirmed
//	up to MaxRecords           gate; again and again  ─────► 2. dirty marks
//	as long as write is busy   while the store is away       3. acknowledge
//
// The gate keeps out what frozen events and forgotten people don't have any more.
//
// Acknowledging does not hold up what comes after: where the queue does not take it, it is tried
// again beside the work on the next groups, of which there are no more than prefetch allows.
//
// A delivery is acknowledged only when every record of it is durable (new, or there before) or lies
// confirmed among the dead letters, and every mark that it calls for is durable. Whatever fails
// before is done again, by us or after redelivery by someone: each step can be repeated.
//
// Beside that every consumer is a clerk: it files the dead letters in the store and replays those
// that somebody wants replayed. See clerk.
type Consumer struct {
	cfg     Config
	writer  *writer
	metrics *metrics
	status  status
	run     string
	acks    chan struct{} // a slot for each acknowledgement that waits for the queue
}

const (
	defaultGrace = 20 * time.Second
	defaultSkew  = 5 * time.Second
)

// New checks the configuration.
func New(cfg Config) (*Consumer, error) {
	if cfg.Store == nil || cfg.Queue == nil || cfg.Name == "" {
		return nil, errors.New("consumer: store, queue and name are required")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Grace == 0 {
		cfg.Grace = defaultGrace
	}
	if cfg.Skew == 0 {
		cfg.Skew = defaultSkew
	}
	if cfg.Prefetch == 0 {
		cfg.Prefetch = 64
	}
	if cfg.MaxRecords == 0 {
		cfg.MaxRecords = 2000
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = 10 * time.Second
	}
	if cfg.Stall == 0 {
		cfg.Stall = 20 * time.Second
	}
	if cfg.Grace < 0 || cfg.Skew < 0 || cfg.Prefetch < 0 || cfg.MaxRecords < 0 || cfg.StopTimeout < 0 || cfg.Stall < 0 {
		return nil, errors.New("consumer: grace, skew, prefetch, max records, stop timeout and stall must be above 0")
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("consumer: register metrics: %w", err)
	}
	c := &Consumer{
		cfg: cfg, writer: newWriter(cfg.Store, cfg.Clock, cfg.Grace, cfg.Skew),
		metrics: m, run: rand.Text(), acks: make(chan struct{}, ackers),
	}
	c.status.depth.Store(-1)
	return c, nil
}

// Run consumes until the context ends; then it finishes what it holds, for StopTimeout at most, and
// returns nil. It fails at once when the queue does not exist, and in the same time when the
// subscription ends by itself.
func (c *Consumer) Run(ctx context.Context) error {
	beats, stopBeats := context.WithCancel(context.WithoutCancel(ctx))
	desk, closeDesk := context.WithCancel(ctx)
	var beside, clerks sync.WaitGroup
	beside.Go(func() { control.Announce(beats, c.cfg.Store, c.cfg.Logger, c.member()) })
	beside.Go(func() { c.measure(beats) })
	clerks.Go(func() { newClerk(c).run(desk) })
	defer func() {
		closeDesk()
		clerks.Wait()
		stopBeats()
		beside.Wait()
	}()
	dog := &watchdog{consumer: c, patience: 1}
	for {
		err := c.consume(ctx, dog)
		if !errors.Is(err, errStalled) {
			return err
		}
	}
}

// consume works on one subscription until the context ends, or the watchdog finds that it stands
// still.
func (c *Consumer) consume(outer context.Context, dog *watchdog) error {
	ctx, stall := context.WithCancelCause(outer)
	defer stall(nil)
	// The subscription outlives ctx: acknowledgements need it while the work in hand is finished.
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	finish := func() { time.AfterFunc(c.cfg.StopTimeout, func() { cancel(errStopTimeout) }) }
	stop := context.AfterFunc(ctx, finish)
	defer stop()
	deliveries, err := c.cfg.Queue.Subscribe(work, queue.Store, c.cfg.Prefetch)
	if err != nil {
		if outer.Err() != nil {
			return nil // stopped while it waited for the broker
		}
		return fmt.Errorf("consume queue %q: %w", queue.Store, err)
	}

	var (
		wg      sync.WaitGroup
		watch   sync.WaitGroup
		groups  = make(chan *group)
		written = make(chan *group)
		ended   error
	)
	watched, unwatch := context.WithCancel(ctx)
	defer watch.Wait()
	defer unwatch()
	watch.Go(func() {
		if dog.watch(watched) {
			stall(errStalled)
			cancel(errStalled)
		}
	})
	wg.Go(func() {
		defer close(groups)
		if ended = c.gather(ctx, deliveries, groups); ended != nil {
			finish()
		}
	})
	wg.Go(func() {
		defer close(written)
		for g := range groups {
			if err := c.insert(ctx, work, g); err != nil {
				c.leave(g.deliveries, err)
				continue
			}
			written <- g
		}
	})
	wg.Go(func() {
		for g := range written {
			if err := c.settle(ctx, work, g); err != nil {
				c.leave(g.deliveries, err)
				continue
			}
			deliveries := g.deliveries // all that is needed of g
			wg.Go(func() { c.acknowledge(work, deliveries) })
		}
	})
	wg.Wait()
	if context.Cause(ctx) == errStalled && outer.Err() == nil { //nolint:errorlint // the cause is never wrapped
		c.status.forget(conditionWaiting)
		return errStalled
	}
	return ended
}

var errStopTimeout = errors.New("the time to stop is over")

// leave lets deliveries go without acknowledging them; the queue delivers them again when the
// subscription ends.
func (c *Consumer) leave(deliveries []queue.Delivery, err error) {
	c.status.held.Add(-int64(len(deliveries)))
	c.cfg.Logger.Warn("left batches unacknowledged; they are delivered again", "batches", len(deliveries), "err", err)
}

// group is the deliveries of one insert.
type group struct {
	deliveries []queue.Delivery
	records    []record.Record
	// origin[i] is the index in deliveries of records[i].
	origin []int
	poison []poison
	// tried says that one of them was delivered before: some of its records may be stored.
	tried bool
	load  *load
}

// poison is a delivery that could not be decoded.
type poison struct {
	delivery int
	err      error
}

func (g *group) add(d queue.Delivery) {
	i := len(g.deliveries)
	g.deliveries = append(g.deliveries, d)
	g.tried = g.tried || d.Redelivered
	records, err := record.DecodeBatch(d.Body)
	if err != nil {
		g.poison = append(g.poison, poison{delivery: i, err: err})
		return
	}
	g.records = append(g.records, records...)
	for range records {
		g.origin = append(g.origin, i)
	}
}

// gather takes deliveries until ctx ends, and hands over groups of them. It never waits to fill a
// group: while nothing is being written a group is whatever is there, and it grows while there is.
func (c *Consumer) gather(ctx context.Context, deliveries <-chan queue.Delivery, groups chan<- *group) error {
	g := &group{}
	for {
		if ctx.Err() != nil {
			if len(g.deliveries) > 0 {
				groups <- g
			}
			return nil
		}
		in, out := deliveries, groups
		if len(g.records) >= c.cfg.MaxRecords {
			in = nil // full: leave the rest to the queue, and to other consumers
		}
		if len(g.deliveries) == 0 {
			out = nil
		}
		if in != nil { // what is there is taken before anything is handed over
			select {
			case d, ok := <-in:
				if !ok {
					return c.subscriptionEnded(ctx, g, groups)
				}
				c.take(g, d)
				continue
			default:
			}
		}
		select {
		case <-ctx.Done():
		case d, ok := <-in:
			if !ok {
				return c.subscriptionEnded(ctx, g, groups)
			}
			c.take(g, d)
		case out <- g:
			g = &group{}
		}
	}
}

func (c *Consumer) take(g *group, d queue.Delivery) {
	c.status.held.Add(1)
	g.add(d)
}

func (c *Consumer) subscriptionEnded(ctx context.Context, g *group, groups chan<- *group) error {
	if len(g.deliveries) > 0 {
		groups <- g // perhaps still ours; storing twice does no harm
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end of ctx is no failure
	}
	return fmt.Errorf("consume queue %q: the subscription ended: %w", queue.Store, queue.ErrClosed)
}

// insert writes the records of a group. While the store can't say what became of them it tries
// again, until ctx ends.
func (c *Consumer) insert(ctx, work context.Context, g *group) error {
	g.load = newLoad(g.records)
	g.load.tried = g.tried
	if len(g.records) == 0 {
		return nil
	}
	start := time.Now()
	err := c.retry(ctx, work, "store records", func() error { return c.writer.write(work, g.load) })
	if err != nil {
		return fmt.Errorf("store %d records: %w", len(g.records), err)
	}
	c.metrics.insert.Observe(time.Since(start).Seconds())
	c.count(g)
	return nil
}

// count takes note of what became of a group's records.
func (c *Consumer) count(g *group) {
	var (
		now      = c.cfg.Clock.Now()
		outcomes = g.load.counts()
		newest   time.Time
		fresh    []record.Record
	)
	for i, f := range g.load.fates {
		rec := &g.records[i]
		if rec.Time.After(newest) {
			newest = rec.Time
		}
		if f != inserted {
			continue
		}
		if rec.Kind == record.KindMessage {
			c.metrics.lag.Observe(max(0, now.Sub(rec.Time).Seconds()))
		}
		if c.cfg.Stored != nil {
			fresh = append(fresh, *rec)
		}
	}
	existed := outcomes[existed] + outcomes[known]
	c.metrics.inserted.Add(float64(outcomes[inserted]))
	c.metrics.existed.Add(float64(existed))
	c.metrics.refused.Add(float64(outcomes[refused]))
	c.metrics.frozen.Add(float64(outcomes[frozen]))
	c.metrics.forgotten.Add(float64(outcomes[forgotten]))
	c.status.inserted.Add(int64(outcomes[inserted]))
	c.status.existed.Add(int64(existed))
	c.status.lag.Store(int64(max(0, now.Sub(newest))))
	if len(fresh) > 0 {
		c.cfg.Stored(fresh)
	}
}
