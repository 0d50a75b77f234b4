package corrections_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/charity/corrections"
	"github.com/tungstene/tungstene/pkg/record"
)

var start = time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)

func at(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }

// series has one sample a minute from the start.
func series(cents ...int64) []corrections.Sample {
	var list []corrections.Sample
	for i, c := range cents {
		list = append(list, corrections.Sample{Time: at(i), Cents: c})
	}
	return list
}

func cents(list []corrections.Sample) []int64 {
	var out []int64
	for _, s := range list {
		out = append(out, s.Cents)
	}
	return out
}

func TestApply(t *testing.T) {
	t.Parallel()
	amount := func(minute int, n int64) record.Correction {
		return record.Correction{ID: "e/a", Kind: record.CorrectionAmount, Time: at(minute), Cents: n}
	}
	mirror := func(from, to int) record.Correction {
		c := record.Correction{ID: "e/m", Kind: record.CorrectionMirror, Time: at(from)}
		if to >= 0 {
			c.To = at(to)
		}
		return c
	}
	reset := func(minute int) record.Correction {
		return record.Correction{ID: "e/r", Kind: record.CorrectionReset, Time: at(minute)}
	}
	late := func(c record.Correction, d time.Duration) record.Correction {
		c.Time = c.Time.Add(d)
		if !c.To.IsZero() {
			c.To = c.To.Add(d)
		}
		return c
	}
	for _, tc := range []struct {
		name string
		raw  []int64
		list []record.Correction
		want []int64
	}{
		{"nothing", []int64{1, 2, 3}, nil, []int64{1, 2, 3}},
		{"no samples", nil, []record.Correction{amount(0, 5), mirror(0, 1), reset(0)}, nil},
		{"an amount from its time on", []int64{10, 20, 30}, []record.Correction{amount(1, 5)}, []int64{10, 25, 35}},
		{"an amount between two samples", []int64{10, 20, 30}, []record.Correction{late(amount(1, 5), time.Second)}, []int64{10, 20, 35}},
		{"an amount before all", []int64{10, 20}, []record.Correction{amount(-9, -5)}, []int64{5, 15}},
		{"an amount after all", []int64{10, 20}, []record.Correction{amount(9, -5)}, []int64{10, 20}},
		{"a double", []int64{10, 40, 50}, []record.Correction{{ID: "e/d", Kind: record.CorrectionDouble, Time: at(1), Cents: 15}}, []int64{10, 25, 35}},
		{"a reset", []int64{100, 110, 3, 8}, []record.Correction{reset(2)}, []int64{100, 110, 113, 118}},
		{"a reset between two samples", []int64{100, 110, 3, 8}, []record.Correction{late(reset(1), time.Second)}, []int64{100, 110, 113, 118}},
		{"a reset without anything before", []int64{3, 8}, []record.Correction{reset(0)}, []int64{3, 8}},
		{"a mirror that the source ends", []int64{100, 9000, 9100, 130}, []record.Correction{mirror(1, 3)}, []int64{100, 100, 100, 130}},
		{"a mirror between samples", []int64{100, 9000, 9100, 130}, []record.Correction{late(mirror(0, 2), time.Second)}, []int64{100, 100, 100, 130}},
		{"a mirror that is counted on from", []int64{100, 9000, 9100, 9110}, []record.Correction{mirror(1, 3)}, []int64{100, 100, 100, 110}},
		{"a mirror of less that the source ends", []int64{9000, 100, 110, 9050}, []record.Correction{mirror(1, 3)}, []int64{9000, 9000, 9000, 9050}},
		{"a mirror of less that is counted on from", []int64{9000, 100, 110, 150}, []record.Correction{mirror(1, 3)}, []int64{9000, 9000, 9000, 9040}},
		{"a mirror that lasts", []int64{100, 9000, 9100, 9200}, []record.Correction{mirror(1, -1)}, []int64{100, 100, 100, 100}},
		{"a mirror from the first sample on", []int64{9000, 9100, 30}, []record.Correction{mirror(0, 2)}, []int64{0, 0, 30}},
		{"a mirror without a sample", []int64{100, 200}, []record.Correction{late(mirror(0, 1), time.Second)}, []int64{100, 100}},
		{"a mirror in no time", []int64{100, 200}, []record.Correction{mirror(1, 1)}, []int64{100, 200}},
		{"a mirror that ends before it begins", []int64{100, 200, 300}, []record.Correction{mirror(2, 1)}, []int64{100, 200, 300}},
		{"several", []int64{100, 9000, 9010, 5}, []record.Correction{mirror(1, 2), reset(3), amount(0, 1)}, []int64{101, 101, 111, 116}},
		{"withdrawn", []int64{10, 20}, []record.Correction{amount(0, 5), {ID: "e/w", Withdraws: "e/a", Time: at(0)}}, []int64{10, 20}},
		{"a withdrawal of a withdrawal gives nothing back", []int64{10, 20}, []record.Correction{
			amount(0, 5), {ID: "e/w", Withdraws: "e/a"}, {ID: "e/v", Withdraws: "e/w"},
		}, []int64{10, 20}},
		{"of an unknown kind", []int64{10, 20}, []record.Correction{{ID: "e/x", Kind: "haircut", Time: at(0), Cents: 3}}, []int64{10, 20}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, _ := corrections.Apply(series(tc.raw...), tc.list)
			if !slices.Equal(cents(got), tc.want) {
				t.Errorf("%v, want %v", cents(got), tc.want)
			}
		})
	}
}

