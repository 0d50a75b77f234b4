package custody

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
)

// erasure is the erasing of all people that one event is to forget.
//
// # Why nothing is left, and no minute is stale
//
// Whoever stores records judges them by tombstones that may be a few seconds old, so one pass over the
// records does not do: passes follow each other, at least Again apart and at least two, until one has
// found nothing. Dead letters are a part of each, and the queue of dead letters must have been empty.
//
// Changes are made in batches. Before a batch the minutes of its records are written into the tombstone
// (Dirty), after it they are marked, and the next batch overwrites Dirty. Who takes over marks the
// minutes that it finds there. So there is no moment at which a record is gone and neither its minute is
// marked after that, nor whoever comes next knows that it must be; a mark that was written before would
// not do, for the rollup may have counted and cleared it before the record went.
//
// Whoever was at that batch may not be dead but stopped, and go on with it later. A record changes only as
// long as it is what was read, so nothing comes of that once the pass of another leader has been there.
// Until then it does: what was found in Dirty stays there to the end of the pass, and is marked again.
//
// Who is to be forgotten while it goes on waits until it is over: passes that began anew with each
// newcomer would never end. So does a person of whom another name has become known, and starts anew.
// After an error a pass goes on where it was, with the tombstones as they are stored.
//
// The tombstone is done when the rollup has counted all that is marked, through the end of the last
// pass. On a frozen event the manifest goes back to checksums before the first batch, and isn't
// computed while a tombstone is pending.
type erasure struct {
	people []record.Tombstone
	// stale says that the tombstones are not known to be as they are stored.
	stale bool
	// inherited are the minutes that were in Dirty when the tombstones were read, by tombstone.
	inherited map[string][]time.Time
	// sweep is the pass under way; nil between passes.
	sweep *sweep
	// passes counts those that are over, found says that the one under way has found something.
	passes int
	found  bool
	// letters says that the queue of dead letters was empty when the pass began.
	letters bool
	// unread is how many dead letters the last pass could not read.
	unread int
	// next is when the next pass may begin, by the machine's time.
	next time.Time
	// clean is when the pass ended that has found nothing, by the event's clock; else zero.
	clean time.Time
}

// take takes over the people that are to be forgotten, as they are stored: those with whom the passes
// began, or all when none of them is left.
func (er *erasure) take(pending []record.Tombstone) {
	var people []record.Tombstone
	for _, p := range pending {
		i := slices.IndexFunc(er.people, func(q record.Tombstone) bool {
			return q.ID == p.ID && q.User == p.User && q.Name == p.Name
		})
		if i < 0 {
			continue
		}
		q := &er.people[i]
		p.Records, p.Redacted = max(p.Records, q.Records), max(p.Redacted, q.Redacted)
		p.Letters, p.Minutes = max(p.Letters, q.Letters), max(p.Minutes, q.Minutes)
		people = append(people, p)
	}
	if len(people) == 0 {
		*er = erasure{}
		people = pending
	}
	er.people, er.stale, er.inherited = people, false, map[string][]time.Time{}
}

// tombstones reads all, by event, those of a state; of any where state is empty.
func (t *term) tombstones(ctx context.Context, state string) (map[string][]record.Tombstone, error) {
	out := map[string][]record.Tombstone{}
	for raw, err := range t.store.Find(ctx, store.Query{Collection: store.Tombstones}) {
		if err != nil {
			return nil, fmt.Errorf("read tombstones: %w", err)
		}
		var s record.Tombstone
		if err := bson.Unmarshal(raw, &s); err != nil {
			event, _ := raw.Lookup("event").StringValueOK()
			return nil, fmt.Errorf("read a tombstone of event %s: %w", event, err)
		}
		if state == "" || s.State == state {
			out[s.Event] = append(out[s.Event], s)
		}
	}
	return out, nil
}

// erase goes on with erasing whom the tombstones name.
func (t *term) erase(ctx context.Context) (more bool, err error) {
	pending, err := t.tombstones(ctx, record.TombstonePending)
	if err != nil {
		return false, err
	}
	var (
		count  int
		oldest time.Time
	)
	for _, people := range pending {
		count += len(people)
		for i := range people {
			if at := people[i].Time; oldest.IsZero() || at.Before(oldest) {
				oldest = at
			}
		}
	}
	t.c.metrics.pending.Set(float64(count))
	t.c.mu.Lock()
	t.c.status.Pending = count
	t.c.mu.Unlock()
	if count > 0 && t.cfg.Clock.Now().Sub(oldest) > pendingFor {
		t.c.raise(CondTombstones, "", fmt.Sprintf(
			"%d people are to be forgotten, the first since %s, and are not erased yet; it goes on by itself. Check that a rollup leads and that the dead letters are filed.",
			count, oldest.UTC().Format(time.RFC3339)))
	} else {
		t.c.calm(CondTombstones, "")
	}
	for event := range t.erasures {
		if len(pending[event]) == 0 {
			delete(t.erasures, event)
		}
	}
	var errs []error
	for _, event := range slices.Sorted(maps.Keys(pending)) {
		if t.erasures[event] == nil {
			t.erasures[event] = &erasure{}
		}
		again, err := t.eraseEvent(ctx, event, t.erasures[event], pending[event])
		if err != nil {
			// The part of a batch that was done is not found again: this pass is not the one that found nothing.
			t.erasures[event].stale, t.erasures[event].found, again = true, true, false
			if !errors.Is(err, store.ErrConflict) { // the master has changed one: the next look reads it
				errs = append(errs, fmt.Errorf("event %s: %w", event, err))
			}
		}
		more = more || again
	}
	return more, errors.Join(errs...)
}

