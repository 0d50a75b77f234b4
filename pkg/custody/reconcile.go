package custody

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
)

// Drift is one field of a statistics document that is not what it should be.
type Drift struct {
	Collection store.Collection `json:"collection"`
	// Time is the start of the minute, the hour or the event.
	Time    time.Time `json:"time"`
	Channel string    `json:"channel"`
	// Field is its path in the document; empty where the document is missing, or should not be there.
	Field string `json:"field"`
	Want  string `json:"want"`
	Have  string `json:"have"`
}

// Report is what Reconcile looked at.
type Report struct {
	Event string    `json:"event"`
	From  time.Time `json:"from,omitzero"`
	To    time.Time `json:"to,omitzero"`
	// Minutes, Hours and Documents were compared, totals among the documents.
	Minutes   int `json:"minutes"`
	Hours     int `json:"hours"`
	Documents int `json:"documents"`
	// Pending minutes have a mark, or got one: they are going to be counted again and are not judged.
	Pending int `json:"pending"`
	// Drifts is how many fields differ.
	Drifts int `json:"drifts"`
}

// secondLook is after what time a difference is looked at again: a record that was just stored may not
// have marked its minute yet.
const secondLook = 3 * time.Second

// Reconcile compares the statistics of an event with what they are made of, and writes nothing: each
// closed minute in [from, to) with the stored records, each hour that is wholly in there with its
// minutes and, when the event is closed to its end and all of it is in there, the totals with the
// hours. A zero from or to is the event's. each is called for every difference that is still there
// at a second look some seconds later.
func Reconcile(ctx context.Context, s store.Store, event string, from, to time.Time, each func(Drift)) (Report, error) {
	e, known, err := readEvent(ctx, s, event)
	if err != nil {
		return Report{}, err
	}
	if !known {
		return Report{}, fmt.Errorf("event %s: %w", event, store.ErrNotFound)
	}
	if !e.RecordsErased.IsZero() {
		return Report{}, fmt.Errorf("event %s: its records were erased on %s: there is nothing to compare with; see manifest check",
			event, e.RecordsErased.Format(time.DateOnly))
	}
	if from.IsZero() || from.Before(e.Start) {
		from = e.Start
	}
	if to.IsZero() || !e.End.IsZero() && to.After(e.End) {
		to = e.End
	}
	rep := Report{Event: event, From: from, To: to}
	p, closed, err := rollup.ReadProgress(ctx, s, event)
	if err != nil || !closed {
		return rep, err
	}
	end := p.ClosedThrough.Add(time.Minute)
	if !to.IsZero() && to.Before(end) {
		end = to
	}
	l := looker{store: s, event: e, progress: p, pause: secondLook}
	for m := record.Minute(from); m.Before(end); {
		next, ok, err := l.nextMinute(ctx, m, end)
		if err != nil || !ok {
			if err != nil {
				return rep, err
			}
			break
		}
		if err := l.minute(ctx, next, &rep, each); err != nil {
			return rep, err
		}
		m = next.Add(time.Minute)
	}
	for h := record.Minute(from).Truncate(time.Hour); h.Before(end); h = h.Add(time.Hour) {
		whole := !h.Before(from) || !from.After(e.Start)
		over := !h.Add(time.Hour).After(end) || !e.End.IsZero() && !end.Before(e.End)
		if whole && over {
			if err := l.sums(ctx, store.Hours, h, &rep, each); err != nil {
				return rep, err
			}
		}
	}
	if !from.After(e.Start) && !e.End.IsZero() && !end.Before(e.End) {
		if err := l.sums(ctx, store.Totals, e.Start, &rep, each); err != nil {
			return rep, err
		}
	}
	return rep, nil
}

// looker compares documents of one event.
type looker struct {
	store    store.Store
	event    record.Event
	progress record.Progress
	pause    time.Duration // before the second look
}

// nextMinute is the first minute in [from, to) that has records or documents.
func (l *looker) nextMinute(ctx context.Context, from, to time.Time) (next time.Time, ok bool, err error) {
	next = to
	for _, coll := range [...]store.Collection{store.Records, store.Minutes} {
		for raw, err := range l.store.Find(ctx, store.Query{Collection: coll, Event: l.event.Slug, From: from, To: next, Limit: 1}) {
			if err != nil {
				return next, false, fmt.Errorf("find %s of event %s: %w", coll, l.event.Slug, err)
			}
			if ms, is := raw.Lookup("time").DateTimeOK(); is {
				next, ok = record.Minute(time.UnixMilli(ms)), true
			}
		}
	}
	return next, ok, nil
}

