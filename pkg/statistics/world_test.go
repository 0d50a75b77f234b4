package statistics_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/statistics"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const slug = "zevent"

// world is an event in a store, of which all minutes are closed by fill.
type world struct {
	t       testing.TB
	store   store.Store
	event   record.Event
	records []record.Record
	n       int
}

func newWorld(t testing.TB, start time.Time, length time.Duration) *world {
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
	return &world{t: t, store: s, event: record.Event{
		Slug: slug, Rev: 1, Name: "Z Event", State: record.EventEnded, Start: start, End: start.Add(length),
		TimeZone: "Europe/Paris", Currency: "EUR",
	}}
}

// at is a time since the event's start.
func (w *world) at(d time.Duration) time.Time { return w.event.Start.Add(d) }

func (w *world) header(channel string, at time.Time) record.Header {
	return record.Header{Event: slug, Channel: channel, Time: at, Received: at}
}

func (w *world) add(d record.Document) {
	w.t.Helper()
	r, err := record.Encode(d)
	if err != nil {
		w.t.Fatal(err)
	}
	w.records = append(w.records, r)
}

func (w *world) message(channel, chatter string, at time.Time, emotes ...string) {
	w.n++
	m := record.Message{Header: w.header(channel, at), MessageID: strconv.Itoa(w.n), Chatter: chatter, Length: 1}
	for _, e := range emotes {
		m.Emotes = append(m.Emotes, record.Emote{ID: e, Name: e, Count: 1})
	}
	w.add(&m)
}

func (w *world) messages(channel string, n int, at time.Time) {
	for i := range n {
		w.message(channel, fmt.Sprintf("chatter-%d", i%20), at.Add(time.Duration(i)*time.Minute/time.Duration(n)))
	}
}

func (w *world) viewers(channel string, n int, at time.Time) {
	w.add(&record.Viewers{Header: w.header(channel, at), Source: record.SourceHelix, Live: n >= 0, Viewers: max(n, 0)})
}

// read says that the channels' chat was read in a minute, all of it or a part.
func (w *world) read(at time.Time, part time.Duration, channels ...string) {
	slices.Sort(channels)
	w.add(&record.Coverage{
		Header: w.header("", at), Source: record.SourceChat, To: at.Add(part), Collector: "c", Connection: "c-1",
		Set: record.ChannelSet(channels), Channels: channels,
	})
}

func (w *world) amount(source, channel string, cents int64, at time.Time) {
	w.add(&record.Amount{Header: w.header(channel, at), Source: source, Money: record.Money{Cents: cents, Currency: "EUR"}})
}

func (w *world) donation(source, channel string, cents int64, at time.Time) {
	w.n++
	w.add(&record.Donation{
		Header: w.header(channel, at), Source: source, Donation: strconv.Itoa(w.n), Money: record.Money{Cents: cents, Currency: "EUR"},
	})
}

func (w *world) session(channel, stream string, from, to time.Time, category string) {
	w.add(&record.Session{Header: w.header(channel, from), Stream: stream, Phase: record.PhaseStart, Started: from, Category: category, Title: "Title"})
	if !to.IsZero() {
		w.add(&record.Session{Header: w.header(channel, to), Stream: stream, Phase: record.PhaseEnd, Started: from, Category: category})
	}
}

func (w *world) change(channel, field, from, to string, at time.Time) {
	w.add(&record.Change{Header: w.header(channel, at), Field: field, From: from, To: to})
}

func (w *world) raid(from, to string, viewers int, at time.Time) {
	w.n++
	w.add(&record.Notice{
		Header: w.header(to, at), NoticeID: strconv.Itoa(w.n), Type: "raid",
		Raid: &record.Raid{Viewers: viewers, Channel: from, Login: from},
	})
}

func (w *world) put(c store.Collection, id string, v any) {
	w.t.Helper()
	raw, err := bson.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.Put(w.t.Context(), c, []store.Doc{{ID: id, Raw: raw}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) channel(id, login string) {
	w.put(store.Channels, slug+"/"+id, record.Channel{
		ID: slug + "/" + id, Rev: 1, Event: slug, Channel: id, Login: login, Name: login, Status: record.ChannelActive,
	})
}

func (w *world) correct(c record.Correction) {
	w.n++
	c.ID, c.Rev, c.Event, c.Currency = fmt.Sprintf("%s/%d", slug, w.n), 1, slug, "EUR"
	w.put(store.Corrections, c.ID, c)
}

// fill stores the event and its records, and closes its minutes.
func (w *world) fill() *statistics.Reader {
	w.t.Helper()
	w.put(store.Events, slug, w.event)
	results, err := w.store.Insert(w.t.Context(), w.records)
	if err != nil {
		w.t.Fatal(err)
	}
	for i, r := range results {
		if r.Outcome != store.Inserted {
			w.t.Fatalf("%s: outcome %v, %v", w.records[i].ID, r.Outcome, r.Err)
		}
	}
	return w.close(w.records)
}

// close closes the minutes of records that need not be stored.
func (w *world) close(records []record.Record) *statistics.Reader {
	w.t.Helper()
	records = slices.SortedStableFunc(slices.Values(records), func(a, b record.Record) int { return a.Time.Compare(b.Time) })
	f := rollup.NewFiller(w.store, w.event, w.event.End)
	var a *rollup.Aggregator
	var minute time.Time
	finish := func() {
		if a == nil {
			return
		}
		if err := f.Minute(w.t.Context(), minute, a.Result()); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, r := range records {
		if r.Time.Before(w.event.Start) {
			continue
		}
		if m := record.Minute(r.Time); a == nil || !m.Equal(minute) {
			finish()
			minute, a = m, rollup.NewAggregator(slug, m, w.event.Start, w.event.End)
		}
		a.Add(r)
	}
	finish()
	if err := f.Close(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return w.open()
}

func (w *world) open() *statistics.Reader {
	w.t.Helper()
	r, err := statistics.Open(w.t.Context(), w.store, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func utc(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

func summary(t testing.TB, r *statistics.Reader, channel string, rg statistics.Range) statistics.Summary {
	t.Helper()
	s, err := r.Summary(t.Context(), channel, rg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func complete(n int64) statistics.Count { return statistics.Count{N: n, Coverage: record.Complete} }
func partial(n int64) statistics.Count  { return statistics.Count{N: n, Coverage: record.Partial} }
func unknown() statistics.Count         { return statistics.Count{Coverage: record.Unknown} }
