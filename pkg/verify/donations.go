package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/store"
)

// Donations is what a comparison of a ledger of donations with an event found.
type Donations struct {
	// Source is the charity source that was compared.
	Source string `json:"donations_source"`
	// Donations counts the ledger's donations within the event, RaisedCents is their sum.
	Donations   int64 `json:"donations"`
	RaisedCents int64 `json:"raised_cents"`
	// Stored counts those of them that the store has; Lost is what lacks.
	Stored int64 `json:"donations_stored"`
	Lost   int64 `json:"donations_lost"`
	// Currency is that of the ledger; all cents are its.
	Currency string `json:"donations_currency"`
	// Wrong counts donations whose stored version that counts has another amount, channel or time than the
	// ledger; Unexpected those that the ledger does not have.
	Wrong      int64 `json:"donations_wrong"`
	Unexpected int64 `json:"donations_unexpected"`
	// Versions counts stored versions beyond the first of a donation: the source changed what it says.
	Versions int64 `json:"donation_versions"`
	// Counted and CountedCents are the sums over the event's closed minute documents.
	Counted      int64 `json:"donations_counted"`
	CountedCents int64 `json:"donations_counted_cents"`
	// Outside counts donations of the ledger whose time lies outside of the event; nothing keeps them.
	Outside int64 `json:"donations_outside"`
	// MinutesDiffering counts closed minute documents, of channels and of the event, that don't say what
	// the ledger says, MinutesOpen the event's minutes with donations that are not closed.
	MinutesDiffering int64 `json:"donation_minutes_differing"`
	MinutesOpen      int64 `json:"donation_minutes_open"`
	// Examples are some of what is wrong, in words.
	Examples []string `json:"donation_examples,omitempty"`
}

// OK reports whether nothing is lost, doubled or otherwise wrong.
func (d Donations) OK() bool {
	return d.Lost == 0 && d.Wrong == 0 && d.Unexpected == 0 && d.MinutesDiffering == 0
}

func (d *Donations) example(format string, args ...any) {
	if len(d.Examples) < maxExamples {
		d.Examples = append(d.Examples, fmt.Sprintf(format, args...))
	}
}

// ErrSources says that several sources have single donations and none was named, or none has any.
var ErrSources = errors.New("name the charity source with --donations-source")

// gift is a donation, of the ledger or stored.
type gift struct {
	channel  string
	cents    int64
	currency string
	at       int64 // Unix milliseconds

	version record.DonationVersion
}

func (g gift) same(o gift) bool {
	return g.channel == o.channel && g.cents == o.cents && g.currency == o.currency && g.at == o.at
}

// purse is what was given in a channel's minute.
type purse struct{ count, cents int64 }

// RunDonations compares a ledger of donations with an event in a store: with the newest version of each
// stored donation of a source, and with the closed minute documents. An empty event means the only one
// there is, an empty source the only one that has single donations.
func RunDonations(ctx context.Context, s Store, event, source string, ledger iter.Seq2[sim.Donated, error]) (Donations, error) {
	d := Donations{Source: source}
	ev, err := FindEvent(ctx, s, event)
	if err != nil {
		return d, err
	}
	told := map[string]gift{}
	expected := map[cell]purse{}
	for e, err := range ledger {
		if err != nil {
			return d, err
		}
		at := time.UnixMilli(e.CreatedMS)
		if at.Before(ev.Start) || !at.Before(ev.End) {
			d.Outside++
			continue
		}
		if _, twice := told[e.Donation]; twice {
			return d, fmt.Errorf("donation %s is in the ledger twice", e.Donation)
		}
		told[e.Donation] = gift{channel: e.Room, cents: e.Cents, currency: e.Currency, at: e.CreatedMS}
		d.Donations++
		d.RaisedCents += e.Cents
		d.Currency = e.Currency
		for _, channel := range slices.Compact([]string{record.AllChannels, e.Room}) {
			if channel == "" {
				continue
			}
			at := cell{channel, record.Minute(at).Unix()}
			p := expected[at]
			p.count, p.cents = p.count+1, p.cents+e.Cents
			expected[at] = p
		}
	}
	kept, err := d.readKept(ctx, s, ev)
	if err != nil {
		return d, err
	}
	for _, id := range slices.Sorted(maps.Keys(told)) {
		want := told[id]
		have, ok := kept[id]
		switch {
		case !ok:
			d.Lost++
			d.example("donation %s (%d cents to %s) is not in the store", id, want.cents, cmp.Or(want.channel, "nobody in particular"))
			continue
		case !have.same(want):
			d.Wrong++
			d.example("donation %s is stored as %d %s to %q at %s; in the ledger %d %s to %q at %s", id,
				have.cents, have.currency, have.channel, stampMS(have.at), want.cents, want.currency, want.channel, stampMS(want.at))
		}
		d.Stored++
	}
	for id, have := range kept {
		if _, ok := told[id]; !ok {
			d.Unexpected++
			d.example("donation %s of %d cents is stored and not in the ledger", id, have.cents)
		}
	}
	err = d.readMinutes(ctx, s, ev, expected)
	return d, err
}

