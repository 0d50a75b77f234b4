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
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Queue is the part of a queue that a consumer uses.
type Queue interface {
	queue.Subscriber
	queue.Publisher
}

// The headers of a dead letter. A batch that is no batch is published as it came; a record that the
// store refused, as a batch of one. Other headers of the message travel on.
const (
	HeaderReason = "reason" // why, as a sentence
	HeaderFailed = "failed" // when it failed first, RFC 3339, UTC
	HeaderQueue  = "queue"  // the queue that it came from
	HeaderRecord = "record" // the _id of the record; absent of a batch that could not be read
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
//	take deliveries, decode,   insert, unordered;            1. dead letters, confirmed
//	up to MaxRecords           again and again while  ─────► 2. dirty marks
//	as long as write is busy   the store is away             3. acknowledge
//
// Acknowledging does not hold up what comes after: where the queue does not take it, it is tried
// again beside the work on the next groups, of which there are no more than prefetch allows.
//
// A delivery is acknowledged only when every record of it is durable (new, or there before) or lies
// confirmed among the dead letters, and every mark that it calls for is durable. Whatever fails
// before is done again, by us or after redelivery by someone: each step can be repeated.
type Consumer struct {
	cfg     Config
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
	if cfg.Grace < 0 || cfg.Skew < 0 || cfg.Prefetch < 0 || cfg.MaxRecords < 0 || cfg.StopTimeout < 0 {
		return nil, errors.New("consumer: grace, skew, prefetch, max records and stop timeout must be above 0")
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("consumer: register metrics: %w", err)
	}
	return &Consumer{cfg: cfg, metrics: m, run: rand.Text(), acks: make(chan struct{}, ackers)}, nil
}

// Run consumes until the context ends; then it finishes what it holds, for StopTimeout at most, and
// returns nil. It fails at once when the queue does not exist, and in the same time when the
// subscription ends by itself.
func (c *Consumer) Run(ctx context.Context) error {
	// The subscription outlives ctx: acknowledgements need it while the work in hand is finished.
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	deliveries, err := c.cfg.Queue.Subscribe(work, queue.Store, c.cfg.Prefetch)
	if err != nil {
		return fmt.Errorf("consume queue %q: %w", queue.Store, err)
	}
	finish := func() { time.AfterFunc(c.cfg.StopTimeout, func() { cancel(errStopTimeout) }) }
	stop := context.AfterFunc(ctx, finish)
	defer stop()

	var (
		wg      sync.WaitGroup
		groups  = make(chan *group)
		written = make(chan *group)
		ended   error
	)
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
	beats, stopBeats := context.WithCancel(work)
	var member sync.WaitGroup
	member.Go(func() { c.announce(beats) })
	wg.Wait()
	stopBeats()
	member.Wait()
	return ended
}

var errStopTimeout = errors.New("the time to stop is over")

// leave lets deliveries go without acknowledging them; the queue delivers them again when the
// subscription ends.
func (c *Consumer) leave(deliveries []queue.Delivery, err error) {
	c.cfg.Logger.Warn("left batches unacknowledged; they are delivered again", "batches", len(deliveries), "err", err)
}

// group is the deliveries of one insert.
type group struct {
	deliveries []queue.Delivery
	records    []record.Record
	// origin[i] is the index in deliveries of records[i].
	origin  []int
	poison  []poison
	results []store.Result
}

// poison is a delivery that could not be decoded.
type poison struct {
	delivery int
	err      error
}

func (g *group) add(d queue.Delivery) {
	i := len(g.deliveries)
	g.deliveries = append(g.deliveries, d)
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
				g.add(d)
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
			g.add(d)
		case out <- g:
			g = &group{}
		}
	}
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
	if len(g.records) == 0 {
		return nil
	}
	start := time.Now()
	err := c.retry(ctx, work, "store records", func() error {
		var err error
		g.results, err = c.cfg.Store.Insert(work, g.records)
		if err == nil && len(g.results) != len(g.records) {
			err = fmt.Errorf("%d results for %d records", len(g.results), len(g.records))
		}
		return err
	})
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
		outcomes [3]int64
		newest   time.Time
		fresh    []record.Record
	)
	for i, r := range g.results {
		rec := &g.records[i]
		if int(r.Outcome) >= 0 && int(r.Outcome) < len(outcomes) {
			outcomes[r.Outcome]++
		}
		if rec.Time.After(newest) {
			newest = rec.Time
		}
		if r.Outcome != store.Inserted {
			continue
		}
		if rec.Kind == record.KindMessage {
			c.metrics.lag.Observe(max(0, now.Sub(rec.Time).Seconds()))
		}
		if c.cfg.Stored != nil {
			fresh = append(fresh, *rec)
		}
	}
	c.metrics.inserted.Add(float64(outcomes[store.Inserted]))
	c.metrics.existed.Add(float64(outcomes[store.Existed]))
	c.metrics.refused.Add(float64(outcomes[store.Refused]))
	c.status.inserted.Add(outcomes[store.Inserted])
	c.status.existed.Add(outcomes[store.Existed])
	c.status.lag.Store(int64(max(0, now.Sub(newest))))
	if len(fresh) > 0 {
		c.cfg.Stored(fresh)
	}
}
