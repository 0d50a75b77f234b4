package rollup

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// closing is a closer over a store, at a time that stands.
func closing(tb interface{ Fatal(args ...any) }, s store.Store, e record.Event, epoch int64, now time.Time) *closer {
	metrics, err := newMetrics(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return &closer{
		store: s, grace: testGrace, epoch: epoch, now: func() time.Time { return now }, metrics: metrics,
		log: slog.New(slog.DiscardHandler), event: e,
	}
}

func finish(tb interface{ Fatal(args ...any) }, c *closer) {
	for more := true; more; {
		var err error
		if more, err = c.step(context.Background()); err != nil {
			tb.Fatal(err)
		}
	}
}

// TestViewersOfAnEventThatStartsWithinAMinute: no sample is expected of the minute that the event
// starts in, one that is there makes up for none that is missed, and it does not matter whether
// samples come late, or which leader counts.
func TestViewersOfAnEventThatStartsWithinAMinute(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 9, 4, 18, 57, 0, 0, time.UTC)
	const minutes = 6 // of them three in each hour
	encode := func(t *rapid.T, d record.Document) record.Record {
		r, err := record.Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	rapid.Check(t, func(t *rapid.T) {
		offset := rapid.SampledFrom([]int{0, 1, 30, 59}).Draw(t, "offset")
		e := record.Event{
			Slug: "e", Start: from.Add(time.Duration(offset) * time.Second), End: from.Add((minutes-1)*time.Minute + 20*time.Second),
		}
		var (
			records []record.Record
			sampled = map[string]*[minutes]bool{"1": {}, "2": {}}
		)
		for i, channel := range []string{"1", "2"} {
			for m := range minutes {
				h := record.Header{Event: "e", Channel: channel, Time: from.Add(time.Duration(m) * time.Minute)}
				early := m == 0 && offset > 0
				if early {
					h.Time = e.Start // by a schedule of more than one a minute
				}
				if rapid.IntRange(0, 9).Draw(t, "sampled") < 2 == early { // nearly always, but for the first
					sampled[channel][m] = true
					records = append(records, encode(t, &record.Viewers{Header: h, Source: record.SourceHelix, Live: true, Viewers: 5}))
				}
				records = append(records, encode(t, &record.Message{Header: h, MessageID: fmt.Sprint(i, "-", m), Chatter: "x"}))
			}
		}
		s := &view{memory: newMemory()}
		var (
			epoch int64 = 1
			c           = closing(t, s, e, epoch, e.Start)
		)
		for i, r := range rapid.Permutation(records).Draw(t, "records") {
			if _, err := s.Insert(t.Context(), []record.Record{r}); err != nil {
				t.Fatal(err)
			}
			m := record.NewMark("e", r.Time, strconv.Itoa(i))
			raw, err := bson.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Put(t.Context(), store.Marks, []store.Doc{{ID: m.ID, Raw: raw}}); err != nil {
				t.Fatal(err)
			}
			switch rapid.IntRange(0, 7).Draw(t, "then") {
			case 0:
				now := from.Add(time.Duration(rapid.IntRange(0, minutes+1).Draw(t, "minute")) * time.Minute)
				if now.Before(c.now()) {
					continue
				}
				c.now = func() time.Time { return now }
				finish(t, c)
			case 1: // another leader
				epoch++
				c = closing(t, s, e, epoch, c.now())
			}
		}
		c.now = func() time.Time { return from.Add(time.Hour) }
		finish(t, c)

		// The plainest judgement.
		verdict := func(first, last int, channels ...string) string {
			some, all := false, true
			for _, channel := range channels {
				for m := first; m <= last; m++ {
					some = some || sampled[channel][m]
					all = all && (sampled[channel][m] || m == 0 && offset > 0)
				}
			}
			switch {
			case !some:
				return record.Unknown
			case all:
				return record.Complete
			}
			return record.Partial
		}
		of := map[string][]string{"1": {"1"}, "2": {"2"}, record.AllChannels: {"1", "2"}}
		check := func(coll store.Collection, id, want string) {
			t.Helper()
			docs, err := s.statistics(coll)
			if err != nil {
				t.Fatal(err)
			}
			if got := docs[id].Coverage.Viewers; got != want {
				t.Fatalf("%s %s: viewers %q, want %q", coll, id, got, want)
			}
		}
		for channel, channels := range of {
			for m := range minutes {
				check(store.Minutes, record.StatisticsID("e", channel, from.Add(time.Duration(m)*time.Minute)), verdict(m, m, channels...))
			}
			hour := from.Truncate(time.Hour)
			check(store.Hours, record.StatisticsID("e", channel, hour), verdict(0, 2, channels...))
			check(store.Hours, record.StatisticsID("e", channel, hour.Add(time.Hour)), verdict(3, minutes-1, channels...))
			check(store.Totals, record.StatisticsID("e", channel, time.Time{}), verdict(0, minutes-1, channels...))

			// And so do minutes that are merged.
			docs, err := s.statistics(store.Minutes)
			if err != nil {
				t.Fatal(err)
			}
			merged := docs[record.StatisticsID("e", channel, from)]
			for m := 1; m < minutes; m++ {
				merged, err = Merge(e.Start, merged, docs[record.StatisticsID("e", channel, from.Add(time.Duration(m)*time.Minute))])
				if err != nil {
					t.Fatal(err)
				}
			}
			if got, want := merged.Coverage.Viewers, verdict(0, minutes-1, channels...); got != want {
				t.Fatalf("merged minutes of %s: viewers %q, want %q", channel, got, want)
			}
		}
	})
}

// scans is a store that counts how often records are read.
type scans struct {
	*view
	n int
}

func (s *scans) Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	if q.Collection == store.Records {
		s.n++
	}
	return s.view.Find(ctx, q)
}

