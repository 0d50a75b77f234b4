package custody

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
)

// personal are the kinds of records that speak of chatters.
func personal() []record.Kind {
	return []record.Kind{record.KindMessage, record.KindNotice, record.KindModeration}
}

// retain erases what events keep for a number of days. By its schedule it looks what is due, and goes on
// with that whenever it is called.
//
// Texts: they are unset in the records and in the dead letters, then text_erased is set; a crash before
// that begins anew. No statistic speaks of texts (a message's length and emotes are fields of their
// own), so nothing is counted again.
//
// Records: only of an event whose manifest is signed. First records_erased is set, then records go. The
// rollup looks at records_erased after each scan and before it writes, so it never writes what it has
// counted of a part of them. Statistics stay.
func (t *term) retain(ctx context.Context) (more bool, err error) {
	var errs []error
	if now := t.cfg.Clock.Now(); !now.Before(t.nextRetention) {
		switch err := t.lookForDue(ctx, now); {
		case errors.Is(err, store.ErrConflict): // somebody changed an event: the next look reads it again
		case err != nil:
			errs = append(errs, err)
		default:
			t.nextRetention = t.cfg.Retention.Next(now)
		}
	}
	for _, event := range slices.Sorted(maps.Keys(t.texts)) {
		done, err := t.eraseTexts(ctx, event, t.texts[event])
		if err != nil && !errors.Is(err, store.ErrConflict) {
			errs = append(errs, fmt.Errorf("event %s: %w", event, err))
		}
		more = more || err == nil && !done
	}
	return more, errors.Join(errs...)
}

// lookForDue begins what is due.
func (t *term) lookForDue(ctx context.Context, now time.Time) error {
	var events []record.Event
	for raw, err := range t.store.Find(ctx, store.Query{Collection: store.Events}) {
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		var e record.Event
		if err := bson.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("read event %s: %w", store.DocID(raw), err)
		}
		events = append(events, e)
	}
	done, err := t.tombstones(ctx, record.TombstoneDone)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range events {
		if err := t.lookAt(ctx, e, now); err != nil {
			errs = append(errs, fmt.Errorf("event %s: %w", e.Slug, err))
		}
		// A letter may have been filed that was on its way when its person was forgotten.
		if people := done[e.Slug]; len(people) > 0 {
			if _, _, err := t.filterLetters(ctx, e.Slug, people); err != nil {
				errs = append(errs, fmt.Errorf("event %s: %w", e.Slug, err))
			}
		}
		// And so may one with texts.
		if !e.TextErased.IsZero() && e.RecordsErased.IsZero() {
			if err := t.eraseLetterTexts(ctx, e.Slug); err != nil {
				errs = append(errs, fmt.Errorf("event %s: %w", e.Slug, err))
			}
		}
	}
	return errors.Join(errs...)
}

// over reports whether some days have passed since the end of an event.
func (t *term) over(e record.Event, days int) bool {
	return days > 0 && !e.End.IsZero() && (e.State == record.EventEnded || e.State == record.EventFrozen) &&
		!t.cfg.Clock.Now().Before(e.End.Add(time.Duration(days)*day))
}

func (t *term) textDue(e record.Event) bool {
	return e.TextErased.IsZero() && e.RecordsErased.IsZero() && t.over(e, e.TextDays)
}

