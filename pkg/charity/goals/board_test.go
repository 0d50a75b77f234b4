package goals_test

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/charity/goals"
	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
)

var start = time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)

func at(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }

// line has a point each minute, from 0 to the last of n minutes.
func line(n int, cents func(minute int) int64) []goals.Point {
	var list []goals.Point
	for i := range n + 1 {
		list = append(list, goals.Point{Time: at(i), Cents: cents(i)})
	}
	return list
}

func goal(id, channel, category string, cents int64) record.Goal {
	return record.Goal{ID: "e/" + id, Event: "e", Channel: channel, Category: category, Name: id, Money: record.Money{Cents: cents, Currency: "EUR"}}
}

func TestEvaluate(t *testing.T) {
	t.Parallel()
	b := goals.NewBoard(goals.Config{End: at(600), Currency: "EUR"})
	b.Set("1", line(60, func(m int) int64 { return int64(m) * 1000 })) // 600 euros an hour
	b.Set("2", line(60, func(m int) int64 { return int64(m/20) * 5000 }))
	b.Set(record.AllChannels, line(60, func(m int) int64 { return int64(m) * 10_000 }))
	b.SetSingles("1", []goals.Single{{at(9), 500}, {at(5), 2500}, {at(7), 500}, {at(30), 3000}, {at(31), 100}})
	b.SetSingles("2", nil)
	now := at(60).Add(20 * time.Second)
	dollars := goal("dollars", "1", record.GoalDonation, 5)
	dollars.Money.Currency = "USD"
	deleted := goal("deleted", "1", record.GoalDonation, 5)
	deleted.Deleted = true
	kept := goal("kept", "1", record.GoalDonation, 60_500)
	kept.Accomplished = at(3)
	for _, tc := range []struct {
		goal record.Goal
		want string
	}{
		{goal("reached", "1", record.GoalDonation, 30_000), "reached at 30, 1 times, 60000 of it, missing 0, 1000"},
		{goal("between samples", "1", record.GoalDonation, 30_001), "reached at 31, 1 times, 60000 of it, missing 0, 1000"},
		{goal("missing", "1", record.GoalDonation, 90_000), "0 times, 60000 of it, missing 30000, 666, likely 90 (90–90)"},
		{goal("nearly", "1", record.GoalDonation, 60_001), "0 times, 60000 of it, missing 1, 999, likely 60 (60–60)"},
		{goal("past the horizon", "1", record.GoalDonation, 60_000+1000*361), "0 times, 60000 of it, missing 361000, 142, unknown"},
		{goal("far", "1", record.GoalDonation, 60_000+1000*200), "0 times, 60000 of it, missing 200000, 230, possible 260 (260–260)"},
		{goal("of the event", record.AllChannels, record.GoalDonation, 900_000), "0 times, 600000 of it, missing 300000, 666, likely 90 (90–90)"},
		{goal("global", "1", record.GoalGlobal, 600_000), "reached at 60, 1 times, 600000 of it, missing 0, 1000"},
		{goal("in steps", "2", record.GoalDonation, 20_000), "0 times, 15000 of it, missing 5000, 750, unknown"},
		{goal("again", "1", record.GoalRecurrent, 25_000), "reached at 50, 2 times, 10000 of it, missing 15000, 400, likely 75 (75–75)"},
		{goal("never yet", "1", record.GoalRecurrent, 75_000), "0 times, 60000 of it, missing 15000, 800, likely 75 (75–75)"},
		{goal("equal", "1", record.GoalEqual, 500), "reached at 7, 2 times, 500 of it, missing 0, 1000, unknown"},
		{goal("equal to none", "1", record.GoalEqual, 501), "0 times, 0 of it, missing 501, 0, unknown"},
		{goal("more", "1", record.GoalMoreThan, 2500), "reached at 5, 2 times, 3000 of it, missing 0, 1000, unknown"},
		{goal("more than any", "1", record.GoalMoreThan, 4000), "0 times, 3000 of it, missing 1000, 750, unknown"},
		{goal("no donation", "2", record.GoalMoreThan, 4000), "0 times, 0 of it, missing 4000, 0, unknown"},
		{goal("largest", "1", record.GoalLargest, 0), "0 times, 3000 of it, missing 0, 999, unknown"},
		{goal("largest of", "1", record.GoalLargest, 5000), "0 times, 3000 of it, missing 2000, 600, unknown"},
		{goal("no largest", "2", record.GoalLargest, 0), "0 times, 0 of it, missing 0, 0, unknown"},
		{goal("by hand", "1", record.GoalIncentive, 0), "0 times, 0 of it, missing 0, 0, unknown"},
		{goal("nobody", "3", record.GoalDonation, 5), "not known"},
		{goal("singles not known", record.AllChannels, record.GoalEqual, 5), "not known"},
		{goal("no such category", "1", "raffle", 5), "not known"},
		{dollars, "not known"},
	} {
		o := b.Evaluate([]record.Goal{deleted, tc.goal}, now)
		if len(o.Goals) != 1 {
			t.Fatalf("%+v", o.Goals)
		}
		if got := tell(o.Goals[0]); got != tc.want {
			t.Errorf("%s: %s\nwant %s", tc.goal.Name, got, tc.want)
		}
	}
	o := b.Evaluate([]record.Goal{goal("largest", "1", record.GoalLargest, 0), goal("no largest", "2", record.GoalLargest, 0)}, at(600))
	if got := tell(o.Goals[0]); got != "reached at 30, 1 times, 3000 of it, missing 0, 1000, unknown" {
		t.Errorf("after the end: %s", got)
	}
	if o.Goals[1].Reached {
		t.Error("nobody gave, and somebody gave the largest donation")
	}
	next := b.Evaluate([]record.Goal{
		goal("a", "1", record.GoalDonation, 90_000), goal("b", "1", record.GoalDonation, 30_000), goal("c", "1", record.GoalRecurrent, 61_000), kept,
		goal("d", record.AllChannels, record.GoalGlobal, 700_000), goal("e", "2", record.GoalDonation, 5_000),
	}, now).Next
	if len(next) != 2 || next["1"].Goal.Name != "c" || next[record.AllChannels].Goal.Name != "d" {
		t.Errorf("%+v", next)
	}
}

