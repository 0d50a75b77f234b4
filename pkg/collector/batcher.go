package collector

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

// outboxQueue is the one queue in a collector's outbox file.
const outboxQueue = "outbox"

// batcher gathers records and writes them to the outbox, one transaction a tick.
//
//	chat, sweeps ──add──► waiting ──tick, or TickRecords──► coverage ─► encode ─► outbox (fsync) ─► live feed
//
// While the outbox can't be written (it is full, or its disk is), records wait in memory up to
// Config.WaitingRecords. Then, by the policy, add blocks, and with it whoever reads, or drops what it is given:
//
//	room ──outbox refuses──► waiting up to Config.WaitingRecords ──► blocked, or dropping ──outbox takes──► room,
//	                                                      with a word on what was dropped in front
type batcher struct {
	cfg     Config
	outbox  *outbox
	spans   func() []chat.Span // coverage since the last call
	metrics *metrics

	mu      sync.Mutex
	waiting []record.Record
	room    chan struct{} // closed when waiting has been taken
	full    chan struct{} // has one element when TickRecords wait

	flushing bool // records were taken and are not in the outbox yet
	taken    int  // how many those are
	// came is when the first of waiting was added, began the same of what was taken.
	came, began time.Time
	refused     bool // a record was not taken: nothing after it may be called covered

	failing  time.Time // since when the outbox refuses writes; zero when it doesn't
	failure  error
	last     error // the last failure, whether it lasts or not
	drops    drops
	sequence int64
	lastSet  map[string]listed // by event and connection
}

// listed is the set of channels that a connection's coverage last listed, and in which minute.
type listed struct {
	set    string
	minute time.Time
}

func newBatcher(cfg Config, outbox *outbox, spans func() []chat.Span, m *metrics) *batcher {
	return &batcher{
		cfg: cfg, outbox: outbox, spans: spans, metrics: m,
		room: make(chan struct{}), full: make(chan struct{}, 1),
		lastSet: map[string]listed{},
	}
}

// add takes records to be written with the next tick; at is when the line that they are of was
// received, zero when they are of none. While too many wait it blocks or, by the policy, drops them
// with an error that wraps errDropped.
func (b *batcher) add(ctx context.Context, at time.Time, records ...record.Record) error {
	for {
		b.mu.Lock()
		if len(b.waiting) < b.cfg.WaitingRecords {
			if len(b.waiting) == 0 {
				b.came = time.Now()
			}
			b.waiting = append(b.waiting, records...)
			n := len(b.waiting)
			b.mu.Unlock()
			if n >= b.cfg.TickRecords {
				select {
				case b.full <- struct{}{}:
				default:
				}
			}
			return nil
		}
		if b.cfg.OutboxFull == Drop {
			n := b.drops.drop(at, b.last, records)
			b.mu.Unlock()
			b.metrics.dropped.Add(float64(n))
			return errDropped
		}
		room := b.room
		b.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			b.mu.Lock()
			b.refused = true
			b.mu.Unlock()
			return ctx.Err()
		}
	}
}

// pending reports whether records wait to be written to the outbox.
func (b *batcher) pending() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.flushing || len(b.waiting) > 0
}

// stuckAfter is how long records wait before the outbox is taken not to take them: some ticks.
const stuckAfter = time.Second

// stuck is how many records wait because the outbox does not take them. What waits for the next
// write does not count.
func (b *batcher) stuck() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	oldest := b.came
	if b.taken > 0 {
		oldest = b.began
	}
	if n := b.taken + len(b.waiting); n > 0 && time.Since(oldest) >= stuckAfter {
		return n
	}
	return 0
}

// hold notes what was taken and is not in the outbox yet.
func (b *batcher) hold(batches []batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = 0
	for _, w := range batches {
		b.taken += len(w.records)
	}
}

