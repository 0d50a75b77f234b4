package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // time zones are checked on machines without them too

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// maxLength is the longest an event can be: a typing error in a year should not collect for ever.
const maxLength = 366 * 24 * time.Hour

// Errors of the state, which the API answers as conflicts or as bad values.
type (
	stateError struct{ msg string }
	valueError struct{ field, msg string }
)

// absentError says which one store.ErrNotFound is about.
type absentError struct{ msg string }

func (e *absentError) Error() string { return e.msg }
func (e *absentError) Unwrap() error { return store.ErrNotFound }

func absent(format string, args ...any) error { return &absentError{fmt.Sprintf(format, args...)} }

func (e *stateError) Error() string { return e.msg }
func (e *valueError) Error() string { return e.field + ": " + e.msg }

func conflict(format string, args ...any) error { return &stateError{fmt.Sprintf(format, args...)} }
func badValue(field, format string, args ...any) error {
	return &valueError{field, fmt.Sprintf(format, args...)}
}

// newEvent makes a draft of what an operator said.
func newEvent(in control.NewEvent, now time.Time) (record.Event, error) {
	e := record.Event{
		Slug: in.Slug, Rev: 1, Name: cmp.Or(in.Name, in.Slug), State: record.EventDraft,
		TimeZone: cmp.Or(in.TimeZone, "UTC"), Currency: cmp.Or(in.Currency, "EUR"),
		KeepText: in.KeepText, Replicas: cmp.Or(in.Replicas, 1), Created: record.Millis(now),
		Donations: in.Donations, TextDays: in.TextDays, AnswerDays: in.AnswerDays, RecordDays: in.RecordDays,
	}
	if !in.Start.IsZero() {
		e.Start = record.Millis(in.Start)
	}
	if !in.End.IsZero() {
		e.End = record.Millis(in.End)
	}
	if err := checkEvent(e); err != nil {
		return e, err
	}
	return e, checkRetention(e)
}

// checkRetention refuses what is to be kept for longer than the records that it goes with.
func checkRetention(e record.Event) error {
	for _, d := range [...]struct {
		field, what string
		days        int
	}{{"text_days", "their texts", e.TextDays}, {"answer_days", "the answers of charity sources", e.AnswerDays}} {
		if e.RecordDays > 0 && d.days > e.RecordDays {
			return badValue(d.field, "%d: the records go %s after the end, and %s with them: use %d or less, or keep the records for longer",
				d.days, daysText(e.RecordDays), d.what, e.RecordDays)
		}
	}
	return nil
}

// checkEvent checks what must hold of an event in any state.
func checkEvent(e record.Event) error {
	if !record.ValidSlug(e.Slug) {
		return badValue("slug", "%q: use 1 to %d lower-case letters, digits and dashes", e.Slug, record.MaxSlugBytes)
	}
	if _, err := time.LoadLocation(e.TimeZone); err != nil || e.TimeZone == "Local" {
		return badValue("time_zone", "%q is no IANA time zone, such as Europe/Paris", e.TimeZone)
	}
	if len(e.Currency) != 3 {
		return badValue("currency", "%q is no ISO 4217 code, such as EUR", e.Currency)
	}
	if e.Replicas < 1 || e.Replicas > 2 {
		return badValue("replicas", "%d: use 1 or 2", e.Replicas)
	}
	if strings.TrimSpace(e.Donations) != e.Donations {
		return badValue("donations", "%q begins or ends with a space", e.Donations)
	}
	for field, days := range map[string]int{"text_days": e.TextDays, "answer_days": e.AnswerDays, "record_days": e.RecordDays} {
		if days < 0 || days > control.MaxRetentionDays {
			return badValue(field, "%d: use 1 to %d days, or 0 for never", days, control.MaxRetentionDays)
		}
	}
	if e.Start.IsZero() || e.End.IsZero() {
		if e.State == record.EventDraft {
			return nil
		}
		return conflict("event %s", missing(e))
	}
	if !e.Start.Before(e.End) {
		return badValue("end", "%s is not after the start, %s", stamp(e.End), stamp(e.Start))
	}
	if e.End.Sub(e.Start) > maxLength {
		return badValue("end", "%s is more than a year after the start, %s", stamp(e.End), stamp(e.Start))
	}
	return nil
}

