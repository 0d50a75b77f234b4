package rollup

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Filler writes the statistics of an event whose records were not collected but made, without reading
// them back: the same documents that the leading rollup writes when it closes the event's minutes. The
// event must not be counted by anyone else meanwhile: keep it a draft until Close has returned.
type Filler struct {
	c       *closer
	minutes *buffer
}

// bufferDocs is how many minute documents are written together.
const bufferDocs = 8000

// buffer is a store that gathers minute documents. Nobody else writes them, so that no fence is needed.
type buffer struct {
	store.Store
	docs []store.Doc
}

func (b *buffer) PutFenced(ctx context.Context, c store.Collection, epoch int64, docs []store.Doc) error {
	if c != store.Minutes {
		return b.Store.PutFenced(ctx, c, epoch, docs)
	}
	if b.docs = append(b.docs, docs...); len(b.docs) < bufferDocs {
		return nil
	}
	return b.flush(ctx)
}

func (b *buffer) flush(ctx context.Context) error {
	docs := b.docs
	b.docs = nil
	return b.Put(ctx, store.Minutes, docs)
}

// NewFiller is for an event of which nothing is stored yet. The documents are of the epoch 1, and counted
// says of when they are.
func NewFiller(s store.Store, e record.Event, counted time.Time) *Filler {
	b := &buffer{Store: s}
	return &Filler{minutes: b, c: &closer{
		store: b, epoch: 1, event: e, now: func() time.Time { return counted }, log: slog.New(slog.DiscardHandler),
		progress: record.Progress{ID: e.Slug, Start: e.Start, End: e.End}, early: map[string]int64{},
		hour: map[string]*sum{}, base: map[string]*sum{}, built: map[int64]struct{}{},
	}}
}

// Minute closes a minute: docs is the Result of an Aggregator that has counted all of its records. Minutes
// come in the order of time; those without records may be left out.
func (f *Filler) Minute(ctx context.Context, minute time.Time, docs []record.Statistics) error {
	minute = record.Minute(minute)
	if err := f.c.take(ctx, counted{minute: minute, docs: f.c.complete(minute, docs, nil)}); err != nil {
		return fmt.Errorf("fill minute %s of event %s: %w", minute.Format(time.RFC3339), f.c.event.Slug, err)
	}
	return nil
}

// Close writes what is left of the minutes, the last hour, the totals and the progress: the event is closed to its end.
func (f *Filler) Close(ctx context.Context) error {
	c := f.c
	last := record.Minute(c.end().Add(-time.Millisecond))
	err := f.minutes.flush(ctx)
	if err == nil {
		err = c.turn(ctx, last)
	}
	if err == nil {
		c.progress.ClosedThrough = last
		err = c.sumUp(ctx, nil)
	}
	if err != nil {
		return fmt.Errorf("fill the totals of event %s: %w", c.event.Slug, err)
	}
	return nil
}
