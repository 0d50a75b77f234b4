package statistics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// lanes is how many channels are read at once.
const lanes = 4

// SessionsOf are the streams that session records tell of, by their start. Of a stream whose start is not
// recorded the end tells it. One without an end goes on until the next stream of its channel begins, or
// else to the end of what is counted: through is the start of the last closed minute.
func SessionsOf(e *record.Event, records []record.Session, through time.Time) []Session {
	type key struct{ channel, stream string }
	of := map[key]*Session{}
	var list []*Session
	sorted := slices.SortedFunc(slices.Values(records), func(a, b record.Session) int {
		return cmp.Or(cmp.Compare(b.Phase, a.Phase), a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID)) // starts first
	})
	for i := range sorted {
		d := &sorted[i]
		k := key{d.Channel, d.Stream}
		s := of[k]
		if s == nil {
			s = &Session{Channel: d.Channel, Stream: d.Stream, Started: d.Started.UTC(), Category: d.Category, Title: d.Title}
			of[k] = s
			list = append(list, s)
		}
		if d.Phase == record.PhaseEnd && (s.Ended.IsZero() || d.Time.Before(s.Ended)) {
			s.Ended = d.Time.UTC()
		}
	}
	whole := Range{From: e.Start, To: through.Add(time.Minute)}
	if !e.End.IsZero() {
		whole.To = earlier(whole.To, e.End)
	}
	out := make([]Session, 0, len(list))
	for _, s := range list {
		to := s.Ended
		if to.IsZero() {
			to = later(whole.To, s.Started)
			for _, next := range list {
				if next.Channel == s.Channel && next.Started.After(s.Started) {
					to = earlier(to, next.Started)
				}
			}
		}
		s.Range = Range{From: s.Started, To: to}.Within(whole)
		out = append(out, *s)
	}
	slices.SortFunc(out, bySession)
	return out
}

// Sessions are the streams of a channel, or of all, as far as they lie in what is counted of the event.
func (r *Reader) Sessions(ctx context.Context, channel string) ([]Session, error) {
	if byChannel, ok := r.sessions.peek(); ok && channel != record.AllChannels {
		return byChannel[channel], nil
	}
	if channel != record.AllChannels {
		return r.sessionsOf(ctx, channel)
	}
	byChannel, err := r.allSessions(ctx)
	if err != nil {
		return nil, err
	}
	var list []Session
	for _, of := range byChannel {
		list = append(list, of...)
	}
	slices.SortFunc(list, bySession)
	return list, nil
}

func (r *Reader) sessionsOf(ctx context.Context, channel string) ([]Session, error) {
	records, err := all[record.Session](ctx, r.store, store.Query{
		Collection: store.Records, Event: r.event.Slug, Kind: record.KindSession, Channel: channel,
	})
	if err != nil {
		return nil, err
	}
	return SessionsOf(&r.event, records, r.through), nil
}

func (r *Reader) allSessions(ctx context.Context) (map[string][]Session, error) {
	return r.sessions.get(func() (map[string][]Session, error) { return ofEach(ctx, r, r.sessionsOf) })
}

// ofEach asks for something of every channel, several at once.
func ofEach[T any](ctx context.Context, r *Reader, of func(context.Context, string) (T, error)) (map[string]T, error) {
	names, err := r.names(ctx)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	out := make(map[string]T, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lanes)
	for channel := range names {
		g.Go(func() error {
			v, err := of(ctx, channel)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			out[channel] = v
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // of says what it was about
	}
	return out, nil
}

// changesOf are the changes of a channel in the order of time, those that say nothing new left out.
func (r *Reader) changesOf(ctx context.Context, channel string) ([]record.Change, error) {
	list, err := all[record.Change](ctx, r.store, store.Query{
		Collection: store.Records, Event: r.event.Slug, Kind: record.KindChange, Channel: channel,
	})
	if err != nil {
		return nil, err
	}
	now := map[string]string{}
	return slices.DeleteFunc(list, func(c record.Change) bool {
		was, known := now[c.Field]
		now[c.Field] = c.To
		return known && was == c.To
	}), nil
}

func (r *Reader) allChanges(ctx context.Context) (map[string][]record.Change, error) {
	return r.changes.get(func() (map[string][]record.Change, error) { return ofEach(ctx, r, r.changesOf) })
}

// Changes are the changes of a channel, those that say nothing new left out.
func (r *Reader) Changes(ctx context.Context, channel string) ([]record.Change, error) {
	if byChannel, ok := r.changes.peek(); ok {
		return byChannel[channel], nil
	}
	return r.changesOf(ctx, channel)
}

// Raids are all raids that channels of the event received, by time. They are looked for among all its
// notices, once; from then on summaries tell of raids out.
func (r *Reader) Raids(ctx context.Context) ([]Raid, error) {
	return r.raids.get(func() ([]Raid, error) {
		byChannel, err := ofEach(ctx, r, r.raidsOf)
		if err != nil {
			return nil, err
		}
		var list []Raid
		for _, of := range byChannel {
			list = append(list, of...)
		}
		slices.SortFunc(list, func(a, b Raid) int {
			return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.To, b.To), cmp.Compare(a.From, b.From), cmp.Compare(a.Viewers, b.Viewers))
		})
		return list, nil
	})
}

func (r *Reader) raidsOf(ctx context.Context, channel string) ([]Raid, error) {
	total, err := r.total(ctx, channel, 0)
	if err != nil || total.Raids == 0 {
		return nil, err
	}
	q := store.Query{Collection: store.Records, Event: r.event.Slug, Kind: record.KindNotice, Channel: channel}
	var list []Raid
	for raw, err := range r.store.Find(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("read the notices of channel %s: %w", channel, err)
		}
		if kind, _ := raw.Lookup("type").StringValueOK(); kind != "raid" {
			continue
		}
		var n record.Notice
		if err := bson.Unmarshal(raw, &n); err != nil {
			return nil, fmt.Errorf("read %s: %w", store.DocID(raw), err)
		}
		if n.Raid != nil && n.Source == nil {
			list = append(list, Raid{Time: n.Time.UTC(), From: n.Raid.Channel, To: n.Channel, Viewers: int64(n.Raid.Viewers)})
		}
	}
	return list, nil
}

// Goals are the event's goals that are not deleted.
func (r *Reader) Goals(ctx context.Context) ([]record.Goal, error) {
	return r.goals.get(func() ([]record.Goal, error) {
		list, err := all[record.Goal](ctx, r.store, store.Query{Collection: store.Goals, Event: r.event.Slug})
		return slices.DeleteFunc(list, func(g record.Goal) bool { return g.Deleted }), err
	})
}
