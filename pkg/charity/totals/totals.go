// Package totals reads out of a store what charity sources say was raised in an event, and what the
// corrections make of it. A raw total is the last sample that the source showed, or where it shows
// none the sum of its single donations; nothing here changes a document.
package totals

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/charity/corrections"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Store is the part of store.Store that is read.
type Store interface {
	Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error]
	Get(ctx context.Context, c store.Collection, id string) (bson.Raw, error)
}

// Fund is what is never added to another: what one source tells in one currency.
type Fund struct {
	Source   string `json:"source"`
	Currency string `json:"currency"`
}

// What a raw total is.
const (
	BySamples   = "samples"   // the total that the source shows
	ByChannels  = "channels"  // of the event: the sum of the totals that the source shows of channels
	ByDonations = "donations" // the sum of single donations, of a source that shows no totals
)

// Main chooses the fund whose numbers are the event's, of those in the Donations of its documents (total
// documents of its channels and of itself, any order): the source that the event names; else the first
// by name that has running totals, else the first. Of several currencies the event's own, else the
// first by name. It reports false where no source has said anything yet.
func Main(e record.Event, of iter.Seq[record.Donations]) (Fund, bool) {
	sampled := map[Fund]bool{}
	for d := range of {
		if d.Currency != "" {
			f := Fund{d.Source, d.Currency}
			sampled[f] = sampled[f] || d.Samples > 0 || !d.SumAt.IsZero()
		}
	}
	if len(sampled) == 0 {
		return Fund{}, false
	}
	rank := func(ok bool) int {
		if ok {
			return 0
		}
		return 1
	}
	return slices.MinFunc(slices.Collect(maps.Keys(sampled)), func(a, b Fund) int {
		return cmp.Or(
			cmp.Compare(rank(e.Donations == a.Source), rank(e.Donations == b.Source)),
			cmp.Compare(rank(sampled[a]), rank(sampled[b])),
			cmp.Compare(a.Source, b.Source),
			cmp.Compare(rank(a.Currency == e.Currency), rank(b.Currency == e.Currency)),
			cmp.Compare(a.Currency, b.Currency),
		)
	}), true
}

// Raw is the raw running total by what is said of a span that begins with the event, of a channel or of
// the event (record.AllChannels), and what it is (BySamples, …). Of a sum of single donations Time is
// the zero time. It reports false where nothing is said.
func Raw(channel string, d record.Donations) (s corrections.Sample, by string, ok bool) {
	switch {
	case d.Samples > 0:
		return corrections.Sample{Time: d.TotalAt, Cents: d.Total}, BySamples, true
	case channel == record.AllChannels && !d.SumAt.IsZero():
		return corrections.Sample{Time: d.SumAt, Cents: d.Sum}, ByChannels, true
	case d.Currency != "":
		return corrections.Sample{Cents: d.Cents}, ByDonations, true
	}
	return corrections.Sample{}, "", false
}

// Pick is what a document's Donations say of a fund; false where it is not among them.
func Pick(list []record.Donations, f Fund) (record.Donations, bool) {
	i := slices.IndexFunc(list, func(d record.Donations) bool { return d.Source == f.Source && d.Currency == f.Currency })
	if i < 0 {
		return record.Donations{}, false
	}
	return list[i], true
}

// Corrections are all of an event, by when they were made, withdrawn ones and withdrawals among them.
func Corrections(ctx context.Context, s Store, event string) ([]record.Correction, error) {
	list, err := read[record.Correction](ctx, s, store.Query{Collection: store.Corrections, Event: event})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b record.Correction) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// Goals are all of an event, deleted ones among them, by id.
func Goals(ctx context.Context, s Store, event string) ([]record.Goal, error) {
	list, err := read[record.Goal](ctx, s, store.Query{Collection: store.Goals, Event: event})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b record.Goal) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// Effects are what the standing corrections of one fund add to the totals of an event.
type Effects struct {
	channels map[string][]corrections.Effect
	event    []corrections.Effect
}

// Of are the effects on a channel's total, or on the event's (record.AllChannels).
func (e Effects) Of(channel string) []corrections.Effect {
	if channel == record.AllChannels {
		return e.event
	}
	return e.channels[channel]
}

