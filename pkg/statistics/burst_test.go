package statistics_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
)

// chat is a curve of minutes with these numbers of messages; -1 is not known.
func chat(numbers ...int64) statistics.Curve {
	start := utc("2026-09-04T16:00:00Z")
	c := statistics.Curve{Streamer: statistics.Streamer{Channel: "1"}, Step: time.Minute, Currency: "EUR"}
	for i, n := range numbers {
		p := statistics.Point{Time: start.Add(time.Duration(i) * time.Minute), Messages: complete(n), RaisedCorrected: complete(n * 100)}
		if n < 0 {
			p.Messages, p.RaisedCorrected = unknown(), unknown()
		}
		c.Points = append(c.Points, p)
	}
	c.From, c.To = start, start.Add(time.Duration(len(numbers))*time.Minute)
	return c
}

func repeat(n int64, times int) []int64 { return slices.Repeat([]int64{n}, times) }

func TestBursts(t *testing.T) {
	t.Parallel()
	noisy := make([]int64, 120)
	for i := range noisy {
		noisy[i] = 100 + int64(i*7919%21) - 10
	}
	growing := make([]int64, 200)
	for i := range growing {
		growing[i] = 50 + int64(3*i)
	}
	for _, c := range []struct {
		name    string
		numbers []int64
		want    []string // minute of the peak, minutes, peak
	}{
		{"nothing", nil, nil},
		{"silence", repeat(0, 100), nil},
		{"noise", noisy, nil},
		{"growth", growing, nil},
		{"one", slices.Concat(noisy[:60], []int64{400, 900, 300}, noisy[60:]), []string{"61 3 900"}},
		{"too few", slices.Concat(repeat(0, 40), []int64{19}, repeat(0, 40)), nil},
		{"out of silence", slices.Concat(repeat(0, 40), []int64{25}, repeat(0, 40)), []string{"40 1 25"}},
		{"near each other", slices.Concat(repeat(10, 40), []int64{200, 10, 10, 300}, repeat(10, 40)), []string{"43 4 300"}},
		{"far from each other", slices.Concat(repeat(10, 40), []int64{200}, repeat(10, 5), []int64{300}, repeat(10, 40)), []string{"46 1 300", "40 1 200"}},
		{"a new level", slices.Concat(repeat(10, 60), repeat(500, 60)), []string{"60 15 500"}},
		{"no level is known", slices.Concat(repeat(10, 5), []int64{500}), nil},
		{"after a gap", slices.Concat(repeat(10, 40), repeat(-1, 60), []int64{500}, repeat(10, 40)), nil},
	} {
		for _, of := range []string{statistics.OfMessages, statistics.OfDonations} {
			cfg := statistics.BurstConfig{MinCents: 2000}
			unit := int64(1)
			if of == statistics.OfDonations {
				unit = 100
			}
			var have []string
			for _, b := range statistics.BurstsOf(chat(c.numbers...), of, nil, cfg) {
				minute := int(b.PeakAt.Sub(utc("2026-09-04T16:00:00Z")) / time.Minute)
				have = append(have, fmt.Sprintf("%d %d %d", minute, int(b.Length()/time.Minute), b.Peak/unit))
				if b.Of != of || b.Channel != "1" || b.Score < 6 || b.Sum < b.Peak || !b.Contains(b.PeakAt) {
					t.Errorf("%s: %+v", c.name, b)
				}
			}
			if !slices.Equal(have, c.want) {
				t.Errorf("%s of %s: %v, should be %v", of, c.name, have, c.want)
			}
		}
	}
}

// A total that is sampled every five minutes can't say when it was given; single donations do.
func TestBurstsOfSingleDonations(t *testing.T) {
	t.Parallel()
	c := chat(slices.Concat(repeat(10, 50), []int64{400, 300}, repeat(10, 50))...)
	for i := range c.Points {
		p := &c.Points[i]
		p.Given, p.RaisedCorrected = complete(p.Messages.N*100), unknown()
		if i%5 == 0 {
			p.RaisedCorrected = complete(5000)
		}
	}
	c.Points[47].Messages = partial(10)
	for _, of := range []string{statistics.OfDonations, statistics.OfMessages} {
		cents, coverage := int64(100), record.Complete
		if of == statistics.OfMessages {
			cents, coverage = 1, record.Partial
		}
		bursts := statistics.BurstsOf(c, of, nil, statistics.BurstConfig{})
		if len(bursts) != 1 || !bursts[0].PeakAt.Equal(c.Points[50].Time) || bursts[0].Peak != 400*cents || bursts[0].Sum != 700*cents ||
			bursts[0].Level != float64(10*cents) || bursts[0].Coverage != coverage {
			t.Errorf("%s: %+v", of, bursts)
		}
	}
}

