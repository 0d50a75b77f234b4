// Package collector is the slave: it reads the chat of the channels that the master assigns to it,
// polls Helix for them, polls charity sources where it is given any, and pushes records through its
// outbox on disk into the queue.
package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/tungstene/tungstene/pkg/charity"
	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
	"github.com/tungstene/tungstene/pkg/twitch/helix"
)

// Master is what a collector asks of the master; *control.Client is one.
type Master interface {
	Heartbeat(ctx context.Context, h control.Heartbeat) (control.Answer, error)
}

// Target is where batches go.
type Target interface {
	queue.Publisher
	Send(ctx context.Context, m queue.Message) error
}

// Policy is what a collector does when it has no room for what it reads. What is in the outbox stays
// there in any case until the queue has it.
type Policy string

// The policies.
const (
	// Stop: nothing more is read. Connections stall, Twitch ends them after a while, and they are
	// opened anew when there is room; what Twitch sent meanwhile was never read and is a gap.
	Stop Policy = "stop"
	// Drop: reading goes on. What arrives is dropped, counted (record.Dropped) and a gap, until there
	// is room again.
	Drop Policy = "drop"
)

// What stands for no bound, or for none at all, where zero stands for the default.
const (
	NoAge  time.Duration = -1
	NoRate int64         = -1
	// NoChannels is the capacity of a collector that reads no chat and needs no Helix.
	NoChannels = -1
)

