package rollup

import (
	"cmp"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/tungstene/tungstene/pkg/record"
)

// charity is what the charity sources say of a minute.
type charity struct {
	gifts     map[giftKey]gift
	totals    map[totalKey]int64    // cents
	matched   map[totalKey]struct{} // members whose totals are in those of channels
	intervals map[string][]interval // source to the time that its single donations are known of
}

// giftKey names a donation, gift is that version of it that counts.
type (
	giftKey struct{ source, donation string }
	gift    struct {
		record.DonationVersion
		currency string
		cents    int64
	}
)

// fund is what is never added to another: a source, and a currency.
type fund struct{ source, currency string }

// totalKey names a sample of a running total: of a channel, of a member who is none, or of the event.
type totalKey struct {
	fund
	channel, member string
	slot            int64
}

func (c *charity) empty() bool { return len(c.gifts)+len(c.totals)+len(c.intervals) == 0 }

// money reads an embedded Money; ok is false for one without a currency or a whole number.
func money(t bsoncore.Type, data []byte) (cents int64, currency string, ok bool) {
	if t != bsoncore.TypeEmbeddedDocument {
		return 0, "", false
	}
	elements(data, func(key []byte, t bsoncore.Type, data []byte) {
		switch string(key) {
		case "cents":
			switch t {
			case bsoncore.TypeInt64:
				cents, _, ok = bsoncore.ReadInt64(data)
			case bsoncore.TypeInt32:
				var n int32
				n, _, ok = bsoncore.ReadInt32(data)
				cents = int64(n)
			default: // not ours
			}
		case "currency":
			currency = string(text(t, data))
		}
	})
	return min(max(cents, -record.MaxCents), record.MaxCents), currency, ok && currency != ""
}

// addDonation counts a donation, or another version of one: record.CompareVersions tells which counts.
// What else is compared only makes the order of odd documents not matter.
func (a *Aggregator) addDonation(channel string, doc []byte) bool {
	var (
		k  giftKey
		g  = gift{DonationVersion: record.DonationVersion{Channel: channel}}
		ok bool
	)
	elements(doc, func(key []byte, t bsoncore.Type, data []byte) {
		switch string(key) {
		case "received":
			if t == bsoncore.TypeDateTime {
				g.Received, _, _ = bsoncore.ReadDateTime(data)
			}
		case "source":
			k.source = string(text(t, data))
		case "donation":
			k.donation = string(text(t, data))
		case "version":
			g.Version = string(text(t, data))
		case "money":
			g.cents, g.currency, ok = money(t, data)
		}
	})
	if !ok || g.cents < 0 || k.source == "" || k.donation == "" {
		return false
	}
	old, twice := a.charity.gifts[k]
	if twice && cmp.Or(record.CompareVersions(g.DonationVersion, old.DonationVersion),
		cmp.Compare(g.Channel, old.Channel), cmp.Compare(g.currency, old.currency), cmp.Compare(g.cents, old.cents)) <= 0 {
		return true
	}
	if a.charity.gifts == nil {
		a.charity.gifts = map[giftKey]gift{}
	}
	a.charity.gifts[k] = g
	a.touch(channel)
	if twice {
		a.touch(old.Channel)
	}
	return true
}

// touch makes a channel changed; the event where it is none.
func (a *Aggregator) touch(channel string) {
	if channel == "" {
		channel = record.AllChannels
	}
	a.changed[channel] = struct{}{}
}

func (a *Aggregator) addAmount(channel string, doc []byte, slot int64) bool {
	var (
		k       = totalKey{channel: channel, slot: slot}
		cents   int64
		members []byte
		ok      bool
	)
	elements(doc, func(key []byte, t bsoncore.Type, data []byte) {
		switch string(key) {
		case "source":
			k.source = string(text(t, data))
		case "member":
			k.member = string(text(t, data))
		case "members":
			if t == bsoncore.TypeArray {
				members = data
			}
		case "money":
			cents, k.currency, ok = money(t, data)
		}
	})
	if !ok || k.source == "" {
		return false
	}
	if channel != "" && members != nil {
		elements(members, func(_ []byte, t bsoncore.Type, data []byte) {
			if a.charity.matched == nil {
				a.charity.matched = map[totalKey]struct{}{}
			}
			a.charity.matched[totalKey{fund: k.fund, member: string(text(t, data)), slot: slot}] = struct{}{}
		})
		a.touch("")
	}
	if old, twice := a.charity.totals[k]; twice && old >= cents {
		return true
	}
	if a.charity.totals == nil {
		a.charity.totals = map[totalKey]int64{}
	}
	a.charity.totals[k] = cents
	a.touch(channel)
	return true
}

// cover takes note of the time that a charity source's single donations are known of.
func (a *Aggregator) cover(source string, v interval) {
	if a.charity.intervals == nil {
		a.charity.intervals = map[string][]interval{}
	}
	a.charity.intervals[source] = append(a.charity.intervals[source], v)
	if len(a.charity.intervals[source]) >= 1024 {
		a.charity.intervals[source] = union(a.charity.intervals[source])
	}
	a.touch("")
}

