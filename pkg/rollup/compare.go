package rollup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Comparison is what statistics documents of one span should say, and what they say, by channel. Who
// wrote them when (Epoch, Counted) is left out.
type Comparison struct {
	Want, Have map[string]record.Statistics
}

// CompareMinute counts a closed minute from the stored records, as the leader would, and reads its
// documents. It writes nothing. As long as the minute has a mark the two may well differ.
func CompareMinute(ctx context.Context, s store.Store, e record.Event, minute time.Time) (Comparison, error) {
	var (
		c    = comparing(s, e)
		next = minute.Add(time.Minute)
		agg  = NewAggregator(e.Slug, minute, e.Start, c.end())
		out  Comparison
		err  error
	)
	for raw, err := range s.Find(ctx, store.Query{Collection: store.Records, Event: e.Slug, From: minute, To: next}) {
		if err != nil {
			return out, fmt.Errorf("scan records of %s: %w", minute.Format(time.RFC3339), err)
		}
		if r, err := record.Parse(raw); err == nil { // others are not ours, see closeDue
			agg.Add(r)
		}
	}
	if out.Have, err = c.read(ctx, store.Minutes, minute, next); err != nil {
		return out, err
	}
	out.Want = byChannel(c.complete(minute, agg.Result(), slices.Sorted(maps.Keys(out.Have))))
	return out, nil
}

// CompareHour sums up an hour from its minute documents, and reads its documents. p is how far the
// event is closed, which must be to the end of the hour or of the event.
func CompareHour(ctx context.Context, s store.Store, e record.Event, p record.Progress, start time.Time) (Comparison, error) {
	var (
		c    = comparing(s, e)
		next = start.Add(time.Hour)
		out  Comparison
		err  error
	)
	c.progress = p
	if err := c.loadEarly(ctx); err != nil {
		return out, err
	}
	if out.Have, err = c.read(ctx, store.Hours, start, next); err != nil {
		return out, err
	}
	sums, err := c.fold(ctx, store.Minutes, start, earlier(next, p.ClosedThrough.Add(time.Minute)), nil)
	if err != nil {
		return out, err
	}
	through := earlier(start.Add(59*time.Minute), p.ClosedThrough)
	out.Want = byChannel(c.hourDocs(start, sums, through))
	for channel := range out.Have {
		if _, ok := out.Want[channel]; !ok {
			d := c.empty(channel, start, through)
			c.stamp(&d)
			out.Want[channel] = plain(d)
		}
	}
	return out, nil
}

// CompareTotals sums up an event from its hour documents, and reads its totals. The event must be closed
// to its end, for else the totals move.
func CompareTotals(ctx context.Context, s store.Store, e record.Event, p record.Progress) (Comparison, error) {
	var (
		c   = comparing(s, e)
		out Comparison
		err error
	)
	c.progress = p
	if err := c.loadEarly(ctx); err != nil {
		return out, err
	}
	if out.Have, err = c.read(ctx, store.Totals, time.Time{}, time.Time{}); err != nil {
		return out, err
	}
	sums, err := c.fold(ctx, store.Hours, time.Time{}, time.Time{}, nil)
	if err != nil {
		return out, err
	}
	id := func(channel string) string { return record.StatisticsID(e.Slug, channel, time.Time{}) }
	out.Want = byChannel(c.finish(e.Start, p.ClosedThrough, sums, id))
	for channel := range out.Have {
		if _, ok := out.Want[channel]; !ok {
			d := c.empty(channel, e.Start, p.ClosedThrough)
			d.ID = id(channel)
			c.stamp(&d)
			out.Want[channel] = plain(d)
		}
	}
	return out, nil
}

// ReadProgress reads how far an event is closed; ok is false where nothing is.
func ReadProgress(ctx context.Context, s store.Store, event string) (p record.Progress, ok bool, err error) {
	raw, err := s.Get(ctx, store.Progress, event)
	if errors.Is(err, store.ErrNotFound) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("read progress of event %s: %w", event, err)
	}
	if err := bson.Unmarshal(raw, &p); err != nil {
		return p, false, fmt.Errorf("read progress of event %s: %w", event, err)
	}
	return p, !p.ClosedThrough.IsZero(), nil
}

// comparing is a closer that only computes.
func comparing(s store.Store, e record.Event) *closer {
	return &closer{
		store: s, event: e, now: func() time.Time { return time.Time{} }, early: map[string]int64{},
		log: slog.New(slog.DiscardHandler),
	}
}

// read reads the documents of [from, to), by channel.
func (c *closer) read(ctx context.Context, coll store.Collection, from, to time.Time) (map[string]record.Statistics, error) {
	out := map[string]record.Statistics{}
	for raw, err := range c.store.Find(ctx, store.Query{Collection: coll, Event: c.event.Slug, From: from, To: to}) {
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", coll, err)
		}
		var d record.Statistics
		if err := bson.Unmarshal(raw, &d); err != nil {
			return nil, fmt.Errorf("read %s %s: %w", coll, store.DocID(raw), err)
		}
		out[d.Channel] = plain(d)
	}
	return out, nil
}

func byChannel(docs []record.Statistics) map[string]record.Statistics {
	out := make(map[string]record.Statistics, len(docs))
	for _, d := range docs {
		out[d.Channel] = plain(d)
	}
	return out
}

// plain is a document without who wrote it when.
func plain(d record.Statistics) record.Statistics {
	d.Epoch, d.Counted = 0, time.Time{}
	return d
}