// Config of a collector.
type Config struct {
	// Name is unique among the collectors and lasts over restarts: the outbox belongs to it.
	Name string
	// Node is the machine, for spreading replicas. Default: Name.
	Node    string
	Version string
	// Run names this run of the process. Default: a new UUID.
	Run string
	// Dir holds the outbox and the last assignment; created with 0700.
	Dir string
	// Capacity is the most channels that this collector takes; NoChannels is none. Default 500.
	Capacity int
	// Heartbeat is how often the master is asked. Default 1 s.
	Heartbeat time.Duration
	// Tick is how long records wait at most before they are on disk. Default 200 ms.
	Tick time.Duration
	// TickRecords ends a tick early, and is the most records of a batch. Default 500.
	TickRecords int
	// Compression of batches. Default none.
	Compression record.Compression
	// OutboxBytes bounds the outbox on disk. Default 8 GiB.
	OutboxBytes int64
	// OutboxAge bounds how long a batch waits in it: when the oldest is older the outbox counts as
	// full. NoAge is none. Default 72 h.
	OutboxAge time.Duration
	// WaitingRecords is how many records wait in memory for an outbox that can't be written. Default
	// 20,000: some seconds of the design load's bursts, half a minute of its mean.
	WaitingRecords int
	// OutboxFull is what happens when the outbox is full or can't be written, and what memory holds
	// for it is full too. Default Stop.
	OutboxFull Policy
	// DrainRate is how many bytes a second are sent of a backlog, at the most, so that a queue that
	// has just come back is not flooded by all collectors at once. It is at least twice what comes in.
	// Without a backlog nothing is slowed. NoRate is as fast as it goes. Default 16 MiB/s.
	DrainRate int64
	// Handover is how long a stopping collector goes on reading, at the most, while the master moves
	// its channels to others. It stops earlier when it has none left, and when nobody takes any.
	// Default 0: it stops reading at once.
	Handover time.Duration
	// Drain is how long a stopping collector tries to empty its outbox into the queue; what is
	// left is sent at its next start. Default 5 s.
	Drain time.Duration

	Master Master
	Queue  Target
	// Chat is the reader's configuration; Collector and Clock are set here.
	Chat chat.Config
	// Helix and Sweeps poll the API. Helix may be nil where Capacity is NoChannels.
	Helix  *helix.Client
	Sweeps helix.SweeperConfig
	// Charity says which charity sources are polled, for all events that the master tells of; Collector,
	// Clock, Emit, Events, Logger and Registerer are set here. Default none.
	Charity charity.Config

	Clock      clock.Clock
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() (Config, error) {
	if !control.ValidName(c.Name) {
		return c, fmt.Errorf("collector name %q: use 1 to %d of a-z, 0-9, dot and dash, with a letter or digit at both ends",
			c.Name, control.MaxNameBytes)
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Heartbeat, time.Second)
	def(&c.Tick, 200*time.Millisecond)
	def(&c.Drain, 5*time.Second)
	if c.Node == "" {
		c.Node = c.Name
	}
	if c.Run == "" {
		c.Run = uuid.NewString()
	}
	switch {
	case c.Capacity < 0:
		c.Capacity = 0
	case c.Capacity == 0:
		c.Capacity = 500
	}
	if c.Helix == nil && c.Capacity > 0 {
		return c, errors.New("a collector that takes channels needs Helix")
	}
	if c.TickRecords <= 0 {
		c.TickRecords = 500
	}
	if c.OutboxBytes <= 0 {
		c.OutboxBytes = 8 << 30
	}
	if c.OutboxAge == 0 {
		c.OutboxAge = 72 * time.Hour
	}
	if c.WaitingRecords <= 0 {
		c.WaitingRecords = 20_000
	}
	switch c.OutboxFull {
	case "":
		c.OutboxFull = Stop
	case Stop, Drop:
	default:
		return c, fmt.Errorf("policy %q for a full outbox: use %s or %s", c.OutboxFull, Stop, Drop)
	}
	if c.DrainRate == 0 {
		c.DrainRate = 16 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With(slog.String("collector", c.Name))
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	return c, nil
}

// Collector is one slave. Make it with New, run it once.
type Collector struct {
	cfg     Config
	started time.Time
	outbox  *outbox
	reader  *chat.Reader
	sweeper *helix.Sweeper  // nil without Helix
	poller  *charity.Poller // nil without charity sources
	batch   *batcher
	forward *forwarder
	metrics *metrics
	rates   *rates

	listener *listener
	lags     lags
	stamps   bool // lines are stamped by the clock that they are received by

	// taking ends some time after Run's context: records that can't be taken by then never will.
	taking     context.Context //nolint:containedctx // the connections' callbacks have none
	stopTaking context.CancelFunc

	plan    atomic.Pointer[plan]
	leaving atomic.Bool

	mu          sync.Mutex
	clockOffset time.Duration
	clockOff    time.Time // since when it is too far off; zero when it isn't
	masterLost  time.Time // since when no master answers; zero when one does
	masterError string
}

// New opens the outbox and takes up the assignment of the last run. It fails when the outbox is in
// use by another process, or damaged.
func New(cfg Config) (*Collector, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the collector's folder: %w", err)
	}
	c := &Collector{cfg: cfg, started: time.Now(), rates: newRates()}
	c.taking, c.stopTaking = context.WithCancel(context.Background())
	c.metrics = newMetrics(cfg.Registerer, c)
	file, err := local.Open(filepath.Join(cfg.Dir, "outbox.db"), local.Options{
		Queues: []string{outboxQueue}, MaxBytes: cfg.OutboxBytes + outboxMargin, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("open the outbox: %w", err)
	}
	c.outbox = &outbox{Queue: file, bytes: cfg.OutboxBytes, age: cfg.OutboxAge}
	if err := c.assemble(); err != nil {
		return nil, errors.Join(err, c.outbox.Close())
	}
	return c, nil
}

func (c *Collector) assemble() error {
	cfg := c.cfg
	chatCfg := cfg.Chat
	chatCfg.Collector, chatCfg.Clock, chatCfg.Logger, chatCfg.Registerer = cfg.Name, cfg.Clock, cfg.Logger, cfg.Registerer
	c.reader = chat.New(chatCfg, c.line)
	c.batch = newBatcher(cfg, c.outbox, func() []chat.Span { return c.reader.Cut(cfg.Clock.Now()) }, c.metrics)
	c.listener = newListener(c.reader, cfg.Logger)
	// In a replay the clock runs faster, and so do lags.
	_, c.stamps = cfg.Clock.(clock.System)
	c.forward = &forwarder{from: c.outbox, to: cfg.Queue, logger: cfg.Logger, metrics: c.metrics}
	if cfg.DrainRate > 0 {
		c.forward.pace = rate.NewLimiter(rate.Limit(cfg.DrainRate), int(max(cfg.DrainRate/4, 64<<10)))
	}
	sweeps := cfg.Sweeps
	sweeps.Clock, sweeps.Emit, sweeps.Logger, sweeps.Registerer = cfg.Clock, c.documents, cfg.Logger, cfg.Registerer
	sweeps.ChatRate = c.listener.recent
	var err error
	if cfg.Helix != nil {
		if c.sweeper, err = helix.NewSweeper(cfg.Helix, sweeps); err != nil {
			return err
		}
	}
	if err := c.assembleCharity(); err != nil {
		return err
	}
	c.plan.Store(&plan{})
	last, err := loadAssignment(cfg.Dir)
	if err != nil {
		return err
	}
	if last != nil {
		return c.apply(*last)
	}
	return nil
}

// Close lets go of the outbox, when Run is not called. It is safe to call twice.
func (c *Collector) Close() error { return c.outbox.Close() }

// Joined is how many channels are being read.
func (c *Collector) Joined() int { return len(c.reader.Joined()) }

// Status is how the collector is doing.
func (c *Collector) Status(ctx context.Context) control.CollectorStatus {
	return c.heartbeatOf(ctx).Status
}

// LastSweep is the slot of the last sweep whose samples were written.
func (c *Collector) LastSweep() time.Time { return c.sweeps().LastSweep }

// sweeps is how the sweeps are doing; without Helix there are none.
func (c *Collector) sweeps() helix.SweepStatus {
	if c.sweeper == nil {
		return helix.SweepStatus{}
	}
	return c.sweeper.Status()
}

// Pending is how many batches wait in the outbox, and whether records wait for the next tick.
func (c *Collector) Pending(ctx context.Context) (int, error) {
	// Records go from memory to the outbox: looking in this order misses none.
	waiting := c.batch.pending()
	n, _, _, err := c.outbox.Stats(ctx)
	if err != nil {
		return 0, err
	}
	if waiting || c.batch.pending() {
		n++
	}
	return n, nil
}

// Run collects until the context ends. Then it hands its channels over, stops reading, writes what
// it has with the coverage of it, and tries for Drain to empty its outbox.
//
//	context ends ─► channels handed over ─► chat and sweeps stop ─► last tick written
//	             ─► outbox drained ─► outbox closed
func (c *Collector) Run(stop context.Context) error {
	ctx, stopReading := context.WithCancel(context.WithoutCancel(stop))
	defer stopReading()
	defer context.AfterFunc(stop, func() {
		c.handOver(ctx)
		stopReading()
	})()
	defer func() { _ = c.outbox.Close() }()
	defer c.stopTaking()
	defer context.AfterFunc(ctx, func() {
		timer := time.NewTimer(c.cfg.Drain)
		defer timer.Stop()
		select {
		case <-timer.C:
			c.stopTaking()
		case <-c.taking.Done():
		}
	})()

	// Each stage ends after the one before it.
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()

	var writers, senders errgroup.Group
	readers, reading := errgroup.WithContext(ctx)
	failed := func(err error) error { // of a later stage: the stages before it stop too
		if err != nil {
			stopWriting()
		}
		return err
	}
	senders.Go(func() error { return failed(c.forward.run(sending)) })
	writers.Go(func() error { return failed(c.batch.run(writing, c.plan.Load)) })
	readers.Go(func() error { return ended(c.reader.Run(reading)) })
	if c.sweeper != nil {
		readers.Go(func() error { return ended(c.cfg.Helix.Run(reading)) })
		readers.Go(func() error { return ended(c.sweeper.Run(reading)) })
	}
	if c.poller != nil {
		readers.Go(func() error { return ended(c.poller.Run(reading)) })
	}
	readers.Go(func() error { return c.heartbeats(reading) })
	readers.Go(func() error { return c.rates.run(reading) })
	senders.Go(func() error { c.watch(sending); return nil })
	readers.Go(func() error {
		select {
		case <-writing.Done():
			return errors.New("collector stopped")
		case <-reading.Done():
			return nil
		}
	})

	err := readers.Wait()
	stopWriting()
	err = errors.Join(writers.Wait(), err)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Drain)
	defer cancel()
	if ferr := c.batch.flush(last, c.plan.Load(), true); ferr != nil {
		if c.cfg.OutboxFull == Drop {
			abandoning, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Drain)
			ferr = c.batch.abandon(abandoning)
			cancel()
		}
		if ferr != nil {
			err = errors.Join(err, fmt.Errorf("write the last records: %w", ferr))
		}
	}
	c.drain(last)
	stopSending()
	return errors.Join(senders.Wait(), err)
}