// donations is what there is to say of each channel, and of the event as record.AllChannels.
func (c *charity) donations() map[string][]record.Donations {
	if c.empty() {
		return nil
	}
	out := map[string][]record.Donations{}
	of := func(channel string, f fund) *record.Donations {
		list := out[channel]
		i := slices.IndexFunc(list, func(d record.Donations) bool { return d.Source == f.source && d.Currency == f.currency })
		if i < 0 {
			i = len(list)
			list = append(list, record.Donations{Source: f.source, Currency: f.currency})
			out[channel] = list
		}
		return &list[i]
	}
	for k, g := range c.gifts {
		for _, channel := range []string{g.Channel, record.AllChannels} {
			if channel == "" {
				continue
			}
			d := of(channel, fund{k.source, g.currency})
			d.Count++
			d.Cents = plus(d.Cents, g.cents)
			d.Largest = max(d.Largest, g.cents)
		}
	}
	c.sample(of)
	for source, in := range c.intervals {
		in = union(in)
		c.intervals[source] = in
		var ms int64
		for _, v := range in {
			ms += v.to - v.from
		}
		known := false
		list := out[record.AllChannels]
		for i := range list {
			if list[i].Source == source {
				list[i].Seconds, known = float64(ms)/1000, true
			}
		}
		if !known {
			of(record.AllChannels, fund{source: source}).Seconds = float64(ms) / 1000
		}
	}
	for _, list := range out {
		slices.SortFunc(list, byFund)
	}
	return out
}

// sample tells the documents that of gives what was sampled of the running totals.
func (c *charity) sample(of func(channel string, f fund) *record.Donations) {
	type (
		series struct {
			fund
			channel string
		}
		roll struct {
			sum, channels int64
		}
	)
	var (
		slots   = map[series]map[int64]int64{}
		members = map[fund]map[int64]roll{}
	)
	add := func(k totalKey, cents int64) {
		if members[k.fund] == nil {
			members[k.fund] = map[int64]roll{}
		}
		l := members[k.fund][k.slot]
		l.sum, l.channels = plus(l.sum, cents), l.channels+1
		members[k.fund][k.slot] = l
	}
	// Several totals of a channel at one slot are the same one, told twice.
	for k, cents := range c.totals {
		s := series{k.fund, k.channel}
		switch {
		case k.channel != "":
		case k.member == "":
			s.channel = record.AllChannels
		default:
			continue
		}
		if slots[s] == nil {
			slots[s] = map[int64]int64{}
		}
		if before, twice := slots[s][k.slot]; !twice || cents > before {
			slots[s][k.slot] = cents
		}
	}
	for s, at := range slots {
		if s.channel == record.AllChannels {
			continue
		}
		for slot, cents := range at {
			add(totalKey{fund: s.fund, channel: s.channel, slot: slot}, cents)
		}
	}
	for k, cents := range c.totals {
		if k.channel != "" || k.member == "" {
			continue
		}
		if _, twice := c.matched[k]; !twice { // by a collector that did not know of the channel yet
			add(k, cents)
		}
	}
	for s, at := range slots {
		d := of(s.channel, s.fund)
		for slot, cents := range at {
			d.Samples++
			t := time.UnixMilli(slot).UTC()
			if d.FirstAt.IsZero() || t.Before(d.FirstAt) {
				d.First, d.FirstAt = cents, t
			}
			if t.After(d.TotalAt) {
				d.Total, d.TotalAt = cents, t
			}
		}
	}
	for f, at := range members {
		d := of(record.AllChannels, f)
		for slot, l := range at {
			if t := time.UnixMilli(slot).UTC(); t.After(d.SumAt) {
				d.Sum, d.SumAt, d.Channels = l.sum, t, l.channels
			}
		}
	}
}

func byFund(x, y record.Donations) int {
	return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Currency, y.Currency))
}

// plus adds, and stops at what can be held.
func plus(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}

// mergeDonations joins what is said of two spans that have no minute in common, into a list of its own.
func mergeDonations(a, b []record.Donations) []record.Donations {
	if len(a)+len(b) == 0 {
		return nil
	}
	seconds := map[string]float64{}
	for _, list := range [...][]record.Donations{a, b} {
		of := map[string]float64{}
		for i := range list {
			of[list[i].Source] = max(of[list[i].Source], list[i].Seconds)
		}
		for source, s := range of {
			seconds[source] += s
		}
	}
	out := make([]record.Donations, 0, len(a)+len(b))
	out = append(append(out, a...), b...)
	slices.SortStableFunc(out, byFund)
	n, named := 0, map[string]bool{}
	for _, d := range out {
		if n > 0 && byFund(out[n-1], d) == 0 {
			d = joined(out[n-1], d)
			n--
		}
		d.Seconds = seconds[d.Source]
		d.FirstAt, d.TotalAt, d.SumAt = d.FirstAt.UTC(), d.TotalAt.UTC(), d.SumAt.UTC()
		named[d.Source] = named[d.Source] || d.Currency != ""
		out[n] = d
		n++
	}
	out = out[:n]
	// One that has no currency says only since when there was nothing, as the others do by then.
	return slices.Clip(slices.DeleteFunc(out, func(d record.Donations) bool { return d.Currency == "" && named[d.Source] }))
}

// joined is what two spans say of one fund, without Seconds.
func joined(a, b record.Donations) record.Donations {
	m := a
	m.Count = plus(a.Count, b.Count)
	m.Cents = plus(a.Cents, b.Cents)
	m.Largest = max(a.Largest, b.Largest)
	m.Samples = plus(a.Samples, b.Samples)
	if a.Samples == 0 || b.Samples > 0 && (b.FirstAt.Before(a.FirstAt) || b.FirstAt.Equal(a.FirstAt) && b.First > a.First) {
		m.First, m.FirstAt = b.First, b.FirstAt
	}
	if a.Samples == 0 || b.Samples > 0 && (b.TotalAt.After(a.TotalAt) || b.TotalAt.Equal(a.TotalAt) && b.Total > a.Total) {
		m.Total, m.TotalAt = b.Total, b.TotalAt
	}
	if b.SumAt.After(a.SumAt) || b.SumAt.Equal(a.SumAt) && cmp.Or(cmp.Compare(b.Sum, a.Sum), cmp.Compare(b.Channels, a.Channels)) > 0 {
		m.Sum, m.SumAt, m.Channels = b.Sum, b.SumAt, b.Channels
	}
	return m
}
