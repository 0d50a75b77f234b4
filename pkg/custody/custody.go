// Package custody looks after what is stored of an event: it erases people who are forgotten, texts and
// records whose time is over, brings an event to the state in which nothing changes any more, and
// compares statistics with the records that they were counted from.
package custody

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/robfig/cron/v3"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Queue is the part of a queue that custody uses.
type Queue interface {
	// Depth is how many messages wait in a queue.
	Depth(ctx context.Context, name string) (int, error)
}

// Config configures a Custody.
type Config struct {
	// Store has everything. Required.
	Store store.Store
	// Queue tells when nothing is on its way to the store any more. Required.
	Queue Queue
	// Clock is the event's time: an event's end and the days after it go by it, and the schedules.
	// Default the system's.
	Clock clock.Clock
	// Retention is when it is looked for texts and records whose time is over, besides at the start of
	// each term. Default every hour at 17 minutes past.
	Retention cron.Schedule
	// Reconcile is when some closed minutes are compared with their records. Default every 10 minutes.
	Reconcile cron.Schedule
	// EndGrace is how long after its end an event is still collected; the master's. Default 1 min.
	EndGrace time.Duration
	// Look is how often it is looked for something to do, in the machine's time. Default 2 s.
	Look time.Duration
	// Again is how long after one pass over an event's records the next begins. A consumer may store
	// what it judged by tombstones this old. Default 5 s.
	Again time.Duration
	// Quiet is for how long the queue must be empty before an event is frozen. Default 2 s.
	Quiet time.Duration
	// Silence is after what time a member that is not heard is not believed any more. Default 15 s.
	Silence time.Duration
	// Lease is the id of the lease that the leader holds. Default "custody".
	Lease string
	// LeaseTTL is how long a lease that is not renewed stands. Default the elector's.
	LeaseTTL time.Duration
	// Name names this custody among all, lasting over restarts. Required.
	Name string
	// Node is the machine that it runs on. Default empty.
	Node string
	// Version is the program's, for display. Default empty.
	Version string
	// Logger gets what happens. Default slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics. Default none.
	Registerer prometheus.Registerer
}

// Custody does its work while it leads, and stands by while another does.
//
// Three kinds of work change what is stored, each in steps that can be repeated after a crash at any
// place:
//
//	tombstone    pending ──► done             see erasure
//	manifest     waiting ──► recount ──► checksums ──► unsigned ──► done (signed by the master)
//	                                         ▲                       │
//	                                         └── forget, retention ──┘
//	event        text_erased, records_erased  see retain
//
// A manifest goes back to checksums before the first change to a frozen event, and stays there until
// the last: a signed manifest is never that of something half erased.
type Custody struct {
	cfg     Config
	metrics *metrics
	elector *store.Elector
	run     string

	mu         sync.Mutex
	status     control.CustodyStatus
	conditions map[conditionKey]control.Condition
}

type conditionKey struct{ name, subject string }

// The conditions that a custody raises.
const (
	CondFails      = "custody-fails"      // a job fails and is tried again
	CondTombstones = "tombstones-pending" // people wait for long to be erased
	CondRetention  = "retention-waits"    // records are due but may not be erased yet
	CondDrift      = "minute-drift"       // a minute's documents are not what its records say
)

const (
	// pendingFor is how old a tombstone is before it is a condition that it is still pending.
	pendingFor = 10 * time.Minute
	day        = 24 * time.Hour
)

// New checks the configuration.
func New(cfg Config) (*Custody, error) {
	if cfg.Store == nil || cfg.Queue == nil || cfg.Name == "" {
		return nil, errors.New("custody: store, queue and name are required")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Lease == "" {
		cfg.Lease = "custody"
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&cfg.EndGrace, time.Minute},
		{&cfg.Look, 2 * time.Second},
		{&cfg.Again, 5 * time.Second},
		{&cfg.Quiet, 2 * time.Second},
		{&cfg.Silence, 15 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
		if *d.value < 0 {
			return nil, errors.New("custody: end grace, look, again, quiet and silence must be above 0")
		}
	}
	for _, s := range []struct {
		value    *cron.Schedule
		fallback string
	}{{&cfg.Retention, "17 * * * *"}, {&cfg.Reconcile, "*/10 * * * *"}} {
		if *s.value != nil {
			continue
		}
		var err error
		if *s.value, err = cron.ParseStandard(s.fallback); err != nil {
			return nil, fmt.Errorf("custody: schedule %q: %w", s.fallback, err)
		}
	}
	c := &Custody{cfg: cfg, run: rand.Text(), conditions: map[conditionKey]control.Condition{}}
	var err error
	if c.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("custody: register metrics: %w", err)
	}
	c.elector, err = store.NewElector(store.ElectorConfig{
		Store: cfg.Store, Name: cfg.Lease, Holder: cfg.Name + "/" + c.run, TTL: cfg.LeaseTTL, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("custody: %w", err)
	}
	return c, nil
}

// Run takes part in the election and works when elected, until the context ends; then it returns nil.
func (c *Custody) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { control.Announce(ctx, c.cfg.Store, c.cfg.Logger, c.member) })
	err := c.elector.Run(ctx, c.lead)
	wg.Wait()
	return err
}

