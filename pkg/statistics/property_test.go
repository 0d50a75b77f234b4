package statistics_test

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/charity/corrections"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/statistics"
)

const gdq = "gdq"

// drawn is an event of some hours of one channel, minute by minute, with gaps.
type drawn struct {
	event   record.Event
	minutes []record.Statistics
	through time.Time
	effects []corrections.Effect
}

func draw(t *rapid.T) drawn {
	start := utc("2026-09-04T16:00:00Z")
	n := rapid.IntRange(10, 200).Draw(t, "minutes")
	d := drawn{
		event:   record.Event{Slug: slug, Start: start, End: start.Add(time.Duration(n) * time.Minute), TimeZone: "Europe/Paris", Currency: "EUR"},
		through: start.Add(time.Duration(n-1) * time.Minute),
	}
	total := int64(rapid.IntRange(0, 1000).Draw(t, "before"))
	add := func(a *rollup.Aggregator, doc record.Document) {
		r, err := record.Encode(doc)
		if err != nil {
			t.Fatal(err)
		}
		a.Add(r)
	}
	for i := range n {
		minute := start.Add(time.Duration(i) * time.Minute)
		if rapid.IntRange(0, 9).Draw(t, "gap") == 0 {
			continue
		}
		h := record.Header{Event: slug, Channel: "1", Time: minute}
		a := rollup.NewAggregator(slug, minute, d.event.Start, d.event.End)
		for j := range rapid.IntRange(0, 6).Draw(t, "messages") {
			m := record.Message{Header: h, MessageID: fmt.Sprint(i, j), Chatter: strconv.Itoa(rapid.IntRange(0, 30).Draw(t, "who"))}
			if rapid.Bool().Draw(t, "emote") {
				m.Emotes = []record.Emote{{ID: strconv.Itoa(j), Name: "E", Count: 1 + j}}
			}
			add(a, &m)
		}
		if v := rapid.IntRange(-2, 50).Draw(t, "viewers"); v >= -1 {
			add(a, &record.Viewers{Header: h, Source: record.SourceHelix, Live: v >= 0, Viewers: max(v, 0)})
		}
		if rapid.IntRange(0, 3).Draw(t, "sampled") > 0 {
			total += int64(rapid.IntRange(-50, 500).Draw(t, "raised"))
			add(a, &record.Amount{Header: h, Source: gdq, Money: record.Money{Cents: total, Currency: "EUR"}})
		}
		if rapid.IntRange(0, 3).Draw(t, "given") == 0 {
			add(a, &record.Donation{
				Header: h, Source: "single", Donation: strconv.Itoa(i),
				Money: record.Money{Cents: int64(rapid.IntRange(0, 900).Draw(t, "cents")), Currency: "EUR"},
			})
		}
		seconds := time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second
		add(a, &record.Coverage{
			Header: record.Header{Event: slug, Time: minute}, Source: record.SourceChat, To: minute.Add(seconds), Collector: "c",
			Connection: "c-1", Set: record.ChannelSet([]string{"1"}), Channels: []string{"1"},
		})
		for _, doc := range a.Result() {
			if doc.Channel == "1" {
				doc.State = record.StateClosed
				d.minutes = append(d.minutes, doc)
			}
		}
	}
	fixes := []record.Correction{
		{ID: "a", Kind: record.CorrectionAmount, Time: start.Add(time.Duration(rapid.IntRange(0, n).Draw(t, "amount")) * time.Minute), Cents: 777},
		{ID: "b", Kind: record.CorrectionDouble, Time: start.Add(time.Duration(rapid.IntRange(0, n).Draw(t, "double")) * time.Minute), Cents: 50},
	}
	_, d.effects = corrections.Apply(nil, fixes)
	return d
}

// final is the end of what is counted.
func (d *drawn) final() time.Time {
	if end := d.through.Add(time.Minute); end.Before(d.event.End) {
		return end
	}
	return d.event.End
}

