package rollup_test

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
)

var currencies = rapid.SampledFrom([]string{"EUR", "USD"})

// charityDocument draws what a charity source says in the minute of h. Source b has donations alone.
func charityDocument(t *rapid.T, h record.Header, i int) record.Document {
	if rapid.IntRange(0, 4).Draw(t, "nobody") == 0 {
		h.Channel = ""
	}
	member := ""
	if rapid.Bool().Draw(t, "member") {
		member = rapid.SampledFrom([]string{"7", "8"}).Draw(t, "whose")
	}
	source := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "source")
	switch rapid.IntRange(0, 2).Draw(t, "said") {
	case 0:
		h.Received = minute.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "received")) * time.Minute)
		return &record.Donation{
			Header: h, Source: source, Donation: strconv.Itoa(rapid.IntRange(0, 9).Draw(t, "donation")), Member: member,
			Money: record.Money{Cents: rapid.Int64Range(0, 900).Draw(t, "cents"), Currency: currencies.Draw(t, "currency")},
		}
	case 1:
		h.Time = minute.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "slot")) * 15 * time.Second)
		var members []string
		if h.Channel != "" && rapid.Bool().Draw(t, "members") {
			members = []string{"7"}
		}
		return &record.Amount{
			Header: h, Source: "a", Member: member, Members: members,
			Money: record.Money{Cents: rapid.Int64Range(-50, 900).Draw(t, "cents"), Currency: currencies.Draw(t, "currency")},
		}
	}
	h.Channel = ""
	left := int(minute.Add(time.Minute).Sub(h.Time).Milliseconds())
	return &record.Coverage{
		Header: h, Source: source, Collector: "c", Connection: strconv.Itoa(i),
		To: h.Time.Add(time.Duration(rapid.IntRange(1, left).Draw(t, "known")) * time.Millisecond),
	}
}

// naiveDonations counts in the most obvious way what donations say of each channel.
func naiveDonations(docs []record.Document) map[string][]record.Donations {
	out := map[string][]record.Donations{}
	at := func(channel, source, currency string) *record.Donations {
		for i := range out[channel] {
			if d := &out[channel][i]; d.Source == source && d.Currency == currency {
				return d
			}
		}
		out[channel] = append(out[channel], record.Donations{Source: source, Currency: currency})
		return &out[channel][len(out[channel])-1]
	}
	var (
		last    = map[string]*record.Donation{}
		amounts []*record.Amount
		known   = map[string]*[60_000]bool{}
	)
	for _, d := range docs {
		switch d := d.(type) {
		case *record.Donation:
			id := d.Source + "/" + d.Donation
			old := last[id]
			switch {
			case old == nil, d.Channel != "" && old.Channel == "":
				last[id] = d
			case d.Channel == "" && old.Channel != "":
			case d.Received.After(old.Received), d.Received.Equal(old.Received) && d.Version > old.Version:
				last[id] = d
			}
		case *record.Amount:
			amounts = append(amounts, d)
		case *record.Coverage:
			if d.Source == record.SourceChat {
				continue
			}
			if known[d.Source] == nil {
				known[d.Source] = &[60_000]bool{}
			}
			for ms := d.Time.Sub(minute).Milliseconds(); ms < d.To.Sub(minute).Milliseconds(); ms++ {
				known[d.Source][ms] = true
			}
		}
	}
	for _, d := range last {
		for _, c := range []string{d.Channel, record.AllChannels} {
			if c != "" {
				o := at(c, d.Source, d.Money.Currency)
				o.Count, o.Cents, o.Largest = o.Count+1, o.Cents+d.Money.Cents, max(o.Largest, d.Money.Cents)
			}
		}
	}
	for slot := minute; slot.Before(minute.Add(time.Minute)); slot = slot.Add(15 * time.Second) {
		for _, currency := range []string{"EUR", "USD"} {
			channels, who, matched, sum := map[string]int64{}, map[string]int64{}, map[string]bool{}, int64(0)
			highest := func(of map[string]int64, key string, cents int64) {
				if before, ok := of[key]; !ok || cents > before {
					of[key] = cents
				}
			}
			for _, a := range amounts {
				if !a.Time.Equal(slot) || a.Money.Currency != currency {
					continue
				}
				switch {
				case a.Channel != "":
					highest(channels, a.Channel, a.Money.Cents)
					highest(who, a.Channel, a.Money.Cents)
					for _, m := range a.Members {
						matched[m] = true
					}
				case a.Member != "":
					highest(who, "member "+a.Member, a.Money.Cents)
				default:
					highest(channels, record.AllChannels, a.Money.Cents)
				}
			}
			for member := range matched {
				delete(who, "member "+member)
			}
			for _, cents := range who {
				sum += cents
			}
			for c, cents := range channels {
				o := at(c, "a", currency)
				if o.Samples++; o.Samples == 1 {
					o.First, o.FirstAt = cents, slot
				}
				o.Total, o.TotalAt = cents, slot
			}
			if len(who) > 0 {
				o := at(record.AllChannels, "a", currency)
				o.Sum, o.SumAt, o.Channels = sum, slot, int64(len(who))
			}
		}
	}
	for source, of := range known {
		ms := 0
		for _, v := range of {
			if v {
				ms++
			}
		}
		said := false
		for i := range out[record.AllChannels] {
			if d := &out[record.AllChannels][i]; d.Source == source {
				d.Seconds, said = float64(ms)/1000, true
			}
		}
		if !said {
			at(record.AllChannels, source, "").Seconds = float64(ms) / 1000
		}
	}
	for _, list := range out {
		slices.SortFunc(list, func(x, y record.Donations) int {
			return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Currency, y.Currency))
		})
	}
	return out
}