// eraseEvent goes on with the people of one event, as they are stored.
func (t *term) eraseEvent(ctx context.Context, event string, er *erasure, people []record.Tombstone) (more bool, err error) {
	e, known, err := readEvent(ctx, t.store, event)
	if err != nil {
		return false, err
	}
	counted := counted(e, known)
	read := er.sweep == nil || er.stale
	if read {
		er.take(people)
	}
	if er.sweep == nil {
		if !er.clean.IsZero() {
			return false, t.buried(ctx, e, er, counted)
		}
		if time.Now().Before(er.next) {
			return false, nil
		}
		if err := t.begin(ctx, event, er); err != nil {
			return false, err
		}
	}
	if read {
		if err := t.inherit(ctx, event, er, counted); err != nil {
			return false, err
		}
	}
	t.c.doing(fmt.Sprintf("forgets %d people of event %s", len(er.people), event))
	defer t.c.doing("")
	judge := func(r record.Record) (change, bool) { return accuse(r, er.people) }
	done, err := t.advance(ctx, er.sweep, judge, func(ctx context.Context, batch []change) error {
		return t.bury(ctx, er, batch, counted)
	})
	if err != nil || !done {
		return true, err
	}
	er.found = er.found || er.sweep.changed > 0
	before := slices.Clone(er.people)
	found, unread, err := t.filterLetters(ctx, event, er.people)
	if err != nil {
		return false, err
	}
	er.found, er.unread = er.found || found, unread
	for i := range er.people {
		p := &er.people[i]
		if len(p.Dirty) == 0 && p.Letters == before[i].Letters {
			continue
		}
		if counted {
			if err := t.mark(ctx, event, er.inherited[p.ID]); err != nil {
				return false, err
			}
		}
		p.Dirty = nil
		if err := t.setTombstone(ctx, p); err != nil {
			return false, err
		}
	}
	er.sweep, er.next, er.inherited = nil, time.Now().Add(t.cfg.Again), nil
	if er.passes++; er.passes > 1 && !er.found && er.letters {
		er.clean = t.cfg.Clock.Now()
	}
	return false, nil
}

// counted reports whether statistics follow from an event's records, so that its minutes have to be marked.
func counted(e record.Event, known bool) bool {
	return known && e.State != record.EventDraft && e.RecordsErased.IsZero()
}

// inherit marks the minutes of what was being erased by whoever has not finished a batch.
func (t *term) inherit(ctx context.Context, event string, er *erasure, counted bool) error {
	for i := range er.people {
		p := &er.people[i]
		if counted {
			if err := t.mark(ctx, event, p.Dirty); err != nil {
				return err
			}
		}
		er.inherited[p.ID] = p.Dirty
	}
	return nil
}

// begin begins a pass.
func (t *term) begin(ctx context.Context, event string, er *erasure) error {
	dead, err := t.cfg.Queue.Depth(ctx, queue.Dead)
	if err != nil {
		return fmt.Errorf("look into the queue of dead letters: %w", err)
	}
	er.letters, er.found, er.sweep = dead == 0, false, &sweep{event: event}
	return nil
}

// accuse judges a record by what it says of people.
func accuse(r record.Record, people []record.Tombstone) (change, bool) {
	c := change{rec: r}
	gone := false
	for i := range people {
		if !holds(r.Doc, &people[i]) {
			continue
		}
		_, what := record.Redact(r, isOne(&people[i]))
		if what == record.Kept {
			continue
		}
		c.who = append(c.who, blame{person: i, what: what})
		gone = gone || what == record.Removed
	}
	if len(c.who) == 0 {
		return c, false
	}
	if !gone {
		rewritten := r
		for _, b := range c.who {
			rewritten, _ = record.Redact(rewritten, isOne(&people[b.person]))
		}
		c.doc = rewritten.Doc
	}
	return c, true
}