// of is the summary of a part; of minutes that a Reader would find, by what it would find before.
func (d *drawn) of(t *rapid.T, from, to time.Time) statistics.Summary {
	m := statistics.Material{
		Event: d.event, Streamer: statistics.Streamer{Channel: "1"}, Range: statistics.Range{From: from, To: to},
		Through: d.through, Channels: 1,
	}
	samples := statistics.FundOf{Fund: statistics.Fund{Source: gdq, Currency: "EUR"}, Main: true, By: statistics.BySamples, Effects: d.effects, Final: d.final()}
	single := statistics.FundOf{Fund: statistics.Fund{Source: "single", Currency: "EUR"}, By: statistics.ByDonations, Effects: d.effects, Final: d.final()}
	for _, doc := range d.minutes {
		if m.Range.Contains(doc.Time) {
			m.Documents = append(m.Documents, doc)
			continue
		}
		for _, said := range doc.Donations {
			if said.Source == gdq && said.Samples > 0 && doc.Time.Before(from) {
				samples.Before = statistics.Standing{Cents: said.Total, At: said.TotalAt}
			}
			if said.Source == "single" && doc.Time.Before(from) {
				single.Before.Cents += said.Cents
			}
		}
	}
	m.Funds = []statistics.FundOf{samples, single}
	s, err := statistics.Summarize(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whatever adds up is the sum over the parts of a range, however it is split; peaks are maxima, averages
// are weighted by the minutes that they are over, and people can't be more than the parts' together.
func TestARangeIsTheSumOfItsParts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		whole := d.of(t, d.event.Start, d.event.End)
		cuts := []time.Time{d.event.Start, d.event.End}
		for range rapid.IntRange(1, 4).Draw(t, "cuts") {
			seconds := rapid.IntRange(0, int(d.event.End.Sub(d.event.Start).Seconds())).Draw(t, "cut")
			cuts = append(cuts, d.event.Start.Add(time.Duration(seconds)*time.Second))
		}
		slices.SortFunc(cuts, time.Time.Compare)
		var parts []statistics.Summary
		for i := range len(cuts) - 1 {
			// A Reader cuts to the minute, and Summarize does too.
			r := statistics.Aligned(&d.event, statistics.Range{From: cuts[i], To: cuts[i+1]})
			parts = append(parts, d.of(t, r.From, r.To))
		}
		for name, of := range map[string]func(s *statistics.Summary) int64{
			"messages":       func(s *statistics.Summary) int64 { return s.Messages.N },
			"emotes":         func(s *statistics.Summary) int64 { return s.Emotes.N },
			"stream minutes": func(s *statistics.Summary) int64 { return s.StreamMinutes.N },
			"watch minutes":  func(s *statistics.Summary) int64 { return int64(math.Round(s.WatchMinutes.N)) },
			"raised":         func(s *statistics.Summary) int64 { return fundIn(s, gdq).Raised.N },
			"raised corrected": func(s *statistics.Summary) int64 {
				return fundIn(s, gdq).RaisedCorrected.N
			},
			"single": func(s *statistics.Summary) int64 { return fundIn(s, "single").Cents.N },
			"count":  func(s *statistics.Summary) int64 { return fundIn(s, "single").Count.N },
			"single corrected": func(s *statistics.Summary) int64 {
				return fundIn(s, "single").RaisedCorrected.N
			},
		} {
			var sum int64
			for i := range parts {
				sum += of(&parts[i])
			}
			if name == "single corrected" && slices.ContainsFunc(append(parts, whole), func(s statistics.Summary) bool {
				return !fundIn(&s, "single").Cents.Known()
			}) {
				continue // a correction may lie in a part of which nothing is known
			}
			if want := of(&whole); sum != want {
				t.Fatalf("%s: %d in the parts, %d in the whole", name, sum, want)
			}
		}
		var peak, chatters, most int64
		var watched float64
		var live int64
		for i := range parts {
			p := &parts[i]
			peak = max(peak, p.PeakViewers.N)
			chatters += p.Chatters.N
			most = max(most, p.Chatters.N)
			watched += p.AverageViewers.N * float64(p.StreamMinutes.N)
			live += p.StreamMinutes.N
		}
		if peak != whole.PeakViewers.N {
			t.Fatalf("peak %d, of the parts %d", whole.PeakViewers.N, peak)
		}
		if whole.Chatters.N > chatters || whole.Chatters.N < most {
			t.Fatalf("%d chatters, in the parts %d, the most %d", whole.Chatters.N, chatters, most)
		}
		if live > 0 && math.Abs(watched/float64(live)-whole.AverageViewers.N) > 1e-6 {
			t.Fatalf("average %v, of the parts %v", whole.AverageViewers.N, watched/float64(live))
		}
		// What is complete in all parts is complete in the whole, and the other way round.
		all := !slices.ContainsFunc(parts, func(s statistics.Summary) bool {
			return !statistics.Aligned(&d.event, s.Range).Empty() && s.Messages.Coverage != record.Complete
		})
		if all != (whole.Messages.Coverage == record.Complete) {
			t.Fatalf("the whole is %s, the parts: %+v", whole.Messages.Coverage, parts)
		}
	})
}

func fundIn(s *statistics.Summary, source string) statistics.Donations {
	i := slices.IndexFunc(s.Donations, func(d statistics.Donations) bool { return d.Source == source })
	return s.Donations[i]
}

// The order of documents changes nothing, nor does it matter whether hours are folded first.
func TestOrderChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		want := d.of(t, d.event.Start, d.event.End)
		shuffled := d
		shuffled.minutes = slices.Clone(d.minutes)
		if have := shuffled.of(t, d.event.Start, d.event.End); !reflect.DeepEqual(have, want) {
			t.Fatalf("again:\n%+v\n%+v", have, want)
		}
		mixed := statistics.Material{
			Event: d.event, Streamer: statistics.Streamer{Channel: "1"}, Range: statistics.Range{From: d.event.Start, To: d.event.End},
			Through: d.through, Channels: 1, Documents: rapid.Permutation(d.minutes).Draw(t, "order"),
		}
		have, err := statistics.Summarize(mixed)
		if err != nil {
			t.Fatal(err)
		}
		want.Donations = nil
		if !reflect.DeepEqual(have, want) {
			t.Fatalf("in another order:\n%+v\n%+v", have, want)
		}
		mixed.Documents = hours(t, &d)
		if have, err = statistics.Summarize(mixed); err != nil {
			t.Fatal(err)
		}
		near := math.Abs(have.WatchMinutes.N-want.WatchMinutes.N) < 1e-6
		if have.Messages != want.Messages || have.Chatters != want.Chatters || have.PeakViewers != want.PeakViewers || !near ||
			!have.PeakAt.Equal(want.PeakAt) || have.StreamMinutes != want.StreamMinutes || have.Emotes != want.Emotes {
			t.Fatalf("of hours:\n%+v\n%+v", have, want)
		}
	})
}