// What a collector says that knows of no channel takes nothing from one that a donation was given to
// before: neither when the channel is removed and added again (its record is there already, and is not
// received anew), nor when two collectors disagree for a moment. In any order, and each any number of times.
func TestAChannelGoesBeforeNone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "versions")
		var docs []record.Record
		var best *record.Donation
		for i := range n {
			d := donationAt(rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "channel"), "x", int64(100*(i+1)),
				time.Duration(rapid.IntRange(0, 3).Draw(t, "received"))*time.Minute)
			d.Version = strconv.Itoa(i)
			r, err := record.Encode(d)
			if err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(1, 3).Draw(t, "times") {
				docs = append(docs, r)
			}
			if best == nil || best.Channel == "" && d.Channel != "" ||
				(best.Channel == "") == (d.Channel == "") && !d.Received.Before(best.Received) {
				best = d
			}
		}
		order := rapid.Permutation(seq(len(docs))).Draw(t, "order")
		a := rollup.NewAggregator(event, minute, start, end)
		for _, i := range order {
			a.Add(docs[i])
		}
		want := []record.Donations{{Source: "s", Currency: "EUR", Count: 1, Cents: best.Money.Cents, Largest: best.Money.Cents}}
		seen := map[string]bool{}
		for _, s := range a.Result() {
			seen[s.Channel] = true
			if !reflect.DeepEqual(s.Donations, want) {
				t.Fatalf("of %q %+v, want %+v", s.Channel, s.Donations, want)
			}
		}
		if best.Channel != "" && !seen[best.Channel] || !seen[record.AllChannels] || len(seen) > 2 {
			t.Fatalf("documents of %v, want %q", seen, best.Channel)
		}
	})
}

// Two collectors that tell the total of one channel, one that does not know yet whose it is, tell one total:
// whichever comes first.
func TestATotalToldTwice(t *testing.T) {
	t.Parallel()
	amount := func(channel, member string, cents int64, members ...string) record.Record {
		return encode(t, &record.Amount{
			Header: header(channel, minute), Source: "s", Member: member, Members: members, Money: record.Money{Cents: cents, Currency: "EUR"},
		})
	}
	records := []record.Record{
		amount("1", "", 700, "7", "8"), amount("", "8", 200), amount("", "9", 30), amount("", "10", 4),
	}
	docs := aggregate(records)
	slices.Reverse(records)
	if again := aggregate(records); !reflect.DeepEqual(again, docs) {
		t.Errorf("%+v in the other order, %+v", again, docs)
	}
	at := minute.UTC()
	want := []record.Donations{{Source: "s", Currency: "EUR", Samples: 1, First: 700, FirstAt: at, Total: 700, TotalAt: at}}
	if got := donationsOf(t, docs, "1"); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	want = []record.Donations{{Source: "s", Currency: "EUR", Sum: 734, SumAt: at, Channels: 3}}
	if got := donationsOf(t, docs, record.AllChannels); !reflect.DeepEqual(got, want) {
		t.Errorf("of the event %+v, want %+v", got, want)
	}
}

