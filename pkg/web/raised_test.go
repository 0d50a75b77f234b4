package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/web"
)

// page serves what a store holds, and returns the page in a language and the snapshot.
func page(t *testing.T, m *memory, lang string) (string, web.Snapshot) {
	t.Helper()
	base, stop := serve(t, web.Config{Store: m, Clock: fixed{noon}})
	defer stop()
	snap := snapshot(t, base, func(*web.Snapshot) bool { return true })
	_, html := get(t, base+"/?lang="+lang)
	return html, *snap
}

func TestRaised(t *testing.T) {
	m := newMemory()
	now := record.Minute(noon)
	m.put(t, store.Events, record.Event{
		Slug: "zevent", Rev: 1, Name: "ZEvent", State: record.EventLive, Start: now.Add(-2 * time.Hour), End: now.Add(9 * time.Hour), TimeZone: "UTC",
		Currency: "EUR", Replicas: 1,
	})
	m.put(t, store.Channels, record.Channel{ID: "zevent/1", Event: "zevent", Channel: "1", Login: "adu", Name: "Adu <b>", Status: record.ChannelActive})
	first := func() (string, web.Snapshot) { return page(t, m, "fr") }
	if html, snap := first(); snap.Raised != nil || !strings.Contains(html, `data-f="money" hidden`) {
		t.Errorf("%+v is shown of nothing", snap.Raised)
	}

	goal := func(id, channel, category string, cents int64, name string) {
		m.put(t, store.Goals, record.Goal{ID: "zevent/" + id, Event: "zevent", Channel: channel, Category: category, Name: name, Money: record.Money{Cents: cents, Currency: "EUR"}})
	}
	goal("a", "1", record.GoalDonation, 200_000, "A song & more")
	goal("b", "1", record.GoalDonation, 50_000, "Done")
	goal("c", record.AllChannels, record.GoalGlobal, 10_000_000, "All of us")
	if html, snap := first(); snap.Raised == nil || snap.Raised.Raw != nil || snap.Raised.Goals != 3 || !strings.Contains(html, "aucune source de dons") {
		t.Errorf("%+v of goals alone", snap.Raised)
	}

	// 20 euros a minute for half an hour, and a correction.
	for minute := range 61 {
		at := now.Add(time.Duration(minute-60) * time.Minute)
		cents := int64(minute) * 2000
		for channel, d := range map[string]record.Donations{
			"1":                {Source: "zevent.fr", Currency: "EUR", Samples: 1, First: cents, FirstAt: at, Total: cents, TotalAt: at},
			record.AllChannels: {Source: "zevent.fr", Currency: "EUR", Sum: cents, SumAt: at, Channels: 1},
		} {
			m.put(t, store.Minutes, record.Statistics{
				ID: record.StatisticsID("zevent", channel, at), Event: "zevent", Channel: channel, Time: at, State: record.StateClosed, Minutes: 1, Through: at,
				Donations: []record.Donations{d},
			})
			if minute == 60 {
				m.put(t, store.Totals, record.Statistics{
					ID: record.StatisticsID("zevent", channel, time.Time{}), Event: "zevent", Channel: channel, Time: at, State: record.StateClosed, Through: at,
					Donations: []record.Donations{d},
				})
			}
		}
	}
	m.put(t, store.Corrections, record.Correction{
		ID: "zevent/x", Event: "zevent", Channel: "1", Source: "zevent.fr", Kind: record.CorrectionAmount, Time: now.Add(-time.Hour), Cents: 12_345, Currency: "EUR",
	})
	html, snap := first()
	r := snap.Raised
	if r == nil || r.Raw == nil || *r.Raw != 120_000 || *r.Corrected != 132_345 || r.Quality != record.Complete || r.Reached != 1 || len(r.Next) != 2 {
		t.Fatalf("%+v", r)
	}
	if r.Next[0].Whose != "" || r.Next[1].Name != "A song & more" || r.Next[1].Missing != 67_655 || r.Next[1].Certainty != "likely" ||
		r.Next[1].ETA == nil || r.Next[1].ETA.Sub(now).Round(time.Minute) != 34*time.Minute {
		t.Errorf("%+v", r.Next)
	}
	for _, want := range []string{
		"1\u00a0323\u00a0€", "la source dit 1\u00a0200\u00a0€ : des corrections", "atteints : 1 sur 3", "Adu &lt;b&gt;", "A song &amp; more",
		`value="661"`, "encore 676\u00a0€ sur 2\u00a0000\u00a0€ · vers ", "probable",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if html, _ := page(t, m, "en"); !strings.Contains(html, "the source says €1,200: corrections apply") || !strings.Contains(html, "€676 of €2,000 to go") {
		t.Error("not in English")
	}
}