// nobodyTakes is how long a leaving collector waits for the master to take another channel away.
// A move needs a heartbeat, a plan and a JOIN.
const nobodyTakes = 5 * time.Second

// handOver has the master move the channels to other collectors, and waits until they are gone, or
// no more of them go.
func (c *Collector) handOver(ctx context.Context) {
	if c.cfg.Handover <= 0 || len(c.plan.Load().assignment.Channels) == 0 {
		return
	}
	c.leaving.Store(true)
	end := time.NewTimer(c.cfg.Handover)
	defer end.Stop()
	tick := time.NewTicker(c.cfg.Heartbeat)
	defer tick.Stop()
	left, moved := -1, time.Now()
	for {
		if n := len(c.plan.Load().assignment.Channels); n != left {
			left, moved = n, time.Now()
		}
		if left == 0 || time.Since(moved) > nobodyTakes {
			break
		}
		select {
		case <-tick.C:
			continue
		case <-end.C:
		case <-ctx.Done():
		}
		break
	}
	if left > 0 {
		c.cfg.Logger.Warn("stopping with channels that nobody has taken over", slog.Int("channels", left))
	}
}

func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// watch looks every second at what grows, falls silent or drifts.
func (c *Collector) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var written, incoming float64
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		}
		c.outbox.observe(ctx, now)
		c.lags.judge(now)
		stuck, _ := c.batch.trouble()
		live, logins := c.live()
		c.listener.look(now, live, logins, !stuck.IsZero())
		if c.forward.pace != nil {
			total := value(c.metrics.bytes)
			incoming, written = incoming+(total-written-incoming)/30, total
			// A pace below what comes in would never come to an end.
			c.forward.pace.SetLimit(rate.Limit(max(float64(c.cfg.DrainRate), 2*incoming)))
		}
	}
}