// missing says which of start and end an event lacks, and how to set it.
func missing(e record.Event) string {
	var names, flags []string
	if e.Start.IsZero() {
		names, flags = append(names, "no start"), append(flags, "--start TIME")
	}
	if e.End.IsZero() {
		names, flags = append(names, "no end"), append(flags, "--end TIME")
	}
	return fmt.Sprintf("%s has %s: run tungstene event set %s %s first",
		e.Slug, strings.Join(names, " and "), e.Slug, strings.Join(flags, " "))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// act does what an operator asks to the state of an event. An event that is in that state already
// is left alone.
func act(e record.Event, a control.Action, now time.Time) (record.Event, error) {
	now = record.Millis(now)
	was := e.State
	refuse := func() (record.Event, error) {
		return e, conflict("event %s is %s: %s", e.Slug, e.State, map[control.Action]string{
			control.Schedule:   "only a draft can be scheduled",
			control.Unschedule: "only a scheduled event can become a draft again",
			control.Start:      "only a draft, a scheduled or an ended event can be started",
			control.Stop:       "only a live event can be stopped, or a draft whose end has passed",
		}[a])
	}
	switch a {
	case control.Schedule:
		switch e.State {
		case record.EventScheduled:
			return e, nil
		case record.EventDraft:
		default:
			return refuse()
		}
		e.State = record.EventScheduled
	case control.Unschedule:
		switch e.State {
		case record.EventDraft:
		case record.EventScheduled:
			e.State = record.EventDraft
		default:
			return refuse()
		}
		return e, nil
	case control.Start:
		switch e.State {
		case record.EventLive:
			return e, nil
		case record.EventDraft, record.EventScheduled, record.EventEnded:
		default:
			return refuse()
		}
		if !e.KeyDestroyed.IsZero() {
			return e, keyless(e)
		}
		if e.State != record.EventEnded && (e.Start.IsZero() || e.Start.After(now)) {
			e.Start = now
		}
		e.State = record.EventLive
	case control.Stop:
		switch e.State {
		case record.EventEnded:
			return e, nil
		case record.EventLive:
		case record.EventDraft:
			// An event of the past, to be filled from files.
			if e.Start.IsZero() || e.End.IsZero() || e.End.After(now) {
				return refuse()
			}
		default:
			return refuse()
		}
		e.State = record.EventEnded
		if e.End.After(now) {
			// An event that is stopped in its first millisecond has one all the same.
			e.End = maxTime(now, e.Start.Add(time.Millisecond))
		}
		return e, checkEvent(e)
	default:
		return e, badValue("action", "%q is not schedule, unschedule, start or stop", a)
	}
	if err := checkEvent(e); err != nil {
		return e, err
	}
	if !e.End.After(now) {
		remedy := "set a later one first"
		if was == record.EventDraft {
			remedy += ", or to fill it from files run tungstene event stop " + e.Slug
		}
		return e, conflict("the end of event %s, %s, has passed: %s", e.Slug, stamp(e.End), remedy)
	}
	return e, nil
}

// keyless refuses to collect an event again whose key was destroyed.
func keyless(e record.Event) error {
	return conflict("the pseudonym key of event %s was destroyed on %s: it can't be collected again; make another event", e.Slug, stamp(e.KeyDestroyed))
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// due is the state that an event has by the clock, for the leader to bring about.
func due(e record.Event, now time.Time, grace time.Duration) string {
	if e.State == record.EventScheduled && !now.Before(e.Start) {
		e.State = record.EventLive
	}
	if e.State == record.EventLive && !now.Before(e.End.Add(max(grace, 0))) {
		e.State = record.EventEnded
	}
	return e.State
}

// collected says whether an event's channels are to be read now.
func collected(e record.Event, now time.Time, lead, grace time.Duration) bool {
	return e.KeyDestroyed.IsZero() && (e.State == record.EventLive ||
		(e.State == record.EventEnded && now.Before(e.End.Add(max(grace, 0)))) ||
		(e.State == record.EventScheduled && !now.Before(e.Start.Add(-max(lead, 0)))))
}

// lateDonations is how long after its end an event's donations are still asked for: sources list some
// of them minutes after they were made.
const lateDonations = time.Hour

// endedLately says whether charity sources are still to be polled for an event that is read no more.
func endedLately(e record.Event, now time.Time) bool {
	return e.KeyDestroyed.IsZero() && e.State == record.EventEnded && now.Before(e.End.Add(lateDonations))
}

// patch changes an event as far as its state allows.
func patch(e record.Event, p control.EventPatch, now time.Time) (record.Event, error) {
	if e.State == record.EventFrozen {
		return shorten(e, p)
	}
	begun := e.State == record.EventLive || e.State == record.EventEnded
	if p.Name != nil {
		e.Name = *p.Name
	}
	if p.TimeZone != nil {
		e.TimeZone = *p.TimeZone
	}
	if p.Currency != nil {
		e.Currency = *p.Currency
	}
	if p.Start != nil && !record.Millis(*p.Start).Equal(e.Start) {
		if begun {
			return e, conflict("event %s is %s: its start can't change any more", e.Slug, e.State)
		}
		e.Start = record.Millis(*p.Start)
	}
	if p.End != nil && !record.Millis(*p.End).Equal(e.End) {
		if e.State != record.EventDraft && !p.End.After(now) {
			remedy := "to end it now, stop it"
			if e.State == record.EventScheduled {
				remedy = "to take it back, unschedule it"
			}
			return e, conflict("event %s is %s: its end can only become a moment in the future (%s)", e.Slug, e.State, remedy)
		}
		if !e.KeyDestroyed.IsZero() {
			return e, keyless(e)
		}
		e.End = record.Millis(*p.End)
	}
	if p.Donations != nil {
		e.Donations = *p.Donations
	}
	if p.TextDays != nil {
		e.TextDays = *p.TextDays
	}
	if p.AnswerDays != nil {
		e.AnswerDays = *p.AnswerDays
	}
	if p.RecordDays != nil {
		e.RecordDays = *p.RecordDays
	}
	if p.KeepText != nil && *p.KeepText != e.KeepText {
		if e.State == record.EventEnded {
			return e, conflict("event %s is ended: what it kept can't change any more", e.Slug)
		}
		e.KeepText = *p.KeepText
	}
	if p.Replicas != nil && *p.Replicas != e.Replicas {
		if e.State == record.EventEnded {
			return e, conflict("event %s is ended: nobody reads it any more", e.Slug)
		}
		e.Replicas = *p.Replicas
	}
	if p.TextDays != nil || p.AnswerDays != nil || p.RecordDays != nil {
		if err := checkRetention(e); err != nil {
			return e, err
		}
	}
	return e, checkEvent(e)
}

// shorten changes the one thing that can change of a frozen event: less is kept of it, or for less
// long.
func shorten(e record.Event, p control.EventPatch) (record.Event, error) {
	textDays, answerDays, recordDays := p.TextDays, p.AnswerDays, p.RecordDays
	p.TextDays, p.AnswerDays, p.RecordDays = nil, nil, nil
	if p != (control.EventPatch{}) || (textDays == nil && answerDays == nil && recordDays == nil) {
		return e, conflict("event %s is frozen: nothing of it changes any more but its retention, which can become shorter", e.Slug)
	}
	for _, d := range []struct {
		field    string
		to, days *int
	}{{"text_days", &e.TextDays, textDays}, {"answer_days", &e.AnswerDays, answerDays}, {"record_days", &e.RecordDays, recordDays}} {
		if d.days == nil || *d.days == *d.to {
			continue
		}
		if *d.days == 0 || (*d.to != 0 && *d.days > *d.to) {
			return e, conflict("event %s is frozen: %s can only become shorter than %s", e.Slug, d.field, daysText(*d.to))
		}
		*d.to = *d.days
	}
	return e, checkEvent(e)
}

func daysText(days int) string {
	if days == 0 {
		return "for ever"
	}
	if days == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", days)
}

// find reads all documents of a query.
func find[T any](ctx context.Context, s store.Store, q store.Query) ([]T, error) {
	list := []T{}
	for raw, err := range s.Find(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", q.Collection, err)
		}
		var v T
		if err := bson.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("decode a document of %s: %w", q.Collection, err)
		}
		list = append(list, v)
	}
	return list, nil
}