func tell(s goals.Status) string {
	if !s.Known {
		if !reflect.DeepEqual(s, goals.Status{Goal: s.Goal, ETA: goals.Estimate{Certainty: goals.Unsure}}) {
			return "not known, but something is said"
		}
		return "not known"
	}
	minute := func(t time.Time) int { return int(t.Sub(start).Minutes()) }
	out := ""
	if s.Reached {
		out = fmt.Sprintf("reached at %d, ", minute(s.ReachedAt))
	}
	out += fmt.Sprintf("%d times, %d of it, missing %d, %d", s.Times, s.Current, s.Missing, s.Progress)
	if e := s.ETA; !e.At.IsZero() {
		out += fmt.Sprintf(", %s %d (%d–%d)", e.Certainty, minute(e.At), minute(e.From), minute(e.To))
	} else if !s.Reached || s.Goal.Category != record.GoalDonation && s.Goal.Category != record.GoalGlobal {
		out += ", " + e.Certainty
	}
	return out
}

func TestEstimates(t *testing.T) {
	t.Parallel()
	missing := func(b *goals.Board, now time.Time) goals.Estimate {
		return b.Evaluate([]record.Goal{goal("x", "1", record.GoalDonation, 100_000)}, now).Goals[0].ETA
	}
	for _, tc := range []struct {
		name string
		set  func(b *goals.Board)
		now  time.Time
		want string
	}{
		{"nothing before", func(b *goals.Board) { b.Set("1", line(0, func(int) int64 { return 5 })) }, at(0), goals.Unsure},
		{"too short", func(b *goals.Board) { b.Set("1", line(10, func(m int) int64 { return int64(m) * 1000 })) }, at(10), goals.Unsure},
		{"half of the window", func(b *goals.Board) { b.Set("1", line(20, func(m int) int64 { return int64(m) * 1000 })) }, at(20), goals.Possible},
		{"all of it", func(b *goals.Board) { b.Set("1", line(40, func(m int) int64 { return int64(m) * 1000 })) }, at(40), goals.Likely},
		{"the last sample is old", func(b *goals.Board) { b.Set("1", line(40, func(m int) int64 { return int64(m) * 1000 })) }, at(46), goals.Unsure},
		{"it stands still", func(b *goals.Board) { b.Set("1", line(40, func(int) int64 { return 1000 })) }, at(40), goals.Unsure},
		{"it falls", func(b *goals.Board) { b.Set("1", line(40, func(m int) int64 { return 90_000 - int64(m) })) }, at(40), goals.Unsure},
		{"one large gift is no speed", func(b *goals.Board) {
			b.Set("1", line(40, func(m int) int64 { return int64(m/35) * 90_000 }))
		}, at(40), goals.Unsure},
		{"one large gift among many changes nothing", func(b *goals.Board) {
			b.Set("1", line(40, func(m int) int64 { return int64(m)*1000 + int64(m/35)*20_000 }))
		}, at(40), goals.Likely},
		{"a gift every third minute", func(b *goals.Board) { b.Set("1", line(40, func(m int) int64 { return int64(m/3) * 2000 })) }, at(40), goals.Likely},
		{"in bursts", func(b *goals.Board) {
			b.Set("1", line(40, func(m int) int64 { return int64(m)*100 + int64(m/2)*1500 }))
		}, at(40), goals.Possible},
		{"holes", func(b *goals.Board) {
			b.Set("1", slices.DeleteFunc(line(40, func(m int) int64 { return int64(m) * 1000 }), func(p goals.Point) bool {
				m := p.Time.Sub(start).Minutes()
				return m > 22 && m < 33
			}))
		}, at(40), goals.Possible},
		{"a correction within the window", func(b *goals.Board) {
			b.Set("1", line(40, func(m int) int64 { return int64(m)*1000 - int64(m/30)*9000 }))
		}, at(40), goals.Likely},
		{"after the end", func(b *goals.Board) { b.Set("1", line(40, func(m int) int64 { return int64(m) * 1000 })) }, at(600), goals.Unsure},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := goals.NewBoard(goals.Config{End: at(600)})
			tc.set(b)
			e := missing(b, tc.now)
			if e.Certainty != tc.want || (e.Certainty == goals.Unsure) != e.At.IsZero() {
				s, ok := b.Speed("1", tc.now)
				t.Errorf("%+v, want %s; speed %+v, %t", e, tc.want, s, ok)
			}
			if !e.At.IsZero() && (e.At.Before(tc.now) || e.From.After(e.At) || !e.To.IsZero() && e.To.Before(e.At)) {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestOrderChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		points := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) goals.Point {
			return goals.Point{Time: at(rapid.IntRange(0, 80).Draw(t, "minute")), Cents: rapid.Int64Range(-1000, 100_000).Draw(t, "cents")}
		}), 1, 80).Draw(t, "points")
		singles := rapid.SliceOf(rapid.Custom(func(t *rapid.T) goals.Single {
			return goals.Single{Time: at(rapid.IntRange(0, 80).Draw(t, "minute")), Cents: rapid.Int64Range(1, 9).Draw(t, "cents")}
		})).Draw(t, "singles")
		var list []record.Goal
		for i, c := range goals.Categories() {
			list = append(list, goal(strconv.Itoa(i), "1", c, rapid.Int64Range(1, 100_000).Draw(t, "amount")), goal(fmt.Sprint("s", i), "1", c, 5))
		}
		now := at(81)
		one := goals.NewBoard(goals.Config{})
		one.Set("1", points)
		one.SetSingles("1", singles)
		want := one.Evaluate(list, now)
		for _, s := range want.Goals {
			if s.Goal.Category == record.GoalDonation && s.Reached != (s.Current >= s.Goal.Money.Cents) || s.Missing < 0 || s.Progress < 0 || s.Progress > 1000 {
				t.Fatalf("%+v", s)
			}
		}

		other := goals.NewBoard(goals.Config{})
		mixed := slices.Clone(points)
		rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		for _, p := range mixed {
			other.Add("1", p) // one by one
		}
		rand.Shuffle(len(singles), func(i, j int) { singles[i], singles[j] = singles[j], singles[i] })
		other.SetSingles("1", singles)
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if got := other.Evaluate(list, now); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\nwant %+v", got, want)
		}
	})
}