func stampMS(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05Z") }

// readKept reads of every stored donation the version that counts.
func (d *Donations) readKept(ctx context.Context, s Store, ev record.Event) (map[string]gift, error) {
	bySource := map[string]map[string]gift{}
	versions := map[string]int64{}
	for raw, err := range s.Find(ctx, store.Query{Collection: store.Records, Event: ev.Slug, Kind: record.KindDonation}) {
		if err != nil {
			return nil, fmt.Errorf("read the stored donations: %w", err)
		}
		var r record.Donation
		if err := record.Decode(raw, &r); err != nil {
			return nil, err
		}
		if d.Source != "" && r.Source != d.Source {
			continue
		}
		of := bySource[r.Source]
		if of == nil {
			of = map[string]gift{}
			bySource[r.Source] = of
		}
		now := gift{
			channel: r.Channel, cents: r.Money.Cents, currency: r.Money.Currency, at: r.Time.UnixMilli(), version: r.Versioned(),
		}
		before, ok := of[r.Donation]
		if ok {
			versions[r.Source]++
		}
		if !ok || record.CompareVersions(now.version, before.version) > 0 {
			of[r.Donation] = now
		}
	}
	if d.Source == "" {
		switch len(bySource) {
		case 0:
		case 1:
			for name := range bySource {
				d.Source = name
			}
		default:
			return nil, fmt.Errorf("the event has single donations of %s: %w", strings.Join(slices.Sorted(maps.Keys(bySource)), ", "), ErrSources)
		}
	}
	d.Versions = versions[d.Source]
	return bySource[d.Source], nil
}

// readMinutes compares the closed minute documents.
func (d *Donations) readMinutes(ctx context.Context, s Store, ev record.Event, expected map[cell]purse) error {
	closed := map[int64]bool{}
	got := map[cell]purse{}
	for raw, err := range s.Find(ctx, store.Query{Collection: store.Minutes, Event: ev.Slug}) {
		if err != nil {
			return fmt.Errorf("read the minute documents: %w", err)
		}
		var m record.Statistics
		if err := record.Decode(raw, &m); err != nil {
			return err
		}
		if m.State != record.StateClosed {
			continue
		}
		at := cell{m.Channel, m.Time.Unix()}
		closed[at.minute] = true
		for _, k := range m.Donations {
			if k.Source == d.Source && k.Count != 0 {
				p := got[at]
				p.count, p.cents = p.count+k.Count, p.cents+k.Cents
				got[at] = p
			}
		}
		if m.Channel == record.AllChannels {
			d.Counted, d.CountedCents = d.Counted+got[at].count, d.CountedCents+got[at].cents
		}
	}
	open := map[int64]bool{}
	for at := range expected {
		if !closed[at.minute] {
			open[at.minute] = true
			continue
		}
		if _, ok := got[at]; !ok {
			got[at] = purse{}
		}
	}
	d.MinutesOpen = int64(len(open))
	for _, at := range slices.SortedFunc(maps.Keys(got), byMinute) {
		if want, have := expected[at], got[at]; have != want {
			d.MinutesDiffering++
			d.example("channel %s, minute %s: %d donations of %d cents in the closed document, %d of %d in the ledger",
				at.channel, time.Unix(at.minute, 0).UTC().Format(time.RFC3339), have.count, have.cents, want.count, want.cents)
		}
	}
	return nil
}

// RecordedTotals is how the running totals of a replayed event compare with the recorded rows.
type RecordedTotals struct {
	// Compared counts the rows of the event that have a total; Differing those whose closed minute
	// document has no sample, or another total.
	Compared  int64 `json:"recorded_totals_compared"`
	Differing int64 `json:"recorded_totals_differing"`
	// LastCents is the total of the last of those minute documents.
	LastCents int64    `json:"recorded_total_cents"`
	Examples  []string `json:"recorded_totals_examples,omitempty"`
}

// Totals compares the total of every recorded row within the event with what a source showed of the event
// in that minute.
func Totals(ctx context.Context, s Store, event, source string, rows []sim.Minute) (RecordedTotals, error) {
	var r RecordedTotals
	ev, err := FindEvent(ctx, s, event)
	if err != nil {
		return r, err
	}
	for _, row := range rows {
		if row.Time.Before(ev.Start) || !row.Time.Before(ev.End) || row.Cents == sim.NotRecorded {
			continue
		}
		r.Compared++
		what, total, err := shownTotal(ctx, s, ev, source, row.Time)
		if err != nil {
			return r, err
		}
		if what == "" {
			if r.LastCents = total; total != row.Cents {
				what = fmt.Sprintf("a total of %d cents, recorded %d", total, row.Cents)
			}
		}
		if what != "" {
			r.Differing++
			if len(r.Examples) < maxExamples {
				r.Examples = append(r.Examples, row.Time.Format(time.RFC3339)+": "+what)
			}
		}
	}
	return r, nil
}

// shownTotal is the event's total in a minute, or in words why there is none.
func shownTotal(ctx context.Context, s Store, ev record.Event, source string, minute time.Time) (lacks string, cents int64, err error) {
	var raw bson.Raw
	raw, err = s.Get(ctx, store.Minutes, record.StatisticsID(ev.Slug, record.AllChannels, minute))
	if errors.Is(err, store.ErrNotFound) {
		return "there is no minute document", 0, nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("read the minute %s: %w", minute, err)
	}
	var m record.Statistics
	if err := record.Decode(raw, &m); err != nil {
		return "", 0, err
	}
	if m.State != record.StateClosed {
		return "the minute is not closed", 0, nil
	}
	for _, k := range m.Donations {
		if k.Source == source && k.Samples > 0 {
			return "", k.Total, nil
		}
	}
	return "no total was sampled", 0, nil
}
