package sample

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
)

// insertAtOnce is about how many records are written in one call.
const insertAtOnce = 20_000

// minutesAhead is how many minutes are made before they are written: the bound of what is in memory.
const minutesAhead = 4

// ErrExists means that the store has an event of that slug already, or a part of one.
var ErrExists = errors.New("the event exists")

// ErrForeign means that the event of that slug is no sample, and is not replaced.
var ErrForeign = errors.New("the event is no sample")

// Progress is how far a Fill is.
type Progress struct {
	// Minutes of the event are made, of All.
	Minutes, All int
	// Records are written.
	Records int64
}

// Result is what a Fill has written.
type Result struct {
	Event    string  `json:"event"`
	Channels int     `json:"channels"`
	Hours    int     `json:"hours"`
	Records  int64   `json:"records"`
	Messages int64   `json:"messages"`
	Copies   int64   `json:"shared_copies"`
	Viewers  int64   `json:"viewer_samples"`
	Gifts    int64   `json:"donations"`
	Cents    int64   `json:"donated_cents"`
	Goals    int     `json:"goals"`
	Raids    int64   `json:"raids"`
	Minutes  int64   `json:"minute_documents"`
	Seconds  float64 `json:"seconds"`
}

// Fill makes the sample and writes it. Records come in the order of time; the event is a draft until all
// is there, so that nobody counts a part of it. An event that exists already is an ErrExists, unless
// replace is set: then a sample, whole or in part, is deleted first, and anything else is an ErrForeign.
// progress, which may be nil, is called about once for each minute of the event.
func Fill(ctx context.Context, s store.Store, cfg Config, replace bool, progress func(Progress)) (Result, error) {
	began := time.Now()
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Result{}, err
	}
	w, err := newWorld(cfg)
	if err != nil {
		return Result{}, err
	}
	if err := makeRoom(ctx, s, cfg.Event, replace); err != nil {
		return Result{}, err
	}
	e := cfg.event()
	draft := e
	draft.State, draft.Rev = record.EventDraft, e.Rev-1
	if err := put(ctx, s, store.Events, draft.Slug, draft); err != nil {
		return Result{}, err
	}
	f := &filling{store: s, world: w, progress: progress, filler: rollup.NewFiller(s, e, e.End.Add(20*time.Second))}
	if err := f.run(ctx); err != nil {
		return Result{}, err
	}
	if err := f.documents(ctx); err != nil {
		return Result{}, err
	}
	if err := put(ctx, s, store.Events, e.Slug, e); err != nil {
		return Result{}, err
	}
	r := w.result
	r.Event, r.Channels, r.Hours, r.Records, r.Minutes = cfg.Event, cfg.Channels, cfg.Hours, f.records, f.minutes
	r.Goals = f.goals
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// makeRoom deletes the sample that is there, where that is wanted.
func makeRoom(ctx context.Context, s store.Store, event string, replace bool) error {
	raw, err := s.Get(ctx, store.Events, event)
	there := err == nil
	switch {
	case there:
		var e record.Event
		if err := bson.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("read event %s: %w", event, err)
		}
		if !replace {
			return fmt.Errorf("event %s: %w", event, ErrExists)
		}
		if e.Name != Name || !e.Start.Equal(Start()) || e.State != record.EventDraft && e.State != record.EventEnded {
			return fmt.Errorf("event %s, %q, %s: %w", event, e.Name, e.State, ErrForeign)
		}
	case !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("read event %s: %w", event, err)
	}
	for _, c := range written() {
		q := store.Query{Collection: c, Event: event}
		if !there {
			q.Limit = 1
			n, err := s.Count(ctx, q)
			if err != nil {
				return fmt.Errorf("count %s of event %s: %w", c, event, err)
			}
			if n > 0 { // of an event that was removed
				return fmt.Errorf("there are %s of an event %s that is no more: %w", c, event, ErrForeign)
			}
			continue
		}
		if _, err := s.Delete(ctx, q); err != nil {
			return fmt.Errorf("delete %s of event %s: %w", c, event, err)
		}
	}
	return nil
}

// written are the collections that hold what is of the event by their element event.
func written() []store.Collection {
	return []store.Collection{
		store.Records, store.Minutes, store.Hours, store.Totals, store.Channels, store.Marks,
		store.Goals, store.Corrections,
	}
}

