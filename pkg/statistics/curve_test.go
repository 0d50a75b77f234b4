package statistics_test

import (
	"math"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
)

// What is still to come is no gap: a curve ends with what is counted, also of an event whose end is known.
func TestACurveEndsWithWhatIsCounted(t *testing.T) {
	t.Parallel()
	start := utc("2026-09-04T16:00:00Z")
	for _, end := range []time.Time{{}, start.Add(12 * time.Hour)} {
		m := statistics.Material{
			Event: record.Event{Slug: slug, Start: start, End: end}, Channels: 1, Through: start.Add(89 * time.Minute),
			Range: statistics.Range{From: start, To: start.Add(12 * time.Hour)},
		}
		for step, want := range map[time.Duration]int{time.Minute: 90, time.Hour: 2, 24 * time.Hour: 1} {
			c, err := statistics.CurveOf(m, step)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Points) != want || c.Range != m.Range {
				t.Fatalf("steps of %s of an event to %s: %d points from %s to %s", step, end, len(c.Points), c.From, c.To)
			}
			if last := c.Points[want-1]; step > time.Minute && !last.To.Equal(start.Add(90*time.Minute)) {
				t.Errorf("steps of %s: the last ends at %s", step, last.To)
			}
		}
		m.Through = time.Time{}
		if c, err := statistics.CurveOf(m, time.Hour); err != nil || len(c.Points) != 0 {
			t.Errorf("of nothing: %+v, %v", c, err)
		}
	}
}

func TestWhereStepsBegin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		zone, start string
		length      time.Duration
		from        time.Duration // since the start
		step        time.Duration
		want        []string // edges, the last one's end included
	}{
		"three hours follow from the start": {
			"Europe/Paris", "2026-09-04T16:00:00Z", 8 * time.Hour, 0, 3 * time.Hour,
			[]string{"2026-09-04T16:00:00Z", "2026-09-04T19:00:00Z", "2026-09-04T22:00:00Z", "2026-09-05T00:00:00Z"},
		},
		"also from a half hour, and when asked for a part": {
			"Europe/Paris", "2026-09-04T16:30:00Z", 6 * time.Hour, 90 * time.Minute, 2 * time.Hour,
			[]string{"2026-09-04T18:00:00Z", "2026-09-04T18:30:00Z", "2026-09-04T20:30:00Z", "2026-09-04T22:30:00Z"},
		},
		"hours are those of the clock": {
			"Europe/Paris", "2026-09-04T16:30:00Z", 2 * time.Hour, 0, time.Hour,
			[]string{"2026-09-04T16:30:00Z", "2026-09-04T17:00:00Z", "2026-09-04T18:00:00Z", "2026-09-04T18:30:00Z"},
		},
		"days begin at midnight, and have 25 hours once a year": {
			"Europe/Paris", "2026-10-23T16:00:00Z", 60 * time.Hour, 0, 24 * time.Hour,
			[]string{"2026-10-23T16:00:00Z", "2026-10-23T22:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "2026-10-26T04:00:00Z"},
		},
		"where midnight is no clock hour": {
			"Asia/Kolkata", "2026-09-04T16:00:00Z", 28 * time.Hour, 0, 24 * time.Hour,
			[]string{"2026-09-04T16:00:00Z", "2026-09-04T18:30:00Z", "2026-09-05T18:30:00Z", "2026-09-05T20:00:00Z"},
		},
		"two days, asked for from before the event": {
			"", "2026-09-04T16:00:00Z", 72 * time.Hour, -24 * time.Hour, 48 * time.Hour,
			[]string{"2026-09-03T16:00:00Z", "2026-09-04T00:00:00Z", "2026-09-06T00:00:00Z", "2026-09-07T16:00:00Z"},
		},
	} {
		start := utc(c.start)
		e := record.Event{Slug: slug, Start: start, End: start.Add(c.length), TimeZone: c.zone}
		curve, err := statistics.CurveOf(statistics.Material{
			Event: e, Channels: 1, Through: e.End.Add(-time.Minute), Range: statistics.Range{From: start.Add(c.from), To: e.End},
		}, c.step)
		if err != nil {
			t.Fatal(err)
		}
		if len(curve.Points) != len(c.want)-1 {
			t.Errorf("%s: %d points", name, len(curve.Points))
			continue
		}
		for i, p := range curve.Points {
			to := utc(c.want[i+1])
			if to.Sub(p.Time) == c.step {
				to = time.Time{}
			}
			if !p.Time.Equal(utc(c.want[i])) || !p.To.Equal(to) {
				t.Errorf("%s: point %d is from %s to %s", name, i, p.Time, p.To)
			}
		}
	}
}

// Steps that meet within a clock hour are made of minutes: each is the summary of its time.
func TestStepsFromAHalfHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t, utc("2026-09-04T16:30:00Z"), 5*time.Hour)
	w.channel("1", "alpha")
	for i := range 300 {
		m := w.at(time.Duration(i) * time.Minute)
		w.messages("1", i%5, m)
		w.viewers("1", 100+i, m)
		w.amount("zevent", "1", int64(1000*i), m)
		w.read(m, time.Minute, "1")
	}
	r := w.fill()
	for _, channel := range []string{"1", record.AllChannels} {
		for step, points := range map[time.Duration]int{time.Hour: 6, 2 * time.Hour: 3, 24 * time.Hour: 1} {
			c, err := r.Curve(t.Context(), channel, r.Whole(), step)
			if err != nil || len(c.Points) != points {
				t.Fatalf("steps of %s: %d points, %v", step, len(c.Points), err)
			}
			for _, p := range c.Points {
				to := p.To
				if to.IsZero() {
					to = p.Time.Add(step)
				}
				s := summary(t, r, channel, statistics.Range{From: p.Time, To: to})
				d, _ := s.MainDonations()
				if p.Messages != s.Messages || p.Messages.N == 0 || p.Peak != s.PeakViewers || p.Raised != d.Raised ||
					math.Abs(p.Viewers.N-s.AverageViewers.N) > 1e-9 {
					t.Errorf("channel %s, steps of %s:\n%+v\n%+v", channel, step, p, s)
				}
			}
		}
	}
}

func TestSharesAreOfTheEvent(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	r := w.fill()
	race, err := r.Races(t.Context(), statistics.ByDonated)
	if err != nil {
		t.Fatal(err)
	}
	last := race[0].Last()
	// The source says 318,500 of the event, 219,000 of its channels.
	if race[0].Event[2] != complete(318_500) || len(last.Rows) != 2 || math.Abs(last.Rows[0].Share-179_000.0/318_500) > 1e-9 {
		t.Errorf("%+v of %+v", last.Rows, race[0].Event)
	}
	summaries, err := r.Summaries(t.Context(), r.Whole())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		add  []statistics.Summary
		want float64
	}{{nil, 179.0 / 219}, {[]statistics.Summary{summary(t, r, record.AllChannels, r.Whole())}, 179_000.0 / 318_500}} {
		b, err := statistics.BoardOf(statistics.ByDonated, append(c.add, summaries...))
		if err != nil || len(b.Rows) != 2 || math.Abs(b.Rows[0].Share-c.want) > 1e-9 {
			t.Errorf("%+v, %v", b.Rows, err)
		}
	}
}

func TestWhoElseHasTheLongestStream(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	w.channel("3", "gamma")
	w.session("3", "s3", w.at(-2*time.Hour), w.at(4*time.Hour), "Chess")
	feats, err := w.fill().Feats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range feats {
		if f.Name == statistics.LongestStream && f.Value.N == 180 && f.Ties == 1 {
			return
		}
	}
	t.Errorf("%+v", feats)
}
