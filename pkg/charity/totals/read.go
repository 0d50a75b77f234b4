package totals

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// tailMinutes is how many minutes after the total documents are read at most: open ones and those that
// have just closed. Where the rollup is further behind, later ones are in no total yet.
const tailMinutes = 30

func readCurrent(ctx context.Context, s Store, e record.Event, source string, now time.Time) (*Current, error) {
	said := map[string][]record.Donations{}
	var through time.Time
	behind := map[string]time.Time{} // of each channel the last minute that its total document holds
	for d, err := range scan(ctx, s, store.Query{Collection: store.Totals, Event: e.Slug}) {
		if err != nil {
			return nil, err
		}
		said[d.Channel], behind[d.Channel] = d.Donations, d.Through
		if d.Through.After(through) {
			through = d.Through
		}
	}
	q := store.Query{Collection: store.Minutes, Event: e.Slug, From: e.Start, To: now.Add(2 * time.Minute)}
	if _, ok := behind[record.AllChannels]; ok {
		q.From = through.Add(time.Minute)
		for _, t := range behind { // while totals are written, some are behind the others
			if next := t.Add(time.Minute); next.Before(q.From) && through.Sub(t) <= tailMinutes*time.Minute {
				q.From = next
			}
		}
	} else if oldest := record.Minute(now).Add(-tailMinutes * time.Minute); q.From.Before(oldest) {
		q.From = oldest
	}
	for d, err := range scan(ctx, s, q) {
		if err != nil {
			return nil, err
		}
		if len(d.Donations) == 0 || !d.Time.After(behind[d.Channel]) {
			continue
		}
		for _, x := range d.Donations {
			said[d.Channel] = join(said[d.Channel], x)
		}
	}
	c := &Current{Through: through, Channels: map[string]Total{}, Until: now, sampled: map[string]record.Donations{}}
	if e.State == record.EventEnded || e.State == record.EventFrozen {
		c.Until = time.Time{}
	}
	if c.Fund, c.Known = Main(e, flat(said)); !c.Known {
		return c, nil
	}
	if source != "" {
		named := e
		named.Donations = source
		if c.Fund, c.Known = Main(named, only(flat(said), source)); !c.Known {
			c.Fund = Fund{Source: source, Currency: e.Currency}
			return c, nil
		}
	}
	for channel, list := range said {
		if d, ok := Pick(list, c.Fund); ok && d.Samples > 0 && channel != record.AllChannels {
			c.sampled[channel] = d
		}
	}
	c.Singles, c.given = singlesOf(c.Fund, said[record.AllChannels]), map[string]given{}
	for channel, list := range said {
		if d, ok := Pick(list, c.Singles); ok && d.Count > 0 {
			c.given[channel] = given{d.Count, d.Cents, d.Largest}
		}
	}
	var err error
	if c.Corrections, err = Corrections(ctx, s, e.Slug); err != nil {
		return nil, err
	}
	own, _ := Pick(said[record.AllChannels], c.Fund)
	_, by, _ := Raw(record.AllChannels, own)
	if c.Effects, err = ReadEffects(ctx, s, e.Slug, c.Fund, by, c.Corrections); err != nil {
		return nil, err
	}
	until := now
	if !e.End.IsZero() && e.End.Before(until) {
		until = e.End
	}
	for _, channel := range slices.Sorted(maps.Keys(said)) {
		d, ok := Pick(said[channel], c.Fund)
		if !ok {
			continue
		}
		raw, by, ok := Raw(channel, d)
		if !ok {
			continue
		}
		whole := true
		if by == ByChannels {
			if raw.Cents, whole, err = c.carrier(s, e.Slug, true).sum(ctx, d); err != nil {
				return nil, err
			}
		}
		t := Total{
			Channel: channel, Fund: c.Fund, By: by, Raw: raw.Cents, At: raw.Time, Coverage: record.Partial, Count: d.Count, Largest: d.Largest,
		}
		if by == ByDonations {
			t.At = record.Minute(now)
			if own.Seconds > 0 && !e.Start.IsZero() && own.Seconds >= until.Sub(e.Start).Seconds()-Stale.Seconds() {
				t.Coverage = record.Complete
			}
		} else if whole && until.Sub(t.At) <= Stale {
			t.Coverage = record.Complete
		}
		t.Corrected = t.Raw + c.Effects.On(channel, t.At, c.Until)
		if channel == record.AllChannels {
			c.Event = t
		} else {
			c.Channels[channel] = t
		}
	}
	return c, nil
}

// carrier makes the sums of the event whole; with now, those of the present.
func (c *Current) carrier(s Store, event string, now bool) *carrier {
	k := newCarrier(s, event, c.Fund, c.sampled)
	if now {
		for channel, d := range c.sampled {
			k.sampled(channel, d)
		}
	}
	return k
}

// singlesOf is what Current.Singles is, by what is said of the event.
func singlesOf(main Fund, whole []record.Donations) Fund {
	var best Fund
	for _, d := range whole {
		if d.Currency != main.Currency || d.Count == 0 {
			continue
		}
		f := Fund{d.Source, d.Currency}
		if f == main {
			return f
		}
		if best == (Fund{}) || f.Source < best.Source {
			best = f
		}
	}
	return best
}

func flat(said map[string][]record.Donations) iter.Seq[record.Donations] {
	return func(yield func(record.Donations) bool) {
		for _, list := range said {
			for _, d := range list {
				if !yield(d) {
					return
				}
			}
		}
	}
}

func only(of iter.Seq[record.Donations], source string) iter.Seq[record.Donations] {
	return func(yield func(record.Donations) bool) {
		for d := range of {
			if d.Source == source && !yield(d) {
				return
			}
		}
	}
}

// join adds what a later minute says to what was said before.
func join(list []record.Donations, d record.Donations) []record.Donations {
	list = slices.Clone(list)
	i := slices.IndexFunc(list, func(x record.Donations) bool { return x.Source == d.Source && x.Currency == d.Currency })
	if i < 0 {
		return append(list, d)
	}
	x := &list[i]
	x.Count += d.Count
	x.Cents += d.Cents
	x.Largest = max(x.Largest, d.Largest)
	x.Seconds += d.Seconds
	if x.Samples == 0 {
		x.First, x.FirstAt = d.First, d.FirstAt
	}
	if d.Samples > 0 && !d.TotalAt.Before(x.TotalAt) {
		x.Total, x.TotalAt = d.Total, d.TotalAt
	}
	x.Samples += d.Samples
	if !d.SumAt.Before(x.SumAt) {
		x.Sum, x.SumAt, x.Channels = d.Sum, d.SumAt, d.Channels
	}
	return list
}