func (m *Master) events(ctx context.Context) ([]record.Event, error) {
	return find[record.Event](ctx, m.cfg.Store, store.Query{Collection: store.Events})
}

func (m *Master) event(ctx context.Context, slug string) (record.Event, error) {
	var e record.Event
	raw, err := m.cfg.Store.Get(ctx, store.Events, slug)
	if errors.Is(err, store.ErrNotFound) {
		return e, absent("there is no event %s", slug)
	}
	if err != nil {
		return e, fmt.Errorf("event %s: %w", slug, err)
	}
	if err := bson.Unmarshal(raw, &e); err != nil {
		return e, fmt.Errorf("decode event %s: %w", slug, err)
	}
	return e, nil
}

// createEvent makes the key first: no event is ever without.
func (m *Master) createEvent(ctx context.Context, in control.NewEvent) (record.Event, error) {
	e, err := newEvent(in, m.cfg.Clock.Now())
	if err != nil {
		return e, err
	}
	if _, err := m.event(ctx, e.Slug); !errors.Is(err, store.ErrNotFound) {
		if err == nil {
			err = conflict("there is an event %s already", e.Slug)
		}
		return e, err
	}
	if err := m.cfg.Keys.Create(ctx, e.Slug); err != nil {
		return e, err
	}
	if err := m.setDoc(ctx, store.Events, 0, e.Slug, e); err != nil {
		if errors.Is(err, store.ErrConflict) {
			err = conflict("there is an event %s already", e.Slug)
		}
		return e, err
	}
	m.log.Info("event created", "event", e.Slug)
	return e, nil
}