// On a real week: of the times that were told, how many came true.
func TestEstimatesOfARealWeek(t *testing.T) {
	t.Parallel()
	f, err := os.Open("../../../testdata/agdq2020-minutes.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var points []goals.Point
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
		points = append(points, goals.Point{Time: when, Cents: n})
	}
	b := goals.NewBoard(goals.Config{})
	// A goal at every full 10,000 dollars, looked at every ten minutes.
	var told, within, likely, near int
	for i, p := range points {
		b.Add("1", p)
		if i%10 != 0 {
			continue
		}
		amount := (p.Cents/1_000_000 + 1) * 1_000_000
		s := b.Evaluate([]record.Goal{goal("x", "1", record.GoalDonation, amount)}, p.Time).Goals[0]
		if s.ETA.At.IsZero() {
			continue
		}
		j := slices.IndexFunc(points, func(p goals.Point) bool { return p.Cents >= amount })
		if j < 0 {
			continue
		}
		told++
		truth := points[j].Time
		if !truth.Before(s.ETA.From.Add(-time.Minute)) && (s.ETA.To.IsZero() || !truth.After(s.ETA.To)) {
			within++
		}
		if s.ETA.Certainty == goals.Likely {
			likely++
			if left := truth.Sub(p.Time); s.ETA.At.Sub(p.Time) <= 2*left+time.Minute && left <= 2*s.ETA.At.Sub(p.Time)+time.Minute {
				near++
			}
		}
	}
	t.Logf("%d times told, %d came true between the quartiles; of %d likely ones %d took between half and twice as long", told, within, likely, near)
	if told < 900 || within*100 < told*50 || likely < 300 || near*100 < likely*65 {
		t.Errorf("%d told, %d within; %d likely, %d near", told, within, likely, near)
	}
}

