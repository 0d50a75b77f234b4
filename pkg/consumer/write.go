package consumer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// fate is what becomes of a record on its way into the store:
//
//	                ┌──► refused
//	pending ──► added ──► inserted
//	 │  ▲ │         │
//	 │  │ ├──► existed
//	 │  └─┼─ taken out again, where someone in it was forgotten
//	 │    └──► known, frozen, forgotten
//	 └──► …        └──► taken out again: frozen, forgotten
type fate int8

const (
	pending   fate = iota
	added          // stored, and to be looked at once more
	inserted       // stored
	existed        // was there before, and was left alone
	known          // was there before, of an event that is frozen
	refused        // the store won't take it
	frozen         // not stored: its event is frozen
	forgotten      // not stored: it is of someone whom its event has forgotten
	fates
)

// load is records on their way into the store.
type load struct {
	// records are what is stored; those that mention the forgotten, or have a text that is not kept
	// any more, are replaced by what is left.
	records []record.Record
	fates   []fate
	reasons map[int]error // why the store refuses, by index
	// redacted are the indexes of those that were replaced.
	redacted map[int]struct{}
	// undone are those that were stored and taken out again: their minutes must be counted anew.
	undone map[int]struct{}
	// tried says that some may be stored without our having been told: a write failed, or someone
	// before us did not come to its end.
	tried bool
}

func newLoad(records []record.Record) *load {
	return &load{records: records, fates: make([]fate, len(records))}
}

// counts is how many records had each fate.
func (l *load) counts() (n [fates]int) {
	for _, f := range l.fates {
		n[f]++
	}
	return n
}

// writer is the way into the store that consumers and Intakes have in common.
type writer struct {
	store store.Store
	clock clock.Clock
	grace time.Duration
	skew  time.Duration
	gate  *gate
}

func newWriter(s store.Store, c clock.Clock, grace, skew time.Duration) *writer {
	return &writer{store: s, clock: c, grace: grace, skew: skew, gate: newGate(s, c, grace, skew)}
}

// write stores what the gate lets pass, and looks through the gate once more when that is durable:
// what should not have been stored is deleted again. After an error it can be repeated with the same
// load.
func (w *writer) write(ctx context.Context, l *load) error {
	for {
		seen := map[string]standing{}
		if err := w.admit(ctx, l, seen); err != nil {
			return err
		}
		if err := w.insert(ctx, l); err != nil {
			return err
		}
		done, err := w.look(ctx, l, seen)
		if err != nil || done {
			return err
		}
	}
}

// admit decides about the pending records of frozen events and of the forgotten.
func (w *writer) admit(ctx context.Context, l *load, seen map[string]standing) error {
	var (
		event string
		s     standing
	)
	for i := range l.records {
		if l.fates[i] != pending {
			continue
		}
		r := &l.records[i]
		if r.Event != event {
			var ok bool
			if s, ok = seen[r.Event]; !ok {
				var err error
				if s, err = w.gate.before(ctx, r.Event); err != nil {
					return err
				}
				seen[r.Event] = s
			}
			event = r.Event
		}
		if s.cleans() {
			if err := w.redact(ctx, l, i, s, l.tried && !s.frozen); err != nil {
				return err
			}
		}
		if s.frozen && l.fates[i] == pending {
			// Whoever stored it did so while it could: a copy of it is no news.
			switch _, err := w.store.Get(ctx, store.Records, r.ID); {
			case err == nil:
				l.fates[i] = known
			case errors.Is(err, store.ErrNotFound):
				l.fates[i] = frozen
			default:
				return fmt.Errorf("look for record %s: %w", r.ID, err)
			}
		}
	}
	return nil
}

// redact takes the forgotten, and what else is not kept, out of a record, and the record out of the store where it may be there
// in the form that it came in. What is stored without them already is left alone.
func (w *writer) redact(ctx context.Context, l *load, i int, s standing, stored bool) error {
	out, what := s.clean(l.records[i])
	if what == record.Kept {
		return nil
	}
	if stored {
		there, err := w.mentions(ctx, l.records[i].ID, s)
		if err == nil && there {
			err = w.undo(ctx, l, i)
		}
		if err != nil {
			return err
		}
	}
	if what == record.Removed {
		l.fates[i] = forgotten
		return nil
	}
	l.records[i], l.fates[i] = out, pending
	if l.redacted == nil {
		l.redacted = map[int]struct{}{}
	}
	l.redacted[i] = struct{}{}
	return nil
}

// mentions reports whether a stored record speaks of the forgotten, or has a text that is not kept.
func (w *writer) mentions(ctx context.Context, id string, s standing) (bool, error) {
	raw, err := w.store.Get(ctx, store.Records, id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for record %s: %w", id, err)
	}
	r, err := record.Parse(raw)
	if err != nil {
		return false, fmt.Errorf("read record %s: %w", id, err)
	}
	_, what := s.clean(r)
	return what != record.Kept, nil
}