// changeEvent changes an event by compare-and-set, again if somebody else was faster.
func (m *Master) changeEvent(ctx context.Context, slug string, change func(record.Event) (record.Event, error)) (record.Event, error) {
	for {
		old, err := m.event(ctx, slug)
		if err != nil {
			return old, err
		}
		e, err := change(old)
		if err != nil {
			return old, err
		}
		if e == old {
			return e, nil
		}
		e.Rev = old.Rev + 1
		err = m.setDoc(ctx, store.Events, old.Rev, slug, e)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return old, err
		}
		if e.State != old.State {
			m.log.Info("event has a new state", "event", slug, "state", e.State, "was", old.State)
		}
		m.nudge(m.wake)
		return e, nil
	}
}

func (m *Master) setDoc(ctx context.Context, c store.Collection, rev int64, id string, v any) error {
	raw, err := bson.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", id, err)
	}
	if err := m.cfg.Store.CompareAndSet(ctx, c, rev, store.Doc{ID: id, Raw: raw}); err != nil {
		return fmt.Errorf("write %s: %w", id, err)
	}
	return nil
}

func (m *Master) nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it will look anyway
	}
}

// advance brings events to the states that they have by the clock. A master that no longer leads
// may do it too: the change is a function of the event and compared when it is set.
func (m *Master) advance(ctx context.Context, events []record.Event) error {
	var errs []error
	for i, e := range events {
		now := m.cfg.Clock.Now()
		if due(e, now, m.cfg.EndGrace) == e.State {
			continue
		}
		changed, err := m.changeEvent(ctx, e.Slug, func(e record.Event) (record.Event, error) {
			e.State = due(e, now, m.cfg.EndGrace)
			return e, nil
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		events[i] = changed
	}
	return errors.Join(errs...)
}

func sortedChannels(list []record.Channel) []record.Channel {
	slices.SortFunc(list, func(a, b record.Channel) int {
		return cmp.Or(cmp.Compare(a.Login, b.Login), cmp.Compare(a.ID, b.ID))
	})
	return list
}
