package corrections

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// SuspicionJump is the kind of a Suspicion that is no kind of correction: a total grew by far more than
// it ever does, and nothing says why.
const SuspicionJump = "jump"

// Suspicion is something in a running total that looks wrong, for a person to judge.
type Suspicion struct {
	// Kind is record.CorrectionMirror, CorrectionReset, CorrectionDouble, or SuspicionJump.
	Kind    string `json:"kind"`
	Channel string `json:"channel"`
	// Other is the channel whose total a mirror shows.
	Other string `json:"other,omitempty"`
	// Time is the first sample that looks wrong, To the first that does not any more: zero where it goes
	// on, or where it is one step that stays.
	Time time.Time `json:"time"`
	To   time.Time `json:"to,omitzero"`
	// Before and After are the total before the step at Time and after it, in cents.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	// Evidence says what was seen, by language: "en", "fr".
	Evidence map[string]string `json:"evidence"`
	// Suggestion is the correction that would take it out, ready to be added but for its id, author and
	// Created; nil where none can be told.
	Suggestion *record.Correction `json:"suggestion,omitempty"`
}

// Detector is how suspicious Suspects is. The zero value of a field is its default.
type Detector struct {
	// Event, Source and Currency go into suggestions and evidence.
	Event, Source, Currency string
	// Name writes a channel in evidence. Default: its id.
	Name func(channel string) string
	// Zone is the time zone of times in evidence. Default UTC.
	Zone *time.Location
	// Given are single donations by channel, where the source tells them: their sum at a moment, as a
	// running total. Default none: then a double count is looked for in the totals alone.
	Given map[string][]Sample
	// MirrorSlots is at how many samples after each other a total must equal another channel's, having
	// stepped there, to be a mirror. Default 3.
	MirrorSlots int
	// Floor is the smallest step that is looked at, and the smallest total that can be a mirror's, in
	// cents. Default 100000 (1,000 euros).
	Floor int64
	// Factor is how many times its usual growth of a minute a step must be to be implausible. Default
	// 500: on a week of AGDQ 2020, whose largest true steps are 300 times the usual, only the sponsors'
	// 362,004.50 dollars at its end are.
	Factor int64
}

// What the detector goes by, beside its configuration.
const (
	// minHistory is how many minutes with growth there must be to know what is usual.
	minHistory = 30
	// odd is how many times the usual growth a step is that is looked at for another reason too.
	odd = 20
	// again is the same for a step that adds what one before it did: two gifts of one amount are ordinary.
	again = 100
)

