package rollup

import (
	"context"
	"iter"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// erased is a store whose event's records are erased at the moment that they are about to be read.
type erased struct {
	*view
	event record.Event
	now   bool
}

func (s *erased) Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	if q.Collection == store.Records && s.now {
		s.event.RecordsErased = s.event.End
		raw, err := bson.Marshal(&s.event)
		if err == nil {
			err = s.Put(ctx, store.Events, []store.Doc{{ID: s.event.Slug, Raw: raw}})
		}
		if err == nil {
			_, err = s.Delete(ctx, store.Query{Collection: store.Records})
		}
		if err != nil {
			return func(yield func(bson.Raw, error) bool) { yield(nil, err) }
		}
	}
	return s.view.Find(ctx, q)
}

// TestFinalEvents: a frozen event is counted again where it is marked and closes nothing; of one whose
// records go, be it during a recount, the statistics stay and the marks are cleared.
func TestFinalEvents(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)
	e := record.Event{Slug: "e", State: record.EventEnded, Start: start, End: start.Add(5 * time.Minute)}
	s := &erased{view: &view{memory: newMemory()}, event: e}
	say := func(minute, id int) {
		t.Helper()
		r, err := record.Encode(&record.Message{
			Header:    record.Header{Event: "e", Channel: "1", Time: start.Add(time.Duration(minute) * time.Minute)},
			MessageID: strconv.Itoa(id), Chatter: "x",
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Insert(t.Context(), []record.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	mark := func() {
		t.Helper()
		m := record.NewMark("e", start, "nonce")
		raw, err := bson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), store.Marks, []store.Doc{{ID: m.ID, Raw: raw}}); err != nil {
			t.Fatal(err)
		}
	}
	messages := func(want int64) {
		t.Helper()
		docs, err := s.statistics(store.Totals)
		if err != nil {
			t.Fatal(err)
		}
		if n := docs[record.StatisticsID("e", "1", time.Time{})].Messages; n != want {
			t.Errorf("%d messages, want %d", n, want)
		}
		if n, err := s.Count(t.Context(), store.Query{Collection: store.Marks}); err != nil || n != 0 {
			t.Errorf("%d marks left, err %v", n, err)
		}
	}
	say(0, 1)
	say(1, 2)
	c := closing(t, s, e, 1, start.Add(3*time.Minute))
	finish(t, c)
	messages(2)

	c.event.State = record.EventFrozen
	c.now = func() time.Time { return start.Add(time.Hour) }
	say(0, 3)
	say(4, 4) // of a minute that is not closed
	mark()
	finish(t, c)
	messages(3)
	finish(t, c) // the next look
	if c.due() || c.loaded {
		t.Error("a frozen event without marks is due, or kept in memory")
	}

	s.now = true
	mark()
	finish(t, c)
	messages(3)
	s.now = false
	mark()
	finish(t, c)
	messages(3)
}