// live are the channels that the last sweep found live, with their viewers, and the logins of those
// whose chat is recorded now.
func (c *Collector) live() (viewers map[string]int, logins map[string]string) {
	now := c.cfg.Clock.Now()
	if c.sweeper != nil && now.Sub(c.sweeps().LastSweep) < sweepsTell {
		viewers = c.sweeper.Live()
	}
	p := c.plan.Load()
	logins = make(map[string]string, len(p.byChannel))
	for id, channel := range p.byChannel {
		if slices.ContainsFunc(channel.events, func(e *plannedEvent) bool { return e.contains(now) }) {
			logins[id] = channel.login
		}
	}
	return viewers, logins
}

// drain waits until the outbox is empty or the context ends.
func (c *Collector) drain(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		n, _, _, err := c.outbox.Stats(ctx)
		if err == nil && n == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.cfg.Logger.Info("stopping with records in the outbox; they are sent at the next start",
				slog.Int("batches", n))
			return
		}
	}
}

// line takes one line of chat. It is called on the connection's parser goroutine.
func (c *Collector) line(l chat.Line) {
	c.metrics.lines.Inc()
	channel := c.plan.Load().byChannel[l.Channel.ID]
	if channel == nil {
		return // parted a moment ago
	}
	c.hear(l)
	message := false // however many events it is read for
	for _, ev := range channel.events {
		doc, err := chat.Convert(l, ev.chat)
		if err != nil {
			c.metrics.invalid.Inc()
			c.cfg.Logger.Warn("a line of chat is no record",
				slog.String("event", ev.slug), slog.String("channel", channel.login), slog.Any("err", err))
			continue
		}
		if doc == nil {
			continue
		}
		message = c.encode(l.Received, doc, ev) || message
	}
	if message {
		c.rates.count(l.Channel.ID)
	}
}

// hear notes that a channel speaks, and what its line tells of our clock.
func (c *Collector) hear(l chat.Line) {
	sent, people := l.Stamp()
	if !people {
		return
	}
	c.listener.hear(l.Channel.ID, time.Now())
	if c.stamps && !l.Late && !sent.IsZero() {
		c.lags.add(l.Channel.ID, l.Received.Sub(sent))
	}
}

