package verify_test

import (
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
	"github.com/tungstene/tungstene/pkg/verify"
)

func at(minute, second int) time.Time { return time.Date(2026, 9, 4, 18, minute, second, 0, time.UTC) }

// world is a store with an event of ten minutes and two channels, and the ledger of what was sent.
type world struct {
	t      *testing.T
	store  *local.Store
	ledger []sim.Entry
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := local.Open(filepath.Join(t.TempDir(), "store.db"), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, store: s}
	w.put(store.Events, "test", record.Event{Slug: "test", Rev: 1, Start: at(0, 0), End: at(10, 0)})
	for id, login := range map[string]string{"1": "one", "2": "two"} {
		w.put(store.Channels, "test/"+id, record.Channel{ID: "test/" + id, Event: "test", Channel: id, Login: login})
	}
	w.put(store.Members, "collector/a", bson.D{{Key: "_id", Value: "collector/a"}, {Key: "role", Value: "collector"}})
	return w
}

func (w *world) put(c store.Collection, id string, doc any) {
	w.t.Helper()
	raw, err := bson.Marshal(doc)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.Put(w.t.Context(), c, []store.Doc{{ID: id, Raw: raw}}); err != nil {
		w.t.Fatal(err)
	}
}

// send puts a message into the ledger.
func (w *world) send(login, id string, when time.Time) {
	w.ledger = append(w.ledger, sim.Entry{Channel: login, ID: id, SentMS: when.UnixMilli()})
}

