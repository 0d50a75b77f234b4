package rollup

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// memory is a store without any atomicity but that of single documents: a find sees changes that
// happen while it runs, and writes of many documents happen one by one.
type memory struct {
	mu   sync.Mutex
	docs map[store.Collection]map[string]bson.Raw
}

func newMemory() *memory { return &memory{docs: map[store.Collection]map[string]bson.Raw{}} }

// view is memory as one actor uses it. Before each single step it asks gate, whose error is the
// actor's death.
type view struct {
	*memory
	gate func() error
}

var _ store.Store = (*view)(nil)

func (v *view) each(c store.Collection, f func(docs map[string]bson.Raw)) error {
	if v.gate != nil {
		if err := v.gate(); err != nil {
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.docs[c] == nil {
		v.docs[c] = map[string]bson.Raw{}
	}
	f(v.docs[c])
	return nil
}

func (v *view) Insert(_ context.Context, records []record.Record) ([]store.Result, error) {
	out := make([]store.Result, len(records))
	for i, r := range records {
		err := v.each(store.Records, func(docs map[string]bson.Raw) {
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

type cursor struct {
	ms int64
	id string
}

func (c cursor) compare(d cursor) int {
	return cmp.Or(cmp.Compare(c.ms, d.ms), cmp.Compare(c.id, d.id))
}

func position(raw bson.Raw) cursor {
	ms, _ := raw.Lookup("time").DateTimeOK()
	return cursor{ms: ms, id: store.DocID(raw)}
}

func matches(q store.Query, raw bson.Raw) bool {
	is := func(field, want string) bool {
		got, _ := raw.Lookup(field).StringValueOK()
		return want == "" || got == want
	}
	at := time.UnixMilli(position(raw).ms)
	return is("event", q.Event) && is("kind", string(q.Kind)) && is("channel", q.Channel) &&
		(q.From.IsZero() || !at.Before(q.From)) && (q.To.IsZero() || at.Before(q.To))
}

func (v *view) Find(_ context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	return func(yield func(bson.Raw, error) bool) {
		var last *cursor
		for n := 0; q.Limit == 0 || n < q.Limit; n++ {
			var next bson.Raw
			err := v.each(q.Collection, func(docs map[string]bson.Raw) {
				for _, raw := range docs {
					p := position(raw)
					if !matches(q, raw) || last != nil && p.compare(*last) <= 0 {
						continue
					}
					if next == nil || p.compare(position(next)) < 0 {
						next = raw
					}
				}
			})
			if err != nil {
				yield(nil, err)
				return
			}
			if next == nil || !yield(next, nil) {
				return
			}
			p := position(next)
			last = &p
		}
	}
}

func (v *view) Get(_ context.Context, c store.Collection, id string) (bson.Raw, error) {
	var (
		raw bson.Raw
		ok  bool
	)
	if err := v.each(c, func(docs map[string]bson.Raw) { raw, ok = docs[id] }); err != nil {
		return nil, err
	}
	if !ok {
		return nil, store.ErrNotFound
	}
	return raw, nil
}

func (v *view) CompareAndSet(_ context.Context, c store.Collection, rev int64, d store.Doc) error {
	conflict := false
	err := v.each(c, func(docs map[string]bson.Raw) {
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

func (v *view) Put(_ context.Context, c store.Collection, docs []store.Doc) error {
	for _, d := range docs {
		if err := v.each(c, func(docs map[string]bson.Raw) { docs[d.ID] = d.Raw }); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) PutFenced(_ context.Context, c store.Collection, epoch int64, docs []store.Doc) error {
	var fenced error
	for _, d := range docs {
		if err := d.ValidateEpoch(epoch); err != nil {
			return err
		}
		err := v.each(c, func(docs map[string]bson.Raw) {
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

func (v *view) Replace(_ context.Context, c store.Collection, changes []store.Change) error {
	var conflict error
	for _, change := range changes {
		err := v.each(c, func(docs map[string]bson.Raw) {
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

func (v *view) DeleteIf(_ context.Context, c store.Collection, id, field, value string) (bool, error) {
	done := false
	err := v.each(c, func(docs map[string]bson.Raw) {
		if raw, ok := docs[id]; ok {
			if got, _ := raw.Lookup(field).StringValueOK(); got == value {
				delete(docs, id)
				done = true
			}
		}
	})
	return done, err
}

func (v *view) Delete(_ context.Context, q store.Query) (int, error) {
	n := 0
	err := v.each(q.Collection, func(docs map[string]bson.Raw) {
		for id, raw := range docs {
			if matches(q, raw) {
				delete(docs, id)
				n++
			}
		}
	})
	return n, err
}

func (v *view) Count(_ context.Context, q store.Query) (int, error) {
	n := 0
	err := v.each(q.Collection, func(docs map[string]bson.Raw) {
		for _, raw := range docs {
			if matches(q, raw) {
				n++
			}
		}
	})
	return n, err
}

func (*view) Check(context.Context) error { return nil }
func (*view) Close() error                { return nil }

// statistics are the documents of a collection that are not empty, by id, without who wrote them when.
func (m *memory) statistics(c store.Collection) (map[string]record.Statistics, error) {
	out := map[string]record.Statistics{}
	for id, raw := range m.docs[c] {
		var d record.Statistics
		if err := bson.Unmarshal(raw, &d); err != nil {
			return nil, err
		}
		if d.Minutes == 0 && d.State == record.StateClosed {
			continue
		}
		d.Epoch, d.Counted = 0, time.Time{}
		out[id] = d
	}
	return out, nil
}
