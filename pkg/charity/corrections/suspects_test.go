package corrections_test

import (
	"encoding/csv"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/charity/corrections"
	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
)

// marathon reads the totals of AGDQ 2020, a sample where there was one.
func marathon(t *testing.T) []corrections.Sample {
	t.Helper()
	f, err := os.Open("../../../testdata/agdq2020-minutes.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var list []corrections.Sample
	for _, row := range rows[1:] {
		if row[5] == "" {
			continue
		}
		when, err := time.Parse(time.RFC3339, row[0])
		if err != nil {
			t.Fatal(err)
		}
		n, err := money.ParseNumber(row[5], "USD")
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, corrections.Sample{Time: when.UTC(), Cents: n})
	}
	return list
}

// A real week: the total steps, repeats, has holes of up to 69 minutes and falls once, by 75 dollars
// that were given back. All that is pointed out is the sum of the sponsors, 362,004.50 dollars, which
// was added in one minute of the last night. It is true, and nothing in the totals can tell.
func TestAlarmsOfARealWeek(t *testing.T) {
	t.Parallel()
	list := marathon(t)
	got := corrections.Detector{Currency: "USD"}.Suspects(map[string][]corrections.Sample{record.AllChannels: list})
	if len(got) != 1 || got[0].Kind != corrections.SuspicionJump || got[0].After-got[0].Before != 36200450 || got[0].Suggestion != nil {
		t.Fatalf("%+v", got)
	}
	if want := "At 05:00:00 on 12 Jan the total of * grew by $362,004.50 in one step; when it grows, it is by about $100.00 a minute. " +
		"It may be a large gift."; got[0].Evidence["en"] != want {
		t.Errorf("%s", got[0].Evidence["en"])
	}
}

// What is done to a real week is found, to the minute, and what is suggested takes it out.
func TestFaultsInARealWeek(t *testing.T) {
	t.Parallel()
	list := marathon(t)
	// Another channel with a third of the money, half an hour later.
	other := make([]corrections.Sample, 0, len(list))
	for i := 30; i < len(list); i++ {
		other = append(other, corrections.Sample{Time: list[i].Time, Cents: list[i-30].Cents/3 + 7})
	}
	detector := corrections.Detector{Event: "agdq", Source: "tracker", Currency: "USD"}
	for _, tc := range []struct {
		name, kind string
		from, to   int // samples of other that change
		change     func(i int, own int64) int64
	}{
		{"mirror", record.CorrectionMirror, 3000, 3040, func(i int, _ int64) int64 { return list[i+30].Cents }},
		{"mirror that goes on", record.CorrectionMirror, 5000, len(other), func(i int, _ int64) int64 { return list[i+30].Cents }},
		{"mirror of three samples", record.CorrectionMirror, 7000, 7003, func(i int, _ int64) int64 { return list[i+30].Cents }},
		{"reset", record.CorrectionReset, 6000, len(other), func(_ int, own int64) int64 { return own - other[6000].Cents }},
		{"dip", record.CorrectionReset, 6000, 6004, func(int, int64) int64 { return 0 }},
		{"double", record.CorrectionDouble, 2000, len(other), func(_ int, own int64) int64 { return own + other[1999].Cents - (other[2000].Cents - other[1999].Cents) }},
		{"earlier total again", record.CorrectionDouble, 4000, len(other), func(_ int, own int64) int64 {
			return own + other[2500].Cents - (other[4000].Cents - other[3999].Cents)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			bad := slices.Clone(other)
			for i := tc.from; i < tc.to; i++ {
				bad[i].Cents = tc.change(i, other[i].Cents)
			}
			shuffled := slices.Clone(bad)
			rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			got := detector.Suspects(map[string][]corrections.Sample{"1": list, "2": shuffled})
			got = slices.DeleteFunc(got, func(s corrections.Suspicion) bool { return s.Kind == corrections.SuspicionJump })
			if len(got) != 1 {
				t.Fatalf("%d: %+v", len(got), got)
			}
			s := got[0]
			if s.Kind != tc.kind || s.Channel != "2" || !s.Time.Equal(bad[tc.from].Time) || s.Suggestion == nil {
				t.Fatalf("%+v", s)
			}
			ends := tc.to < len(other)
			if ends != !s.To.IsZero() || ends && !s.To.Equal(bad[tc.to].Time) {
				t.Errorf("to %s", s.To)
			}
			if c := *s.Suggestion; c.Event != "agdq" || c.Source != "tracker" || c.Currency != "USD" || c.Channel != "2" || c.Reason == "" {
				t.Errorf("%+v", c)
			}
			fixed, _ := corrections.Apply(bad, []record.Correction{*s.Suggestion})
			for i, x := range fixed {
				// While it lasts the total is held, and what is wrong for good is right but for that one minute.
				if off := x.Cents - other[i].Cents; off > 0 || off < -900_000 && s.Kind != record.CorrectionMirror {
					t.Fatalf("at %s: corrected %d, true %d", x.Time, x.Cents, other[i].Cents)
				}
			}
			if !corrections.Answered(s, []record.Correction{*s.Suggestion}) || corrections.Answered(s, nil) {
				t.Error("answered by its own suggestion, and by nothing else")
			}
			for _, text := range s.Evidence {
				if text == "" || strings.Contains(text, "%!") {
					t.Errorf("%q", text)
				}
			}
		})
	}
}

