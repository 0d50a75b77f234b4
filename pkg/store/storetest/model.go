package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// model compares a store with a map under random operations.
func model(t *testing.T, s store.Store) {
	rapid.Check(t, func(rt *rapid.T) {
		m := machine{t: t, s: s, docs: map[string]bson.Raw{}}
		if _, err := s.Delete(t.Context(), store.Query{Collection: store.Records}); err != nil {
			rt.Fatal(err)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"insert":        m.insert,
			"put":           m.put,
			"putFenced":     m.putFenced,
			"compareAndSet": m.compareAndSet,
			"replace":       m.replace,
			"deleteIf":      m.deleteIf,
			"delete":        m.delete,
			"get":           m.get,
			"":              m.find,
		})
	})
}

// machine is the store and the map that it should equal. Its universe is small, so that ids and
// times meet often.
type machine struct {
	t    *testing.T
	s    store.Store
	docs map[string]bson.Raw
}

var (
	anyFact    = rapid.IntRange(0, 7)
	anyEvent   = rapid.SampledFrom([]string{"e1", "e2"})
	anyChannel = rapid.SampledFrom([]string{"1", "2"})
	anyMoment  = rapid.IntRange(0, 5)
	anyEpoch   = rapid.Int64Range(1, 4)
	anyMark    = rapid.SampledFrom([]string{"a", "b"})
)

// draw makes a document; _id and kind are always the same for the same fact, the rest isn't.
func (m *machine) draw(rt *rapid.T, rev, epoch int64) store.Doc {
	fact := anyFact.Draw(rt, "fact")
	kind := []record.Kind{record.KindMessage, record.KindNotice}[fact%2]
	event := anyEvent.Draw(rt, "event")
	id := fmt.Sprintf("%s/%s/%d", event, kind, fact)
	raw, err := bson.Marshal(bson.D{
		el("_id", id), el("kind", string(kind)), el("event", event), el("channel", anyChannel.Draw(rt, "channel")),
		el("time", m.moment(anyMoment.Draw(rt, "time"))),
		el("rev", rev), el("epoch", epoch), el("mark", anyMark.Draw(rt, "mark")),
	})
	if err != nil {
		rt.Fatal(err)
	}
	return store.Doc{ID: id, Raw: raw}
}

func (*machine) moment(n int) time.Time { return base.Add(time.Duration(n) * time.Millisecond) }

func (m *machine) insert(rt *rapid.T) {
	var records []record.Record
	for range rapid.IntRange(1, 70).Draw(rt, "records") {
		r, err := record.Parse(m.draw(rt, 1, anyEpoch.Draw(rt, "epoch")).Raw)
		if err != nil {
			rt.Fatal(err)
		}
		if !slices.ContainsFunc(records, func(o record.Record) bool { return o.ID == r.ID }) {
			records = append(records, r)
		}
	}
	results, err := m.s.Insert(m.t.Context(), records)
	if err != nil {
		rt.Fatal(err)
	}
	for i, r := range records {
		want := store.Inserted
		if _, ok := m.docs[r.ID]; ok {
			want = store.Existed
		} else {
			m.docs[r.ID] = r.Doc
		}
		if results[i].Outcome != want {
			rt.Fatalf("insert %s: outcome %v, want %v", r.ID, results[i].Outcome, want)
		}
	}
}

func (m *machine) put(rt *rapid.T) {
	d := m.draw(rt, 1, anyEpoch.Draw(rt, "epoch"))
	if err := m.s.Put(m.t.Context(), store.Records, []store.Doc{d}); err != nil {
		rt.Fatal(err)
	}
	m.docs[d.ID] = d.Raw
}

func (m *machine) putFenced(rt *rapid.T) {
	epoch := anyEpoch.Draw(rt, "epoch")
	d := m.draw(rt, 1, epoch)
	stored, ok := m.docs[d.ID]
	fenced := ok && stored.Lookup("epoch").AsInt64() > epoch
	err := m.s.PutFenced(m.t.Context(), store.Records, epoch, []store.Doc{d})
	if fenced != errors.Is(err, store.ErrFenced) || !fenced && err != nil {
		rt.Fatalf("put %s in epoch %d over %s: %v", d.ID, epoch, stored, err)
	}
	if !fenced {
		m.docs[d.ID] = d.Raw
	}
}

func (m *machine) compareAndSet(rt *rapid.T) {
	rev := rapid.Int64Range(0, 2).Draw(rt, "rev")
	d := m.draw(rt, rev+1, 1)
	stored, ok := m.docs[d.ID]
	conflict := ok != (rev != 0) || ok && stored.Lookup("rev").AsInt64() != rev
	err := m.s.CompareAndSet(m.t.Context(), store.Records, rev, d)
	if conflict != errors.Is(err, store.ErrConflict) || !conflict && err != nil {
		rt.Fatalf("write %s at revision %d over %s: %v", d.ID, rev, stored, err)
	}
	if !conflict {
		m.docs[d.ID] = d.Raw
	}
}