// At is the sum of the effects on a channel's total, or on the event's, at a moment, in cents. A raw
// total that was sampled then and At add up to the corrected one.
func (e Effects) At(channel string, t time.Time) int64 { return corrections.Sum(e.Of(channel), t) }

// On is the sum of the effects, at a moment, on a total that was last sampled before it (Effect.On).
func (e Effects) On(channel string, sample, now time.Time) int64 {
	return corrections.SumOn(e.Of(channel), sample, now)
}

// ReadEffects computes what corrections add to the totals of a fund. It reads the minutes of those
// channels alone whose corrections depend on what the total was (resets and mirrors). by is what the
// event's own raw total is: with ByChannels and ByDonations it follows its channels, with BySamples
// only where a correction says so.
func ReadEffects(ctx context.Context, s Store, event string, f Fund, by string, list []record.Correction) (Effects, error) {
	standing := slices.DeleteFunc(corrections.Standing(list), func(c record.Correction) bool {
		return c.Source != f.Source || c.Currency != "" && c.Currency != f.Currency
	})
	out := Effects{channels: map[string][]corrections.Effect{}}
	if len(standing) == 0 {
		return out, nil
	}
	of := map[string][]record.Correction{}
	for _, c := range standing {
		of[c.Channel] = append(of[c.Channel], c)
	}
	var all []corrections.Effect
	for _, channel := range slices.Sorted(maps.Keys(of)) {
		var series []corrections.Sample
		if len(corrections.Moments(of[channel])) > 0 {
			var err error
			if series, err = Series(ctx, s, event, channel, f, time.Time{}, time.Time{}); err != nil {
				return Effects{}, err
			}
		}
		if channel == record.AllChannels {
			_, out.event = corrections.Apply(series, of[channel])
			continue
		}
		_, effects := corrections.Apply(series, of[channel])
		out.channels[channel] = effects
		all = append(all, effects...)
	}
	for _, e := range all {
		if by != BySamples || e.Correction.Total {
			out.event = append(out.event, e)
		}
	}
	return out, nil
}

// Series is the raw running total of a channel, or of the event (record.AllChannels), by time: at most
// the first and the last sample of each minute. Minutes before from and at or after to are left out; a
// zero time bounds nothing. A sum of single donations is told at the last millisecond of each minute
// that has one, and is summed from the event's beginning.
func Series(ctx context.Context, s Store, event, channel string, f Fund, from, to time.Time) ([]corrections.Sample, error) {
	var list []record.Donations
	var minutes []time.Time
	q := store.Query{Collection: store.Minutes, Event: event, Channel: channel, To: to}
	for d, err := range scan(ctx, s, q) {
		if err != nil {
			return nil, err
		}
		if said, ok := Pick(d.Donations, f); ok {
			list, minutes = append(list, said), append(minutes, d.Time)
		}
	}
	by := ByDonations
	for _, d := range list {
		if _, b, ok := Raw(channel, d); ok && (b == BySamples || b == ByChannels && by == ByDonations) {
			by = b
		}
	}
	if by == ByChannels && lacks(list) {
		q.Channel = ""
		list, minutes = nil, nil
		for d, err := range newCarrier(s, event, f, nil).whole(ctx, scan(ctx, s, q)) {
			if err != nil {
				return nil, err
			}
			if said, ok := Pick(d.Donations, f); ok && d.Channel == channel {
				list, minutes = append(list, said), append(minutes, d.Time)
			}
		}
	}
	var out []corrections.Sample
	var sum int64
	for i, d := range list {
		sum += d.Cents
		if !minutes[i].Before(from) {
			out = append(out, samples(d, by, minutes[i], sum)...)
		}
	}
	return out, nil
}

// lacks reports whether a sum is of fewer channels than one before it.
func lacks(list []record.Donations) bool {
	most := int64(0)
	for _, d := range list {
		if most = max(most, d.Channels); !d.SumAt.IsZero() && d.Channels < most {
			return true
		}
	}
	return false
}