func (b *batcher) take() []record.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.waiting
	b.waiting = make([]record.Record, 0, min(cap(taken), 2*b.cfg.TickRecords))
	b.flushing, b.taken, b.began = true, len(taken), b.came
	if len(taken) == 0 {
		b.began = time.Now() // what is added to it
	}
	b.drops.room()
	close(b.room)
	b.room = make(chan struct{})
	return taken
}

// run writes a batch every tick until the context ends. The caller then writes what is left with
// flush, when nobody adds any more.
func (b *batcher) run(ctx context.Context, plan func() *plan) error {
	tick := time.NewTicker(b.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-b.full:
		}
		if err := b.flush(ctx, plan(), false); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// flush writes everything that waits, with the coverage that speaks of it. It tries again while
// the outbox refuses, until the context ends: the records then still wait. At the end all that was
// dropped is told, however lately it was told before.
func (b *batcher) flush(ctx context.Context, p *plan, end bool) error {
	defer func() {
		b.mu.Lock()
		b.flushing, b.taken = false, 0
		b.mu.Unlock()
	}()
	// The order matters: a span ends at a line whose record has been added already, so cutting the
	// spans before taking the records never claims a record that is not in this batch or before it.
	coverage := b.coverage(p)
	records := append(b.words(end), b.take()...)
	records = append(records, coverage...)
	if len(records) == 0 {
		return nil
	}
	batches, err := b.encode(records)
	if err != nil {
		return err
	}
	for wait := 50 * time.Millisecond; len(batches) > 0; wait = min(2*wait, time.Second) {
		b.hold(batches)
		start := time.Now()
		n, err := b.outbox.admit(ctx, messagesOf(batches)...)
		if n > 0 {
			b.metrics.commit.Observe(time.Since(start).Seconds())
			b.written(ctx, batches[:n])
			batches, wait = batches[n:], 50*time.Millisecond
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			b.putBack(batches)
			return ctx.Err()
		}
		b.fail(err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			b.putBack(batches)
			return ctx.Err()
		}
	}
	b.recover()
	return nil
}

// written counts batches that are on disk, and sends them to the live feed.
func (b *batcher) written(ctx context.Context, batches []batch) {
	for _, w := range batches {
		b.metrics.records.Add(float64(len(w.records)))
		b.metrics.bytes.Add(float64(len(w.message.Body)))
		if err := b.cfg.Queue.Send(ctx, w.message); err != nil {
			b.metrics.unsent.Inc() // the feed is lossy; closed minutes don't depend on it
		}
	}
}

func (b *batcher) putBack(batches []batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var records []record.Record
	for _, w := range batches {
		records = append(records, w.records...)
	}
	b.waiting, b.came = append(records, b.waiting...), b.began
}

func (b *batcher) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failing.IsZero() {
		b.failing = time.Now()
		b.cfg.Logger.Error("the outbox can't be written; what is read beyond what memory holds goes by the policy",
			slog.String("policy", string(b.cfg.OutboxFull)), slog.Any("err", err))
	}
	b.failure, b.last = err, err
}

func (b *batcher) recover() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.failing.IsZero() {
		b.cfg.Logger.Info("the outbox is written again", slog.Duration("after", time.Since(b.failing)))
		b.failing, b.failure = time.Time{}, nil
	}
}

// trouble says since when and why the outbox can't be written.
func (b *batcher) trouble() (since time.Time, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure == nil {
		return time.Time{}, ""
	}
	return b.failing, b.failure.Error()
}

// dropped is how many records were dropped since the start, and what is to be told of it.
func (b *batcher) dropped() (int64, []control.Condition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.drops.records, b.drops.conditions(time.Now())
}

// words encodes the words on what was dropped.
func (b *batcher) words(end bool) []record.Record {
	b.mu.Lock()
	docs := b.drops.words(b.cfg.Name, b.cfg.Clock.Now(), end)
	b.mu.Unlock()
	var out []record.Record
	for _, d := range docs {
		r, err := record.Encode(d)
		if err != nil {
			b.cfg.Logger.Error("what was dropped is not recorded", slog.Any("err", err))
			b.metrics.invalid.Inc()
			continue
		}
		out = append(out, r)
	}
	return out
}

