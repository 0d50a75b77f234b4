package totals_test

import (
	"reflect"
	"testing"

	"github.com/tungstene/tungstene/pkg/charity/totals"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// summed fills a world with an hour of two channels whose totals are the event's. Channel 2 is missing
// from the answers of some minutes; where told, these say what it had last all the same.
func summed(t *testing.T, told bool) world {
	t.Helper()
	w := open(t)
	for _, c := range []string{"1", "2"} {
		w.put(store.Channels, "e/"+c, record.Channel{ID: "e/" + c, Event: "e", Channel: c})
	}
	var whole, last, first record.Donations
	for m := range 58 {
		one := sampled("s", m, int64(1000+100*m))
		missing := m >= 10 && m < 13 || m >= 20 && m < 31
		if !missing {
			last = sampled("s", m, int64(50_000+200*m))
		}
		whole = record.Donations{Source: "s", Currency: "EUR", Sum: one.Total, SumAt: at(m), Channels: 1}
		if !missing || told {
			two := last
			two.FirstAt, two.TotalAt = at(m), at(m)
			w.span(store.Minutes, "2", at(m), m, record.StateClosed, two)
			whole.Sum, whole.Channels = whole.Sum+two.Total, 2
		}
		w.span(store.Minutes, "1", at(m), m, record.StateClosed, one)
		w.span(store.Minutes, record.AllChannels, at(m), m, record.StateClosed, whole)
		if m == 0 {
			first = last
		}
	}
	one := sampled("s", 57, 1000+5700)
	one.First, one.FirstAt = 1000, at(0)
	last.First, last.FirstAt = first.First, first.FirstAt
	for channel, d := range map[string]record.Donations{"1": one, "2": last, record.AllChannels: whole} {
		w.span(store.Hours, channel, at(0), 57, record.StateClosed, d)
		w.span(store.Totals, channel, start, 57, record.StateClosed, d)
	}
	return w
}

// A channel that some answers lack has not lost what it had: not in the event's series, whether they begin
// before or within that time, nor in what goals and their times go by.
func TestSumsThatLackAChannel(t *testing.T) {
	t.Parallel()
	lacking, whole := summed(t, false), summed(t, true)
	fund := totals.Fund{Source: "s", Currency: "EUR"}
	for _, from := range []int{0, 11, 25, 40} {
		want, err := totals.Series(t.Context(), whole, "e", record.AllChannels, fund, at(from), at(58))
		if err != nil || len(want) != 58-from {
			t.Fatalf("%d samples, %v", len(want), err)
		}
		got, err := totals.Series(t.Context(), lacking, "e", record.AllChannels, fund, at(from), at(58))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("from %d: %v, %v, want %v", from, got, err, want)
		}
		all, _, err := totals.SeriesOfAll(t.Context(), lacking, "e", fund, fund, at(from), at(58))
		if err != nil || !reflect.DeepEqual(all[record.AllChannels], want) {
			t.Errorf("from %d: %v, %v, want %v", from, all[record.AllChannels], err, want)
		}
	}
	list := []record.Goal{
		{ID: "e/a", Event: "e", Channel: record.AllChannels, Category: record.GoalGlobal, Name: "next", Money: record.Money{Cents: 70_000, Currency: "EUR"}},
		{ID: "e/b", Event: "e", Channel: record.AllChannels, Category: record.GoalGlobal, Name: "while it was away", Money: record.Money{Cents: 56_600, Currency: "EUR"}},
	}
	for _, history := range []bool{false, true} {
		a, b := totals.NewLive(lacking, history), totals.NewLive(whole, history)
		for _, now := range []int{58, 59} { // what is read again changes nothing
			got, _, err := a.Overview(t.Context(), event, list, at(now))
			if err != nil {
				t.Fatal(err)
			}
			want, _, err := b.Overview(t.Context(), event, list, at(now))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("history %t at %d: %+v, want %+v", history, now, got, want)
			}
		}
	}
}

// Donations that come late, or of which the source says something else, count for goals at once.
func TestLateDonationsCountForGoals(t *testing.T) {
	t.Parallel()
	w := open(t)
	said := func(cents int64) record.Donations {
		return record.Donations{Source: "s", Currency: "EUR", Count: 1, Cents: cents, Largest: cents}
	}
	put := func(early int64) {
		for _, c := range []string{"1", record.AllChannels} {
			w.span(store.Minutes, c, at(5), 5, record.StateClosed, said(early))
			w.span(store.Minutes, c, at(170), 170, record.StateClosed, said(700))
			w.span(store.Hours, c, at(0), 178, record.StateClosed, said(early))
			w.span(store.Hours, c, at(120), 178, record.StateClosed, said(700))
			w.span(store.Totals, c, start, 178, record.StateClosed, said(early+700))
		}
	}
	list := []record.Goal{{ID: "e/a", Event: "e", Channel: "1", Category: record.GoalDonation, Name: "a", Money: record.Money{Cents: 1200, Currency: "EUR"}}}
	for _, history := range []bool{false, true} {
		live := totals.NewLive(w, history)
		for i, early := range []int64{300, 600, 400} {
			put(early)
			o, cur, err := live.Overview(t.Context(), event, list, at(179+i))
			if err != nil {
				t.Fatal(err)
			}
			if g := o.Goals[0]; g.Current != early+700 || cur.Event.Raw != g.Current || g.Reached != (early == 600) {
				t.Errorf("%d cents came late: %+v, total %d", early, g, cur.Event.Raw)
			}
		}
	}
}
