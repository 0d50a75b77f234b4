package totals_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/charity/goals"
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

// Goals that single donations decide are as if all donations had been looked at, by the version of each that
// counts, from one reading to the next and after one that broke off.
func TestSinglesThatDecide(t *testing.T) {
	t.Parallel()
	w := &breaking{world: open(t)}
	rapid.Check(t, func(r *rapid.T) {
		for _, c := range []store.Collection{store.Records, store.Totals} {
			if _, err := w.Delete(t.Context(), store.Query{Collection: c, Event: "e"}); err != nil {
				r.Fatal(err)
			}
		}
		live := totals.NewLive(w, false)
		var list []record.Goal
		for i := range rapid.IntRange(1, 6).Draw(r, "goals") {
			list = append(list, record.Goal{
				ID: fmt.Sprint("e/", i), Event: "e", Channel: rapid.SampledFrom([]string{"1", "2", record.AllChannels}).Draw(r, "channel"),
				Category: rapid.SampledFrom([]string{record.GoalEqual, record.GoalMoreThan, record.GoalLargest}).Draw(r, "category"), Name: "a",
				Money: record.Money{Cents: rapid.Int64Range(1, 9).Draw(r, "goal"), Currency: "EUR"},
			})
		}
		counts := map[string]*record.Donation{}
		for now := range rapid.IntRange(1, 4).Draw(r, "rounds") {
			for i := range rapid.IntRange(1, 6).Draw(r, "donations") {
				d := &record.Donation{
					Header: record.Header{
						Event: "e", Channel: rapid.SampledFrom([]string{"", "1", "2"}).Draw(r, "to"), Received: at(now),
						Time: at(0).Add(time.Duration(rapid.IntRange(0, 3).Draw(r, "second")) * time.Second),
					},
					Source: "s", Donation: strconv.Itoa(rapid.IntRange(0, 3).Draw(r, "id")),
					Money: record.Money{Cents: rapid.Int64Range(1, 9).Draw(r, "cents"), Currency: "EUR"},
				}
				if i == 0 { // a new one in each round: where sums stay as they are, nothing is read
					d.Donation = fmt.Sprint("new", now)
				}
				if old := counts[d.Donation]; old != nil {
					d.Time = old.Time
				}
				encoded, err := record.Encode(d)
				if err != nil {
					r.Fatal(err)
				}
				res, err := w.Insert(t.Context(), []record.Record{encoded})
				if err != nil {
					r.Fatal(err)
				}
				if old := counts[d.Donation]; res[0].Outcome == store.Inserted && (old == nil || record.CompareVersions(d.Versioned(), old.Versioned()) > 0) {
					counts[d.Donation] = d
				}
			}
			singles, sums := map[string][]goals.Single{record.AllChannels: nil, "1": nil, "2": nil}, map[string]record.Donations{}
			for _, d := range counts {
				for _, c := range []string{d.Channel, record.AllChannels} {
					if c != "" {
						x := sums[c]
						singles[c] = append(singles[c], goals.Single{Time: d.Time, Cents: d.Money.Cents})
						sums[c] = record.Donations{
							Source: "s", Currency: "EUR", Count: x.Count + 1, Cents: x.Cents + d.Money.Cents, Largest: max(x.Largest, d.Money.Cents),
						}
					}
				}
			}
			for _, c := range []string{"1", "2", record.AllChannels} {
				w.span(store.Totals, c, start, now, record.StateClosed, slices.DeleteFunc([]record.Donations{sums[c]}, func(d record.Donations) bool { return d.Count == 0 })...)
			}
			if w.after = rapid.IntRange(0, 3).Draw(r, "breaks after"); w.after > 0 {
				_, _, _ = live.Overview(t.Context(), event, list, at(now+1)) // it breaks off, or there was nothing new
			}
			w.after = 0
			got, _, err := live.Overview(t.Context(), event, list, at(now+1))
			if err != nil {
				r.Fatal(err)
			}
			board := goals.NewBoard(goals.Config{Window: 30 * time.Minute, End: event.End, Currency: "EUR"})
			for c, of := range singles {
				board.SetSingles(c, of)
			}
			if want := board.Evaluate(list, at(now+1)); !reflect.DeepEqual(got.Goals, want.Goals) {
				r.Fatalf("round %d: %+v, want %+v", now, got.Goals, want.Goals)
			}
		}
	})
}

// breaking is a world that gives so many donations, and then an error; all of them where after is 0.
type breaking struct {
	world

	after int
}

func (b *breaking) Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	return func(yield func(bson.Raw, error) bool) {
		n := 0
		for raw, err := range b.world.Find(ctx, q) {
			if n++; q.Collection == store.Records && b.after > 0 && n > b.after {
				yield(nil, errors.New("the store is away"))
				return
			}
			if !yield(raw, err) {
				return
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