// lead is one term.
func (c *Custody) lead(ctx context.Context, epoch int64) error {
	c.mu.Lock()
	c.status = control.CustodyStatus{Leader: true, Epoch: epoch}
	c.mu.Unlock()
	c.metrics.leading.Set(1)
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.status = control.CustodyStatus{}
		clear(c.conditions)
		c.metrics.leading.Set(0)
		c.metrics.pending.Set(0)
	}()
	t := newTerm(c, c.cfg.Logger.With("epoch", epoch))
	ticker := time.NewTicker(c.cfg.Look)
	defer ticker.Stop()
	for {
		more := t.round(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// term is what a leader knows. It can be forgotten at any time: what matters is stored.
type term struct {
	c     *Custody
	cfg   *Config
	store store.Store
	log   *slog.Logger

	erasures map[string]*erasure
	freezes  map[string]*freezing
	texts    map[string]*sweep    // of texts, under way
	answers  map[string]*sweep    // of answers
	donors   map[string]*sweep    // of what donations say of donors, which comes before records are erased
	swept    map[string]time.Time // when an event's texts were looked for last, after they were erased
	looked   map[string]time.Time // the same of its answers
	heard    map[string]*heard
	drifted  map[string]map[int64]struct{} // minutes that differed, by event

	nextRetention, nextReconcile time.Time // by the event's clock
}

func newTerm(c *Custody, log *slog.Logger) *term {
	return &term{
		c: c, cfg: &c.cfg, store: c.cfg.Store, log: log,
		erasures: map[string]*erasure{}, freezes: map[string]*freezing{}, texts: map[string]*sweep{},
		answers: map[string]*sweep{}, donors: map[string]*sweep{},
		swept: map[string]time.Time{}, looked: map[string]time.Time{}, heard: map[string]*heard{}, drifted: map[string]map[int64]struct{}{},
	}
}

// round does a part of each work that there is, and reports whether there is more to do at once.
func (t *term) round(ctx context.Context) (more bool) {
	for _, job := range []struct {
		name string
		run  func(context.Context) (bool, error)
	}{
		{"erase forgotten people", t.erase},
		{"erase texts, answers and records whose time is over", t.retain},
		{"freeze events", t.freeze},
		{"compare minutes with their records", t.reconcile},
	} {
		again, err := job.run(ctx)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			t.c.metrics.failures.Inc()
			if t.c.raise(CondFails, job.name, fmt.Sprintf("Custody can't %s (%v); it is tried again. Check the store.", job.name, err)) {
				t.log.Error("custody fails and tries again", "job", job.name, "err", err)
			}
			continue
		}
		t.c.calm(CondFails, job.name)
		more = more || again
	}
	return more
}

// doing tells what is being done; empty for nothing.
func (c *Custody) doing(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Doing = what
}

// raise notes a condition, and reports whether it is new.
func (c *Custody) raise(name, subject, detail string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := conditionKey{name, subject}
	cond, was := c.conditions[k]
	if !was {
		cond = control.Condition{Name: name, Subject: subject, Since: time.Now().UTC()}
	}
	cond.Detail = detail
	c.conditions[k] = cond
	return !was
}

func (c *Custody) calm(name, subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conditions, conditionKey{name, subject})
}

// member is what the member document tells.
func (c *Custody) member(time.Time) control.Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	status := c.status
	return control.Member{
		Role: control.RoleCustody, Name: c.cfg.Name, Node: c.cfg.Node, Run: c.run, Version: c.cfg.Version,
		Conditions: c.sorted(), Custody: &status,
	}
}

// readEvent reads an event; ok is false when there is none of that slug.
func readEvent(ctx context.Context, s store.Store, slug string) (e record.Event, ok bool, err error) {
	raw, err := s.Get(ctx, store.Events, slug)
	if errors.Is(err, store.ErrNotFound) {
		return e, false, nil
	}
	if err != nil {
		return e, false, fmt.Errorf("read event %s: %w", slug, err)
	}
	if err := bson.Unmarshal(raw, &e); err != nil {
		return e, false, fmt.Errorf("read event %s: %w", slug, err)
	}
	return e, true, nil
}

// setEvent writes an event that was read at revision e.Rev.
func setEvent(ctx context.Context, s store.Store, e record.Event) error {
	rev := e.Rev
	e.Rev++
	raw, err := bson.Marshal(&e)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.Slug, err)
	}
	if err := s.CompareAndSet(ctx, store.Events, rev, store.Doc{ID: e.Slug, Raw: raw}); err != nil {
		return fmt.Errorf("write event %s: %w", e.Slug, err)
	}
	return nil
}
