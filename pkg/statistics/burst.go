package statistics

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// What a Burst is of.
const (
	OfMessages  = "messages"  // per minute
	OfDonations = "donations" // cents per minute
)

// Burst is a time in which chat or donations exploded against their own recent level.
type Burst struct {
	Streamer
	Of string `json:"of"`
	// Coverage is of all its minutes, and of those that its level is of. A peak of a part may have been
	// higher.
	Coverage string `json:"coverage"`
	// Range is when it was above the threshold; PeakAt its highest minute, and Peak that minute's
	// number.
	Range
	Peak   int64     `json:"peak"`
	PeakAt time.Time `json:"peak_at"`
	// Sum is all of its minutes together.
	Sum int64 `json:"sum"`
	// Level is the median minute before it, Ratio Peak by Level, Score by how many robust standard
	// deviations Peak lies above Level. Bursts are ranked by Score.
	Level float64 `json:"level"`
	Ratio float64 `json:"ratio"`
	Score float64 `json:"score"`
	// Moments are what happened from shortly before it until its peak, the nearest to the peak first.
	Moments []Moment `json:"moments,omitempty"`
}

// The kinds of a Moment.
const (
	MomentGoal     = "goal"     // a donation goal was reached; Number is its cents
	MomentRaid     = "raid"     // a raid came in; Number is its viewers, Text who came
	MomentTitle    = "title"    // the title changed
	MomentCategory = "category" // the category changed
	MomentDonation = "donation" // the largest donation of a minute; Number is its cents
	MomentStart    = "start"    // a stream began
	MomentEnd      = "end"      // a stream ended
)

// Moment is something that happened on a channel.
type Moment struct {
	Time    time.Time `json:"time"`
	Channel string    `json:"channel"`
	Kind    string    `json:"kind"`
	Text    string    `json:"text,omitempty"`
	Number  int64     `json:"number,omitempty"`
}

// BurstConfig says what a burst is. The zero value of a field is its default.
type BurstConfig struct {
	// Window is how far back the level is measured; at least a third of it must be known. Default 30
	// minutes.
	Window time.Duration
	// Deviations is by how many robust standard deviations a minute of a burst is above the level,
	// Times at least how many times the level it is. Defaults 6 and 2.
	Deviations float64
	Times      float64
	// MinMessages and MinCents are what a minute of a burst has at least. Defaults 20 and 10000.
	MinMessages int64
	MinCents    int64
	// Gap is how far two may be apart that are one. Default 3 minutes.
	Gap time.Duration
	// Lead is how long before a burst its moments begin. Default 5 minutes.
	Lead time.Duration
	// Most is how many are returned. Default 20.
	Most int
}

func (c BurstConfig) withDefaults() BurstConfig {
	c.Window = cmp.Or(c.Window, 30*time.Minute)
	c.Deviations, c.Times = cmp.Or(c.Deviations, 6), cmp.Or(c.Times, 2)
	c.MinMessages, c.MinCents = cmp.Or(c.MinMessages, 20), cmp.Or(c.MinCents, 10000)
	c.Gap, c.Lead = cmp.Or(c.Gap, 3*time.Minute), cmp.Or(c.Lead, 5*time.Minute)
	c.Most = cmp.Or(c.Most, 20)
	return c
}

// mostMoments is how many moments a burst lists.
const mostMoments = 5

// BurstsOf are the bursts of a curve of minutes, of OfMessages or OfDonations, ranked. The moments are
// those of the channel, in any order; the largest donation is taken from the curve. A minute that is
// not known is neither part of a burst nor of a level. OfDonations is by how much the corrected total
// grew; by single donations, where those are known of more minutes: a total that is sampled every five
// minutes can't say in which of them it was.
func BurstsOf(c Curve, of string, moments []Moment, cfg BurstConfig) []Burst {
	cfg = cfg.withDefaults()
	window := int(cfg.Window / time.Minute)
	var (
		bursts []Burst
		recent = make([]float64, 0, window) // the known minutes of the window, oldest first
		times  = make([]time.Time, 0, window)
	)
	number := numberOf(c, of)
	for i := range c.Points {
		p := &c.Points[i]
		n := number(p)
		for len(times) > 0 && p.Time.Sub(times[0]) > cfg.Window {
			recent, times = slices.Delete(recent, 0, 1), slices.Delete(times, 0, 1)
		}
		if !n.Known() {
			continue
		}
		if len(recent) >= max(window/3, 1) {
			if b, ok := cfg.judge(n.N, recent, of); ok {
				b.Streamer, b.Range, b.PeakAt = c.Streamer, Range{p.Time, p.Time.Add(time.Minute)}, p.Time
				bursts = join(bursts, b, cfg.Gap)
			}
		}
		recent, times = append(recent, float64(n.N)), append(times, p.Time)
	}
	for i := range bursts {
		bursts[i].explain(c, number, moments, cfg)
	}
	return Ranked(bursts, cfg.Most)
}