// documents takes what a sweep or a poll found.
func (c *Collector) documents(ctx context.Context, docs []record.Document) error {
	records := make([]record.Record, 0, len(docs))
	for _, d := range docs {
		r, err := record.Encode(d)
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	return c.batch.add(ctx, time.Time{}, records...)
}

// encode records a document and reports whether it was a chat message. While too many records wait
// for the outbox it blocks, and with it the connection.
func (c *Collector) encode(received time.Time, doc record.Document, ev *plannedEvent) (message bool) {
	r, err := record.Encode(doc)
	if err != nil {
		c.metrics.invalid.Inc()
		c.cfg.Logger.Warn("a line of chat is no record", slog.String("event", ev.slug), slog.Any("err", err))
		return false
	}
	if !ev.contains(r.Time) {
		c.metrics.outside.Inc()
		return false
	}
	if len(ev.excluded) > 0 {
		var done record.Redaction
		if r, done = record.Redact(r, ev.excludes); done == record.Removed {
			c.metrics.excluded.Inc()
			return false // covered all the same: it was read
		}
	}
	switch err := c.batch.add(c.taking, received, r); {
	case errors.Is(err, errDropped):
		return r.Kind == record.KindMessage // it was said, and is counted as dropped
	case err != nil:
		c.metrics.refused.Inc()
		c.cfg.Logger.Error("a record was not taken while stopping, for lack of room on disk; its time counts as a gap",
			slog.String("event", ev.slug), slog.Any("err", err))
		return false
	}
	return r.Kind == record.KindMessage
}

// heartbeats asks the master until the context ends.
func (c *Collector) heartbeats(ctx context.Context) error {
	tick := time.NewTicker(c.cfg.Heartbeat)
	defer tick.Stop()
	for {
		if err := c.heartbeat(ctx); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *Collector) heartbeat(ctx context.Context) error {
	timeout, cancel := context.WithTimeout(ctx, max(2*c.cfg.Heartbeat, 2*time.Second))
	defer cancel()
	sent := time.Now()
	answer, err := c.cfg.Master.Heartbeat(timeout, c.heartbeatOf(timeout))
	if err != nil {
		if ctx.Err() == nil {
			c.masterAway(err)
		}
		return nil // the collector goes on with the assignment it has
	}
	c.masterBack(sent, answer.Now)
	if answer.Assignment == nil {
		return nil
	}
	if now := c.plan.Load().assignment; answer.Assignment.Epoch < now.Epoch {
		c.cfg.Logger.Warn("an assignment of an earlier leader was refused",
			slog.Int64("epoch", answer.Assignment.Epoch), slog.Int64("in_effect", now.Epoch))
		return nil
	}
	if err := c.apply(*answer.Assignment); err != nil {
		c.cfg.Logger.Error("an assignment can't be used; the one in effect stays", slog.Any("err", err))
		return nil
	}
	if err := saveAssignment(c.cfg.Dir, *answer.Assignment); err != nil {
		c.cfg.Logger.Error("after a restart without the master this collector would have its old channels",
			slog.Any("err", err))
	}
	return nil
}

// apply puts an assignment into effect.
func (c *Collector) apply(a control.Assignment) error {
	p, err := newPlan(a, c.plan.Load())
	if err != nil {
		return err
	}
	if len(a.Channels) != len(c.plan.Load().assignment.Channels) {
		c.cfg.Logger.Info("assignment", slog.Int("channels", len(a.Channels)),
			slog.Int64("epoch", a.Epoch), slog.Int64("revision", a.Revision))
	}
	c.plan.Store(p)
	p.begin(c.cfg.Clock.Now())
	c.reader.Set(p.chatChannels(), a.Budget)
	if c.sweeper != nil {
		c.sweeper.Set(a.Channels, a.Events)
		c.cfg.Helix.SetBudget(a.Budget.HelixPoints)
	}
	c.rates.keep(p.byChannel)
	c.listener.keep(p.byChannel)
	return nil
}

func (c *Collector) masterAway(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.masterLost.IsZero() {
		c.masterLost = time.Now()
		c.cfg.Logger.Warn("no master answers; collecting goes on with the assignment in effect", slog.Any("err", err))
	}
	c.masterError = err.Error()
}

func (c *Collector) masterBack(sent, now time.Time) {
	received := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.masterLost.IsZero() {
		c.cfg.Logger.Info("a master answers again", slog.Duration("after", time.Since(c.masterLost)))
		c.masterLost = time.Time{}
	}
	if !now.IsZero() {
		c.clockOffset = sent.Add(received.Sub(sent) / 2).Sub(now)
		switch off := c.clockOffset.Abs() > maxClockOffset; {
		case !off:
			c.clockOff = time.Time{}
		case c.clockOff.IsZero():
			c.clockOff = received
		}
	}
}

// maxClockOffset is how far a collector's clock may be off the master's before it is a condition: less
// than half of the default clock skew that consumers allow for.
const maxClockOffset = 2 * time.Second

// heartbeatOf is the present state as the master is told.
func (c *Collector) heartbeatOf(ctx context.Context) control.Heartbeat {
	p := c.plan.Load()
	sweep := c.sweeps()
	total, rates := c.rates.now()
	h := control.Heartbeat{
		Collector: c.cfg.Name, Node: c.cfg.Node, Run: c.cfg.Run, Version: c.cfg.Version,
		Started: c.started, Capacity: c.cfg.Capacity, Charity: c.poller != nil,
		Epoch: p.assignment.Epoch, Revision: p.assignment.Revision,
		Joined: c.reader.Joined(), Leaving: c.leaving.Load(),
		Status: control.CollectorStatus{
			Assigned:    len(p.assignment.Channels),
			Connections: c.reader.Connections(),
			Lines:       int64(value(c.metrics.lines)),
			Records:     int64(value(c.metrics.records)),
			Rate:        total, Rates: rates,
			Viewers: sweep.Viewers, Live: sweep.Live, LastSweep: sweep.LastSweep,
		},
	}
	s := &h.Status
	// Records go from memory to the outbox: looking in this order misses none.
	s.Waiting, s.OutboxBatches = c.batch.stuck(), -1
	n, bytes, oldest, err := c.outbox.Stats(ctx)
	if err == nil {
		s.OutboxBatches, s.OutboxBytes = int64(n), bytes
		if n > 0 {
			// The outbox goes by the machine's clock; what is told goes by the event's.
			s.OutboxOldest = c.cfg.Clock.Now().Add(-time.Since(oldest))
		}
	}
	s.Conditions = append(s.Conditions, c.reader.Conditions()...)
	if c.sweeper != nil {
		s.Conditions = append(s.Conditions, c.cfg.Helix.Conditions()...)
		s.Conditions = append(s.Conditions, c.sweeper.Conditions()...)
	}
	if c.poller != nil {
		s.Sources = sourcesOf(c.poller.Status())
		s.Conditions = append(s.Conditions, c.poller.Conditions()...)
	}
	s.Conditions = append(s.Conditions, c.listener.conditions()...)
	s.Conditions = append(s.Conditions, c.forward.conditions()...)
	s.Conditions = append(s.Conditions, c.outbox.conditions(c.cfg.OutboxFull)...)
	s.OutboxLeft = c.outbox.left()
	var drops []control.Condition
	s.Dropped, drops = c.batch.dropped()
	s.Conditions = append(s.Conditions, drops...)
	if since, lag := c.lags.trouble(); !since.IsZero() {
		s.Conditions = append(s.Conditions, control.Condition{
			Name: "clock-apart", Subject: "twitch", Since: since,
			Detail: fmt.Sprintf("chat lines are received %s after the time that Twitch stamped them with, on every channel: "+
				"check this machine's time synchronisation", lag.Round(time.Millisecond)),
		})
	}
	if since, why := c.batch.trouble(); !since.IsZero() {
		s.Conditions = append(s.Conditions, control.Condition{
			Name: "outbox-unwritable", Since: since,
			Detail: why + ": " + c.whenFull(),
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.ClockOffset = c.clockOffset
	if !c.clockOff.IsZero() {
		s.Conditions = append(s.Conditions, control.Condition{
			Name: "clock-apart", Subject: "master", Since: c.clockOff,
			Detail: fmt.Sprintf("this machine's clock is %s off the master's: check its time synchronisation", c.clockOffset),
		})
	}
	if !c.masterLost.IsZero() {
		s.Conditions = append(s.Conditions, control.Condition{
			Name: "master-unreachable", Since: c.masterLost, Detail: c.masterError,
		})
	}
	return h
}

// whenFull says what happens to what arrives while the outbox can't be written, and what to do.
func (c *Collector) whenFull() string {
	if c.cfg.OutboxFull == Drop {
		return "what arrives beyond what memory holds is dropped, its time is a gap; see to the queue and to the room on the collector's disk"
	}
	return "nothing is read beyond what memory holds, its time is a gap; see to the queue and to the room on the collector's disk"
}