func donationAt(channel, id string, cents int64, received time.Duration) *record.Donation {
	h := header(channel, minute.Add(5*time.Second))
	h.Received = minute.Add(received)
	return &record.Donation{Header: h, Source: "s", Donation: id, Money: record.Money{Cents: cents, Currency: "EUR"}}
}

func donationsOf(t *testing.T, docs []record.Statistics, channel string) []record.Donations {
	t.Helper()
	for _, d := range docs {
		if d.Channel == channel {
			return d.Donations
		}
	}
	t.Fatalf("no document of %s", channel)
	return nil
}

// A donation that moves to another channel leaves nothing on the first, and an amount that changes counts
// as it was told last.
func TestTheLastVersionCounts(t *testing.T) {
	t.Parallel()
	docs := aggregate([]record.Record{
		encode(t, donationAt("1", "x", 500, 0)), encode(t, donationAt("2", "x", 700, time.Minute)),
		encode(t, donationAt("2", "y", 100, 0)), encode(t, donationAt("", "z", 30, 0)),
	})
	if len(docs) != 2 {
		t.Fatalf("%d documents, want those of the event and of channel 2: %+v", len(docs), docs)
	}
	if got, want := donationsOf(t, docs, "2"), []record.Donations{{Source: "s", Currency: "EUR", Count: 2, Cents: 800, Largest: 700}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	want := []record.Donations{{Source: "s", Currency: "EUR", Count: 3, Cents: 830, Largest: 700}}
	if got := donationsOf(t, docs, record.AllChannels); !reflect.DeepEqual(got, want) {
		t.Errorf("of the event %+v, want %+v", got, want)
	}
}

// Donations whose streamer is nobody of the event are in a document of the event alone.
func TestDonationsToNobody(t *testing.T) {
	t.Parallel()
	docs := aggregate([]record.Record{encode(t, donationAt("", "x", 500, 0))})
	if len(docs) != 1 || docs[0].Channel != record.AllChannels || len(docs[0].Donations) != 1 ||
		docs[0].Coverage.Chat != record.Unknown || docs[0].Coverage.Expected != 0 {
		t.Fatalf("%+v", docs)
	}
}

// Minutes add up to the whole: counts, sums, the largest, the first and the last total.
func TestDonationsOfMinutesAddUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var (
			all, sum  record.Statistics
			n         = rapid.IntRange(1, 6).Draw(t, "minutes")
			gifts     []*record.Donation
			amounts   []*record.Amount
			seconds   = map[string]float64{}
			merged    = false
			shuffled  = rapid.Permutation(seq(n)).Draw(t, "order")
			byMinute  = make([][]record.Record, n)
			firstSlot = minute
		)
		for m := range n {
			at := firstSlot.Add(time.Duration(m) * time.Minute)
			for i := range rapid.IntRange(0, 6).Draw(t, "records") {
				switch d := charityDocument(t, header("1", minute.Add(time.Second)), i).(type) {
				case *record.Donation:
					d.Time, d.Donation = at.Add(time.Second), fmt.Sprint(m, "-", i)
					gifts = append(gifts, d)
					byMinute[m] = append(byMinute[m], encode(t, d))
				case *record.Amount:
					d.Channel, d.Member = "", ""
					d.Time = at.Add(time.Duration(i) * time.Second)
					amounts = append(amounts, d)
					byMinute[m] = append(byMinute[m], encode(t, d))
				case *record.Coverage:
					d.Time, d.To = at.Add(time.Duration(i)*time.Second), at.Add(time.Duration(i+1)*time.Second)
					seconds[d.Source]++
					byMinute[m] = append(byMinute[m], encode(t, d))
				}
			}
		}
		for _, m := range shuffled {
			a := rollup.NewAggregator(event, firstSlot.Add(time.Duration(m)*time.Minute), start, end)
			for _, r := range byMinute[m] {
				a.Add(r)
			}
			for _, d := range a.Result() {
				if d.Channel != record.AllChannels {
					continue
				}
				if !merged {
					all, merged = d, true
					continue
				}
				all = merge(t, all, d)
			}
		}
		for _, d := range all.Donations {
			var want record.Donations
			want.Source, want.Currency, want.Seconds = d.Source, d.Currency, seconds[d.Source]
			for _, g := range gifts {
				if g.Source == d.Source && g.Money.Currency == d.Currency {
					want.Count, want.Cents, want.Largest = want.Count+1, want.Cents+g.Money.Cents, max(want.Largest, g.Money.Cents)
				}
			}
			for _, a := range amounts { // in the order of time
				if a.Source == d.Source && a.Money.Currency == d.Currency {
					if want.Samples++; want.Samples == 1 {
						want.First, want.FirstAt = a.Money.Cents, a.Time
					}
					want.Total, want.TotalAt = a.Money.Cents, a.Time
				}
			}
			if d != want {
				t.Fatalf("\n%+v\nwant\n%+v", d, want)
			}
			sum.Messages += d.Count
		}
		if sum.Messages != int64(len(gifts)) {
			t.Fatalf("%d donations, want %d", sum.Messages, len(gifts))
		}
	})
}

