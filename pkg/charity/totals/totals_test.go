package totals_test

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/charity/corrections"
	"github.com/tungstene/tungstene/pkg/charity/totals"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
)

var (
	start = time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)
	event = record.Event{Slug: "e", State: record.EventLive, Start: start, End: start.Add(10 * time.Hour), TimeZone: "UTC", Currency: "EUR"}
)

func at(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }

type world struct {
	t *testing.T
	store.Store
}

func open(t *testing.T) world {
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
	return world{t, s}
}

func (w world) put(c store.Collection, id string, v any) {
	w.t.Helper()
	raw, err := bson.Marshal(v)
	if err == nil {
		err = w.Put(context.Background(), c, []store.Doc{{ID: id, Raw: raw}})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// span writes what is said of a minute, an hour, or (with the zero time) all so far.
func (w world) span(c store.Collection, channel string, from time.Time, through int, state string, list ...record.Donations) {
	d := record.Statistics{Event: "e", Channel: channel, Time: from, State: state, Through: at(through), Donations: list}
	if c == store.Totals {
		d.ID, d.Time = record.StatisticsID("e", channel, time.Time{}), start
	} else {
		d.ID = record.StatisticsID("e", channel, from)
	}
	w.put(c, d.ID, d)
}

// sampled is a running total of a source.
func sampled(source string, minute int, cents int64) record.Donations {
	return record.Donations{Source: source, Currency: "EUR", Samples: 1, First: cents, FirstAt: at(minute), Total: cents, TotalAt: at(minute)}
}

func TestMain_Raw(t *testing.T) {
	t.Parallel()
	list := []record.Donations{
		{Source: "b", Currency: "EUR", Count: 1, Cents: 5},
		{Source: "d", Currency: "USD", Samples: 1, Total: 5, TotalAt: at(0)},
		{Source: "d", Currency: "EUR", Sum: 5, SumAt: at(0)},
		{Source: "a", Currency: ""},
	}
	for _, tc := range []struct {
		of   []record.Donations
		name string
		want totals.Fund
		ok   bool
	}{
		{nil, "", totals.Fund{}, false},
		{list[3:], "", totals.Fund{}, false},
		{list, "", totals.Fund{Source: "d", Currency: "EUR"}, true},
		{list[:2], "", totals.Fund{Source: "d", Currency: "USD"}, true},
		{list, "b", totals.Fund{Source: "b", Currency: "EUR"}, true},
		{list, "nothing", totals.Fund{Source: "d", Currency: "EUR"}, true},
	} {
		e := event
		e.Donations = tc.name
		if got, ok := totals.Main(e, slices.Values(tc.of)); got != tc.want || ok != tc.ok {
			t.Errorf("%+v, %t; want %+v", got, ok, tc.want)
		}
	}
	for i, want := range []string{totals.ByDonations, totals.BySamples, totals.ByDonations, ""} {
		if _, by, ok := totals.Raw("1", list[i]); by != want || ok != (want != "") {
			t.Errorf("%d is %s", i, by)
		}
	}
	if s, by, ok := totals.Raw(record.AllChannels, list[2]); !ok || by != totals.ByChannels || s.Cents != 5 || !s.Time.Equal(at(0)) {
		t.Errorf("%+v by %s", s, by)
	}
}

// A source whose own event total is shown, minutes that no total document holds yet, an open one, and
// corrections of each kind.
func TestCurrent(t *testing.T) {
	t.Parallel()
	w := open(t)
	for m := range 20 {
		state := record.StateClosed
		if m >= 18 {
			state = record.StateOpen
		}
		one := sampled("s", m, int64(m)*100)
		if m >= 10 {
			one = sampled("s", m, int64(m-10)*100) // it began anew
		}
		w.span(store.Minutes, "1", at(m), m, state, one)
		w.span(store.Minutes, record.AllChannels, at(m), m, state, sampled("s", m, int64(m)*1000))
		if m == 15 {
			w.span(store.Totals, "1", start, m, record.StateClosed, one)
			w.span(store.Totals, record.AllChannels, start, m, record.StateClosed, sampled("s", m, int64(m)*1000))
		}
	}
	w.span(store.Minutes, "2", at(19), 19, record.StateOpen, record.Donations{Source: "other", Currency: "EUR", Count: 2, Cents: 700, Largest: 500})
	for _, c := range []record.Correction{
		{ID: "e/r", Event: "e", Channel: "1", Source: "s", Kind: record.CorrectionReset, Time: at(10), Total: true},
		{ID: "e/a", Event: "e", Channel: "1", Source: "s", Currency: "EUR", Kind: record.CorrectionAmount, Time: at(3), Cents: 7},
		{ID: "e/all", Event: "e", Channel: record.AllChannels, Source: "s", Currency: "EUR", Kind: record.CorrectionAmount, Time: at(3), Cents: 11},
		{ID: "e/o", Event: "e", Channel: "1", Source: "other", Currency: "EUR", Kind: record.CorrectionAmount, Time: at(3), Cents: 13},
	} {
		w.put(store.Corrections, c.ID, c)
	}
	cur, err := totals.ReadCurrent(t.Context(), w, event, "", at(19).Add(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	one := cur.Channels["1"]
	if !cur.Known || cur.Fund != (totals.Fund{Source: "s", Currency: "EUR"}) || len(cur.Channels) != 1 || one.Raw != 900 || one.Corrected != 900+900+7 ||
		one.By != totals.BySamples || one.Coverage != record.Complete || !one.At.Equal(at(19)) || len(cur.Corrections) != 4 || !cur.Through.Equal(at(15)) {
		t.Errorf("%+v", cur)
	}
	if e := cur.Event; e.Raw != 19_000 || e.Corrected != 19_000+900+11 || e.By != totals.BySamples {
		t.Errorf("%+v", e)
	}
	if old, err := totals.ReadCurrent(t.Context(), w, event, "", at(40)); err != nil || old.Event.Coverage != record.Partial {
		t.Errorf("%+v, %v of an old sample", old, err)
	}
	other, err := totals.ReadCurrent(t.Context(), w, event, "other", at(20))
	if err != nil {
		t.Fatal(err)
	}
	if two := other.Channels["2"]; two.Raw != 700 || two.By != totals.ByDonations || two.Count != 2 || two.Largest != 500 || two.Coverage != record.Partial {
		t.Errorf("%+v", other)
	}

	// The series is that of the minutes, and the effects are those of all of it.
	series, err := totals.Series(t.Context(), w, "e", "1", cur.Fund, at(2), at(12))
	if err != nil {
		t.Fatal(err)
	}
	if len(series) != 10 || series[0] != (corrections.Sample{Time: at(2), Cents: 200}) || series[9].Cents != 100 {
		t.Errorf("%+v", series)
	}
	all, given, err := totals.SeriesOfAll(t.Context(), w, "e", cur.Fund, cur.Singles, at(2), at(12))
	if err != nil || !reflect.DeepEqual(all["1"], series) || len(all) != 2 || len(given) != 0 {
		t.Errorf("%+v, %+v, %v", all, given, err)
	}
}

// What is corrected after the last sample counts from its moment on, in the totals and for goals, and
// whenever it is dated once the event is over. What follows from samples waits for the next.
func TestCorrectionsAfterTheLastSample(t *testing.T) {
	t.Parallel()
	w := open(t)
	for m := range 10 {
		w.span(store.Minutes, "1", at(m), m, record.StateClosed, sampled("s", m, int64(m+1)*100))
		w.span(store.Minutes, record.AllChannels, at(m), m, record.StateClosed, record.Donations{Source: "s", Currency: "EUR", Sum: int64(m+1) * 100, SumAt: at(m), Channels: 1})
	}
	w.span(store.Totals, "1", start, 9, record.StateClosed, sampled("s", 9, 1000))
	w.span(store.Totals, record.AllChannels, start, 9, record.StateClosed, record.Donations{Source: "s", Currency: "EUR", Sum: 1000, SumAt: at(9), Channels: 1})
	for _, c := range []record.Correction{
		{ID: "e/a", Event: "e", Channel: "1", Source: "s", Kind: record.CorrectionAmount, Time: at(12), Cents: 70},
		{ID: "e/d", Event: "e", Channel: "1", Source: "s", Kind: record.CorrectionDouble, Time: at(14), Cents: 20},
		{ID: "e/r", Event: "e", Channel: "1", Source: "s", Kind: record.CorrectionReset, Time: at(12)},
		{ID: "e/m", Event: "e", Channel: "1", Source: "s", Kind: record.CorrectionMirror, Time: at(12)},
		{ID: "e/all", Event: "e", Channel: record.AllChannels, Source: "s", Kind: record.CorrectionAmount, Time: at(12), Cents: 5},
	} {
		w.put(store.Corrections, c.ID, c)
	}
	over := event
	over.State = record.EventEnded
	goal := []record.Goal{{ID: "e/g", Event: "e", Channel: "1", Category: record.GoalDonation, Name: "a song", Money: record.Money{Cents: 1070, Currency: "EUR"}}}
	for _, c := range []struct {
		e          record.Event
		now        time.Time
		one, event int64
	}{
		{event, at(11), 1000, 1000},
		{event, at(12), 1070, 1075},
		{event, at(20), 1050, 1055},
		{over, at(11), 1050, 1055},
	} {
		o, cur, err := totals.NewLive(w, true).Overview(t.Context(), c.e, goal, c.now)
		if err != nil {
			t.Fatal(err)
		}
		if one := cur.Channels["1"]; one.Raw != 1000 || one.Corrected != c.one || cur.Event.Raw != 1000 || cur.Event.Corrected != c.event {
			t.Errorf("at %s: %+v, %+v", c.now, one, cur.Event)
		}
		if c.now.Equal(at(12)) && (!o.Goals[0].Reached || !o.Goals[0].ReachedAt.Equal(at(12)) || o.Goals[0].Current != 1070) {
			t.Errorf("at %s: %+v", c.now, o.Goals[0])
		}
	}
}

// The sum of channels is that of their last totals: one that the last answers lack stays in it, and the sum
// is partial. One that was removed is among the members since.
func TestCurrentOfChannels(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.put(store.Channels, "e/1", record.Channel{ID: "e/1", Event: "e", Channel: "1"})
	w.put(store.Channels, "e/2", record.Channel{ID: "e/2", Event: "e", Channel: "2"})
	sum := func(minute int, cents, channels int64) record.Donations {
		return record.Donations{Source: "s", Currency: "EUR", Sum: cents, SumAt: at(minute), Channels: channels}
	}
	check := func(name string, minute int, raw int64, coverage string) {
		t.Helper()
		cur, err := totals.ReadCurrent(t.Context(), w, event, "", at(minute))
		if err != nil {
			t.Fatal(err)
		}
		if got := cur.Event; got.Raw != raw || got.Corrected != raw || got.Coverage != coverage || got.By != totals.ByChannels || !got.At.Equal(at(minute)) {
			t.Errorf("%s: %+v, want %d, %s", name, got, raw, coverage)
		}
	}
	w.span(store.Minutes, "1", at(0), 0, record.StateClosed, sampled("s", 0, 100))
	w.span(store.Minutes, "2", at(0), 0, record.StateClosed, sampled("s", 0, 2000))
	w.span(store.Minutes, record.AllChannels, at(0), 0, record.StateClosed, sum(0, 2107, 3)) // 7 of a member who is no channel
	check("all answered", 0, 2107, record.Complete)
	w.span(store.Minutes, "1", at(1), 1, record.StateClosed, sampled("s", 1, 150))
	w.span(store.Minutes, record.AllChannels, at(1), 1, record.StateClosed, sum(1, 158, 2))
	check("one is missing", 1, 2158, record.Partial)
	if _, err := w.DeleteIf(t.Context(), store.Channels, "e/2", "event", "e"); err != nil {
		t.Fatal(err)
	}
	w.span(store.Minutes, "1", at(2), 2, record.StateClosed, sampled("s", 2, 160))
	w.span(store.Minutes, record.AllChannels, at(2), 2, record.StateClosed, sum(2, 2170, 3))
	check("it was removed", 2, 2170, record.Complete)
	w.span(store.Minutes, "1", at(3), 3, record.StateClosed, sampled("s", 3, 170))
	w.span(store.Minutes, record.AllChannels, at(3), 3, record.StateClosed, sum(3, 170, 1))
	check("and is no member either", 3, 2170, record.Partial)
}

// The totals are of one source, the single donations of another one: goals by these are decided all the
// same, by the version of each that counts, and again when only an amount has changed.
func TestLiveSinglesOfAnotherSource(t *testing.T) {
	t.Parallel()
	w := open(t)
	insert := func(channel, source, id, version string, minute, received int, cents int64) {
		t.Helper()
		r, err := record.Encode(&record.Donation{
			Header: record.Header{Event: "e", Channel: channel, Time: at(minute), Received: at(received)}, Source: source, Donation: id, Version: version,
			Money: record.Money{Cents: cents, Currency: "EUR"},
		})
		if err == nil {
			_, err = w.Insert(t.Context(), []record.Record{r})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	said := func(minute int, count, cents, largest int64) {
		single := record.Donations{Source: "single", Currency: "EUR", Count: count, Cents: cents, Largest: largest}
		for _, c := range []string{"1", record.AllChannels} {
			w.span(store.Minutes, c, at(0), 0, record.StateClosed, sampled("all", 0, 90_000), single,
				record.Donations{Source: "x", Currency: "EUR", Count: 9, Cents: 9, Largest: 1})
			w.span(store.Minutes, c, at(minute), minute, record.StateClosed, sampled("all", minute, 90_000))
		}
	}
	goal := func(id, channel, category string, cents int64) record.Goal {
		return record.Goal{ID: "e/" + id, Event: "e", Channel: channel, Category: category, Name: id, Money: record.Money{Cents: cents, Currency: "EUR"}}
	}
	list := []record.Goal{
		goal("equal", "1", record.GoalEqual, 4200), goal("of the event", record.AllChannels, record.GoalEqual, 4200),
		goal("old", "1", record.GoalEqual, 1000), goal("new", "1", record.GoalEqual, 3000), goal("other", "1", record.GoalEqual, 1),
	}
	live := totals.NewLive(w, true)
	check := func(name string, now int, want ...string) {
		t.Helper()
		o, cur, err := live.Overview(t.Context(), event, list, at(now))
		if err != nil {
			t.Fatal(err)
		}
		if cur.Fund.Source != "all" || cur.Singles != (totals.Fund{Source: "single", Currency: "EUR"}) {
			t.Errorf("%s: totals of %v, donations of %v", name, cur.Fund, cur.Singles)
		}
		var reached []string
		for _, s := range o.Goals {
			if s.Reached {
				reached = append(reached, s.Goal.Name)
			}
		}
		slices.Sort(reached)
		if slices.Sort(want); !slices.Equal(reached, want) {
			t.Errorf("%s: reached %q, want %q", name, reached, want)
		}
	}
	insert("1", "single", "a", "v", 0, 0, 4200)
	insert("", "single", "a", "w", 0, 2, 4100) // by a collector that knew of no channel
	insert("1", "single", "b", "v", 0, 0, 1000)
	insert("1", "x", "c", "v", 0, 0, 1)
	said(1, 2, 5200, 4200)
	check("first", 1, "equal", "of the event", "old")
	insert("1", "single", "b", "w", 0, 2, 3000)
	said(2, 2, 7200, 4200)
	check("changed", 2, "equal", "of the event", "new")
	insert("1", "single", "b", "x", 0, 3, 2000)
	insert("2", "single", "a", "x", 0, 3, 4200) // moved away
	said(3, 2, 6200, 4200)
	check("moved", 3, "of the event")

	_, given, err := totals.SeriesOfAll(t.Context(), w, "e", totals.Fund{Source: "all", Currency: "EUR"}, totals.Fund{Source: "single", Currency: "EUR"}, at(0), at(3))
	if err != nil || len(given["1"]) != 1 || given["1"][0].Cents != 6200 {
		t.Errorf("%+v, %v", given, err)
	}
}

// A source of single donations alone: totals are sums, and goals are reached to the minute though only
// hours are read of what is past.
func TestLiveOfDonations(t *testing.T) {
	t.Parallel()
	w := open(t)
	var records []record.Record
	hour, total := map[int]record.Donations{}, record.Donations{Source: "s", Currency: "EUR"}
	now := 179
	for m := range now + 1 {
		d := record.Donations{Source: "s", Currency: "EUR", Count: 1, Cents: 1000, Largest: 1000, Seconds: 60}
		if m == 70 {
			d.Cents, d.Largest = 4200, 4200
		}
		r, err := record.Encode(&record.Donation{
			Header: record.Header{Event: "e", Channel: "1", Time: at(m).Add(5 * time.Second), Received: at(m)}, Source: "s", Donation: strconv.Itoa(m), Version: "v",
			Money: record.Money{Cents: d.Cents, Currency: "EUR"},
		})
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
		h := hour[m/60]
		h.Source, h.Currency, h.Count, h.Cents = "s", "EUR", h.Count+1, h.Cents+d.Cents
		hour[m/60] = h
		total.Count, total.Cents, total.Largest, total.Seconds = total.Count+1, total.Cents+d.Cents, max(total.Largest, d.Largest), total.Seconds+60
		for _, c := range []string{"1", record.AllChannels} {
			w.span(store.Minutes, c, at(m), m, record.StateClosed, d)
		}
	}
	for _, c := range []string{"1", record.AllChannels} {
		for h, d := range hour {
			w.span(store.Hours, c, at(60*h), now, record.StateClosed, d)
		}
		w.span(store.Totals, c, start, now, record.StateClosed, total)
	}
	if _, err := w.Insert(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	goal := func(id, channel, category string, cents int64) record.Goal {
		return record.Goal{ID: "e/" + id, Event: "e", Channel: channel, Category: category, Name: id, Money: record.Money{Cents: cents, Currency: "EUR"}}
	}
	list := []record.Goal{
		goal("early", "1", record.GoalDonation, 10_000),
		goal("after", "1", record.GoalDonation, 100_000),
		goal("next", "1", record.GoalDonation, 200_000),
		goal("equal", "1", record.GoalEqual, 4200),
		goal("more", record.AllChannels, record.GoalMoreThan, 1001),
		goal("thousands", "1", record.GoalEqual, 1000),
	}
	for _, history := range []bool{true, false} {
		live := totals.NewLive(w, history)
		for range 2 { // what is kept from one call to the next changes nothing
			o, cur, err := live.Overview(t.Context(), event, list, at(now+1))
			if err != nil {
				t.Fatal(err)
			}
			if cur.Event.Coverage != record.Complete || cur.Event.Raw != total.Cents {
				t.Errorf("%+v", cur.Event)
			}
			for _, s := range o.Goals {
				got := fmt.Sprintf("%t at %d, %d times, missing %d, %s", s.Reached, int(s.ReachedAt.Sub(start).Minutes()), s.Times, s.Missing, s.ETA.Certainty)
				if history && s.Reached && s.Goal.Category == record.GoalDonation || s.Goal.Category != record.GoalDonation || !s.Reached {
					want := map[string]string{
						"early": "true at 9, 1 times, missing 0, unknown", "after": "true at 96, 1 times, missing 0, unknown",
						"equal": "true at 70, 1 times, missing 0, unknown", "more": "true at 70, 1 times, missing 0, unknown",
						"thousands": "true at 0, 179 times, missing 0, unknown",
					}[s.Goal.Name]
					if s.Goal.Name == "next" {
						want, got = "16800 likely in 17", fmt.Sprintf("%d %s in %d", s.Missing, s.ETA.Certainty, int(s.ETA.At.Sub(at(now+1)).Round(time.Minute).Minutes()))
					}
					if got != want {
						t.Errorf("history %t: %s: %s, want %s", history, s.Goal.Name, got, want)
					}
				}
			}
		}
	}
}
