package web

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// The bounds of a stage's health. Batches are made up to five times a second by each collector: two
// hundred are some seconds of work, two thousand are minutes.
const (
	warnDepth, badDepth         = 200, 2000
	warnLag, badLag             = 10 * time.Second, time.Minute
	warnRollupLag, badRollupLag = 150 * time.Second, 10 * time.Minute
)

type insertedOf struct {
	run string
	n   int64
}

type insertedMark struct {
	at time.Time
	n  int64
}

// depth asks for a queue's depth; nil when it can't be had.
func (b *builder) depth(ctx context.Context, name string) *int {
	if b.cfg.Depth == nil {
		return nil
	}
	n, err := b.cfg.Depth(ctx, name)
	if err != nil {
		if !b.depthFailing {
			b.log.Warn("status page: can't read the depth of a queue", "queue", name, "err", err)
		}
		b.depthFailing = true
		return nil
	}
	b.depthFailing = false
	return &n
}

// level is a health by two bounds.
func level[T cmp.Ordered](v, warn, bad T) string {
	switch {
	case v >= bad:
		return HealthBad
	case v >= warn:
		return HealthWarn
	}
	return HealthOK
}

func (b *builder) fillStages(snap *Snapshot, members []member, depth *int, rollup rollupState, now time.Time) {
	running := snap.Event != nil && snap.Event.State == record.EventLive
	collectors := Stage{Name: StageCollectors, Health: HealthOK, Up: new(snap.Now.Up), Of: new(snap.Now.Collectors)}
	outbox := Stage{Name: StageOutbox, Health: HealthUnknown}
	consumers := Stage{Name: StageConsumers, Health: HealthOK}
	var rate, consumed, oldest, lag float64
	var batches, bytes, up, of int
	for _, m := range members {
		if m.Collector != nil && !m.silent {
			s := m.Collector.Status
			rate += s.Rate
			batches += int(max(s.OutboxBatches, 0))
			bytes += int(s.OutboxBytes)
			oldest = max(oldest, b.outboxAge(s, now))
		}
		if m.Consumer != nil {
			of++
			if !m.silent {
				up++
				consumed += m.Consumer.Rate
				lag = max(lag, m.Consumer.Lag.Seconds()/b.speed)
			}
		}
	}
	switch {
	case snap.Now.Up == 0:
		collectors.Health = HealthBad
		if !running {
			collectors.Health = HealthUnknown
		}
	case snap.Now.Up < snap.Now.Collectors, running && snap.Now.Read < snap.Now.Channels:
		collectors.Health = HealthWarn
	}
	if snap.Now.Up > 0 {
		collectors.Rate = &rate
		outbox.Depth, outbox.Bytes, outbox.Lag = new(int64(batches)), new(int64(bytes)), &oldest
		outbox.Health = level(oldest, warnLag.Seconds(), badLag.Seconds())
	}
	q := Stage{Name: StageQueue, Health: HealthUnknown}
	if depth != nil {
		q.Depth, q.Health = new(int64(*depth)), level(*depth, warnDepth, badDepth)
	}
	consumers.Up, consumers.Of = &up, &of
	switch up {
	case 0:
		consumers.Health = HealthBad
		if !running {
			consumers.Health = HealthUnknown
		}
	default:
		consumers.Rate, consumers.Lag = &consumed, &lag
		// Without traffic the newest record is old, and nobody is late.
		if consumed > 0 {
			consumers.Health = level(lag, warnLag.Seconds(), badLag.Seconds())
		}
		if up < of && consumers.Health == HealthOK {
			consumers.Health = HealthWarn
		}
	}
	st := Stage{Name: StageStore, Health: level(snap.Store.Seconds, 1, 4), Lag: new(snap.Store.Seconds)}
	st.Rate = b.insertRate(members)
	roll := Stage{Name: StageRollup, Health: HealthUnknown}
	if rollup.any {
		roll.Depth, roll.Health = new(int64(rollup.marks)), HealthOK
		if !rollup.leader {
			roll.Health = HealthWarn
		}
		if !rollup.closed.IsZero() && running {
			behind := now.Sub(rollup.closed.Add(time.Minute))
			roll.Lag = new(max(0, behind.Seconds()/b.speed))
			// Minutes close by event time, whatever its speed.
			roll.Health = level(behind, warnRollupLag, badRollupLag)
			if b.speed > 1 {
				roll.Health = level(behind.Seconds()/b.speed, warnRollupLag.Seconds(), badRollupLag.Seconds())
			}
		}
	} else if running {
		roll.Health = HealthBad
	}
	snap.Stages = []Stage{collectors, outbox, q, consumers, st, roll}
}

// maxLetters bounds what is counted of the dead letters.
const maxLetters = 10_000

// letters counts the dead letters that were filed, up to a bound.
func (b *builder) letters(ctx context.Context) (int, error) {
	s, ok := b.cfg.Store.(interface {
		Count(ctx context.Context, q store.Query) (int, error)
	})
	if !ok {
		return 0, nil
	}
	n, err := s.Count(ctx, store.Query{Collection: store.Letters, Limit: maxLetters})
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	return n, nil
}

// insertRate is how many new documents a second consumers have inserted over the last ten seconds;
// nil until two looks.
func (b *builder) insertRate(members []member) *float64 {
	now := time.Now()
	heard := false
	for _, m := range members {
		if m.Consumer == nil {
			continue
		}
		heard = true
		last, ok := b.insertedBy[m.ID]
		if ok && last.run == m.Run && m.Consumer.Inserted >= last.n {
			b.inserted += m.Consumer.Inserted - last.n
		}
		b.insertedBy[m.ID] = insertedOf{m.Run, m.Consumer.Inserted}
	}
	b.insertedAt = append(b.insertedAt, insertedMark{now, b.inserted})
	for len(b.insertedAt) > 2 && now.Sub(b.insertedAt[0].at) > 10*time.Second {
		b.insertedAt = b.insertedAt[1:]
	}
	first := b.insertedAt[0]
	d := now.Sub(first.at).Seconds()
	if !heard || d <= 0 {
		return nil
	}
	return new(float64(b.inserted-first.n) / d)
}