func (t *term) lookAt(ctx context.Context, e record.Event, now time.Time) error {
	if !e.RecordsErased.IsZero() {
		return t.purge(ctx, e)
	}
	if t.over(e, e.RecordDays) {
		begun, err := t.eraseRecords(ctx, e, now)
		if err != nil || begun {
			return err
		}
	} else {
		t.c.calm(CondRetention, e.Slug)
	}
	if t.texts[e.Slug] != nil {
		return nil
	}
	// Texts may come late as long as the event isn't frozen, and are looked for once more then: see freezeEvent.
	late := !e.TextErased.IsZero() && e.State != record.EventFrozen && now.Sub(later(e.TextErased, t.swept[e.Slug])) >= day
	if t.textDue(e) || late {
		t.texts[e.Slug] = &sweep{event: e.Slug}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// eraseTexts goes on with unsetting the texts of an event's records, and reports whether it is done.
func (t *term) eraseTexts(ctx context.Context, event string, s *sweep) (done bool, err error) {
	t.c.doing("erases the texts of event " + event)
	defer t.c.doing("")
	if s.at.IsZero() {
		if err := t.reopen(ctx, event, record.CauseRetention); err != nil {
			return false, err
		}
	}
	judge := func(r record.Record) (change, bool) {
		bare, had := record.WithoutText(r)
		return change{rec: bare}, had
	}
	done, err = t.advance(ctx, s, judge, func(ctx context.Context, batch []change) error {
		docs := make([]record.Record, len(batch))
		for i := range batch {
			docs[i] = batch[i].rec
		}
		if err := t.rewrite(ctx, event, docs); err != nil {
			return err
		}
		t.c.metrics.texts.Add(float64(len(docs)))
		return nil
	})
	if err != nil || !done {
		return false, err
	}
	if err := t.eraseLetterTexts(ctx, event); err != nil {
		return false, err
	}
	e, known, err := readEvent(ctx, t.store, event)
	if err != nil {
		return false, err
	}
	now := record.Millis(t.cfg.Clock.Now())
	if known && e.TextErased.IsZero() {
		e.TextErased = now
		if err := setEvent(ctx, t.store, e); err != nil {
			return false, err
		}
		t.log.Info("texts are erased", "event", event, "records", s.changed)
	}
	t.swept[event] = now
	delete(t.texts, event)
	return true, nil
}

func (t *term) eraseLetterTexts(ctx context.Context, event string) error {
	_, _, err := t.eachLetter(ctx, event, func(_ *record.Letter, records []record.Record) (rest []record.Record, touched bool) {
		for _, r := range records {
			if r.Event == event {
				bare, had := record.WithoutText(r)
				r, touched = bare, touched || had
			}
			rest = append(rest, r)
		}
		return rest, touched
	})
	return err
}

// eraseRecords begins to erase an event's records, if it may, and reports whether it did.
func (t *term) eraseRecords(ctx context.Context, e record.Event, now time.Time) (begun bool, err error) {
	why, err := t.notYet(ctx, e)
	if err != nil {
		return false, err
	}
	if why != "" {
		t.c.raise(CondRetention, e.Slug, "The records of this event are to be erased since "+
			e.End.Add(time.Duration(e.RecordDays)*day).UTC().Format(time.DateOnly)+", but "+why)
		return false, nil
	}
	t.c.calm(CondRetention, e.Slug)
	e.RecordsErased = record.Millis(now)
	if e.TextErased.IsZero() {
		e.TextErased = e.RecordsErased
	}
	if err := setEvent(ctx, t.store, e); err != nil {
		return false, err
	}
	e.Rev++
	delete(t.texts, e.Slug)
	return true, t.purge(ctx, e)
}

// notYet says why the records of an event that is due may not be erased yet; empty when they may.
func (t *term) notYet(ctx context.Context, e record.Event) (string, error) {
	const freeze = "it is not frozen: freeze it, for its statistics can't be counted again afterwards."
	if e.State != record.EventFrozen {
		return freeze, nil
	}
	m, err := readManifest(ctx, t.store, e.Slug)
	if errors.Is(err, store.ErrNotFound) {
		return freeze, nil
	}
	if err != nil {
		return "", err
	}
	if m.State != record.FreezeDone {
		return "its manifest is not signed yet; it goes on by itself.", nil
	}
	pending, err := t.tombstones(ctx, record.TombstonePending)
	if err != nil {
		return "", err
	}
	if len(pending[e.Slug]) > 0 {
		return "people are being forgotten; it goes on by itself.", nil
	}
	settled, err := rollup.Settled(ctx, t.store, e.Slug, e.End)
	if err != nil {
		return "", err
	}
	if !settled {
		return "minutes are being counted again; it goes on by itself.", nil
	}
	return "", nil
}

// anyPersonal reports whether an event has records that speak of chatters.
func (t *term) anyPersonal(ctx context.Context, event string) (bool, error) {
	for _, kind := range personal() {
		n, err := t.store.Count(ctx, store.Query{Collection: store.Records, Event: event, Kind: kind, Limit: 1})
		if err != nil {
			return false, fmt.Errorf("count records of event %s: %w", event, err)
		}
		if n > 0 {
			return true, nil
		}
	}
	return false, nil
}

// purge deletes the records and the dead letters of an event whose records are erased, as far as there
// are any left.
func (t *term) purge(ctx context.Context, e record.Event) error {
	left, err := t.anyPersonal(ctx, e.Slug)
	if err != nil {
		return err
	}
	if left {
		t.c.doing("erases the records of event " + e.Slug)
		defer t.c.doing("")
		if err := t.reopen(ctx, e.Slug, record.CauseRetention); err != nil {
			return err
		}
		deleted := 0
		for at := (time.Time{}); ; {
			from, ok, err := t.firstRecord(ctx, e.Slug, at)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			at = from.Truncate(day).Add(day)
			for _, kind := range personal() {
				n, err := t.store.Delete(ctx, store.Query{Collection: store.Records, Event: e.Slug, Kind: kind, From: from, To: at})
				if err != nil {
					return fmt.Errorf("delete records: %w", err)
				}
				deleted += n
			}
		}
		t.c.metrics.expired.Add(float64(deleted))
		t.log.Info("records are erased", "event", e.Slug, "records", deleted)
	}
	if _, err := t.store.Delete(ctx, store.Query{Collection: store.Letters, Event: e.Slug}); err != nil {
		return fmt.Errorf("delete dead letters: %w", err)
	}
	return t.purgeLetters(ctx, e)
}

// purgeLetters takes an event's records out of the dead letters that are of several events, and drops those
// that can't be read and are as old as its records were to become: they may be of it.
func (t *term) purgeLetters(ctx context.Context, e record.Event) error {
	due := t.cfg.Clock.Now().Add(-time.Duration(e.RecordDays) * day)
	_, _, err := t.eachLetter(ctx, e.Slug, func(l *record.Letter, records []record.Record) (rest []record.Record, touched bool) {
		if l.Event != "" {
			return records, false
		}
		if records == nil {
			touched = len(l.Body) > 0 && !l.Time.Before(e.Start) && !l.Time.After(due)
			if touched {
				l.Body = nil
			}
			return nil, touched
		}
		for _, r := range records {
			if r.Event == e.Slug {
				touched = true
				continue
			}
			rest = append(rest, r)
		}
		return rest, touched
	})
	return err
}