// TestMarksOutsideOfTheEvent are cleared without counting anything, unless the minute has documents
// from when it was within the event.
func TestMarksOutsideOfTheEvent(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)
	s := &scans{view: &view{memory: newMemory()}}
	e := record.Event{Slug: "e", Start: start, End: start.Add(5 * time.Minute)}
	for m := range 5 {
		r, err := record.Encode(&record.Message{
			Header:    record.Header{Event: "e", Channel: "1", Time: start.Add(time.Duration(m) * time.Minute)},
			MessageID: strconv.Itoa(m), Chatter: "x",
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Insert(t.Context(), []record.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	c := closing(t, s, e, 1, start.Add(time.Hour))
	finish(t, c)
	mark := func(times ...time.Time) {
		t.Helper()
		for i, at := range times {
			m := record.NewMark("e", at, strconv.Itoa(i))
			raw, err := bson.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Put(t.Context(), store.Marks, []store.Doc{{ID: m.ID, Raw: raw}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	settled := func(scans int) {
		t.Helper()
		s.n = 0
		finish(t, c)
		if s.n != scans {
			t.Errorf("%d scans of records, want %d", s.n, scans)
		}
		if n, err := s.Count(t.Context(), store.Query{Collection: store.Marks}); err != nil || n != 0 {
			t.Errorf("%d marks left, err %v", n, err)
		}
	}
	mark(start.Add(-time.Minute), start.Add(-5*time.Hour), start.Add(5*time.Minute), start.Add(time.Hour))
	settled(0)
	mark(start.Add(-time.Hour), start)
	settled(1)

	// The event starts later: the minutes that it has left are emptied.
	c.event.Start = start.Add(2 * time.Minute)
	mark(start.Add(-time.Hour))
	finish(t, c)
	docs, err := s.statistics(store.Totals)
	if err != nil {
		t.Fatal(err)
	}
	if n := docs[record.StatisticsID("e", "1", time.Time{})].Messages; n != 3 {
		t.Errorf("%d messages, want 3", n)
	}
}