var kinds = []string{record.CorrectionAmount, record.CorrectionDouble, record.CorrectionMirror, record.CorrectionReset}

func correction(channel string) *rapid.Generator[record.Correction] {
	return rapid.Custom(func(t *rapid.T) record.Correction {
		c := record.Correction{
			ID: "e/" + rapid.StringMatching(`[a-z]{6}`).Draw(t, "id"), Channel: channel, Kind: rapid.SampledFrom(kinds).Draw(t, "kind"),
			Time: start.Add(time.Duration(rapid.IntRange(-60, 1800).Draw(t, "time")) * time.Second), Cents: rapid.Int64Range(-9999, 9999).Draw(t, "cents"),
			Total: rapid.Bool().Draw(t, "total"),
		}
		if c.Kind == record.CorrectionMirror && rapid.Bool().Draw(t, "ends") {
			c.To = c.Time.Add(time.Duration(rapid.IntRange(-9, 900).Draw(t, "to")) * time.Second)
		}
		return c
	})
}

func samples(t *rapid.T) []corrections.Sample {
	raw := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) corrections.Sample {
		return corrections.Sample{
			Time:  start.Add(time.Duration(rapid.IntRange(0, 1800).Draw(t, "second")) * time.Second),
			Cents: rapid.OneOf(rapid.Int64Range(0, 100_000), rapid.Int64()).Draw(t, "cents"),
		}
	}), 0, 60).Draw(t, "raw")
	return raw
}

func TestRawPlusEffectsIsCorrected(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := samples(t)
		list := rapid.SliceOfN(correction("1"), 0, 6).Draw(t, "corrections")
		plain, none := corrections.Apply(raw, nil)
		if len(none) != 0 {
			t.Fatal("effects without corrections")
		}
		corrected, effects := corrections.Apply(raw, list)
		if len(corrected) != len(plain) || len(effects) != len(list) {
			t.Fatalf("%d samples and %d effects of %d and %d", len(corrected), len(effects), len(plain), len(list))
		}
		for i, s := range plain {
			if got := s.Cents + corrections.Sum(effects, s.Time); got != corrected[i].Cents || !s.Time.Equal(corrected[i].Time) {
				t.Fatalf("at %s: raw %d and effects make %d, corrected %d", s.Time, s.Cents, got, corrected[i].Cents)
			}
		}

		// The order changes nothing, and neither does what comes twice.
		mixed := append(slices.Clone(raw), raw...)
		rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		unsorted := slices.Clone(list)
		rand.Shuffle(len(unsorted), func(i, j int) { unsorted[i], unsorted[j] = unsorted[j], unsorted[i] })
		if again, _ := corrections.Apply(mixed, unsorted); !reflect.DeepEqual(again, corrected) {
			t.Fatalf("in another order %v, was %v", again, corrected)
		}

		// The latest alone gives the same.
		if n := len(plain); n > 0 {
			latest := plain[n-1]
			got, some := corrections.Latest(latest, near(plain, corrections.Moments(list)), list)
			if got != corrected[n-1].Cents || len(some) != len(effects) {
				t.Fatalf("the latest alone is %d, of all it is %d", got, corrected[n-1].Cents)
			}
		}

		// What is withdrawn was never there.
		for _, c := range list {
			list = append(list, record.Correction{ID: "w/" + c.ID, Withdraws: c.ID})
		}
		if back, left := corrections.Apply(raw, list); !reflect.DeepEqual(back, plain) || len(left) != 0 {
			t.Fatalf("withdrawn: %v, raw %v", back, plain)
		}
	})
}