// samples are those that one minute says, of a total of the given kind; sum is that of the single
// donations up to its end.
func samples(d record.Donations, by string, minute time.Time, sum int64) []corrections.Sample {
	switch {
	case by == ByDonations:
		return []corrections.Sample{{Time: minute.Add(time.Minute - time.Millisecond), Cents: sum}}
	case by == ByChannels && !d.SumAt.IsZero():
		return []corrections.Sample{{Time: d.SumAt, Cents: d.Sum}}
	case by == BySamples && d.Samples == 1:
		return []corrections.Sample{{Time: d.TotalAt, Cents: d.Total}}
	case by == BySamples && d.Samples > 1:
		return []corrections.Sample{{Time: d.FirstAt, Cents: d.First}, {Time: d.TotalAt, Cents: d.Total}}
	}
	return nil
}

// document is the part of record.Statistics that is read: without sketches, which are most of its bytes.
type document struct {
	Channel   string             `bson:"channel"`
	Time      time.Time          `bson:"time"`
	State     string             `bson:"state"`
	Through   time.Time          `bson:"through"`
	Donations []record.Donations `bson:"donations"`
}

// scan yields the documents of a query, in UTC.
func scan(ctx context.Context, s Store, q store.Query) iter.Seq2[document, error] {
	return func(yield func(document, error) bool) {
		for raw, err := range s.Find(ctx, q) {
			var d document
			if err != nil {
				yield(d, fmt.Errorf("read %s of event %s: %w", q.Collection, q.Event, err))
				return
			}
			if err := bson.Unmarshal(raw, &d); err != nil {
				yield(d, fmt.Errorf("decode a document of %s of event %s: %w", q.Collection, q.Event, err))
				return
			}
			d.Time, d.Through = d.Time.UTC(), d.Through.UTC()
			for i := range d.Donations {
				x := &d.Donations[i]
				x.FirstAt, x.TotalAt, x.SumAt = x.FirstAt.UTC(), x.TotalAt.UTC(), x.SumAt.UTC()
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}

func read[T any](ctx context.Context, s Store, q store.Query) ([]T, error) {
	var all []T
	for raw, err := range s.Find(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("read %s of event %s: %w", q.Collection, q.Event, err)
		}
		var t T
		if err := bson.Unmarshal(raw, &t); err != nil {
			return nil, fmt.Errorf("decode a document of %s of event %s: %w", q.Collection, q.Event, err)
		}
		all = append(all, t)
	}
	return all, nil
}

// SeriesOfAll are the raw running totals of all channels, and of the event, in a range, as Series has
// them, and what the single donations of another fund (Current.Singles; it can be the same) add up to in
// it, by channel, at the end of each minute that has any.
// Channels whose total is a sum of single donations are left out: their total can't be told apart from
// those.
func SeriesOfAll(ctx context.Context, s Store, event string, f, singles Fund, from, to time.Time) (series, given map[string][]corrections.Sample, err error) {
	series, given = map[string][]corrections.Sample{}, map[string][]corrections.Sample{}
	sums := map[string]int64{}
	known, err := samplesOf(ctx, s, event, f)
	if err != nil {
		return nil, nil, err
	}
	minutes := scan(ctx, s, store.Query{Collection: store.Minutes, Event: event, From: from, To: to})
	for d, err := range newCarrier(s, event, f, known).whole(ctx, minutes) {
		if err != nil {
			return nil, nil, err
		}
		if said, ok := Pick(d.Donations, f); ok {
			by := BySamples
			if said.Samples == 0 && d.Channel == record.AllChannels {
				by = ByChannels
			}
			series[d.Channel] = append(series[d.Channel], samples(said, by, d.Time, 0)...)
		}
		if said, ok := Pick(d.Donations, singles); ok && said.Count > 0 {
			sums[d.Channel] += said.Cents
			end := d.Time.Add(time.Minute - time.Millisecond)
			given[d.Channel] = append(given[d.Channel], corrections.Sample{Time: end, Cents: sums[d.Channel]})
		}
	}
	maps.DeleteFunc(series, func(_ string, list []corrections.Sample) bool { return len(list) == 0 })
	return series, given, nil
}