func put(ctx context.Context, s store.Store, c store.Collection, id string, doc any) error {
	return putAll(ctx, s, c, []any{doc}, func(any) string { return id })
}

func putAll[T any](ctx context.Context, s store.Store, c store.Collection, docs []T, id func(T) string) error {
	const atOnce = 500
	for len(docs) > 0 {
		n := min(len(docs), atOnce)
		out := make([]store.Doc, n)
		for i, d := range docs[:n] {
			raw, err := bson.Marshal(d)
			if err != nil {
				return fmt.Errorf("encode %s: %w", id(d), err)
			}
			out[i] = store.Doc{ID: id(d), Raw: raw}
		}
		if err := s.Put(ctx, c, out); err != nil {
			return fmt.Errorf("write %d %s: %w", n, c, err)
		}
		docs = docs[n:]
	}
	return nil
}

// filling is a Fill under way.
type filling struct {
	store    store.Store
	world    *world
	filler   *rollup.Filler
	progress func(Progress)

	records, minutes int64
	goals            int
}

// batch is the records of one minute.
type batch struct {
	minute  time.Time
	records []record.Record
	docs    []record.Statistics
}

// run makes minute after minute in one goroutine, counts them in a second and writes in others.
func (f *filling) run(ctx context.Context) error {
	var (
		g, gctx = errgroup.WithContext(ctx)
		made    = make(chan *batch, minutesAhead)
		counted = make(chan *batch, minutesAhead)
		closing = make(chan *batch, minutesAhead)
	)
	g.Go(func() error {
		defer close(made)
		for n := range f.world.minutes {
			records, err := f.world.minute(n)
			if err != nil {
				return err
			}
			if err := send(gctx, made, &batch{minute: f.world.at(n), records: records}); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		defer close(counted)
		defer close(closing)
		e := f.world.cfg.event()
		for b := range made {
			agg := rollup.NewAggregator(e.Slug, b.minute, e.Start, e.End)
			for i := range b.records {
				agg.Add(b.records[i])
			}
			b.docs = agg.Result()
			if err := errors.Join(send(gctx, counted, b), send(gctx, closing, b)); err != nil {
				return err
			}
		}
		return gctx.Err()
	})
	g.Go(func() error { return f.insert(gctx, counted) })
	g.Go(func() error {
		for b := range closing {
			if err := f.filler.Minute(gctx, b.minute, b.docs); err != nil {
				return err
			}
			f.minutes += int64(len(b.docs))
		}
		return gctx.Err()
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("fill event %s: %w", f.world.cfg.Event, err)
	}
	return f.filler.Close(ctx)
}

func send(ctx context.Context, c chan<- *batch, b *batch) error {
	select {
	case c <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// insert writes the records, those of several minutes together.
func (f *filling) insert(ctx context.Context, batches <-chan *batch) error {
	var (
		pending []record.Record
		minutes int
	)
	flush := func() error {
		results, err := f.store.Insert(ctx, pending)
		if err != nil {
			return fmt.Errorf("insert %d records: %w", len(pending), err)
		}
		for i := range results {
			switch results[i].Outcome {
			case store.Inserted:
			case store.Existed:
				return fmt.Errorf("%s is there already", pending[i].ID)
			case store.Refused:
				return fmt.Errorf("the store refuses %s: %w", pending[i].ID, results[i].Err)
			}
		}
		f.records += int64(len(pending))
		pending = pending[:0]
		if f.progress != nil {
			f.progress(Progress{Minutes: minutes, All: f.world.minutes, Records: f.records})
		}
		return nil
	}
	for b := range batches {
		minutes++
		for r := b.records; len(r) > 0; {
			n := min(len(r), insertAtOnce-len(pending))
			pending, r = append(pending, r[:n]...), r[n:]
			if len(pending) == insertAtOnce {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if ctx.Err() != nil || len(pending) == 0 {
		return ctx.Err()
	}
	return flush()
}

// documents writes what is no record and no statistic.
func (f *filling) documents(ctx context.Context) error {
	w := f.world
	goals := w.goalDocs()
	f.goals = len(goals)
	return errors.Join(
		putAll(ctx, f.store, store.Channels, w.channelDocs(), func(d record.Channel) string { return d.ID }),
		putAll(ctx, f.store, store.Goals, goals, func(d record.Goal) string { return d.ID }),
		putAll(ctx, f.store, store.Corrections, w.correctionDocs(), func(d record.Correction) string { return d.ID }),
	)
}