func TestSuspects(t *testing.T) {
	t.Parallel()
	// grows by 5 euros a minute.
	steady := func(n int, from, by int64) []int64 {
		var list []int64
		for i := range n {
			list = append(list, from+int64(i)*by)
		}
		return list
	}
	with := func(list []int64, from int, change func(i int, n int64) int64) []int64 {
		list = slices.Clone(list)
		for i := from; i < len(list); i++ {
			list[i] = change(i, list[i])
		}
		return list
	}
	for _, tc := range []struct {
		name     string
		totals   map[string][]int64
		detector corrections.Detector
		want     string
	}{
		{"nothing", nil, corrections.Detector{}, ""},
		{"steady", map[string][]int64{"1": steady(100, 0, 500), "2": steady(100, 77, 500)}, corrections.Detector{}, ""},
		{"small totals may be equal", map[string][]int64{"1": steady(50, 0, 0), "2": steady(50, 0, 0), "3": steady(50, 500, 5), "4": steady(50, 500, 5)}, corrections.Detector{}, ""},
		{"one fund from the beginning", map[string][]int64{"1": steady(50, 200_000, 5), "2": steady(50, 200_000, 5)}, corrections.Detector{}, "mirror 2 of 1 at 0, no suggestion"},
		{"both stand still from the beginning", map[string][]int64{"1": steady(50, 200_000, 0), "2": steady(50, 200_000, 0)}, corrections.Detector{}, ""},
		{"crossing by small steps", map[string][]int64{"1": steady(99, 200_000, 500), "2": steady(99, 225_000, 0)}, corrections.Detector{}, ""},
		{"a gift that meets another's total", map[string][]int64{
			"1": with(steady(99, 200_000, 30_000), 60, func(_ int, n int64) int64 { return n + 123_456 }),
			"2": {60: 200_000 + 60*30_000 + 123_456, 61: 200_000 + 60*30_000 + 123_456},
		}, corrections.Detector{}, ""},
		{"mirror at once, the true one stands still", map[string][]int64{
			"1": steady(99, 9_000_000, 0), "2": with(steady(99, 50_000, 500), 50, func(int, int64) int64 { return 9_000_000 }),
		}, corrections.Detector{}, "mirror 2 of 1 at 50"},
		{"three show one", map[string][]int64{
			"1": steady(99, 9_000_000, 100),
			"2": with(steady(99, 50_000, 500), 50, func(i int, _ int64) int64 { return 9_000_000 + 100*int64(i) }),
			"3": with(steady(99, 70_000, 500), 50, func(i int, _ int64) int64 { return 9_000_000 + 100*int64(i) }),
		}, corrections.Detector{}, "mirror 2 of 1 at 50; mirror 3 of 1 at 50"},
		{"mirror of less", map[string][]int64{
			"1": steady(99, 200_000, 100), "2": with(steady(99, 5_000_000, 500), 50, func(i int, _ int64) int64 { return 200_000 + 100*int64(i) }),
		}, corrections.Detector{}, "mirror 2 of 1 at 50"},
		{"half was given", map[string][]int64{"1": with(steady(99, 100_000, 500), 50, func(_ int, n int64) int64 { return n + 600_000 })}, corrections.Detector{
			Given: map[string][]corrections.Sample{"1": series(with(steady(99, 100_000, 500), 50, func(_ int, n int64) int64 { return n + 300_000 })...)},
		}, "double 1 at 50"},
		{"as much was given as shown", map[string][]int64{"1": with(steady(99, 100_000, 500), 50, func(_ int, n int64) int64 { return n + 600_000 })}, corrections.Detector{
			Given: map[string][]corrections.Sample{"1": series(with(steady(99, 100_000, 500), 50, func(_ int, n int64) int64 { return n + 600_000 })...)},
		}, "jump 1 at 50, no suggestion"},
		{"an odd amount twice", map[string][]int64{"1": with(with(steady(99, 9_000_000, 500), 50, func(_ int, n int64) int64 { return n + 123_457 }),
			70, func(_ int, n int64) int64 { return n + 123_457 })}, corrections.Detector{}, "double 1 at 70"},
		{"a round amount twice", map[string][]int64{"1": with(with(steady(99, 9_000_000, 500), 50, func(_ int, n int64) int64 { return n + 100_000 }),
			70, func(_ int, n int64) int64 { return n + 100_000 })}, corrections.Detector{}, ""},
		{"refunds", map[string][]int64{"1": with(steady(99, 900_000, 500), 50, func(_ int, n int64) int64 { return n - 300_000 })}, corrections.Detector{}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			all := map[string][]corrections.Sample{}
			for c, list := range tc.totals {
				all[c] = slices.DeleteFunc(series(list...), func(s corrections.Sample) bool { return c == "2" && len(list) == 62 && s.Cents == 0 })
			}
			tc.detector.Currency = "EUR"
			var got []string
			for _, s := range tc.detector.Suspects(all) {
				x := fmt.Sprintf("%s %s", s.Kind, s.Channel)
				if s.Other != "" {
					x += " of " + s.Other
				}
				x += fmt.Sprintf(" at %d", int(s.Time.Sub(start).Minutes()))
				if s.Suggestion == nil {
					x += ", no suggestion"
				}
				got = append(got, x)
			}
			if x := strings.Join(got, "; "); x != tc.want {
				t.Errorf("%q, want %q", x, tc.want)
			}
		})
	}
}

func BenchmarkSuspects(b *testing.B) {
	// 350 channels over six hours.
	all := map[string][]corrections.Sample{}
	for c := range 350 {
		n := int64(c) * 1_000_003
		var list []corrections.Sample
		for i := range 360 {
			n += rand.Int64N(20_000)
			list = append(list, corrections.Sample{Time: at(i), Cents: n})
		}
		all[strconv.Itoa(c)] = list
	}
	for b.Loop() {
		if got := (corrections.Detector{Currency: "EUR"}).Suspects(all); len(got) > 5 {
			b.Fatal(len(got), reflect.DeepEqual(got[0], got[1]), slices.Sorted(maps.Keys(all))[0])
		}
	}
}