// marked reports whether minutes in [from, to) wait to be counted again.
func (l *looker) marked(ctx context.Context, from, to time.Time) (bool, error) {
	n, err := l.store.Count(ctx, store.Query{Collection: store.Marks, Event: l.event.Slug, From: from, To: to, Limit: 1})
	if err != nil {
		return false, fmt.Errorf("count marks of event %s: %w", l.event.Slug, err)
	}
	return n > 0, nil
}

// judge compares documents twice, where they differ at first. settled says that no mark was there at
// the end.
func (l *looker) judge(
	ctx context.Context, from, to time.Time, compare func() (rollup.Comparison, error), coll store.Collection,
) (drifts []Drift, documents int, settled bool, err error) {
	for look := range 2 {
		c, err := compare()
		if err != nil {
			return nil, 0, false, err
		}
		if drifts, err = differences(coll, from, c); err != nil {
			return nil, 0, false, err
		}
		documents = len(c.Have)
		marked, err := l.marked(ctx, from, to)
		if err != nil || marked {
			return nil, documents, false, err
		}
		if len(drifts) == 0 || look == 1 {
			break
		}
		if err := sleep(ctx, l.pause); err != nil {
			return nil, 0, false, err
		}
		// A recount may be under way: it clears its mark after it has written.
	}
	return drifts, documents, true, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *looker) minute(ctx context.Context, minute time.Time, rep *Report, each func(Drift)) error {
	compare := func() (rollup.Comparison, error) { return rollup.CompareMinute(ctx, l.store, l.event, minute) }
	drifts, n, settled, err := l.judge(ctx, minute, minute.Add(time.Minute), compare, store.Minutes)
	if err != nil {
		return err
	}
	if !settled {
		rep.Pending++
		return nil
	}
	rep.Minutes++
	rep.Documents += n
	rep.report(drifts, each)
	return nil
}

// sums compares the hour that begins at start, or the totals. Marks anywhere in them leave them out.
func (l *looker) sums(ctx context.Context, coll store.Collection, start time.Time, rep *Report, each func(Drift)) error {
	to := start.Add(time.Hour)
	compare := func() (rollup.Comparison, error) { return rollup.CompareHour(ctx, l.store, l.event, l.progress, start) }
	if coll == store.Totals {
		to = l.event.End
		compare = func() (rollup.Comparison, error) { return rollup.CompareTotals(ctx, l.store, l.event, l.progress) }
	}
	drifts, n, settled, err := l.judge(ctx, start, to, compare, coll)
	if err != nil || !settled {
		return err
	}
	if coll == store.Hours && n > 0 {
		rep.Hours++
	}
	rep.Documents += n
	rep.report(drifts, each)
	return nil
}

func (r *Report) report(drifts []Drift, each func(Drift)) {
	r.Drifts += len(drifts)
	if each != nil {
		for _, d := range drifts {
			each(d)
		}
	}
}

// differences are the fields in which documents differ, in the order of channels.
func differences(coll store.Collection, at time.Time, c rollup.Comparison) ([]Drift, error) {
	channels := map[string]struct{}{}
	for channel := range c.Want {
		channels[channel] = struct{}{}
	}
	for channel := range c.Have {
		channels[channel] = struct{}{}
	}
	var out []Drift
	for _, channel := range slices.Sorted(maps.Keys(channels)) {
		d := Drift{Collection: coll, Time: at, Channel: channel}
		want, wanted := c.Want[channel]
		have, there := c.Have[channel]
		if !wanted || !there {
			d.Want, d.Have = presence(wanted), presence(there)
			out = append(out, d)
			continue
		}
		x, err := bson.Marshal(&want)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", want.ID, err)
		}
		y, err := bson.Marshal(&have)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", have.ID, err)
		}
		if bytes.Equal(x, y) {
			continue
		}
		fields(x, y, "", func(field, want, have string) {
			d.Field, d.Want, d.Have = field, want, have
			out = append(out, d)
		})
	}
	return out, nil
}

func presence(is bool) string {
	if is {
		return "a document"
	}
	return "no document"
}

// fields yields the fields in which two documents of one type differ.
func fields(want, have bson.Raw, path string, yield func(field, want, have string)) {
	seen := map[string]struct{}{}
	one := func(key string) {
		if _, ok := seen[key]; ok {
			return
		}
		seen[key] = struct{}{}
		x, y := want.Lookup(key), have.Lookup(key)
		if x.Equal(y) {
			return
		}
		name := path + key
		if x.Type == bson.TypeEmbeddedDocument && y.Type == bson.TypeEmbeddedDocument {
			fields(x.Document(), y.Document(), name+".", yield)
			return
		}
		yield(name, show(x), show(y))
	}
	for _, doc := range [...]bson.Raw{want, have} {
		elements, err := doc.Elements()
		if err != nil {
			continue // both were just encoded
		}
		for _, e := range elements {
			one(e.Key())
		}
	}
}