// near are the samples next to moments.
func near(plain []corrections.Sample, moments []time.Time) []corrections.Sample {
	var list []corrections.Sample
	for _, m := range moments {
		i := slices.IndexFunc(plain, func(s corrections.Sample) bool { return !s.Time.Before(m) })
		if i < 0 {
			i = len(plain)
		} else {
			list = append(list, plain[i])
		}
		if i > 0 {
			list = append(list, plain[i-1])
		}
	}
	return list
}

func TestEvent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Two channels and their sum, sampled at the same slots.
		n := rapid.IntRange(1, 20).Draw(t, "n")
		var (
			of    [2][]corrections.Sample
			list  [2][]record.Correction
			fixed [2][]corrections.Sample
			both  []corrections.Effect
			sum   []corrections.Sample
		)
		for i := range of {
			of[i] = series(rapid.SliceOfN(rapid.Int64Range(0, 1e9), n, n).Draw(t, "cents")...)
			list[i] = rapid.SliceOfN(correction("1"), 0, 4).Draw(t, "corrections")
			var effects []corrections.Effect
			fixed[i], effects = corrections.Apply(of[i], list[i])
			both = append(both, effects...)
		}
		for i := range n {
			sum = append(sum, corrections.Sample{Time: at(i), Cents: of[0][i].Cents + of[1][i].Cents})
		}
		own := rapid.SliceOfN(correction(record.AllChannels), 0, 2).Draw(t, "of the event")
		_, ofEvent := corrections.Apply(sum, own)

		total, effects := corrections.Event(sum, true, own, both)
		if len(effects) != len(own)+len(both) {
			t.Fatalf("%d effects", len(effects))
		}
		for i, s := range total {
			if want := fixed[0][i].Cents + fixed[1][i].Cents + corrections.Sum(ofEvent, s.Time); s.Cents != want {
				t.Fatalf("the sum at %s is %d, of its channels %d", s.Time, s.Cents, want)
			}
		}
		shown, _ := corrections.Event(sum, false, own, both)
		for i, s := range shown {
			want := sum[i].Cents + corrections.Sum(ofEvent, s.Time)
			for _, e := range both {
				if e.Correction.Total {
					want += e.At(s.Time)
				}
			}
			if s.Cents != want {
				t.Fatalf("the source's own total at %s is %d, want %d", s.Time, s.Cents, want)
			}
		}
	})
}

func TestOf(t *testing.T) {
	t.Parallel()
	list := []record.Correction{
		{ID: "4", Channel: "1", Source: "a", Currency: "EUR", Time: at(2)},
		{ID: "1", Channel: "1", Source: "a", Currency: "EUR", Time: at(3)},
		{ID: "2", Channel: "1", Source: "a", Time: at(1)},
		{ID: "3", Channel: "1", Source: "a", Currency: "USD"},
		{ID: "5", Channel: "2", Source: "a", Currency: "EUR"},
		{ID: "6", Channel: "1", Source: "b", Currency: "EUR"},
		{ID: "7", Channel: "1", Source: "a", Currency: "EUR"},
		{ID: "8", Withdraws: "7", Channel: "1", Source: "a", Currency: "EUR"},
	}
	var ids []string
	for _, c := range corrections.Of(list, "1", "a", "EUR") {
		ids = append(ids, c.ID)
	}
	if !slices.Equal(ids, []string{"2", "4", "1"}) {
		t.Errorf("%v", ids)
	}
}
