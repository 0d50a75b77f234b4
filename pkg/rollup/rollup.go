// Package rollup turns stored records into the documents that are read: minutes, hours and totals of
// each channel and of the event. Closed minutes are counted from the store and exact, whatever comes
// late; open ones come from the live feed and are provisional.
package rollup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Config configures a Rollup.
type Config struct {
	// Store has the records and takes the documents. Required.
	Store store.Store
	// Queue has the live feed. Default none: then there are closed minutes only.
	Queue queue.Feed
	// Clock is the event's time. Default the system's.
	Clock clock.Clock
	// Grace is how long after its end a minute is closed; the consumers' must be the same. Default 20 s.
	Grace time.Duration
	// LiveEvery is how often open minutes are written, in the machine's time. Default 2 s.
	LiveEvery time.Duration
	// Lease is the id of the lease that the leader holds. Default "rollup".
	Lease string
	// LeaseTTL is how long a lease that is not renewed stands. Default the elector's.
	LeaseTTL time.Duration
	// Name names this rollup among all, lasting over restarts. Required.
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

// Rollup closes minutes while it leads, and stands by while another does.
type Rollup struct {
	cfg     Config
	metrics *metrics
	elector *store.Elector
	run     string
	work    *stepping

	mu     sync.Mutex
	status control.RollupStatus
	failed map[string]control.Condition // by event
}

// The rhythm of a leader, in the machine's time.
const (
	lookEvery   = 200 * time.Millisecond // at the clock, for minutes to close
	marksEvery  = time.Second
	eventsEvery = 2 * time.Second
	pauseAfter  = time.Second // an error
	feedBuffer  = 512         // messages
)

// New checks the configuration.
func New(cfg Config) (*Rollup, error) {
	if cfg.Store == nil || cfg.Name == "" {
		return nil, errors.New("rollup: store and name are required")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Grace == 0 {
		cfg.Grace = 20 * time.Second
	}
	if cfg.LiveEvery == 0 {
		cfg.LiveEvery = 2 * time.Second
	}
	if cfg.Lease == "" {
		cfg.Lease = "rollup"
	}
	if cfg.Grace < 0 || cfg.LiveEvery < 0 {
		return nil, errors.New("rollup: grace and live every must be above 0")
	}
	r := &Rollup{run: rand.Text(), work: &stepping{Store: cfg.Store}, failed: map[string]control.Condition{}}
	cfg.Store = r.work
	r.cfg = cfg
	var err error
	if r.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("rollup: register metrics: %w", err)
	}
	r.elector, err = store.NewElector(store.ElectorConfig{
		Store: cfg.Store, Name: cfg.Lease, Holder: cfg.Name + "/" + r.run, TTL: cfg.LeaseTTL, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("rollup: %w", err)
	}
	return r, nil
}

// Run takes part in the election and leads when elected, until the context ends; then it returns nil.
func (r *Rollup) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { control.Announce(ctx, r.cfg.Store, r.cfg.Logger, r.member) })
	err := r.elector.Run(ctx, r.lead)
	wg.Wait()
	return err
}

// lead is one term.
func (r *Rollup) lead(ctx context.Context, epoch int64) error {
	ctx, cancel := context.WithCancel(ctx)
	t := &term{
		r: r, epoch: epoch, log: r.cfg.Logger.With("epoch", epoch),
		closers: map[string]*closer{}, quiet: map[string]time.Time{}, live: newLive(r.cfg.Clock.Now, r.metrics),
	}
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.status = control.RollupStatus{}
		clear(r.failed)
		r.metrics.leading.Set(0)
	}()
	r.mu.Lock()
	r.status = control.RollupStatus{Leader: true, Epoch: epoch}
	r.mu.Unlock()
	r.metrics.leading.Set(1)
	if r.cfg.Queue != nil {
		wg.Go(func() { t.listen(ctx) })
	}
	return t.work(ctx)
}

// term is what a leader knows.
type term struct {
	r       *Rollup
	epoch   int64
	log     *slog.Logger
	closers map[string]*closer
	quiet   map[string]time.Time // when an event that failed is tried again
	live    *live
}

