package master

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

const (
	// rebuildSlice is how much of an event is marked at once, rebuildTime how long one call goes on;
	// what is left is for the next.
	rebuildSlice = 3 * time.Hour
	rebuildTime  = 10 * time.Second
)

type rebuildInput struct {
	Slug string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	Body control.Rebuild
}

type rebuildStateInput struct {
	Slug string    `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	From time.Time `query:"from" doc:"Inclusive; the event's first minute when left out"`
	To   time.Time `query:"to" doc:"Exclusive; after the last minute when left out"`
}

// rebuild marks closed minutes of an event for the rollup to count them again.
func (m *Master) rebuild(ctx context.Context, slug string, in control.Rebuild) (control.Rebuilt, error) {
	var out control.Rebuilt
	if m.cfg.Rebuild == nil {
		return out, huma.Error501NotImplemented("this master can't have minutes counted again")
	}
	e, err := m.event(ctx, slug)
	if err != nil {
		return out, err
	}
	switch e.State {
	case record.EventFrozen:
		return out, conflict("event %s is frozen: its minutes don't change any more", slug)
	case record.EventDraft, record.EventScheduled:
		return out, conflict("event %s is %s: nothing of it is counted yet", slug, e.State)
	}
	channel := ""
	if in.Channel != "" {
		c, err := m.channel(ctx, slug, in.Channel)
		if err != nil {
			return out, err
		}
		channel = c.Channel
	}
	if out.From, out.To, err = rebuildRange(e, in); err != nil {
		return out, err
	}
	closed, err := m.closedUntil(ctx, slug)
	if err != nil {
		return out, err
	}
	if closed.Before(out.To) {
		out.To = maxTime(closed, out.From)
	}
	began := time.Now()
	for from := out.From; from.Before(out.To); {
		if time.Since(began) > rebuildTime {
			out.Next = from
			break
		}
		to := from.Add(rebuildSlice)
		if out.To.Before(to) {
			to = out.To
		}
		n, err := m.cfg.Rebuild(ctx, slug, from, to, channel)
		if err != nil {
			return out, fmt.Errorf("mark minutes of event %s: %w", slug, err)
		}
		out.Minutes += n
		from = to
	}
	m.log.Info("minutes are to be counted again", "event", slug, "channel", channel, "minutes", out.Minutes,
		"from", stamp(out.From), "to", stamp(out.To))
	return out, nil
}

// rebuildRange are the whole minutes that a Rebuild asks for. They lie within the event.
func rebuildRange(e record.Event, in control.Rebuild) (from, to time.Time, err error) {
	from, to = in.From, in.To
	if from.IsZero() {
		from = e.Start
	}
	if to.IsZero() {
		to = e.End
	}
	first, end := record.Minute(e.Start), minuteEnd(e.End)
	bounds := fmt.Sprintf("event %s lasts from %s to %s", e.Slug, stamp(e.Start), stamp(e.End))
	switch {
	case from.Before(first), !from.Before(end):
		return from, to, badValue("from", "%s lies outside: %s", stamp(from), bounds)
	case to.After(end), !to.After(first):
		return from, to, badValue("to", "%s lies outside: %s", stamp(to), bounds)
	case !from.Before(to):
		return from, to, badValue("to", "%s is not after %s", stamp(to), stamp(from))
	}
	return record.Minute(from), minuteEnd(to), nil
}

// minuteEnd is the first moment after the minute that t ends in.
func minuteEnd(t time.Time) time.Time {
	return record.Minute(t.Add(time.Minute - time.Nanosecond))
}

// closedUntil is the end of the last closed minute of an event, zero when none is.
func (m *Master) closedUntil(ctx context.Context, slug string) (time.Time, error) {
	p, err := m.progress(ctx, slug)
	if err != nil || p.ClosedThrough.IsZero() {
		return time.Time{}, err
	}
	return p.ClosedThrough.Add(time.Minute), nil
}

// progress is how far an event is counted; zero when nothing is.
func (m *Master) progress(ctx context.Context, slug string) (record.Progress, error) {
	var p record.Progress
	raw, err := m.cfg.Store.Get(ctx, store.Progress, slug)
	if errors.Is(err, store.ErrNotFound) {
		return p, nil
	}
	if err == nil {
		err = bson.Unmarshal(raw, &p)
	}
	if err != nil {
		return p, fmt.Errorf("read progress of event %s: %w", slug, err)
	}
	return p, nil
}

// rebuildState counts the minutes that wait for a recount.
func (m *Master) rebuildState(ctx context.Context, in *rebuildStateInput) (control.RebuildState, error) {
	var out control.RebuildState
	if _, err := m.event(ctx, in.Slug); err != nil {
		return out, err
	}
	n, err := m.cfg.Store.Count(ctx, store.Query{Collection: store.Marks, Event: in.Slug, From: in.From, To: in.To})
	if err != nil {
		return out, fmt.Errorf("count marks of event %s: %w", in.Slug, err)
	}
	out.Marks = n
	return out, nil
}

// channel finds the channel of an event by its id or login.
func (m *Master) channel(ctx context.Context, slug, channel string) (record.Channel, error) {
	list, err := m.channelsOf(ctx, slug)
	if err != nil {
		return record.Channel{}, err
	}
	login, _ := parseLogin(channel)
	i := slices.IndexFunc(list, func(c record.Channel) bool { return c.Channel == channel && channel != "" })
	if i < 0 {
		i = slices.IndexFunc(list, func(c record.Channel) bool { return c.Login == login && login != "" })
	}
	switch {
	case i < 0:
		return record.Channel{}, absent("event %s has no channel %s", slug, channel)
	case list[i].Channel == "":
		return list[i], conflict("channel %s has no Twitch id yet: run tungstene channel resolve %s", list[i].Login, slug)
	}
	return list[i], nil
}