// holds reports whether bytes hold one of a person's pseudonyms.
func holds(b []byte, p *record.Tombstone) bool {
	return p.User != "" && bytes.Contains(b, []byte(p.User)) || p.Name != "" && bytes.Contains(b, []byte(p.Name))
}

func isOne(p *record.Tombstone) func(string) bool {
	return func(s string) bool { return s != "" && (s == p.User || s == p.Name) }
}

// bury makes the changes of a batch.
func (t *term) bury(ctx context.Context, er *erasure, batch []change, counted bool) error {
	event := batch[0].rec.Event
	if err := t.reopen(ctx, event, record.CauseForget); err != nil {
		return err
	}
	// What is about to be dirty is written first.
	minutes := map[int]map[int64]struct{}{}
	all := map[int64]struct{}{}
	for _, c := range batch {
		at := record.Minute(c.rec.Time).Unix()
		all[at] = struct{}{}
		for _, b := range c.who {
			if minutes[b.person] == nil {
				minutes[b.person] = map[int64]struct{}{}
			}
			minutes[b.person][at] = struct{}{}
		}
	}
	for _, person := range slices.Sorted(maps.Keys(minutes)) {
		p := &er.people[person]
		if err := t.keep(ctx, p, append(times(minutes[person]), er.inherited[p.ID]...)); err != nil {
			return err
		}
	}
	if err := t.rewrite(ctx, event, batch); err != nil {
		return err
	}
	for _, c := range batch {
		if c.doc != nil {
			t.c.metrics.redacted.Inc()
		} else {
			if _, err := t.store.DeleteIf(ctx, store.Records, c.rec.ID, "event", event); err != nil {
				return fmt.Errorf("delete a record of event %s: %w", event, err)
			}
			t.c.metrics.erased.Inc()
		}
		for _, b := range c.who {
			switch {
			case b.what == record.Removed:
				er.people[b.person].Records++
			case c.doc != nil:
				er.people[b.person].Redacted++
			}
		}
	}
	for person, m := range minutes {
		er.people[person].Minutes += len(m)
	}
	if !counted {
		return nil
	}
	return t.mark(ctx, event, times(all))
}

func times(unix map[int64]struct{}) []time.Time {
	out := make([]time.Time, 0, len(unix))
	for _, u := range slices.Sorted(maps.Keys(unix)) {
		out = append(out, time.Unix(u, 0).UTC())
	}
	return out
}

// keep writes a tombstone with what is dirty and what was counted so far.
func (t *term) keep(ctx context.Context, p *record.Tombstone, dirty []time.Time) error {
	next := *p
	next.Dirty = dirty
	if err := t.setTombstone(ctx, &next); err != nil {
		return err
	}
	*p = next
	return nil
}

// setTombstone writes a tombstone that was read at revision p.Rev. Its error doesn't say what the store
// says: that names the tombstone, thus the person, and errors are logged and shown.
func (t *term) setTombstone(ctx context.Context, p *record.Tombstone) error {
	p.Rev++
	raw, err := bson.Marshal(p)
	if err == nil {
		err = t.store.CompareAndSet(ctx, store.Tombstones, p.Rev-1, store.Doc{ID: p.ID, Raw: raw})
	}
	if err != nil {
		return &discreet{says: fmt.Sprintf("write a tombstone of event %s: the store refuses or does not answer", p.Event), err: err}
	}
	return nil
}

// discreet is an error that keeps what caused it to itself, but for errors.Is.
type discreet struct {
	says string
	err  error
}

func (e *discreet) Error() string { return e.says }
func (e *discreet) Unwrap() error { return e.err }

// buried ends an erasure when everything is counted again.
func (t *term) buried(ctx context.Context, e record.Event, er *erasure, counted bool) error {
	if counted {
		settled, err := rollup.Settled(ctx, t.store, e.Slug, er.clean)
		if err != nil || !settled {
			return err
		}
	}
	var remains []string
	if er.unread > 0 {
		remains = append(remains, fmt.Sprintf(
			"%d dead letters can't be read and were not searched; drop them.", er.unread))
	}
	if !e.RecordsErased.IsZero() {
		remains = append(remains,
			"The records were erased before, and the sketches of chatters in the statistics can't be taken apart: the person stays a part of their estimates, from which nobody can be told.")
	}
	for i := range er.people {
		p := er.people[i]
		p.State, p.Finished, p.Dirty = record.TombstoneDone, record.Millis(t.cfg.Clock.Now()), nil
		p.Remains = strings.Join(remains, " ")
		if err := t.setTombstone(ctx, &p); err != nil {
			return err
		}
		t.log.Info("a person is forgotten", "event", p.Event, "records", p.Records, "redacted", p.Redacted,
			"letters", p.Letters, "minutes", p.Minutes)
	}
	delete(t.erasures, er.people[0].Event)
	return nil
}
