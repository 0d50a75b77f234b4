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
// that have records or documents. It returns when they are marked; Settled tells when it is done.
func Rebuild(ctx context.Context, s store.Store, event string, from, to time.Time) error {
	return markMinutes(ctx, s, event, record.Minute(from), to)
}

// markMinutes marks the minutes in [from, to) that have records or documents.
func markMinutes(ctx context.Context, s store.Store, event string, from, to time.Time) error {
	for from.Before(to) {
		next := to
		for _, coll := range [...]store.Collection{store.Records, store.Minutes} {
			for raw, err := range s.Find(ctx, store.Query{Collection: coll, Event: event, From: from, To: to, Limit: 1}) {
				if err != nil {
					return fmt.Errorf("find %s of event %s: %w", coll, event, err)
				}
				ms, ok := raw.Lookup("time").DateTimeOK()
				if !ok {
					return fmt.Errorf("find %s of event %s: %s has no time", coll, event, store.DocID(raw))
				}
				next = earlier(next, record.Minute(time.UnixMilli(ms)))
			}
		}
		if !next.Before(to) {
			return nil
		}
		m := record.NewMark(event, next, rand.Text())
		raw, err := bson.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode mark %s: %w", m.ID, err)
		}
		if err := s.Put(ctx, store.Marks, []store.Doc{{ID: m.ID, Raw: raw}}); err != nil {
			return fmt.Errorf("write mark %s: %w", m.ID, err)
		}
		from = next.Add(time.Minute)
	}
	return nil
}