// replace replaces what is stored, or something else of its _id.
func (m *machine) replace(rt *rapid.T) {
	old, now := m.draw(rt, 1, anyEpoch.Draw(rt, "epoch")), m.draw(rt, 1, 1)
	stored, ok := m.docs[now.ID]
	if old.ID != now.ID || rapid.Bool().Draw(rt, "as it is stored") {
		if !ok {
			return
		}
		old = store.Doc{ID: now.ID, Raw: stored}
	}
	conflict := string(stored) != string(old.Raw)
	err := m.s.Replace(m.t.Context(), store.Records, []store.Change{{ID: now.ID, Old: old.Raw, New: now.Raw}})
	if conflict != errors.Is(err, store.ErrConflict) || !conflict && err != nil {
		rt.Fatalf("replace %s by %s over %s: %v", old.Raw, now.Raw, stored, err)
	}
	if !conflict {
		m.docs[now.ID] = now.Raw
	}
}

func (m *machine) deleteIf(rt *rapid.T) {
	id, mark := m.draw(rt, 1, 1).ID, anyMark.Draw(rt, "value")
	stored, ok := m.docs[id]
	want := ok && stored.Lookup("mark").StringValue() == mark
	got, err := m.s.DeleteIf(m.t.Context(), store.Records, id, "mark", mark)
	if err != nil || got != want {
		rt.Fatalf("delete %s if %s: %v, %v; want %v", id, mark, got, err, want)
	}
	if got {
		delete(m.docs, id)
	}
}

func (m *machine) delete(rt *rapid.T) {
	q := m.query(rt)
	n, err := m.s.Delete(m.t.Context(), q)
	want := m.matching(rt, q)
	if err != nil || n != len(want) {
		rt.Fatalf("delete %+v: %d, %v; want %d", q, n, err, len(want))
	}
	for _, r := range want {
		delete(m.docs, r.ID)
	}
}

func (m *machine) get(rt *rapid.T) {
	id := m.draw(rt, 1, 1).ID
	raw, err := m.s.Get(m.t.Context(), store.Records, id)
	want, ok := m.docs[id]
	if ok != (err == nil) || !ok && !errors.Is(err, store.ErrNotFound) || string(raw) != string(want) {
		rt.Fatalf("get %s: %s, %v; want %s", id, raw, err, want)
	}
}

func (m *machine) query(rt *rapid.T) store.Query {
	q := store.Query{Collection: store.Records}
	if rapid.Bool().Draw(rt, "by event") {
		q.Event = anyEvent.Draw(rt, "event")
	}
	if rapid.Bool().Draw(rt, "by kind") {
		q.Kind = rapid.SampledFrom([]record.Kind{record.KindMessage, record.KindNotice}).Draw(rt, "kind")
	}
	if rapid.Bool().Draw(rt, "by channel") {
		q.Channel = anyChannel.Draw(rt, "channel")
	}
	if rapid.Bool().Draw(rt, "from a time") {
		q.From = m.moment(anyMoment.Draw(rt, "from"))
	}
	if rapid.Bool().Draw(rt, "to a time") {
		q.To = m.moment(anyMoment.Draw(rt, "to"))
	}
	return q
}

func (m *machine) matching(rt *rapid.T, q store.Query) []record.Record {
	var out []record.Record
	for _, raw := range m.docs {
		r, err := record.Parse(raw)
		if err != nil {
			rt.Fatal(err)
		}
		if matches(q, r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b record.Record) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// find is the invariant: any query answers what the map does.
func (m *machine) find(rt *rapid.T) {
	q := m.query(rt)
	q.Descending = rapid.Bool().Draw(rt, "descending")
	q.Limit = rapid.IntRange(0, 5).Draw(rt, "limit")
	want := ids(m.matching(rt, q))
	if q.Descending {
		slices.Reverse(want)
	}
	if q.Limit > 0 {
		want = want[:min(q.Limit, len(want))]
	}
	var got []string
	for raw, err := range m.s.Find(m.t.Context(), q) {
		if err != nil {
			rt.Fatal(err)
		}
		got = append(got, store.DocID(raw))
		if string(raw) != string(m.docs[store.DocID(raw)]) {
			rt.Fatalf("found %s, want %s", raw, m.docs[store.DocID(raw)])
		}
	}
	if !slices.Equal(got, want) {
		rt.Fatalf("find %+v: %v, want %v", q, got, want)
	}
	n, err := m.s.Count(m.t.Context(), q)
	if err != nil || n != len(want) {
		rt.Fatalf("count %+v: %d, %v; want %d", q, n, err, len(want))
	}
}