// Ranked puts bursts, of one channel or several, in order by their score, and keeps the first.
func Ranked(bursts []Burst, most int) []Burst {
	bursts = slices.Clone(bursts)
	slices.SortFunc(bursts, func(a, b Burst) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), a.From.Compare(b.From), cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Of, b.Of))
	})
	return bursts[:min(most, len(bursts))]
}

// numberOf is what bursts of a curve are looked for in. What was given in a minute counts only if it is known
// when it was: after a gap the total jumps by itself.
func numberOf(c Curve, of string) func(p *Point) Count {
	if of != OfDonations {
		return func(p *Point) Count { return p.Messages }
	}
	sure := func(n Count) Count {
		if n.Coverage != record.Complete {
			return Count{Coverage: record.Unknown}
		}
		return Count{N: max(n.N, 0), Coverage: record.Complete}
	}
	raised, given := 0, 0
	for i := range c.Points {
		raised += b2i(sure(c.Points[i].RaisedCorrected).Known())
		given += b2i(sure(c.Points[i].Given).Known())
	}
	if given > raised {
		return func(p *Point) Count { return sure(p.Given) }
	}
	return func(p *Point) Count { return sure(p.RaisedCorrected) }
}

// judge reports whether a minute stands out of those before it.
func (c *BurstConfig) judge(n int64, recent []float64, of string) (b Burst, ok bool) {
	level := median(recent)
	deviations := make([]float64, len(recent))
	for i, v := range recent {
		deviations[i] = math.Abs(v - level)
	}
	// The constant makes the median deviation that of a normal distribution. Where nothing varies,
	// chance alone does: by the root of a count, and by a quarter of a sum of money.
	sigma := 1.4826 * median(deviations)
	least := c.MinMessages
	if of == OfDonations {
		least = c.MinCents
		sigma = max(sigma, level/4, float64(least)/c.Deviations)
	} else {
		sigma = max(sigma, math.Sqrt(level), 1)
	}
	b = Burst{Of: of, Peak: n, Sum: n, Level: level, Score: (float64(n) - level) / sigma}
	if level > 0 {
		b.Ratio = float64(n) / level
	}
	return b, n >= least && b.Score >= c.Deviations && float64(n) >= c.Times*level
}

// median changes nothing of its argument.
func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// join appends a minute's burst, to the one before it if that is near. Level is that before both.
func join(bursts []Burst, b Burst, gap time.Duration) []Burst {
	if len(bursts) == 0 || b.From.Sub(bursts[len(bursts)-1].To) > gap {
		return append(bursts, b)
	}
	old := &bursts[len(bursts)-1]
	old.To = b.To
	if b.Peak > old.Peak {
		sigma := (float64(old.Peak) - old.Level) / old.Score
		old.Peak, old.PeakAt = b.Peak, b.PeakAt
		old.Score = (float64(b.Peak) - old.Level) / sigma
		if old.Level > 0 {
			old.Ratio = float64(b.Peak) / old.Level
		}
	}
	return bursts
}

// explain sums up a burst and says what happened.
func (b *Burst) explain(c Curve, number func(p *Point) Count, moments []Moment, cfg BurstConfig) {
	near := Range{b.From.Add(-cfg.Lead), b.PeakAt.Add(time.Minute)}
	measured := Range{b.From.Add(-cfg.Window), b.To}
	b.Coverage = record.Complete
	largest := Moment{Channel: c.Channel, Kind: MomentDonation}
	b.Sum = 0
	for i := range c.Points {
		p := &c.Points[i]
		if measured.Contains(p.Time) && number(p).Coverage != record.Complete {
			b.Coverage = record.Partial
		}
		if b.Contains(p.Time) {
			b.Sum += number(p).N
		}
		if near.Contains(p.Time) && p.Largest.N > largest.Number {
			largest.Time, largest.Number = p.Time, p.Largest.N
		}
	}
	for _, m := range moments {
		if near.Contains(m.Time) {
			b.Moments = append(b.Moments, m)
		}
	}
	if largest.Number > 0 {
		b.Moments = append(b.Moments, largest)
	}
	slices.SortFunc(b.Moments, func(x, y Moment) int {
		return cmp.Or(cmp.Compare(b.PeakAt.Sub(x.Time).Abs(), b.PeakAt.Sub(y.Time).Abs()), cmp.Compare(y.Number, x.Number),
			cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Channel, y.Channel), cmp.Compare(x.Text, y.Text))
	})
	b.Moments = slices.Clip(b.Moments[:min(mostMoments, len(b.Moments))])
	if len(b.Moments) == 0 {
		b.Moments = nil
	}
}