// keep stores a message.
func (w *world) keep(channel, id string, when time.Time) {
	w.t.Helper()
	r, err := record.Encode(&record.Message{
		Header:    record.Header{Event: "test", Channel: channel, Time: when, Received: when.Add(40 * time.Millisecond)},
		MessageID: id, Chatter: "x",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.Insert(w.t.Context(), []record.Record{r}); err != nil {
		w.t.Fatal(err)
	}
}

// closed writes a closed minute document.
func (w *world) closed(channel string, minute int, messages int64) {
	w.t.Helper()
	id := record.StatisticsID("test", channel, at(minute, 0))
	w.put(store.Minutes, id, record.Statistics{
		ID: id, Event: "test", Channel: channel, Time: at(minute, 0), State: record.StateClosed, Messages: messages,
	})
}

func (w *world) run() verify.Result {
	w.t.Helper()
	r, err := verify.Run(w.t.Context(), w.store, "", entries(w.ledger...))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func entries(list ...sim.Entry) iter.Seq2[sim.Entry, error] {
	return func(yield func(sim.Entry, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// good fills the world with three messages in two minutes that are stored and counted.
func (w *world) good() {
	for i, m := range []struct {
		login, channel string
		when           time.Time
	}{{"one", "1", at(0, 5)}, {"two", "2", at(0, 30)}, {"one", "1", at(1, 59)}} {
		id := fmt.Sprintf("m%d", i)
		w.send(m.login, id, m.when)
		w.keep(m.channel, id, m.when)
	}
	w.closed("1", 0, 1)
	w.closed("2", 0, 1)
	w.closed(record.AllChannels, 0, 2)
	w.closed("1", 1, 1)
	w.closed(record.AllChannels, 1, 1)
}

func TestWhatIsRight(t *testing.T) {
	w := newWorld(t)
	w.good()
	r := w.run()
	if !r.OK() || r.Sent != 3 || r.Stored != 3 || r.RollupMessages != 3 || r.MinutesCompared != 3 || r.Channels != 2 || r.Collectors != 1 {
		t.Errorf("got %+v", r)
	}
	if r.Seconds != 114 || r.LatencyP50 < 40 || r.LatencyP50 > 41 {
		t.Errorf("%g s, latency %g ms; want 114 s, 40 ms", r.Seconds, r.LatencyP50)
	}
}

// Each row breaks what is right in one way.
func TestWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(w *world)
		want  func(r verify.Result) bool
		says  string
	}{
		{
			"a message is lost", func(w *world) { w.send("one", "gone", at(1, 58)) },
			func(r verify.Result) bool { return r.Lost == 1 && r.MinutesDiffering == 1 }, "1 of 4 messages",
		},
		{"a message is stored twice", func(w *world) {
			w.put(store.Records, "test/message/again", record.Message{
				Header:    record.Header{ID: "test/message/again", Kind: record.KindMessage, Event: "test", Channel: "1", Time: at(0, 5)},
				MessageID: "m0",
			})
		}, func(r verify.Result) bool { return r.Duplicates == 1 && r.Lost == 0 }, "message m0 is stored more than once"},
		{
			"a minute counts too much", func(w *world) { w.closed("1", 1, 2) },
			func(r verify.Result) bool { return r.MinutesDiffering == 2 }, "2 messages in the closed document, 1 in the ledger",
		},
		{
			"a channel's document is missing in a closed minute", func(w *world) { w.send("two", "late", at(1, 3)); w.keep("2", "late", at(1, 3)) },
			func(r verify.Result) bool { return r.Lost == 0 && r.MinutesDiffering == 1 }, "0 messages in the closed document, 1 in the ledger",
		},
		{
			"the event's document is not the sum of its channels", func(w *world) { w.closed(record.AllChannels, 1, 7) },
			func(r verify.Result) bool { return r.MinutesDiffering == 1 }, "7 messages in the event's document, 1 in those of its channels",
		},
		{
			"a document of a channel that sent nothing", func(w *world) { w.closed("2", 1, 4) },
			func(r verify.Result) bool { return r.MinutesDiffering == 2 }, "channel 2",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.good()
			c.spoil(w)
			r := w.run()
			if r.OK() || !c.want(r) || !strings.Contains(strings.Join(r.Examples, "\n"), c.says) {
				t.Errorf("got %+v, want %q", r, c.says)
			}
		})
	}
}

func TestWhatIsNoFault(t *testing.T) {
	w := newWorld(t)
	w.good()
	w.send("one", "early", at(0, 0).Add(-time.Millisecond))
	w.send("one", "after", at(10, 0))
	w.send("one", "m0", at(0, 5)) // told twice
	w.keep("1", "open", at(5, 0)) // of a minute that is not closed, and of no ledger
	w.send("one", "waits", at(6, 0))
	w.keep("1", "waits", at(6, 0))
	w.ledger = append(w.ledger, sim.Entry{Channel: "two", ID: "copy", SentMS: at(0, 6).UnixMilli(), Shared: true})
	w.keep("2", "copy", at(0, 6))
	r := w.run()
	if !r.OK() || r.Sent != 4 || r.Outside != 2 || r.Unexpected != 1 || r.MinutesOpen != 1 || r.RollupMessages != 3 {
		t.Errorf("got %+v", r)
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	if _, err := verify.Run(t.Context(), w.store, "other", entries()); err == nil || !strings.Contains(err.Error(), "event other") {
		t.Errorf("an event that is not there: %v", err)
	}
	w.put(store.Events, "second", record.Event{Slug: "second", Rev: 1})
	if _, err := verify.Run(t.Context(), w.store, "", entries()); err == nil || !strings.Contains(err.Error(), "--event") {
		t.Errorf("several events: %v", err)
	}
}

func TestRecorded(t *testing.T) {
	w := newWorld(t)
	doc := func(minute int, messages, emotes int64, viewers float64, state string) {
		id := record.StatisticsID("test", record.AllChannels, at(minute, 0))
		w.put(store.Minutes, id, record.Statistics{
			ID: id, Event: "test", Channel: record.AllChannels, Time: at(minute, 0), State: state,
			Messages: messages, Emotes: record.Emotes{Total: emotes}, Viewers: record.Audience{Average: viewers},
		})
	}
	doc(0, 5, 2, 100, record.StateClosed)
	doc(1, 5, 2, 100, record.StateClosed)
	doc(2, 5, 2, 100, record.StateOpen)
	rows := []sim.Minute{
		{Time: at(0, 0), Messages: 5, Emotes: 2, Viewers: 100},
		{Time: at(1, 0), Messages: 5, Emotes: 3, Viewers: sim.NotRecorded},
		{Time: at(2, 0), Messages: 5, Emotes: 2, Viewers: 100},
		{Time: at(3, 0), Messages: 1, Emotes: 0, Viewers: 1},
		{Time: at(4, 0), Messages: sim.NotRecorded, Emotes: sim.NotRecorded, Viewers: sim.NotRecorded},
		{Time: at(20, 0), Messages: 1, Emotes: 1, Viewers: 1}, // after the event
	}
	r, err := verify.Recorded(t.Context(), w.store, "test", rows)
	if err != nil {
		t.Fatal(err)
	}
	if r.Compared != 4 || r.Differing != 3 {
		t.Errorf("got %+v", r)
	}
	for _, want := range []string{"emotes 2, recorded 3", "is not closed", "there is no minute document"} {
		if !strings.Contains(strings.Join(r.Examples, "\n"), want) {
			t.Errorf("%q is not among %q", want, r.Examples)
		}
	}
}

// A quantile is never below the true one, and at most one per cent above it.
func TestLatency(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 200).Draw(t, "durations")
		q := rapid.Float64Range(0.01, 1).Draw(t, "q")
		var l verify.Latency
		for _, v := range values {
			l.Add(time.Duration(v))
		}
		slices.Sort(values)
		rank := max(int(float64(len(values))*q+0.999999999), 1)
		want := float64(values[min(rank, len(values))-1]) / 1e6
		// A tenth of a millisecond is the finest that is told.
		if got := l.Quantile(q); got < want-0.1 || got > want*1.01+0.2 {
			t.Fatalf("quantile %g is %g ms, want %g", q, got, want)
		}
	})
	if got := new(verify.Latency).Quantile(0.5); got != 0 {
		t.Errorf("of nothing: %g", got)
	}
}
