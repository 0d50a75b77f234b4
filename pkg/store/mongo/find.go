package mongo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tungstene/tungstene/pkg/store"
)

// filterOf is the query as the indexes have it: equality first, then the range.
func filterOf(q store.Query) bson.D {
	f := bson.D{}
	for _, e := range [...]struct{ key, value string }{
		{"event", q.Event},
		{"kind", string(q.Kind)},
		{"channel", q.Channel},
	} {
		if e.value != "" {
			f = append(f, bson.E{Key: e.key, Value: e.value})
		}
	}
	var span bson.D
	if !q.From.IsZero() {
		span = append(span, bson.E{Key: "$gte", Value: ceil(q.From)})
	}
	if !q.To.IsZero() {
		span = append(span, bson.E{Key: "$lt", Value: ceil(q.To)})
	}
	if span != nil {
		f = append(f, bson.E{Key: "time", Value: span})
	}
	return f
}

// ceil is the next whole millisecond: stored times have no fractions, and BSON would cut this one.
func ceil(t time.Time) bson.DateTime {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return bson.DateTime(ms)
}

// Find reads by a cursor, one batch in memory at a time.
func (s *Store) Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	return func(yield func(bson.Raw, error) bool) {
		coll, err := s.collection(q.Collection)
		if err != nil {
			yield(nil, err)
			return
		}
		direction := int32(1)
		if q.Descending {
			direction = -1
		}
		opts := options.Find().
			SetSort(bson.D{{Key: "time", Value: direction}, {Key: "_id", Value: direction}}).
			SetBatchSize(int32(s.cfg.FindBatch)) // at most 100000
		if q.Limit > 0 {
			opts.SetLimit(int64(q.Limit))
		}
		cursor, err := s.open(ctx, coll, filterOf(q), opts)
		if err != nil {
			yield(nil, s.wrap(err, "find %s", q.Collection))
			return
		}
		defer func() {
			// The caller may have ended the context, and the server's cursor should go all the same. If
			// this fails, the server ends it by itself.
			end, cancel := s.exchange(context.WithoutCancel(ctx))
			defer cancel()
			_ = cursor.Close(end)
		}()
		for s.next(ctx, cursor) {
			if !yield(slices.Clone(cursor.Current), nil) {
				return
			}
		}
		if err := errors.Join(cursor.Err(), ctx.Err()); err != nil {
			yield(nil, s.wrap(err, "find %s", q.Collection))
		}
	}
}

func (s *Store) open(ctx context.Context, coll *driver.Collection, filter bson.D, opts *options.FindOptionsBuilder) (*driver.Cursor, error) {
	ctx, cancel := s.exchange(ctx)
	defer cancel()
	return coll.Find(ctx, filter, opts)
}

// next moves to the next document. Each answer of the server has the time of one exchange; how
// long the caller takes over a batch doesn't count.
func (s *Store) next(ctx context.Context, cursor *driver.Cursor) bool {
	if ctx.Err() != nil {
		return false
	}
	if cursor.RemainingBatchLength() > 0 {
		return cursor.Next(ctx)
	}
	ctx, cancel := s.exchange(ctx)
	defer cancel()
	return cursor.Next(ctx)
}

// Get finds by _id.
func (s *Store) Get(ctx context.Context, c store.Collection, id string) (bson.Raw, error) {
	coll, err := s.collection(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.exchange(ctx)
	defer cancel()
	raw, err := coll.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Raw()
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil, fmt.Errorf("get %s of %s: %w", id, c, store.ErrNotFound)
	}
	if err != nil {
		return nil, s.wrap(err, "get %s of %s", id, c)
	}
	return raw, nil
}

// Count counts by the index, bounded by the context alone.
func (s *Store) Count(ctx context.Context, q store.Query) (int, error) {
	coll, err := s.collection(q.Collection)
	if err != nil {
		return 0, err
	}
	opts := options.Count()
	if q.Limit > 0 {
		opts.SetLimit(int64(q.Limit))
	}
	n, err := coll.CountDocuments(ctx, filterOf(q), opts)
	if err != nil {
		return 0, s.wrap(err, "count %s", q.Collection)
	}
	return int(n), nil
}