func seq(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// Merging is commutative and associative, what is stored comes back, and its arguments stay as they are.
func TestMergeOfDonations(t *testing.T) {
	t.Parallel()
	list := rapid.Custom(func(t *rapid.T) record.Statistics {
		d := record.Statistics{Channel: record.AllChannels, State: record.StateClosed}
		seconds := map[string]float64{}
		for _, f := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a/EUR", "a/USD", "b/", "b/EUR"}), 0, 3, rapid.ID).Draw(t, "funds") {
			o := record.Donations{Source: f[:1], Currency: f[2:]}
			if seconds[o.Source] == 0 {
				seconds[o.Source] = float64(rapid.IntRange(1, 60).Draw(t, "seconds"))
			}
			o.Seconds = seconds[o.Source]
			if o.Currency != "" {
				o.Count, o.Cents = rapid.Int64Range(0, 9).Draw(t, "count"), rapid.Int64Range(0, 99).Draw(t, "cents")
				o.Largest = o.Cents
				if o.Samples = rapid.Int64Range(0, 3).Draw(t, "samples"); o.Samples > 0 {
					slot := func(name string) time.Time {
						return minute.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, name)) * time.Second)
					}
					o.First, o.FirstAt = rapid.Int64Range(-9, 9).Draw(t, "first"), slot("first at")
					o.Total, o.TotalAt = rapid.Int64Range(-9, 9).Draw(t, "total"), slot("total at")
					o.Sum, o.SumAt, o.Channels = rapid.Int64Range(-9, 9).Draw(t, "sum"), slot("sum at"), rapid.Int64Range(1, 3).Draw(t, "channels")
				}
			}
			d.Donations = append(d.Donations, o)
		}
		return d
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := list.Draw(t, "a"), list.Draw(t, "b"), list.Draw(t, "c")
		before := slices.Clone(a.Donations)
		x, y := merge(t, merge(t, a, b), c), merge(t, a, merge(t, c, b))
		if !reflect.DeepEqual(x.Donations, y.Donations) {
			t.Fatalf("\n%+v\n%+v", x.Donations, y.Donations)
		}
		if !slices.Equal(before, a.Donations) {
			t.Fatal("an argument was changed")
		}
		raw, err := bson.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		var back record.Statistics
		if err := bson.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		if again := merge(t, back, record.Statistics{Channel: record.AllChannels}); !reflect.DeepEqual(again.Donations, x.Donations) {
			t.Fatalf("stored\n%+v\nbecame\n%+v", x.Donations, again.Donations)
		}
	})
}