func BenchmarkEvaluate(b *testing.B) {
	// 800 goals of 350 channels and the event, two days of hourly points and the last hour by the minute.
	board := goals.NewBoard(goals.Config{Currency: "EUR", End: at(3300)})
	now := at(3000)
	var list []record.Goal
	channels := []string{record.AllChannels}
	for c := range 350 {
		channels = append(channels, strconv.Itoa(1000+c))
	}
	for i, c := range channels {
		var points []goals.Point
		for m := range 3001 {
			if m%60 == 0 || m > 2940 {
				points = append(points, goals.Point{Time: at(m), Cents: int64(m) * int64(i+1) * 7})
			}
		}
		board.Set(c, points)
		var singles []goals.Single
		for m := range 300 {
			singles = append(singles, goals.Single{Time: at(m * 10), Cents: int64(m%40) * 100})
		}
		board.SetSingles(c, singles)
	}
	for i := range 800 {
		c := channels[i%len(channels)]
		list = append(list, goal(strconv.Itoa(i), c, goals.Categories()[i%7], int64(1+i)*9_000))
	}
	b.Run("one total", func(b *testing.B) {
		next := now
		for b.Loop() {
			next = next.Add(time.Second)
			p, _ := board.Latest("1007")
			board.Add("1007", goals.Point{Time: next, Cents: p.Cents + 500})
			board.Evaluate(list, next)
		}
	})
	b.Run("every total", func(b *testing.B) {
		next := now
		for b.Loop() {
			next = next.Add(time.Second)
			for _, c := range channels {
				p, _ := board.Latest(c)
				board.Add(c, goals.Point{Time: next, Cents: p.Cents + 500})
			}
			board.Evaluate(list, next)
		}
	})
}