func TestWhatHappenedInABurst(t *testing.T) {
	t.Parallel()
	c := chat(slices.Concat(repeat(10, 60), []int64{300, 500}, repeat(10, 60))...)
	at := func(minute int) time.Time { return c.From.Add(time.Duration(minute) * time.Minute) }
	for i, p := range map[int]int64{58: 5_000, 61: 90_000, 70: 500_000} {
		c.Points[i].Largest = complete(p)
	}
	for i := range c.Points {
		c.Points[i].Corrected = complete(int64(i) * 1000)
	}
	moments := append(statistics.GoalMoments(c, []record.Goal{
		{Channel: "1", Category: record.GoalDonation, Name: "Shave", Money: record.Money{Cents: 60_500, Currency: "EUR"}},
		{Channel: "1", Category: record.GoalDonation, Name: "Long ago", Money: record.Money{Cents: 5_000, Currency: "EUR"}},
		{Channel: "2", Category: record.GoalDonation, Name: "Another's", Money: record.Money{Cents: 60_500, Currency: "EUR"}},
		{Channel: "1", Category: record.GoalRecurrent, Name: "Squats", Money: record.Money{Cents: 50_000, Currency: "EUR"}},
		{Channel: "1", Category: record.GoalMoreThan, Name: "Shout", Money: record.Money{Cents: 80_000, Currency: "EUR"}},
		{Channel: "1", Category: record.GoalDonation, Name: "Deleted", Money: record.Money{Cents: 60_500, Currency: "EUR"}, Deleted: true},
	}),
		statistics.Moment{Time: at(57), Channel: "1", Kind: statistics.MomentRaid, Text: "beta", Number: 500},
		statistics.Moment{Time: at(54), Channel: "1", Kind: statistics.MomentTitle, Text: "before"},
		statistics.Moment{Time: at(62), Channel: "1", Kind: statistics.MomentTitle, Text: "after"},
	)
	bursts := statistics.BurstsOf(c, statistics.OfMessages, moments, statistics.BurstConfig{})
	if len(bursts) != 1 {
		t.Fatalf("%+v", bursts)
	}
	var have []string
	for _, m := range bursts[0].Moments {
		have = append(have, fmt.Sprintf("%d %s %s %d", int(m.Time.Sub(c.From)/time.Minute), m.Kind, m.Text, m.Number))
	}
	want := []string{"61 donation  90000", "61 goal Shout 80000", "61 goal Shave 60500", "57 raid beta 500"}
	if !slices.Equal(have, want) {
		t.Errorf("%q, should be %q", have, want)
	}
}

func TestABurstsMomentsAreRead(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	w.change("2", record.FieldTitle, "Title", "We made it", w.at(59*time.Minute))
	w.raid("1", "2", 40, w.at(58*time.Minute))
	w.messages("2", 200, w.at(60*time.Minute))
	r := w.fill()
	bursts, err := r.Bursts(t.Context(), "2", r.Whole(), statistics.BurstConfig{})
	if err != nil || len(bursts) != 1 {
		t.Fatalf("%+v, %v", bursts, err)
	}
	b := bursts[0]
	if b.Peak != 202 || !b.PeakAt.Equal(w.at(60*time.Minute)) || len(b.Moments) != 2 || b.Moments[0].Text != "We made it" ||
		b.Moments[1].Kind != statistics.MomentRaid || b.Moments[1].Text != "alpha" || b.Moments[1].Number != 40 {
		t.Errorf("%+v", b)
	}
	if bursts, err = r.Bursts(t.Context(), record.AllChannels, r.Whole(), statistics.BurstConfig{}); err != nil || len(bursts) != 1 || bursts[0].Login != slug {
		t.Errorf("of the event: %+v, %v", bursts, err)
	}
}
