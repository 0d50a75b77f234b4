package rollup

import (
	"context"
	"iter"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/store"
)

// stepping is the store that a leader works on. It counts what is read and written, as the sign that the
// work goes on: a heartbeat is written beside it, and says nothing of it.
type stepping struct {
	store.Store
	steps atomic.Int64
}

func (s *stepping) Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	return func(yield func(bson.Raw, error) bool) {
		for raw, err := range s.Store.Find(ctx, q) {
			s.steps.Add(1)
			if !yield(raw, err) {
				return
			}
		}
		s.steps.Add(1)
	}
}

func (s *stepping) PutFenced(ctx context.Context, c store.Collection, epoch int64, docs []store.Doc) error {
	err := s.Store.PutFenced(ctx, c, epoch, docs)
	s.steps.Add(1)
	return err
}