// Suspects points out what looks wrong in the raw running totals of one source, by channel
// (record.AllChannels for the source's own of the event): mirrors, resets, double counts, and steps
// that are implausible by the total's own usual growth. It returns them by time, channel and kind, at
// most one for each step; the order of the input changes nothing. What a correction already speaks of
// is for the caller to leave out (see Answered).
//
//   - mirror: the total stepped by at least Floor to exactly what another channel's is, stayed equal to
//     it for MirrorSlots samples, and either moved with it or had stepped by much more than it usually
//     grows. Two totals that are equal from a channel's first sample on and move together are pointed
//     out without a suggestion: they may be one fund.
//   - reset: the total fell to less than half. One that came back to what it was has To, and the
//     suggestion is to hold the total in between (a mirror's correction).
//   - double: one step exactly doubled the total, or added exactly what the total was at an earlier
//     time, or a large odd amount (with cents) that a step had added before; or single donations (Given) say
//     that half of it was given.
//   - jump: a step of Factor times the usual growth and a twentieth of the total or more.
func (d Detector) Suspects(series map[string][]Sample) []Suspicion {
	d = d.defaults()
	all := make(map[string][]Sample, len(series))
	for c, list := range series {
		all[c] = ordered(list)
	}
	var out []Suspicion
	explained := map[string]map[int64]bool{} // channel to the steps (by their time) that are spoken of
	note := func(channel string, t time.Time) {
		if explained[channel] == nil {
			explained[channel] = map[int64]bool{}
		}
		explained[channel][t.UnixNano()] = true
	}
	usual := make(map[string]int64, len(all))
	for c, list := range all {
		usual[c] = growth(list)
	}
	for _, s := range d.mirrors(all, usual) {
		out = append(out, s)
		note(s.Channel, s.Time)
		if !s.To.IsZero() {
			note(s.Channel, s.To)
		}
	}
	for _, c := range slices.Sorted(maps.Keys(all)) {
		for _, s := range d.steps(c, all[c], usual[c], explained[c]) {
			if out = append(out, s); !s.To.IsZero() {
				note(c, s.To)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Suspicion) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

func (d Detector) defaults() Detector {
	if d.Name == nil {
		d.Name = func(channel string) string { return channel }
	}
	if d.Zone == nil {
		d.Zone = time.UTC
	}
	d.MirrorSlots = cmp.Or(d.MirrorSlots, 3)
	d.Floor = cmp.Or(d.Floor, 100_000)
	d.Factor = cmp.Or(d.Factor, 500)
	return d
}

// Answered reports whether one of the standing corrections speaks of what a suspicion points at: of its
// channel, within its time or a minute of its beginning.
func Answered(s Suspicion, corrections []record.Correction) bool {
	for _, c := range Standing(corrections) {
		if c.Channel != s.Channel {
			continue
		}
		if c.Kind == record.CorrectionMirror && !s.Time.Before(c.Time) && (c.To.IsZero() || !s.Time.After(c.To)) {
			return true
		}
		if c.Time.Sub(s.Time).Abs() <= time.Minute {
			return true
		}
	}
	return false
}

// growth is the median growth of a minute in which a total grew; 0 where too little is known.
func growth(list []Sample) int64 {
	var grown []int64
	for i := 1; i < len(list); i++ {
		if n := list[i].Cents - list[i-1].Cents; n > 0 {
			grown = append(grown, n/max(1, int64(list[i].Time.Sub(list[i-1].Time)/time.Minute)))
		}
	}
	if len(grown) < minHistory {
		return 0
	}
	slices.Sort(grown)
	return max(1, grown[len(grown)/2])
}

// large reports whether a step over some time is at least so many times the usual growth of a minute;
// where that is not known, no step is.
func large(step, times, usual int64, over time.Duration) bool {
	return usual > 0 && step/max(1, int64(over/time.Minute))/times >= usual
}

// run is a time in which a channel shows another's total.
type run struct {
	other       string
	first, last int // samples of the channel
	moved       bool
	always      bool
}

// mirrors goes through the slots and keeps, for each channel that has stepped to another's total, whose.
func (d Detector) mirrors(all map[string][]Sample, usual map[string]int64) []Suspicion {
	channels := slices.Sorted(maps.Keys(all))
	slots := map[int64]map[int64][]string{} // time to total to channels
	at := map[string]map[int64]int{}        // channel to time to sample
	for _, c := range channels {
		at[c] = make(map[int64]int, len(all[c]))
		for i, s := range all[c] {
			t := s.Time.UnixNano()
			at[c][t] = i
			if s.Cents >= d.Floor {
				if slots[t] == nil {
					slots[t] = map[int64][]string{}
				}
				slots[t][s.Cents] = append(slots[t][s.Cents], c)
			}
		}
	}
	step := func(c string, i int) int64 {
		if i == 0 {
			return 0
		}
		return all[c][i].Cents - all[c][i-1].Cents
	}
	var out []Suspicion
	for _, c := range channels {
		if c == record.AllChannels {
			continue // a sum equals its only part
		}
		var r *run
		for i, s := range all[c] {
			t := s.Time.UnixNano()
			if r != nil {
				j, sampled := at[r.other][t]
				if sampled && all[r.other][j].Cents == s.Cents {
					r.moved = r.moved || s.Cents != all[c][r.last].Cents
					r.last = i
					continue
				}
				if !sampled {
					continue // nothing is said of the other: the run neither goes on nor ends
				}
				out = d.mirrored(out, c, all[c], r, i, usual[c])
			}
			r = d.begins(c, i, slots[t][s.Cents], at, t, step)
		}
		if r != nil {
			out = d.mirrored(out, c, all[c], r, -1, usual[c])
		}
	}
	return out
}

// begins returns the run that begins with sample i of a channel, where others have the same total.
func (d Detector) begins(
	c string, i int, equals []string, at map[string]map[int64]int, t int64, step func(string, int) int64,
) *run {
	if len(equals) < 2 {
		return nil
	}
	own := abs(step(c, i))
	var other string
	var least uint64
	for _, x := range equals {
		if x == c {
			continue
		}
		if n := abs(step(x, at[x][t])); other == "" || n < least {
			other, least = x, n
		}
	}
	switch {
	case i == 0 && at[other][t] == 0 && other < c:
		return &run{other: other, first: i, last: i, always: true}
	case i > 0 && own >= uint64(d.Floor) && (own > least || own == least && other < c):
		return &run{other: other, first: i, last: i}
	}
	return nil
}

// mirrored tells of a run that ended before sample end; -1 for one that goes on.
func (d Detector) mirrored(out []Suspicion, c string, list []Sample, r *run, end int, usual int64) []Suspicion {
	if r.last-r.first+1 < d.MirrorSlots {
		return out
	}
	s := Suspicion{
		Kind: record.CorrectionMirror, Channel: c, Other: r.other, Time: list[r.first].Time, After: list[r.first].Cents,
	}
	if end >= 0 {
		s.To = list[end].Time
	}
	if r.always {
		if !r.moved {
			return out
		}
		s.Evidence = d.sayShared(s)
		return append(out, s)
	}
	s.Before = list[r.first-1].Cents
	over := list[r.first].Time.Sub(list[r.first-1].Time)
	fell := s.After < s.Before
	if !r.moved && !fell && usual > 0 && !large(s.After-s.Before, odd, usual, over) {
		return out
	}
	s.Evidence = d.sayMirror(s, r.last-r.first+1)
	s.Suggestion = d.suggest(s, record.CorrectionMirror, 0)
	return append(out, s)
}

// steps looks at a channel's steps one by one.
func (d Detector) steps(c string, list []Sample, usual int64, explained map[int64]bool) []Suspicion {
	var (
		out    []Suspicion
		seen   = map[int64]time.Time{} // steps to when
		totals = map[int64]time.Time{} // totals to when
		given  = ordered(d.Given[c])
		skip   = -1
	)
	for i, s := range list {
		if i == 0 || i == skip || explained[s.Time.UnixNano()] {
			totals[s.Cents] = s.Time
			continue
		}
		before := list[i-1]
		step, over := s.Cents-before.Cents, s.Time.Sub(before.Time)
		x := Suspicion{Channel: c, Time: s.Time, Before: before.Cents, After: s.Cents}
		switch {
		case before.Cents >= d.Floor && s.Cents < before.Cents/2:
			x.Kind = record.CorrectionReset
			back := slices.IndexFunc(list[i:], func(n Sample) bool { return n.Cents >= before.Cents })
			// What comes back within an hour, and in one step, was never away.
			if back > 0 && list[i+back].Time.Sub(s.Time) <= time.Hour && list[i+back-1].Cents < before.Cents/2 {
				skip = i + back
				x.To = list[skip].Time
				x.Evidence = d.sayDip(x)
				x.Suggestion = d.suggest(x, record.CorrectionMirror, 0)
			} else {
				x.Evidence = d.sayReset(x)
				x.Suggestion = d.suggest(x, record.CorrectionReset, 0)
			}
			out = append(out, x)
		case step >= d.Floor:
			if y, ok := d.doubled(x, step, over, usual, seen, totals, given); ok {
				out = append(out, y)
			} else if large(step, d.Factor, usual, over) && step >= before.Cents/20 {
				x.Kind = SuspicionJump
				x.Evidence = d.sayJump(x, usual)
				out = append(out, x)
			}
			if _, ok := seen[step]; !ok {
				seen[step] = s.Time
			}
		}
		if _, ok := totals[s.Cents]; !ok {
			totals[s.Cents] = s.Time
		}
	}
	return out
}

// doubled tells whether a step counts something for the second time.
func (d Detector) doubled(
	x Suspicion, step int64, over time.Duration, usual int64, seen, totals map[int64]time.Time, given []Sample,
) (Suspicion, bool) {
	x.Kind = record.CorrectionDouble
	cents := step
	switch was, earlier := totals[step]; {
	case x.Before == step:
		x.Evidence = d.sayTwice(x)
	case earlier && large(step, odd, usual, over) && step >= x.Before/10:
		x.Evidence = d.sayEarlierTotal(x, was)
	case step%100 != 0 && large(step, again, usual, over) && !seen[step].IsZero():
		x.Evidence = d.sayEarlierStep(x, seen[step])
	default:
		cents = d.half(x, step, over, given)
		if cents == 0 {
			return x, false
		}
		x.Evidence = d.sayHalf(x, cents)
	}
	x.Suggestion = d.suggest(x, record.CorrectionDouble, cents)
	return x, true
}

// half is what a step has above what single donations say was given meanwhile, where that is about half
// of it; else 0. Sources are a minute or two late with one or the other.
func (d Detector) half(x Suspicion, step int64, over time.Duration, given []Sample) int64 {
	if len(given) == 0 {
		return 0
	}
	sum := func(t time.Time) int64 {
		i := from(given, t.Add(1))
		if i == 0 {
			return 0
		}
		return given[i-1].Cents
	}
	begin := x.Time.Add(-over)
	tight := sum(x.Time) - sum(begin)
	wide := sum(x.Time.Add(time.Minute)) - sum(begin.Add(-2*time.Minute))
	for _, n := range []int64{tight, wide} {
		if n > 0 && step >= 2*n-n/20 && step <= 2*n+n/20 {
			return step - n
		}
	}
	return 0
}

// suggest makes the correction that would take out what was seen.
func (d Detector) suggest(s Suspicion, kind string, cents int64) *record.Correction {
	return &record.Correction{
		Event: d.Event, Channel: s.Channel, Source: d.Source, Kind: kind, Time: s.Time, To: s.To, Cents: cents,
		Currency: d.Currency, Reason: s.Evidence["en"],
	}
}

func abs(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}
