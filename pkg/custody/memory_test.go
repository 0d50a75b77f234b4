package custody_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// memory is a store without any atomicity but that of single documents.
type memory struct {
	mu   sync.Mutex
	docs map[store.Collection]map[string]bson.Raw
}

func newMemory() *memory { return &memory{docs: map[store.Collection]map[string]bson.Raw{}} }

var errDead = errors.New("the process is dead")

// mortal is memory as one process uses it, which dies at the n-th step: before or after that has had its
// effect. A step is one document written, or one call that reads.
//
// Where wake is set it doesn't die but is stopped there, until that is closed.
type mortal struct {
	*memory
	mu    sync.Mutex
	left  int // steps; below 0 is for ever
	after bool
	dead  chan struct{} // or asleep
	wake  chan struct{}
	blips bool // it lives on: that step alone fails
	// dying is one that is killed when the step that it was stopped before is done.
	dying bool
}

func newMortal(m *memory, steps int, after bool) *mortal {
	return &mortal{memory: m, left: steps, after: after, dead: make(chan struct{})}
}

var _ store.Store = (*mortal)(nil)

// step does something as one step.
func (s *mortal) step(c store.Collection, do func(docs map[string]bson.Raw)) error {
	if s.wake != nil {
		return s.stoppable(c, do)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := false
	switch {
	case s.left == 0:
		return errDead
	case s.left == 1:
		last = true
		s.left = 0
		if s.blips {
			s.left = -1
		}
		close(s.dead)
		if !s.after {
			return errDead
		}
	case s.left > 0:
		s.left--
	}
	s.do(c, do)
	if last {
		return errDead
	}
	return nil
}

// stoppable is step of a process that is stopped instead.
func (s *mortal) stoppable(c store.Collection, do func(docs map[string]bson.Raw)) error {
	s.mu.Lock()
	left := s.left
	if s.left > 0 {
		s.left--
	}
	s.mu.Unlock()
	if left == 1 && s.after {
		s.do(c, do)
	}
	if left == 1 {
		close(s.dead)
	}
	if left == 0 || left == 1 {
		<-s.wake
	}
	if left == 0 && s.dying {
		return errDead
	}
	if left != 1 || !s.after {
		s.do(c, do)
	}
	return nil
}

func (s *mortal) do(c store.Collection, do func(docs map[string]bson.Raw)) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if s.docs[c] == nil {
		s.docs[c] = map[string]bson.Raw{}
	}
	do(s.docs[c])
}

