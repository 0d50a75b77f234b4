package custody_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/custody"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// give stores what a charity source says: donations of anna and of carl, an answer that names both, a
// running total, and a dead letter with the like.
func (w *world) give() {
	donation := func(id, donor string, cents int64) *record.Donation {
		return &record.Donation{
			Header: w.header(w.start.Add(2 * time.Minute)), Source: "s", Donation: id, Money: record.Money{Cents: cents, Currency: "EUR"},
			Donor: donor, Member: "9", Country: "FR", Length: 5, Text: "bravo", Raw: `{"row":"` + donor + `"}`,
		}
	}
	answer := &record.Answer{
		Header: w.header(w.start.Add(3 * time.Minute)), Source: "s", Request: "/", Status: 200, Hash: "h",
		Body: `{"rows":["` + anna + `","` + carl + `"]}`,
	}
	answer.Channel = ""
	w.insert(
		w.encode(donation("1", anna, 500)), w.encode(donation("2", carl, 700)), w.encode(answer),
		w.encode(&record.Amount{Header: w.header(w.start.Add(2 * time.Minute)), Source: "s", Money: record.Money{Cents: 1200, Currency: "EUR"}}),
		w.message(w.start.Add(time.Minute), carl, "hello"),
	)
	again := *answer
	again.Hash = "dead"
	body, err := record.EncodeBatch([]record.Record{w.encode(&again), w.encode(donation("3", anna, 900))}, record.Zstd)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.put(store.Letters, "given", &record.Letter{ID: "given", Rev: 1, Event: event, Body: body, Records: 2, State: record.LetterDead, Time: w.start})
	w.put(store.Corrections, event+"/c", &record.Correction{ID: event + "/c", Rev: 1, Event: event, Kind: record.CorrectionAmount, Time: w.start})
	w.put(store.Goals, event+"/g", &record.Goal{ID: event + "/g", Rev: 1, Event: event, Category: record.GoalGlobal})
}

// donations are those stored, by the source's id of them.
func (w *world) donations() map[string]record.Donation {
	w.tb.Helper()
	out := map[string]record.Donation{}
	for raw, err := range w.store.Find(w.ctx, store.Query{Collection: store.Records, Event: event, Kind: record.KindDonation}) {
		var d record.Donation
		if err == nil {
			err = record.Decode(raw, &d)
		}
		if err != nil {
			w.tb.Fatal(err)
		}
		out[d.Donation] = d
	}
	return out
}

func (w *world) givenInAll(cents int64) {
	w.tb.Helper()
	d, _ := get[record.Statistics](w, store.Totals, event+"/"+record.AllChannels)
	if len(d.Donations) != 1 || d.Donations[0].Count != 2 || d.Donations[0].Cents != cents || d.Donations[0].Sum != 1200 {
		w.tb.Errorf("the totals say %+v", d.Donations)
	}
}

func TestAnswersCrash(t *testing.T) {
	t.Parallel()
	crashes(t, func(w *world) {
		w.give()
		w.frozen()
		w.patch(func(e *record.Event) { e.AnswerDays = 1 })
		w.pass(24 * time.Hour)
	}, func(w *world) bool {
		e, _ := get[record.Event](w, store.Events, event)
		return !e.AnswersErased.IsZero() && w.sealed()
	}, func(w *world) {
		if left := w.traces(`"rows"`, `"row"`); len(left) > 0 {
			w.tb.Errorf("answers are left: %q", left)
		}
		for id, d := range w.donations() {
			if d.Donor == "" || d.Country != "FR" || d.Text != "bravo" || d.Raw != "" {
				w.tb.Errorf("donation %s is %+v", id, d)
			}
		}
		w.signed(2, record.CauseRetention)
		w.exact()
		w.givenInAll(1200)
	})
}

func TestDonorsCrash(t *testing.T) {
	t.Parallel()
	crashes(t, func(w *world) {
		w.give()
		w.frozen()
		w.patch(func(e *record.Event) { e.RecordDays = 2 })
		w.pass(48 * time.Hour)
	}, func(w *world) bool {
		e, _ := get[record.Event](w, store.Events, event)
		return !e.RecordsErased.IsZero() && w.sealed() && w.count(store.Query{Collection: store.Records, Event: event}) == 3 &&
			w.count(store.Query{Collection: store.Letters}) == 0
	}, func(w *world) {
		if left := w.traces(anna, carl, "bravo"); len(left) > 0 {
			w.tb.Errorf("donors are left: %q", left)
		}
		for id, d := range w.donations() {
			if d.Donor+d.Country != "" || d.Length != 0 || d.Money.Cents == 0 || d.Member != "9" {
				w.tb.Errorf("donation %s is %+v", id, d)
			}
		}
		e, _ := get[record.Event](w, store.Events, event)
		if e.TextErased.IsZero() || e.AnswersErased.IsZero() {
			w.tb.Errorf("texts erased %v, answers %v", e.TextErased, e.AnswersErased)
		}
		w.givenInAll(1200)
	})
}

// Who is forgotten as a donor leaves the money, and the answers that name others.
func TestForgetDonor(t *testing.T) {
	t.Parallel()
	crashes(t, func(w *world) {
		w.give()
		w.settled()
		w.forget(anna, annaName)
	}, func(w *world) bool { return w.forgotten(anna) }, func(w *world) {
		if left := w.traces(anna, annaName); len(left) > 0 {
			w.tb.Errorf("the person is left: %q", left)
		}
		d := w.donations()
		if one := d["1"]; one.Money.Cents != 500 || one.Donor+one.Country+one.Text+one.Raw != "" || one.Length != 0 {
			w.tb.Errorf("the donation is %+v", one)
		}
		if two := d["2"]; two.Donor != carl || two.Text != "bravo" {
			w.tb.Errorf("another's donation is %+v", two)
		}
		if len(w.traces(`{"rows":["`+record.Erased+`","`+carl+`"]}`)) == 0 {
			w.tb.Error("the answer is gone")
		}
		w.settled()
		w.exact()
		w.givenInAll(1200)
	})
}

// Statistics that say another sum than the donations are found.
func TestReconcileDonations(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.give()
		w.settled()
		w.exact()
		id := record.StatisticsID(event, "1", record.Minute(w.start.Add(2*time.Minute)))
		d, _ := get[record.Statistics](w, store.Minutes, id)
		if len(d.Donations) != 1 {
			w.tb.Fatalf("%+v", d)
		}
		d.Donations[0].Cents++
		w.put(store.Minutes, id, &d)
		var drifts []custody.Drift
		if _, err := custody.Reconcile(w.ctx, w.store, event, time.Time{}, time.Time{}, func(d custody.Drift) { drifts = append(drifts, d) }); err != nil {
			w.tb.Fatal(err)
		}
		if !slices.ContainsFunc(drifts, func(d custody.Drift) bool {
			return d.Collection == store.Minutes && d.Channel == "1" && d.Field == "donations"
		}) {
			w.tb.Errorf("found %+v", drifts)
		}
	})
}

// Corrections and goals are sealed with what they speak of.
func TestManifestOfDonations(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.give()
		w.frozen()
		m, _ := get[record.Manifest](w, store.Manifests, event)
		sealed := map[string]int64{}
		for _, p := range m.Parts {
			sealed[p.Collection] += p.Documents
		}
		if sealed[string(store.Corrections)] != 1 || sealed[string(store.Goals)] != 1 || sealed[string(store.Records)] != 5 {
			w.tb.Errorf("sealed are %v", sealed)
		}
	})
}
