package custody

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Bounds of a sweep.
const (
	sweepRange  = 10 * time.Minute // of records that one find reads
	sweepFor    = 5 * time.Second  // of the machine's time, before other work has its turn
	sweepWrites = 200              // records that are changed together
)

// sweep goes through an event's records by time, in parts.
type sweep struct {
	event string
	kind  record.Kind // one of store.RareKinds; empty for all
	at    time.Time   // what is before has been looked at
	// changed counts what was changed.
	changed int
}

// change is a record, as it was read, that is to be deleted or, where doc is set, replaced.
type change struct {
	rec record.Record
	doc bson.Raw
	// who are the indexes of the people that it is about, with what becomes of it because of each.
	who []blame
}

type blame struct {
	person int
	what   record.Redaction
}

// advance looks at the next records for some seconds, has those changed that judge wants to be, and
// reports whether it has come to the end. After an error it goes on with the range that it was in.
func (t *term) advance(
	ctx context.Context, s *sweep, judge func(record.Record) (change, bool), apply func(context.Context, []change) error,
) (done bool, err error) {
	for start := time.Now(); time.Since(start) < sweepFor; {
		from, ok, err := t.firstRecord(ctx, s.event, s.kind, s.at)
		if err != nil {
			return false, err
		}
		if !ok {
			return true, nil
		}
		to := from.Add(sweepRange)
		if err := t.sweepRange(ctx, s, from, to, judge, apply); err != nil {
			return false, err
		}
		s.at = to
	}
	return false, nil
}

func (t *term) sweepRange(
	ctx context.Context, s *sweep, from, to time.Time,
	judge func(record.Record) (change, bool), apply func(context.Context, []change) error,
) error {
	var batch []change
	for raw, err := range t.store.Find(ctx, store.Query{Collection: store.Records, Event: s.event, Kind: s.kind, From: from, To: to}) {
		if err != nil {
			return fmt.Errorf("read records of event %s: %w", s.event, err)
		}
		r, err := record.Parse(raw)
		if err != nil {
			continue // not ours: no collector writes what Parse refuses
		}
		c, wanted := judge(r)
		if !wanted {
			continue
		}
		if batch = append(batch, c); len(batch) < sweepWrites {
			continue
		}
		if err := apply(ctx, batch); err != nil {
			return err
		}
		s.changed += len(batch)
		batch = batch[:0]
	}
	if len(batch) == 0 {
		return nil
	}
	s.changed += len(batch)
	return apply(ctx, batch)
}

// rewrite replaces those records of a batch that are not to be deleted, as long as they are what was read.
//
// A leader that was stopped before it, and replaced without knowing, so brings back nothing: neither who or
// what has been taken out of a record since, nor a record that is gone. With store.ErrConflict the range
// of the sweep is read again; whoever changed the record has come further.
func (t *term) rewrite(ctx context.Context, event string, batch []change) error {
	var changes []store.Change
	for _, c := range batch {
		if c.doc != nil {
			changes = append(changes, store.Change{ID: c.rec.ID, Old: c.rec.Doc, New: c.doc})
		}
	}
	if err := t.store.Replace(ctx, store.Records, changes); err != nil {
		return fmt.Errorf("rewrite %d records of event %s: %w", len(changes), event, err)
	}
	return nil
}

// firstRecord is the time of the first record, of a kind where one is named, at or after from.
func (t *term) firstRecord(ctx context.Context, event string, kind record.Kind, from time.Time) (time.Time, bool, error) {
	if from.IsZero() {
		from = time.Unix(0, 0).UTC() // what has no time is not ours
	}
	for raw, err := range t.store.Find(ctx, store.Query{Collection: store.Records, Event: event, Kind: kind, From: from, Limit: 1}) {
		if err != nil {
			return from, false, fmt.Errorf("read records of event %s: %w", event, err)
		}
		ms, ok := raw.Lookup("time").DateTimeOK()
		if !ok {
			return from, false, fmt.Errorf("read records of event %s: %s has no time", event, store.DocID(raw))
		}
		return time.UnixMilli(ms).UTC(), true, nil
	}
	return from, false, nil
}

// mark marks minutes to be counted again.
func (t *term) mark(ctx context.Context, event string, minutes []time.Time) error {
	if len(minutes) == 0 {
		return nil
	}
	docs := make([]store.Doc, len(minutes))
	for i, at := range minutes {
		m := record.NewMark(event, at, rand.Text())
		raw, err := bson.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode mark %s: %w", m.ID, err)
		}
		docs[i] = store.Doc{ID: m.ID, Raw: raw}
	}
	if err := t.store.Put(ctx, store.Marks, docs); err != nil {
		return fmt.Errorf("mark %d minutes of event %s: %w", len(docs), event, err)
	}
	return nil
}