func (s *mortal) Insert(_ context.Context, records []record.Record) ([]store.Result, error) {
	out := make([]store.Result, len(records))
	for i, r := range records {
		err := s.step(store.Records, func(docs map[string]bson.Raw) {
			if _, ok := docs[r.ID]; ok {
				out[i].Outcome = store.Existed
				return
			}
			docs[r.ID] = r.Doc
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func timeOf(raw bson.Raw) (int64, bool) {
	ms, ok := raw.Lookup("time").DateTimeOK()
	if !ok {
		return -1 << 62, false
	}
	return ms, true
}

func matches(q store.Query, raw bson.Raw) bool {
	is := func(field, want string) bool {
		got, _ := raw.Lookup(field).StringValueOK()
		return want == "" || got == want
	}
	ms, timed := timeOf(raw)
	at := time.UnixMilli(ms)
	return is("event", q.Event) && is("kind", string(q.Kind)) && is("channel", q.Channel) &&
		(q.From.IsZero() || timed && !at.Before(q.From)) && (q.To.IsZero() || timed && at.Before(q.To))
}

func (s *mortal) Find(_ context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	return func(yield func(bson.Raw, error) bool) {
		var found []bson.Raw
		err := s.step(q.Collection, func(docs map[string]bson.Raw) {
			for _, raw := range docs {
				if matches(q, raw) {
					found = append(found, raw)
				}
			}
		})
		if err != nil {
			yield(nil, err)
			return
		}
		slices.SortFunc(found, func(a, b bson.Raw) int {
			x, _ := timeOf(a)
			y, _ := timeOf(b)
			return cmp.Or(cmp.Compare(x, y), cmp.Compare(store.DocID(a), store.DocID(b)))
		})
		if q.Descending {
			slices.Reverse(found)
		}
		if q.Limit > 0 && len(found) > q.Limit {
			found = found[:q.Limit]
		}
		for _, raw := range found {
			if !yield(raw, nil) {
				return
			}
		}
	}
}

func (s *mortal) Get(_ context.Context, c store.Collection, id string) (bson.Raw, error) {
	var (
		raw bson.Raw
		ok  bool
	)
	if err := s.step(c, func(docs map[string]bson.Raw) { raw, ok = docs[id] }); err != nil {
		return nil, err
	}
	if !ok {
		return nil, store.ErrNotFound
	}
	return raw, nil
}

func (s *mortal) CompareAndSet(_ context.Context, c store.Collection, rev int64, d store.Doc) error {
	if err := d.ValidateRevision(rev); err != nil {
		return err
	}
	conflict := false
	err := s.step(c, func(docs map[string]bson.Raw) {
		have := int64(0)
		if old, ok := docs[d.ID]; ok {
			have, _ = old.Lookup("rev").AsInt64OK()
		}
		if conflict = have != rev; !conflict {
			docs[d.ID] = d.Raw
		}
	})
	if err == nil && conflict {
		err = store.ErrConflict
	}
	return err
}

func (s *mortal) Put(_ context.Context, c store.Collection, docs []store.Doc) error {
	for _, d := range docs {
		if err := d.Validate(); err != nil {
			return err
		}
		if err := s.step(c, func(docs map[string]bson.Raw) { docs[d.ID] = d.Raw }); err != nil {
			return err
		}
	}
	return nil
}

func (s *mortal) PutFenced(_ context.Context, c store.Collection, epoch int64, docs []store.Doc) error {
	var fenced error
	for _, d := range docs {
		if err := d.ValidateEpoch(epoch); err != nil {
			return err
		}
		err := s.step(c, func(docs map[string]bson.Raw) {
			if old, ok := docs[d.ID]; ok {
				if e, _ := old.Lookup("epoch").AsInt64OK(); e > epoch {
					fenced = store.ErrFenced
					return
				}
			}
			docs[d.ID] = d.Raw
		})
		if err != nil {
			return err
		}
	}
	return fenced
}

func (s *mortal) Replace(_ context.Context, c store.Collection, changes []store.Change) error {
	var conflict error
	for _, change := range changes {
		if err := change.Validate(); err != nil {
			return err
		}
		err := s.step(c, func(docs map[string]bson.Raw) {
			if !bytes.Equal(docs[change.ID], change.Old) {
				conflict = store.ErrConflict
				return
			}
			docs[change.ID] = change.New
		})
		if err != nil {
			return err
		}
	}
	return conflict
}

func (s *mortal) DeleteIf(_ context.Context, c store.Collection, id, field, value string) (bool, error) {
	done := false
	err := s.step(c, func(docs map[string]bson.Raw) {
		if raw, ok := docs[id]; ok {
			if got, _ := raw.Lookup(field).StringValueOK(); got == value {
				delete(docs, id)
				done = true
			}
		}
	})
	return done, err
}

// Delete takes two steps, so that a process can die between.
func (s *mortal) Delete(_ context.Context, q store.Query) (int, error) {
	n := 0
	for half := range 2 {
		err := s.step(q.Collection, func(docs map[string]bson.Raw) {
			for id, raw := range docs {
				if matches(q, raw) && (half == 1 || len(id)%2 == 0) {
					delete(docs, id)
					n++
				}
			}
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (s *mortal) Count(_ context.Context, q store.Query) (int, error) {
	n := 0
	err := s.step(q.Collection, func(docs map[string]bson.Raw) {
		for _, raw := range docs {
			if matches(q, raw) {
				n++
			}
		}
	})
	if q.Limit > 0 {
		n = min(n, q.Limit)
	}
	return n, err
}

func (*mortal) Check(context.Context) error { return nil }
func (*mortal) Close() error                { return nil }