// hours folds minutes by clock hours.
func hours(t *rapid.T, d *drawn) []record.Statistics {
	var out []record.Statistics
	for _, h := range statistics.Hours(statistics.Range{From: d.event.Start, To: d.event.End}) {
		f, found := rollup.NewFold(d.event.Start, "1"), false
		for i := range d.minutes {
			if h.Contains(d.minutes[i].Time) {
				found = true
				if err := f.Add(&d.minutes[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
		if found {
			out = append(out, f.Statistics())
		}
	}
	return out
}

// Raw and what the corrections add is corrected.
func TestRawPlusCorrectionsIsCorrected(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		to := d.event.Start.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "to")) * time.Minute)
		s := d.of(t, d.event.Start, to)
		for _, f := range s.Donations {
			if !f.Total.Known() {
				if f.Corrected.N != 0 || f.Total.N != 0 {
					t.Fatalf("unknown, but %+v", f)
				}
				continue
			}
			added := corrections.Sum(d.effects, f.At)
			if !to.Before(d.final()) {
				added = corrections.SumOn(d.effects, f.At, time.Time{})
			}
			if f.Corrected.N != f.Total.N+added {
				t.Fatalf("%+v, the corrections add %d", f, added)
			}
		}
	})
}

// A curve's steps are the summaries of its steps.
func TestACurveIsItsSummaries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		step := rapid.SampledFrom([]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 2 * time.Hour}).Draw(t, "step")
		m := statistics.Material{
			Event: d.event, Streamer: statistics.Streamer{Channel: "1"}, Range: statistics.Range{From: d.event.Start, To: d.event.End},
			Through: d.through, Channels: 1, Documents: d.minutes,
			Funds: []statistics.FundOf{{Fund: statistics.Fund{Source: gdq, Currency: "EUR"}, Main: true, By: statistics.BySamples, Effects: d.effects, Final: d.final()}},
		}
		c, err := statistics.CurveOf(m, step)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range c.Points {
			to := d.event.End
			if i+1 < len(c.Points) {
				to = c.Points[i+1].Time
			}
			s := d.of(t, p.Time, to)
			f := fundIn(&s, gdq)
			if p.Messages != s.Messages || p.Emotes != s.Emotes || p.Peak != s.PeakViewers || p.Raised != f.Raised ||
				p.RaisedCorrected != f.RaisedCorrected || math.Abs(p.Viewers.N-s.AverageViewers.N) > 1e-9 ||
				p.Viewers.Coverage != s.AverageViewers.Coverage {
				t.Fatalf("step %s:\n%+v\n%+v\n%+v", p.Time, p, s, f)
			}
		}
	})
}

// The fast reading of documents is that of the driver.
func TestDocumentsAreReadAsTheDriverDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		for _, doc := range d.minutes {
			doc.Counted = d.event.Start
			raw, err := bson.Marshal(&doc)
			if err != nil {
				t.Fatal(err)
			}
			var want record.Statistics
			if err := bson.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
			have, err := statistics.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			a, err := bson.Marshal(&have)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(a, raw) {
				t.Fatalf("%v\n%v", bson.Raw(a), bson.Raw(raw))
			}
		}
	})
}

// Every field of a document is read, and only what was asked for.
func TestEveryFieldIsRead(t *testing.T) {
	t.Parallel()
	var want record.Statistics
	n := 0
	fillIn(t, reflect.ValueOf(&want).Elem(), &n)
	raw, err := bson.Marshal(&want)
	if err != nil {
		t.Fatal(err)
	}
	have, err := statistics.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("\n%+v\n%+v", have, want)
	}
	for cut := range raw {
		if _, err := statistics.Decode(raw[:cut]); err == nil {
			t.Errorf("the first %d of %d bytes are read as a document", cut, len(raw))
		}
	}
}

// fillIn sets every field to a value of its own.
func fillIn(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(utc("2026-09-04T16:00:00Z").Add(time.Duration(*n) * time.Second)))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fillIn(t, v.Field(i), n)
		}
	case v.Type() == reflect.TypeFor[[]byte]():
		v.SetBytes([]byte{byte(*n)})
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fillIn(t, v.Index(i), n)
		}
	case v.Kind() == reflect.String:
		v.SetString(fmt.Sprint("text-", *n))
	case v.CanInt():
		v.SetInt(int64(*n))
	case v.CanFloat():
		v.SetFloat(float64(*n) + 0.5)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	default:
		t.Fatalf("what is a %s?", v.Type())
	}
}
