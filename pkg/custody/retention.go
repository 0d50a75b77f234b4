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

// retain erases what events keep for a number of days. By its schedule it looks what is due, and goes on
// with that whenever it is called.
//
// Texts: they are unset in the records and in the dead letters, then text_erased is set; a crash before
// that begins anew. No statistic speaks of texts (a message's length and emotes are fields of their
// own), so nothing is counted again.
//
// Answers of charity sources: the same, and with them the sources' rows in donations; then answers_erased
// is set.
//
// Records: only of an event whose manifest is signed. What donations say of their donors goes first, for
// donations stay: totals are counted from them. Then records_erased is set, then records go. The
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
	for _, job := range [...]struct {
		sweeps map[string]*sweep
		goOn   func(context.Context, string, *sweep) (done bool, err error)
	}{{t.texts, t.eraseTexts}, {t.answers, t.eraseAnswers}, {t.donors, t.eraseDonors}} {
		for _, event := range slices.Sorted(maps.Keys(job.sweeps)) {
			done, err := job.goOn(ctx, event, job.sweeps[event])
			if err != nil && !errors.Is(err, store.ErrConflict) {
				errs = append(errs, fmt.Errorf("event %s: %w", event, err))
			}
			more = more || err == nil && !done
		}
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
		// And so may one with texts or answers.
		if e.Lapsed() != (record.Lapsed{}) && e.RecordsErased.IsZero() {
			if err := t.eraseInLetters(ctx, e.Slug, e.Lapsed()); err != nil {
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

func (t *term) answersDue(e record.Event) bool {
	return e.AnswersErased.IsZero() && e.RecordsErased.IsZero() && t.over(e, e.AnswerDays)
}

// donationsOf is a sweep of an event's donations.
func donationsOf(event string) *sweep { return &sweep{event: event, kind: record.KindDonation} }

func (t *term) lookAt(ctx context.Context, e record.Event, now time.Time) error {
	if !e.RecordsErased.IsZero() {
		return t.purge(ctx, e)
	}
	if t.over(e, e.RecordDays) {
		begun, err := t.beginRecords(ctx, e)
		if err != nil || begun {
			return err
		}
	} else {
		t.c.calm(CondRetention, e.Slug)
	}
	// They may come late as long as the event isn't frozen, and are looked for once more then: see freezeEvent.
	late := func(erased, last time.Time) bool {
		return !erased.IsZero() && e.State != record.EventFrozen && now.Sub(later(erased, last)) >= day
	}
	if t.texts[e.Slug] == nil && (t.textDue(e) || late(e.TextErased, t.swept[e.Slug])) {
		t.texts[e.Slug] = &sweep{event: e.Slug}
	}
	if t.answers[e.Slug] == nil && (t.answersDue(e) || late(e.AnswersErased, t.looked[e.Slug])) {
		t.answers[e.Slug] = donationsOf(e.Slug)
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
		return change{rec: r, doc: bare.Doc}, had
	}
	done, err = t.advance(ctx, s, judge, func(ctx context.Context, batch []change) error {
		if err := t.rewrite(ctx, event, batch); err != nil {
			return err
		}
		t.c.metrics.texts.Add(float64(len(batch)))
		return nil
	})
	if err != nil || !done {
		return false, err
	}
	if err := t.eraseInLetters(ctx, event, record.Lapsed{Texts: true}); err != nil {
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

// eraseAnswers goes on with deleting the answers of charity sources of an event, after their rows in its
// donations, and reports whether it is done.
func (t *term) eraseAnswers(ctx context.Context, event string, s *sweep) (done bool, err error) {
	t.c.doing("erases the answers of charity sources of event " + event)
	defer t.c.doing("")
	done, err = t.strip(ctx, event, s, record.Lapsed{Answers: true})
	if err != nil || !done {
		return false, err
	}
	deleted, err := t.deleteRecords(ctx, event, record.KindAnswer)
	if err != nil {
		return false, err
	}
	t.c.metrics.expired.Add(float64(deleted))
	if err := t.eraseInLetters(ctx, event, record.Lapsed{Answers: true}); err != nil {
		return false, err
	}
	e, known, err := readEvent(ctx, t.store, event)
	if err != nil {
		return false, err
	}
	now := record.Millis(t.cfg.Clock.Now())
	if known && e.AnswersErased.IsZero() {
		e.AnswersErased = now
		if err := setEvent(ctx, t.store, e); err != nil {
			return false, err
		}
		t.log.Info("answers of charity sources are erased", "event", event, "answers", deleted, "donations", s.changed)
	}
	t.looked[event] = now
	delete(t.answers, event)
	return true, nil
}

// strip goes on with taking what is not kept out of those records that a sweep is of, and which stay.
func (t *term) strip(ctx context.Context, event string, s *sweep, lapsed record.Lapsed) (done bool, err error) {
	judge := func(r record.Record) (change, bool) {
		bare, what := lapsed.From(r)
		return change{rec: r, doc: bare.Doc}, what == record.Changed
	}
	return t.advance(ctx, s, judge, func(ctx context.Context, batch []change) error {
		if err := t.reopen(ctx, event, record.CauseRetention); err != nil {
			return err
		}
		if err := t.rewrite(ctx, event, batch); err != nil {
			return err
		}
		t.c.metrics.donors.Add(float64(len(batch)))
		return nil
	})
}

// deleteRecords deletes an event's records of some kinds, day by day, and returns how many there were. The
// first that it finds reopens the manifest.
func (t *term) deleteRecords(ctx context.Context, event string, kinds ...record.Kind) (deleted int, err error) {
	left, err := t.anyOf(ctx, event, kinds)
	if err != nil || !left {
		return 0, err
	}
	if err := t.reopen(ctx, event, record.CauseRetention); err != nil {
		return 0, err
	}
	for at := (time.Time{}); ; {
		from, ok, err := t.firstRecord(ctx, event, "", at)
		if err != nil || !ok {
			return deleted, err
		}
		at = from.Truncate(day).Add(day)
		for _, kind := range kinds {
			n, err := t.store.Delete(ctx, store.Query{Collection: store.Records, Event: event, Kind: kind, From: from, To: at})
			if err != nil {
				return deleted, fmt.Errorf("delete records: %w", err)
			}
			deleted += n
		}
	}
}

// eraseInLetters takes what is not kept out of the dead letters of an event.
func (t *term) eraseInLetters(ctx context.Context, event string, lapsed record.Lapsed) error {
	_, _, err := t.eachLetter(ctx, event, func(_ *record.Letter, records []record.Record) (rest []record.Record, touched bool) {
		for _, r := range records {
			if r.Event == event {
				bare, what := lapsed.From(r)
				touched = touched || what != record.Kept
				if what == record.Removed {
					continue
				}
				r = bare
			}
			rest = append(rest, r)
		}
		return rest, touched
	})
	return err
}

// beginRecords begins to erase an event's records, if it may, and reports whether that goes on by itself.
func (t *term) beginRecords(ctx context.Context, e record.Event) (begun bool, err error) {
	if t.donors[e.Slug] != nil {
		return true, nil
	}
	why, err := t.unsealed(ctx, e)
	if err == nil && why == "" {
		why, err = t.unsettled(ctx, e)
	}
	if err != nil {
		return false, err
	}
	if why != "" {
		t.c.raise(CondRetention, e.Slug, "The records of this event are to be erased since "+
			e.End.Add(time.Duration(e.RecordDays)*day).UTC().Format(time.DateOnly)+", but "+why)
		return false, nil
	}
	t.c.calm(CondRetention, e.Slug)
	t.donors[e.Slug] = donationsOf(e.Slug)
	return true, nil
}

// eraseDonors goes on with taking the donors out of an event's donations, and when that is done erases its
// records. It reports whether all that is done. What can still be counted again is waited for: nothing is
// counted afterwards.
func (t *term) eraseDonors(ctx context.Context, event string, s *sweep) (done bool, err error) {
	t.c.doing("erases the records of event " + event)
	defer t.c.doing("")
	done, err = t.strip(ctx, event, s, record.Lapsed{Texts: true, Donors: true})
	if err != nil || !done {
		return false, err
	}
	e, known, err := readEvent(ctx, t.store, event)
	if err != nil {
		return false, err
	}
	if !known || e.State != record.EventFrozen || !t.over(e, e.RecordDays) {
		delete(t.donors, event) // it is another by now
		return true, nil
	}
	if why, err := t.unsettled(ctx, e); err != nil || why != "" {
		return err == nil, err // the next round looks again
	}
	e.RecordsErased = record.Millis(t.cfg.Clock.Now())
	for _, erased := range []*time.Time{&e.TextErased, &e.AnswersErased} {
		if erased.IsZero() {
			*erased = e.RecordsErased
		}
	}
	if err := setEvent(ctx, t.store, e); err != nil {
		return false, err
	}
	e.Rev++
	delete(t.donors, event)
	delete(t.texts, event)
	delete(t.answers, event)
	return true, t.purge(ctx, e)
}

// unsealed says why the records of an event that is due can't be erased yet: its manifest is not signed.
func (t *term) unsealed(ctx context.Context, e record.Event) (string, error) {
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
	return "", nil
}

// unsettled says what of a frozen event is still to be counted again.
func (t *term) unsettled(ctx context.Context, e record.Event) (string, error) {
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

// anyOf reports whether an event has records of some kinds.
func (t *term) anyOf(ctx context.Context, event string, kinds []record.Kind) (bool, error) {
	for _, kind := range kinds {
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
	t.c.doing("erases the records of event " + e.Slug)
	defer t.c.doing("")
	deleted, err := t.deleteRecords(ctx, e.Slug, record.PersonalKinds()...)
	if err != nil {
		return err
	}
	if deleted > 0 {
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