// undo deletes a record that should not be stored. Its minute is marked before, lest we die in
// between, and after: see marks. By then it may be in a manifest: that is made again. It is reopened
// before, lest we die, and after, for between the two it may have been signed.
func (w *writer) undo(ctx context.Context, l *load, i int) error {
	r := &l.records[i]
	if l.undone == nil {
		l.undone = map[int]struct{}{}
	}
	l.undone[i] = struct{}{}
	if _, err := store.ReopenManifest(ctx, w.store, r.Event, record.CauseLate); err != nil {
		return fmt.Errorf("delete record %s again: %w", r.ID, err)
	}
	if r.Kind.Counted() {
		mark, err := newMark(r.Event, r.Time)
		if err != nil {
			return err
		}
		if err := w.store.Put(ctx, store.Marks, []store.Doc{mark}); err != nil {
			return fmt.Errorf("write the dirty mark %s: %w", mark.ID, err)
		}
	}
	if _, err := w.store.DeleteIf(ctx, store.Records, r.ID, "event", r.Event); err != nil {
		return fmt.Errorf("delete record %s again: %w", r.ID, err)
	}
	if _, err := store.ReopenManifest(ctx, w.store, r.Event, record.CauseLate); err != nil {
		return fmt.Errorf("delete record %s again: %w", r.ID, err)
	}
	return nil
}

// insert stores the pending records.
func (w *writer) insert(ctx context.Context, l *load) error {
	records, index := l.records, []int(nil)
	for i, f := range l.fates {
		switch {
		case f != pending && index == nil: // the first that is left out
			index, records = make([]int, 0, len(l.records)), make([]record.Record, 0, len(l.records))
			for j := range i {
				index, records = append(index, j), append(records, l.records[j])
			}
		case f == pending && index != nil:
			index, records = append(index, i), append(records, l.records[i])
		}
	}
	if len(records) == 0 {
		return nil
	}
	results, err := w.store.Insert(ctx, records)
	if err == nil && len(results) != len(records) {
		err = fmt.Errorf("%d results for %d records", len(results), len(records))
	}
	if err != nil {
		l.tried = true
		return fmt.Errorf("insert %d records: %w", len(records), err)
	}
	for j, r := range results {
		i := j
		if index != nil {
			i = index[j]
		}
		switch r.Outcome {
		case store.Inserted:
			l.fates[i] = added
		case store.Existed:
			l.fates[i] = existed
		case store.Refused:
			l.fates[i] = refused
			if l.reasons == nil {
				l.reasons = map[int]error{}
			}
			if l.reasons[i] = r.Err; r.Err == nil {
				l.reasons[i] = errRefused
			}
		}
	}
	return nil
}

var errRefused = errors.New("the store refused the document")

// look looks at what was added once more, now that it is durable. It is not done when some of it was
// taken out to be stored in another form.
func (w *writer) look(ctx context.Context, l *load, seen map[string]standing) (done bool, err error) {
	var (
		event string
		s     standing
		same  bool // nothing new is known of the event
		again = map[string]standing{}
	)
	done = true
	for i := range l.records {
		if l.fates[i] != added {
			continue
		}
		r := &l.records[i]
		if r.Event != event {
			var ok bool
			if s, ok = again[r.Event]; !ok {
				if s, err = w.gate.after(ctx, r.Event, seen[r.Event]); err != nil {
					return false, err
				}
				again[r.Event] = s
			}
			before, known := seen[r.Event]
			event, same = r.Event, known && !s.frozen && s.lapsed == before.lapsed && s.peopleAt.steady.Equal(before.peopleAt.steady)
		}
		if !same {
			if s.frozen {
				if err := w.undo(ctx, l, i); err != nil {
					return false, err
				}
				l.fates[i] = frozen
			}
			if s.cleans() {
				if err := w.redact(ctx, l, i, s, l.fates[i] == added); err != nil {
					return false, err
				}
			}
		}
		switch l.fates[i] {
		case added:
			l.fates[i] = inserted
		case pending:
			if s.frozen {
				l.fates[i] = frozen
			} else {
				done = false
			}
		default: // it is decided
		}
	}
	return done, nil
}

// marks are fresh dirty marks for every minute of the load's records that count, new ones or not,
// that is closed or about to be. The time is judged here, after the insert: a record that was stored
// while its minute was surely open is seen by the scan that closes it. Records that were there before
// count as well: whoever stored them may have died before it could mark. So do those that were taken
// out again. Copies of what a frozen event has do not: all of it is counted after it was frozen.
func (w *writer) marks(l *load) ([]store.Doc, error) {
	type key struct {
		event  string
		minute int64
	}
	var (
		now   = w.clock.Now()
		dirty = map[key]struct{}{}
		last  key
		docs  []store.Doc
	)
	for i, f := range l.fates {
		if f != inserted && f != existed {
			if _, undone := l.undone[i]; !undone {
				continue
			}
		}
		rec := &l.records[i]
		if !rec.Kind.Counted() {
			continue // the minute's documents stay the same
		}
		k := key{event: rec.Event, minute: record.Minute(rec.Time).Unix()}
		if k == last {
			continue // batches are mostly of one minute
		}
		last = k
		if _, ok := dirty[k]; ok || !due(record.Minute(rec.Time), now, w.grace, w.skew) {
			continue
		}
		dirty[k] = struct{}{}
		doc, err := newMark(rec.Event, rec.Time)
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

func newMark(event string, t time.Time) (store.Doc, error) {
	m := record.NewMark(event, t, rand.Text())
	raw, err := bson.Marshal(m)
	if err != nil {
		return store.Doc{}, fmt.Errorf("encode mark %s: %w", m.ID, err)
	}
	return store.Doc{ID: m.ID, Raw: raw}, nil
}

// due reports whether a minute's closing time has passed or is nearer than skew.
func due(minute, now time.Time, grace, skew time.Duration) bool {
	return !now.Add(skew).Before(minute.Add(time.Minute + grace))
}
