package rollup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Settled reports whether every minute of an event that begins before through is closed and none of
// the event's waits for a recount. Once the queue "store" is empty too, nothing changes the
// documents of these minutes any more.
func Settled(ctx context.Context, s store.Store, event string, through time.Time) (bool, error) {
	raw, err := s.Get(ctx, store.Progress, event)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read progress of event %s: %w", event, err)
	}
	var p record.Progress
	if err := bson.Unmarshal(raw, &p); err != nil {
		return false, fmt.Errorf("read progress of event %s: %w", event, err)
	}
	if !p.End.IsZero() {
		through = earlier(through, p.End)
	}
	if !through.After(p.Start) {
		return true, nil
	}
	if p.ClosedThrough.IsZero() || p.ClosedThrough.Add(time.Minute).Before(through) {
		return false, nil
	}
	n, err := s.Count(ctx, store.Query{Collection: store.Marks, Event: event, Limit: 1})
	if err != nil {
		return false, fmt.Errorf("count marks of event %s: %w", event, err)
	}
	return n == 0, nil
}

// Rebuild asks the leading rollup to count the closed minutes of an event in [from, to) again: those
// that have records or documents, or, where channel is the Twitch id of one, those in which that
// channel has some. A minute is counted whole, with all of its channels. It returns how many are
// marked, when they are; Settled tells when all is done. It can be repeated.
func Rebuild(ctx context.Context, s store.Store, event string, from, to time.Time, channel string) (int, error) {
	return markMinutes(ctx, s, event, record.Minute(from), to, channel)
}

// marksAtOnce is how many marks are written in one call.
const marksAtOnce = 200

// markMinutes marks the minutes in [from, to) that have records or documents, of a channel or of any,
// and returns how many.
func markMinutes(ctx context.Context, s store.Store, event string, from, to time.Time, channel string) (int, error) {
	var (
		count int
		docs  []store.Doc
	)
	flush := func() error {
		if len(docs) == 0 {
			return nil
		}
		if err := s.Put(ctx, store.Marks, docs); err != nil {
			return fmt.Errorf("write %d marks of event %s: %w", len(docs), event, err)
		}
		count, docs = count+len(docs), docs[:0]
		return nil
	}
	for from.Before(to) {
		next, err := nextMinute(ctx, s, event, from, to, channel)
		if err != nil {
			return count, err
		}
		if !next.Before(to) {
			break
		}
		m := record.NewMark(event, next, rand.Text())
		raw, err := bson.Marshal(m)
		if err != nil {
			return count, fmt.Errorf("encode mark %s: %w", m.ID, err)
		}
		if docs = append(docs, store.Doc{ID: m.ID, Raw: raw}); len(docs) >= marksAtOnce {
			if err := flush(); err != nil {
				return count, err
			}
		}
		from = next.Add(time.Minute)
	}
	err := flush()
	return count, err
}

// nextMinute is the first minute in [from, to) that has records or documents; to when none has.
func nextMinute(ctx context.Context, s store.Store, event string, from, to time.Time, channel string) (time.Time, error) {
	queries := []store.Query{{Collection: store.Minutes, Channel: channel}}
	if channel == "" {
		queries = append(queries, store.Query{Collection: store.Records})
	} else {
		// Each by an index; the kinds that are not counted change no document, and a coverage is of
		// no single channel.
		for _, kind := range [...]record.Kind{
			record.KindMessage, record.KindNotice, record.KindModeration, record.KindViewers, record.KindDonation, record.KindAmount,
		} {
			queries = append(queries, store.Query{Collection: store.Records, Kind: kind, Channel: channel})
		}
	}
	next := to
	for _, q := range queries {
		q.Event, q.From, q.To, q.Limit = event, from, next, 1
		for raw, err := range s.Find(ctx, q) {
			if err != nil {
				return next, fmt.Errorf("find %s of event %s: %w", q.Collection, event, err)
			}
			ms, ok := raw.Lookup("time").DateTimeOK()
			if !ok {
				return next, fmt.Errorf("find %s of event %s: %s has no time", q.Collection, event, store.DocID(raw))
			}
			next = earlier(next, record.Minute(time.UnixMilli(ms)))
		}
	}
	return next, nil
}
