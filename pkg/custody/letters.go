package custody

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// filterLetters takes people out of the dead letters of an event. It reports whether it found any, and
// how many letters could not be read: they have no event, or are of this one.
func (t *term) filterLetters(ctx context.Context, event string, people []record.Tombstone) (found bool, unread int, err error) {
	return t.eachLetter(ctx, event, func(l *record.Letter, records []record.Record) (rest []record.Record, touched bool) {
		cut := map[int]struct{}{}
		for _, r := range records {
			if c, wanted := accuse(r, people); r.Event == event && wanted {
				for _, b := range c.who {
					cut[b.person] = struct{}{}
				}
				if c.doc == nil {
					continue
				}
				r.Doc = c.doc
			}
			rest = append(rest, r)
		}
		for i := range people {
			p := &people[i]
			// Reasons and headers are texts of others; a store may repeat a document in its answer.
			if said(l, p) {
				cut[i] = struct{}{}
				unsay(l, p)
			}
			if records == nil && holds(l.Body, p) {
				cut[i] = struct{}{}
				l.Body = nil
			}
		}
		for i := range cut {
			people[i].Letters++
			t.c.metrics.letters.Inc()
		}
		return rest, len(cut) > 0
	})
}

// eachLetter has edit look at all letters that may hold records of an event, with the records in it
// (nil where they can't be read), and writes those that it touched, with the rest that it returns. One
// with nothing left is deleted; one that can't be read, when edit has emptied its body.
func (t *term) eachLetter(
	ctx context.Context, event string, edit func(*record.Letter, []record.Record) (rest []record.Record, touched bool),
) (found bool, unread int, err error) {
	for raw, err := range t.store.Find(ctx, store.Query{Collection: store.Letters}) {
		if err != nil {
			return found, unread, fmt.Errorf("read dead letters: %w", err)
		}
		var l record.Letter
		if err := bson.Unmarshal(raw, &l); err != nil {
			return found, unread, fmt.Errorf("read dead letter %s: %w", store.DocID(raw), err)
		}
		records, batch := open(l.Body)
		rest, touched := edit(&l, records)
		if records == nil && len(l.Body) > 0 && (l.Event == "" || l.Event == event) {
			unread++
		}
		if !touched {
			continue
		}
		found = true
		if records == nil && len(l.Body) == 0 || records != nil && len(rest) == 0 {
			if _, err := t.store.DeleteIf(ctx, store.Letters, l.ID, "event", l.Event); err != nil {
				return found, unread, fmt.Errorf("delete dead letter %s: %w", l.ID, err)
			}
			continue
		}
		if err := t.rewriteLetter(ctx, &l, rest, batch); err != nil {
			return found, unread, err
		}
	}
	return found, unread, nil
}

// open reads a letter's body, which is a batch or else a single document.
func open(body []byte) (records []record.Record, batch bool) {
	records, err := record.DecodeBatch(body)
	if err == nil {
		return records, true
	}
	if r, err := record.Parse(body); err == nil {
		return []record.Record{r}, false
	}
	return nil, false
}

func (t *term) rewriteLetter(ctx context.Context, l *record.Letter, rest []record.Record, batch bool) error {
	switch {
	case batch:
		body, err := record.EncodeBatch(rest, record.Compression(l.Body[3]))
		if err != nil {
			return fmt.Errorf("encode dead letter %s: %w", l.ID, err)
		}
		l.Body, l.Records = body, len(rest)
	case len(rest) > 0:
		l.Body = rest[0].Doc
	}
	l.Rev++
	raw, err := bson.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode dead letter %s: %w", l.ID, err)
	}
	err = t.store.CompareAndSet(ctx, store.Letters, l.Rev-1, store.Doc{ID: l.ID, Raw: raw})
	if err != nil && !errors.Is(err, store.ErrConflict) { // whoever has written it, the next pass looks again
		return fmt.Errorf("write dead letter %s: %w", l.ID, err)
	}
	return nil
}

// said reports whether what is written about a letter names a person.
func said(l *record.Letter, p *record.Tombstone) bool {
	named := func(s string) bool { return holds([]byte(s), p) }
	for _, v := range l.Headers {
		if named(v) {
			return true
		}
	}
	return named(l.Reason)
}

func unsay(l *record.Letter, p *record.Tombstone) {
	for _, name := range []string{p.User, p.Name} {
		if name == "" {
			continue
		}
		l.Reason = strings.ReplaceAll(l.Reason, name, record.Erased)
		for k, v := range l.Headers {
			l.Headers[k] = strings.ReplaceAll(v, name, record.Erased)
		}
	}
}
