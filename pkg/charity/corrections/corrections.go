// Package corrections says what a running total is once that is taken out which people say is wrong
// with it (record.Correction), and points out what looks wrong. Everything is a pure function of
// what the source said: the samples are never changed, and without corrections nothing is.
package corrections

import (
	"cmp"
	"slices"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Sample is a running total at a moment, in cents.
type Sample struct {
	Time  time.Time `json:"time"`
	Cents int64     `json:"cents"`
}

// Effect is what one correction adds to a total, from when on.
type Effect struct {
	Correction record.Correction `json:"correction"`
	// Steps are by time; each holds from its Time on until the next one's. Before the first, and where
	// there is none, the correction adds nothing.
	Steps []Sample `json:"steps"`
}

// At is what the correction adds at a moment, in cents.
func (e Effect) At(t time.Time) int64 {
	i, found := slices.BinarySearchFunc(e.Steps, t, func(s Sample, t time.Time) int { return s.Time.Compare(t) })
	if !found {
		i--
	}
	if i < 0 {
		return 0
	}
	return e.Steps[i].Cents
}

// Sum is what several corrections add at a moment, in cents.
func Sum(effects []Effect, t time.Time) int64 {
	var n int64
	for _, e := range effects {
		n += e.At(t)
	}
	return n
}

// On is what the correction adds at a moment to a total that was last sampled before it, in cents. An
// amount that was added since then, or taken away, counts; what follows from the samples is as of the
// last one. The zero now is the end of time.
func (e Effect) On(sample, now time.Time) int64 {
	switch e.Correction.Kind {
	case record.CorrectionAmount, record.CorrectionDouble:
		if now.IsZero() && len(e.Steps) > 0 {
			return e.Steps[len(e.Steps)-1].Cents
		}
		if now.After(sample) {
			sample = now
		}
	}
	return e.At(sample)
}

// SumOn is what several corrections add at a moment to a total that was last sampled before it.
func SumOn(effects []Effect, sample, now time.Time) int64 {
	var n int64
	for _, e := range effects {
		n += e.On(sample, now)
	}
	return n
}

// Standing are the corrections that hold: those that none of the others withdraws, by time and then
// id. A withdrawal itself is none, and what it withdraws stays withdrawn.
func Standing(all []record.Correction) []record.Correction {
	withdrawn := make(map[string]bool)
	for _, c := range all {
		if c.Withdraws != "" {
			withdrawn[c.Withdraws] = true
		}
	}
	list := make([]record.Correction, 0, len(all))
	for _, c := range all {
		if c.Withdraws == "" && !withdrawn[c.ID] {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b record.Correction) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// Of are the standing corrections of one channel's total (of the event's own: record.AllChannels) by
// one source in one currency. One without a currency is of any.
func Of(all []record.Correction, channel, source, currency string) []record.Correction {
	return slices.DeleteFunc(Standing(all), func(c record.Correction) bool {
		return c.Channel != channel || c.Source != source || c.Currency != "" && currency != "" && c.Currency != currency
	})
}

// Apply corrects one channel's running total by one source. It returns the samples by time with what
// the standing corrections leave of them, and what each standing correction adds: at each sample raw
// and the sum of the effects is what is returned. All corrections are taken to be of this series (see
// Of). The order of the input changes nothing; of several samples at one moment the highest counts.
//
// Each correction is computed from the raw samples alone, never from what another one made of them:
//
//   - amount and double add Cents, and take it away, at every sample at or after Time.
//   - reset adds the last sample before Time at every sample at or after it; nothing where there is
//     none before.
//   - mirror holds the total at the last sample before Time (at 0 where there is none) at every sample
//     from Time to before To. From To on it takes away what the last of those samples was above the
//     one before Time: the source counts on from there. But where the source went back to its own
//     total by itself, it adds nothing from To on. Running totals do not fall: it went back where the
//     total had moved up and the first sample from To on is lower than the last before, and where it
//     had moved down and that sample has reached what was before Time. A mirror without To goes on.
//     One without a sample in its time does nothing.
//
// A moment needs no sample of its own: what counts are the samples around it.
func Apply(raw []Sample, corrections []record.Correction) (corrected []Sample, effects []Effect) {
	series := ordered(raw)
	for _, c := range Standing(corrections) {
		effects = append(effects, Effect{Correction: c, Steps: steps(series, c)})
	}
	return add(series, effects), effects
}

// Event corrects the event's running total by one source. Where raw is a sum over channels (sum is
// true), all effects on the channels (Apply's) are effects on it; where it is the source's own, those
// whose correction has Total set. In both cases the corrections of the event itself are too; all given
// ones are taken to be those (see Of with record.AllChannels). Else it is as Apply.
func Event(raw []Sample, sum bool, corrections []record.Correction, channels []Effect) (corrected []Sample, effects []Effect) {
	series := ordered(raw)
	for _, c := range Standing(corrections) {
		effects = append(effects, Effect{Correction: c, Steps: steps(series, c)})
	}
	for _, e := range channels {
		if sum || e.Correction.Total {
			effects = append(effects, e)
		}
	}
	return add(series, effects), effects
}

// Moments are the moments that the effects of corrections depend on, by time, each once: to correct a
// single sample, no more is needed of the series than the last sample before each of them and the
// first at or after it.
func Moments(corrections []record.Correction) []time.Time {
	var list []time.Time
	for _, c := range Standing(corrections) {
		switch c.Kind {
		case record.CorrectionReset:
			list = append(list, c.Time)
		case record.CorrectionMirror:
			list = append(list, c.Time)
			if !c.To.IsZero() {
				list = append(list, c.To)
			}
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	return slices.CompactFunc(list, time.Time.Equal)
}

// Latest corrects a single sample, the latest one, without the whole series: around holds the samples
// next to Moments, in any order, and may hold more. It returns what Apply would for that sample.
func Latest(latest Sample, around []Sample, corrections []record.Correction) (cents int64, effects []Effect) {
	series := append(slices.Clone(around), latest)
	corrected, effects := Apply(series, corrections)
	i, found := slices.BinarySearchFunc(corrected, latest.Time, func(s Sample, t time.Time) int { return s.Time.Compare(t) })
	if !found {
		return latest.Cents, effects
	}
	return corrected[i].Cents, effects
}

// ordered sorts a copy by time; of several samples at one moment it keeps the highest.
func ordered(raw []Sample) []Sample {
	list := slices.Clone(raw)
	slices.SortFunc(list, func(a, b Sample) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(b.Cents, a.Cents))
	})
	return slices.CompactFunc(list, func(a, b Sample) bool { return a.Time.Equal(b.Time) })
}

func add(series []Sample, effects []Effect) []Sample {
	corrected := slices.Clone(series)
	for _, e := range effects {
		next, now := 0, int64(0)
		for i := range corrected {
			for next < len(e.Steps) && !e.Steps[next].Time.After(corrected[i].Time) {
				now = e.Steps[next].Cents
				next++
			}
			corrected[i].Cents += now
		}
	}
	return corrected
}

// from is the index of the first sample at or after t.
func from(series []Sample, t time.Time) int {
	i, _ := slices.BinarySearchFunc(series, t, func(s Sample, t time.Time) int { return s.Time.Compare(t) })
	return i
}

// steps are what a correction adds to an ordered series.
func steps(series []Sample, c record.Correction) []Sample {
	begin := from(series, c.Time)
	before := int64(0)
	if begin > 0 {
		before = series[begin-1].Cents
	}
	switch c.Kind {
	case record.CorrectionAmount:
		return []Sample{{Time: c.Time, Cents: c.Cents}}
	case record.CorrectionDouble:
		return []Sample{{Time: c.Time, Cents: -c.Cents}}
	case record.CorrectionReset:
		if before == 0 {
			return nil
		}
		return []Sample{{Time: c.Time, Cents: before}}
	case record.CorrectionMirror:
		return mirror(series, c, begin, before)
	default:
		return nil
	}
}

func mirror(series []Sample, c record.Correction, begin int, before int64) []Sample {
	end := len(series)
	if !c.To.IsZero() {
		end = max(from(series, c.To), begin)
	}
	if begin == end {
		return nil
	}
	var list []Sample
	now := int64(0)
	step := func(t time.Time, cents int64) {
		if cents != now {
			list = append(list, Sample{Time: t, Cents: cents})
			now = cents
		}
	}
	for _, s := range series[begin:end] {
		step(s.Time, before-s.Cents)
	}
	if c.To.IsZero() || end == len(series) {
		return list // what stays shows by the first sample after it
	}
	last, next := series[end-1].Cents, series[end].Cents
	if last > before && next < last || last < before && next >= before {
		step(c.To, 0)
	}
	return list
}