// abandon drops what waits and leaves word of it in the outbox, in the margin that is kept for that.
// It is for a collector that stops with a full outbox, by the policy Drop. Coverage of what was
// abandoned goes with it.
func (b *batcher) abandon(ctx context.Context) error {
	b.mu.Lock()
	n := b.drops.drop(time.Time{}, b.last, b.waiting)
	words := slices.DeleteFunc(b.waiting, func(r record.Record) bool { return r.Kind != record.KindDropped })
	b.waiting = nil
	b.mu.Unlock()
	b.metrics.dropped.Add(float64(n))
	words = append(words, b.words(true)...)
	if len(words) == 0 {
		return nil
	}
	batches, err := b.encode(words)
	if err != nil {
		return err
	}
	b.cfg.Logger.Warn("stopping with records that there is no room for: dropped", slog.Int("records", n))
	return b.outbox.Publish(ctx, outboxQueue, messagesOf(batches)...)
}

// batch is a message with the records that are in it.
type batch struct {
	message queue.Message
	records []record.Record
}

func messagesOf(batches []batch) []queue.Message {
	messages := make([]queue.Message, len(batches))
	for i, w := range batches {
		messages[i] = w.message
	}
	return messages
}

// encode makes batches of at most TickRecords records and MaxBatchBytes bytes each.
func (b *batcher) encode(records []record.Record) ([]batch, error) {
	var batches []batch
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && n < b.cfg.TickRecords && (n == 0 || size+len(records[n].Doc) <= record.MaxBatchBytes) {
			size += len(records[n].Doc)
			n++
		}
		body, err := record.EncodeBatch(records[:n], b.cfg.Compression)
		if err != nil {
			return nil, fmt.Errorf("encode a batch of %d records: %w", n, err)
		}
		b.sequence++
		batches = append(batches, batch{records: records[:n], message: queue.Message{
			ID:   fmt.Sprintf("%s/%s/%d", b.cfg.Name, b.cfg.Run, b.sequence),
			Body: body,
			Headers: map[string]string{
				"collector": b.cfg.Name,
			},
		}})
		records = records[n:]
	}
	return batches, nil
}

// coverage makes the coverage records of what was read since the last call, for each event.
func (b *batcher) coverage(p *plan) []record.Record {
	spans := b.spans()
	b.mu.Lock()
	refused := b.refused
	spans = b.drops.without(spans)
	b.mu.Unlock()
	if refused {
		return nil
	}
	var out []record.Record
	for _, s := range spans {
		for _, ev := range p.events {
			for from, channels := range ev.covered(s) {
				if r, ok := b.coverageOf(ev, s, from, channels); ok {
					out = append(out, r)
				}
			}
		}
	}
	if len(b.lastSet) > 4096 { // connections come and go over days; listing a set again is harmless
		clear(b.lastSet)
	}
	return out
}

// coverageOf makes one coverage record.
func (b *batcher) coverageOf(ev *plannedEvent, s chat.Span, from time.Time, channels []string) (record.Record, bool) {
	to := s.To
	if to.After(ev.end) {
		to = ev.end
	}
	if !record.Millis(from).Before(record.Millis(to)) {
		return record.Record{}, false
	}
	doc := record.Coverage{
		Header: record.Header{Event: ev.slug, Time: from, Received: b.cfg.Clock.Now()},
		Source: record.SourceChat, To: to,
		Collector: b.cfg.Name, Connection: s.Connection,
		Set: record.ChannelSet(channels),
	}
	key, this := ev.slug+"/"+s.Connection, listed{doc.Set, record.Minute(from)}
	if b.lastSet[key] != this {
		doc.Channels = channels
	}
	r, err := record.Encode(&doc)
	if err != nil {
		b.cfg.Logger.Error("coverage not recorded", slog.String("event", ev.slug), slog.Any("err", err))
		b.metrics.invalid.Inc()
		return record.Record{}, false
	}
	b.lastSet[key] = this
	return r, true
}