// work closes, recounts and writes open minutes, one after the other on this goroutine, until the
// context ends or a later leader has written.
func (t *term) work(ctx context.Context) error {
	var (
		ticker                          = time.NewTicker(lookEvery)
		nextEvents, nextMarks, nextLive time.Time
	)
	defer ticker.Stop()
	for {
		now := time.Now()
		if !now.Before(nextEvents) {
			nextEvents = now.Add(eventsEvery)
			if err := t.readEvents(ctx); err != nil && ctx.Err() == nil {
				t.log.Warn("cannot read the events; trying again", "err", err)
			}
		}
		marks := !now.Before(nextMarks)
		if marks {
			nextMarks = now.Add(marksEvery)
		}
		more := false
		for _, slug := range slices.Sorted(maps.Keys(t.closers)) {
			c := t.closers[slug]
			if now.Before(t.quiet[slug]) || !marks && !c.due() {
				continue
			}
			again, err := t.step(ctx, c)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, store.ErrFenced) {
				return err
			}
			t.failed(slug, err)
			more = more || again
		}
		if !now.Before(nextLive) {
			nextLive = now.Add(t.r.cfg.LiveEvery)
			if err := t.writeOpen(ctx); errors.Is(err, store.ErrFenced) {
				return err
			}
		}
		t.tell()
		if more {
			nextMarks = time.Time{}
			if ctx.Err() == nil {
				continue
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// step does one round for an event, and lets the live numbers follow.
func (t *term) step(ctx context.Context, c *closer) (more bool, err error) {
	more, err = c.step(ctx)
	if err != nil {
		return false, err
	}
	if c.final() {
		t.live.forget(c.event.Slug)
		return more, nil
	}
	if t.r.cfg.Queue != nil && t.live.follow(c.event, c.end(), c.progress.ClosedThrough) {
		if err := t.live.catchUp(ctx, t.r.cfg.Store, c); err != nil {
			t.live.forget(c.event.Slug)
			return more, fmt.Errorf("count the open minutes of event %s: %w", c.event.Slug, err)
		}
	}
	return more, nil
}

// failed takes note of how a round ended. An event that failed is left alone for a while.
func (t *term) failed(slug string, err error) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	cond, before := t.r.failed[slug]
	if err == nil {
		if before {
			t.log.Info("closing works again", "event", slug, "after", time.Since(cond.Since))
			delete(t.r.failed, slug)
		}
		delete(t.quiet, slug)
		return
	}
	t.quiet[slug] = time.Now().Add(pauseAfter)
	if !before {
		t.log.Error("cannot close minutes; trying again", "event", slug, "err", err)
		cond = control.Condition{Name: "closing-fails", Subject: slug, Since: time.Now().UTC()}
	}
	cond.Detail = fmt.Sprintf("Minutes can't be closed or recounted (%v); it is tried again every second. Check the store.", err)
	t.r.failed[slug] = cond
}

// readEvents takes up the events whose minutes are to be closed or, of frozen ones, counted again: all
// but drafts.
func (t *term) readEvents(ctx context.Context) error {
	active := map[string]struct{}{}
	for raw, err := range t.r.cfg.Store.Find(ctx, store.Query{Collection: store.Events}) {
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		var e record.Event
		if err := bson.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("read event %s: %w", store.DocID(raw), err)
		}
		if e.State == record.EventDraft || e.Start.IsZero() ||
			!e.End.IsZero() && !e.Start.Before(e.End) {
			continue
		}
		active[e.Slug] = struct{}{}
		if c := t.closers[e.Slug]; c != nil {
			c.event = e
			continue
		}
		t.closers[e.Slug] = &closer{
			store: t.r.cfg.Store, grace: t.r.cfg.Grace, epoch: t.epoch, now: t.r.cfg.Clock.Now,
			metrics: t.r.metrics, log: t.log.With("event", e.Slug), event: e,
		}
	}
	for slug := range t.closers {
		if _, ok := active[slug]; !ok {
			delete(t.closers, slug)
			t.live.forget(slug)
			t.failed(slug, nil)
		}
	}
	return nil
}

// writeOpen writes the open minutes of all events.
func (t *term) writeOpen(ctx context.Context) error {
	for slug, c := range t.closers {
		if !c.loaded || c.final() {
			continue
		}
		err := t.live.writeOpen(ctx, t.r.cfg.Store, c)
		switch {
		case errors.Is(err, store.ErrFenced):
			t.r.metrics.fenced.Inc()
			return fmt.Errorf("write open minutes of event %s: %w", slug, err)
		case err != nil && ctx.Err() == nil:
			t.log.Warn("cannot write open minutes; trying again", "event", slug, "err", err)
		}
	}
	return nil
}

// listen counts what comes by the live feed. A feed that can't be had costs provisional numbers only.
func (t *term) listen(ctx context.Context) {
	warned := false
	for ctx.Err() == nil {
		messages, err := t.r.cfg.Queue.Listen(ctx, feedBuffer)
		if err != nil {
			if !warned && ctx.Err() == nil {
				t.log.Warn("cannot listen to the live feed; open minutes lack what it tells", "err", err)
			}
			warned = true
		} else {
			warned = false
			for m := range messages {
				records, err := record.DecodeBatch(m.Body)
				if err != nil {
					t.log.Debug("a message of the live feed can't be read", "message", m.ID, "err", err)
					continue // the same batch is poison in the queue, where it is dealt with
				}
				t.live.add(slices.DeleteFunc(records, maybeCounted))
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pauseAfter):
		}
	}
}

// maybeCounted reports whether a record of the feed may be in the store with another time: a donation of a
// source that tells no times, which was there when its collector first looked. Closing counts it once.
func maybeCounted(r record.Record) bool {
	if r.Kind != record.KindDonation {
		return false
	}
	earlier, _ := r.Doc.Lookup("earlier").BooleanOK()
	return earlier
}

// tell updates what the member document says.
func (t *term) tell() {
	var (
		s   = control.RollupStatus{Leader: true, Epoch: t.epoch}
		lag time.Duration
		now = t.r.cfg.Clock.Now()
	)
	for _, slug := range slices.Sorted(maps.Keys(t.closers)) {
		c := t.closers[slug]
		if !c.loaded {
			continue
		}
		e := control.RollupEvent{Event: slug, Closed: c.progress.ClosedThrough, Marks: c.marks, Live: t.live.newest(slug)}
		if e.Live == nil {
			e.Live = c.last
		}
		if next := c.next(); next.Before(c.limit(now)) {
			lag = max(lag, now.Sub(next.Add(time.Minute+c.grace)))
		}
		s.Events = append(s.Events, e)
	}
	t.r.metrics.lag.Set(lag.Seconds())
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.r.status = s
}

// member is what the member document tells.
func (r *Rollup) member(time.Time) control.Member {
	m := control.Member{Role: control.RoleRollup, Name: r.cfg.Name, Node: r.cfg.Node, Run: r.run, Version: r.cfg.Version}
	r.mu.Lock()
	defer r.mu.Unlock()
	status := r.status
	status.Steps = r.work.steps.Load()
	m.Rollup = &status
	for _, slug := range slices.Sorted(maps.Keys(r.failed)) {
		m.Conditions = append(m.Conditions, r.failed[slug])
	}
	return m
}