// show is a value for people, in at most some hundred characters.
func show(v bson.RawValue) string {
	switch {
	case v.IsZero():
		return "nothing"
	case v.Type == bson.TypeBinary:
		_, b := v.Binary()
		return strconv.Itoa(len(b)) + " bytes, " + record.Hash(string(b))
	}
	text, err := plain(v)
	if err != nil {
		text = v.String()
	}
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return text
}

// plain is a value as JSON, with numbers as they are written.
func plain(v bson.RawValue) (string, error) {
	if at, ok := v.DateTimeOK(); ok {
		return time.UnixMilli(at).UTC().Format(time.RFC3339Nano), nil
	}
	doc, err := bson.MarshalExtJSON(bson.D{{Key: "", Value: v}}, false, false)
	if err != nil {
		return "", err //nolint:wrapcheck // another form is shown then
	}
	text := strings.TrimSuffix(strings.TrimPrefix(string(doc), `{"":`), "}")
	return text, nil
}

// sampled is how many minutes of the last day are compared each time, besides the newest.
const sampled = 3

// reconcile compares some closed minutes of the running events, when it is time. One that differs is
// marked, so that it is counted again, and compared again the next time.
func (t *term) reconcile(ctx context.Context) (more bool, err error) {
	now := t.cfg.Clock.Now()
	if t.nextReconcile.IsZero() { // not at the start: then there is other work
		t.nextReconcile = t.cfg.Reconcile.Next(now)
	}
	if now.Before(t.nextReconcile) {
		return false, nil
	}
	t.nextReconcile = t.cfg.Reconcile.Next(now)
	var errs []error
	for raw, err := range t.store.Find(ctx, store.Query{Collection: store.Events}) {
		if err != nil {
			return false, fmt.Errorf("read events: %w", err)
		}
		var e record.Event
		if err := bson.Unmarshal(raw, &e); err != nil {
			return false, fmt.Errorf("read event %s: %w", store.DocID(raw), err)
		}
		if e.State != record.EventLive && e.State != record.EventEnded || !e.RecordsErased.IsZero() {
			// A frozen event is not touched: manifest check tells whether it is what was signed.
			t.c.calm(CondDrift, e.Slug)
			delete(t.drifted, e.Slug)
			continue
		}
		if err := t.reconcileEvent(ctx, e); err != nil {
			errs = append(errs, fmt.Errorf("event %s: %w", e.Slug, err))
		}
	}
	return false, errors.Join(errs...)
}

func (t *term) reconcileEvent(ctx context.Context, e record.Event) error {
	p, closed, err := rollup.ReadProgress(ctx, t.store, e.Slug)
	if err != nil || !closed {
		return err
	}
	first := later(record.Minute(e.Start), p.ClosedThrough.Add(-day))
	look := map[int64]struct{}{p.ClosedThrough.Unix(): {}}
	if n := int64(p.ClosedThrough.Sub(first) / time.Minute); n > 0 {
		for range sampled {
			at := record.Minute(first).Add(time.Duration(rand.Int64N(n)) * time.Minute)
			look[at.Unix()] = struct{}{}
		}
	}
	maps.Copy(look, t.drifted[e.Slug])
	var (
		l      = looker{store: t.store, event: e, progress: p, pause: min(secondLook, t.cfg.Again)}
		marked []time.Time
	)
	for _, at := range times(look) {
		var (
			rep   Report
			found []Drift
		)
		if err := l.minute(ctx, at, &rep, func(d Drift) { found = append(found, d) }); err != nil {
			return err
		}
		t.c.metrics.checked.Add(float64(rep.Minutes))
		switch {
		case len(found) > 0:
			d := found[0]
			t.c.metrics.drifts.Inc()
			t.log.Error("a closed minute is not what its records say; it is counted again",
				"event", e.Slug, "channel", d.Channel, "minute", at, "field", d.Field, "want", d.Want, "have", d.Have, "fields", len(found))
			if t.drifted[e.Slug] == nil {
				t.drifted[e.Slug] = map[int64]struct{}{}
			}
			t.drifted[e.Slug][at.Unix()] = struct{}{}
			marked = append(marked, at)
		case rep.Minutes > 0:
			delete(t.drifted[e.Slug], at.Unix())
		}
	}
	if n := len(t.drifted[e.Slug]); n > 0 {
		t.c.raise(CondDrift, e.Slug, fmt.Sprintf(
			"%d closed minutes were not what their records say, the first %s; they are counted again. Look at all with: tungstene reconcile --event %s",
			n, times(t.drifted[e.Slug])[0].Format(time.RFC3339), e.Slug))
	} else {
		t.c.calm(CondDrift, e.Slug)
	}
	return t.mark(ctx, e.Slug, marked)
}