// GoalMoments are when a curve of minutes passes goals: those of its channel that its total reaches, or
// of which a single donation decides as far as the largest of each minute tells. A goal that was reached
// before the first known total is in none.
func GoalMoments(c Curve, goals []record.Goal) []Moment {
	var out []Moment
	for _, g := range goals {
		if g.Deleted || g.Channel != c.Channel || g.Money.Cents <= 0 || g.Money.Currency != "" && g.Money.Currency != c.Currency {
			continue
		}
		m := Moment{Channel: c.Channel, Kind: MomentGoal, Text: g.Name, Number: g.Money.Cents}
		before, known := int64(0), false
		for i := range c.Points {
			p := &c.Points[i]
			m.Time = p.Time
			switch g.Category {
			case record.GoalDonation, record.GoalGlobal, record.GoalRecurrent:
				if !p.Corrected.Known() {
					continue
				}
				now := p.Corrected.N / m.Number
				if known && now > before && (before == 0 || g.Category == record.GoalRecurrent) {
					out = append(out, m)
				}
				before, known = max(before, now), true
			case record.GoalMoreThan:
				if p.Largest.N >= m.Number {
					out = append(out, m)
				}
			}
		}
	}
	return out
}

// moments are what happened on a channel in a range, goals and donations left out; of the event, the
// raids.
func (r *Reader) moments(ctx context.Context, channel string) ([]Moment, error) {
	var out []Moment
	if channel == record.AllChannels {
		raids, err := r.Raids(ctx)
		if err != nil {
			return nil, err
		}
		return r.raidMoments(ctx, raids)
	}
	sessions, err := r.Sessions(ctx, channel)
	if err != nil {
		return nil, err
	}
	for _, s := range sessions {
		out = append(out, Moment{Time: s.Started, Channel: channel, Kind: MomentStart, Text: s.Title})
		if !s.Ended.IsZero() {
			out = append(out, Moment{Time: s.Ended, Channel: channel, Kind: MomentEnd})
		}
	}
	changes, err := r.Changes(ctx, channel)
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		switch {
		case c.From == "": // found, not changed
		case c.Field == record.FieldTitle:
			out = append(out, Moment{Time: c.Time.UTC(), Channel: channel, Kind: MomentTitle, Text: c.To})
		case c.Field == record.FieldCategory:
			out = append(out, Moment{Time: c.Time.UTC(), Channel: channel, Kind: MomentCategory, Text: c.To})
		}
	}
	raids, err := r.raidsOf(ctx, channel)
	if err != nil {
		return nil, err
	}
	in, err := r.raidMoments(ctx, raids)
	return append(out, in...), err
}

func (r *Reader) raidMoments(ctx context.Context, raids []Raid) ([]Moment, error) {
	names, err := r.names(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Moment, 0, len(raids))
	for _, raid := range raids {
		out = append(out, Moment{Time: raid.Time, Channel: raid.To, Kind: MomentRaid, Text: names[raid.From].Name, Number: raid.Viewers})
	}
	return out, nil
}

// Bursts are the bursts of a channel, or of the event, of messages and of donations, ranked.
func (r *Reader) Bursts(ctx context.Context, channel string, rg Range, cfg BurstConfig) ([]Burst, error) {
	c, err := r.Curve(ctx, channel, rg, time.Minute)
	if err != nil {
		return nil, err
	}
	return r.BurstsIn(ctx, c, cfg)
}

// BurstsIn is Bursts of a curve of minutes that is at hand.
func (r *Reader) BurstsIn(ctx context.Context, c Curve, cfg BurstConfig) ([]Burst, error) {
	moments, err := r.moments(ctx, c.Channel)
	if err != nil {
		return nil, err
	}
	goals, err := r.Goals(ctx)
	if err != nil {
		return nil, err
	}
	moments = append(moments, GoalMoments(c, goals)...)
	return Ranked(append(BurstsOf(c, OfMessages, moments, cfg), BurstsOf(c, OfDonations, moments, cfg)...), cfg.withDefaults().Most), nil
}
