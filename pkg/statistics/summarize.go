package statistics

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tungstene/tungstene/pkg/charity/corrections"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
)

// fresh is how old the last sample of a running total may be where the total is complete.
const fresh = 5 * time.Minute

// Fund is what is never added to another: a charity source and a currency.
type Fund struct {
	Source   string `json:"source"`
	Currency string `json:"currency"`
}

// Standing is a running total at a moment, in cents.
type Standing struct {
	Cents int64     `json:"cents"`
	At    time.Time `json:"at"`
}

// FundOf is one fund of a channel or of the event, and what a Summary needs to know of it beside the
// documents.
type FundOf struct {
	Fund
	// Main is as Donations.Main, By as Donations.By. Singles says that it is the one whose single
	// donations are told beside the main one's totals.
	Main    bool
	Singles bool
	By      string
	// Before is the running total by the last sample before the range, of single donations their sum
	// before it. The zero time says that there was no sample. Then First is the first total that was
	// ever sampled, if that lies in the range; it is asked for ByChannels only.
	Before Standing
	First  Standing
	// Rolls tell, ByChannels only, of how many channels' totals sums are, by time: that of one which has
	// fewer than one before it lacks some. Of is how many Before is of.
	Rolls []Roll
	Of    int64
	// Known is the time that is known to have no single donations but those counted, in pieces by time
	// that do not reach over the edges of what is asked for.
	Known []Known
	// Effects are those of the corrections.
	Effects []corrections.Effect
	// Final is the end of what is counted of the event. The corrected total of a range that reaches it
	// takes the corrections that are dated after its last sample too, up to Until; all of them where that
	// is the zero time. The zero Final is never reached.
	Final, Until time.Time
}

// Roll is of how many channels' totals the last sum of a piece of time is.
type Roll struct {
	// To is the end of the piece.
	To       time.Time
	Channels int64
}

// most is of how many channels' totals a sum before a moment is at most.
func (f *FundOf) most(until time.Time) int64 {
	most := f.Of
	for _, r := range f.Rolls {
		if !r.To.After(until) {
			most = max(most, r.Channels)
		}
	}
	return most
}

// rolls are those that documents tell of, to be added to Rolls.
func (f *FundOf) rolls(docs []record.Statistics) (list []Roll) {
	for _, doc := range docs {
		for _, d := range doc.Donations {
			if fund(d) == f.Fund && !d.SumAt.IsZero() {
				list = append(list, Roll{doc.Through.Add(time.Minute), d.Channels})
			}
		}
	}
	return list
}

// late is what corrections that are dated after the last sample add to the total of a range.
func (f *FundOf) late(s Standing, clip Range) int64 {
	if f.Final.IsZero() || s.At.IsZero() || clip.Empty() || clip.To.Before(f.Final) {
		return 0
	}
	return corrections.SumOn(f.Effects, s.At, f.Until) - corrections.Sum(f.Effects, s.At)
}

// Known is how many seconds of a piece of time are known.
type Known struct {
	// Time is the start of the piece: a minute, an hour, the event.
	Time    time.Time
	Seconds float64
}

// knownIn is how many seconds of a range are known.
func (f *FundOf) knownIn(r Range) float64 {
	from := record.Minute(r.From)
	i, _ := slices.BinarySearchFunc(f.Known, from, func(k Known, t time.Time) int { return k.Time.Compare(t) })
	var n float64
	for _, k := range f.Known[i:] {
		if !k.Time.Before(r.To) {
			break
		}
		n += k.Seconds
	}
	return n
}

// Material is what a Summary is made of.
type Material struct {
	Event    record.Event
	Streamer Streamer
	Range    Range
	// Through is the start of the event's last closed minute.
	Through time.Time
	// Channels is how many channels are expected in the range: 1 of a channel.
	Channels int
	// Documents are the channel's (or event's) closed documents that lie in the range, in any order: no
	// two of them have a minute in common.
	Documents []record.Statistics
	Funds     []FundOf
	Sessions  []Session
	// Raids are all of the event in the range; RaidsCoverage is how complete. Empty: not asked for.
	Raids         []Raid
	RaidsCoverage string
}

// Aligned is the range in whole minutes: both ends are cut to the minute, but an end at or after the
// event's reaches to the end of its last minute. So two ranges that meet have no minute in common.
func Aligned(e *record.Event, r Range) Range {
	r.From, r.To = record.Minute(r.From), record.Minute(r.To)
	if end := last(e); !end.IsZero() && !r.To.Before(record.Minute(e.End)) {
		r.To = end
	}
	return r
}

// last is the end of an event's last minute; the zero time of an event without an end.
func last(e *record.Event) time.Time {
	if e.End.IsZero() {
		return time.Time{}
	}
	return record.Minute(e.End.Add(-time.Millisecond)).Add(time.Minute)
}

// counted is the part of an aligned range that is within the event and closed.
func counted(e *record.Event, r Range, through time.Time) Range {
	whole := Range{From: e.Start, To: e.End}
	if e.End.IsZero() {
		whole.To = r.To
	}
	if through.IsZero() {
		return Range{From: r.From, To: r.From}
	}
	whole.To = earlier(whole.To, through.Add(time.Minute))
	return r.Within(whole)
}

// Summarize makes a Summary. The order of what it is made of changes nothing. It fails when a document's
// sketch can't be read.
func Summarize(m Material) (Summary, error) {
	r := Aligned(&m.Event, m.Range)
	clip := counted(&m.Event, r, m.Through)
	s := Summary{Event: m.Event.Slug, Streamer: m.Streamer, Range: m.Range, Through: m.Through}
	docs := slices.DeleteFunc(slices.Clone(m.Documents), func(d record.Statistics) bool {
		return d.State != record.StateClosed || d.Minutes == 0
	})
	slices.SortFunc(docs, func(a, b record.Statistics) int { return a.Time.Compare(b.Time) })
	fold := rollup.NewFold(m.Event.Start, m.Streamer.Channel)
	for i := range docs {
		if err := fold.Add(&docs[i]); err != nil {
			return Summary{}, fmt.Errorf("summarize %s of event %s: %w", m.Streamer.Channel, m.Event.Slug, err)
		}
	}
	d := fold.Statistics()
	if m.Channels > 0 && len(docs) > 0 {
		s.Channels = m.Channels
	}
	expected := clip.Length().Seconds() * float64(m.Channels)
	chat := chatCoverage(&d, expected)
	viewers := viewersCoverage(&m.Event, docs, expected)
	s.numbers(&d, chat, viewers)
	if d.Coverage.Seconds > 0 && m.Channels > 0 {
		s.MessagesPerMinute = measure(float64(d.Messages)/(d.Coverage.Seconds/float64(m.Channels)/60), chat)
	}
	s.sessions(m.Sessions, r)
	s.raids(&m, r)
	funds := slices.Clone(m.Funds)
	for i := range funds {
		if f := &funds[i]; f.By == ByChannels {
			f.Rolls = append(slices.Clip(f.Rolls), f.rolls(docs)...)
		}
	}
	s.Donations = donationsOf(funds, &d, clip)
	return s, nil
}

func chatCoverage(d *record.Statistics, expected float64) string {
	switch seen := d.Coverage.Seconds; {
	case seen > 0 && seen >= expected-dirt:
		return record.Complete
	case seen > 0 || d.Messages+d.Notices > 0: // filled in: what is there is a lower bound
		return record.Partial
	}
	return record.Unknown
}

// dirt is what sums of seconds may be off by.
const dirt = 0.01

// viewersCoverage is complete when every document says so, and together they fill the time.
func viewersCoverage(e *record.Event, docs []record.Statistics, expected float64) string {
	var (
		complete = true
		sampled  int64
		seconds  float64
	)
	for i := range docs {
		d := &docs[i]
		sampled += d.Viewers.SampledMinutes
		seconds += d.Coverage.Expected
		if d.Coverage.Viewers == record.Unknown && d.Through.Before(e.Start) {
			continue // of a minute that no sample is expected of
		}
		complete = complete && d.Coverage.Viewers == record.Complete
	}
	switch {
	case sampled == 0:
		return record.Unknown
	case complete && seconds >= expected-dirt:
		return record.Complete
	}
	return record.Partial
}

func count(n int64, coverage string) Count {
	if coverage == record.Unknown || coverage == "" {
		return Count{Coverage: record.Unknown}
	}
	return Count{N: n, Coverage: coverage}
}

func measure(n float64, coverage string) Measure {
	if coverage == record.Unknown || coverage == "" {
		return Measure{Coverage: record.Unknown}
	}
	return Measure{N: n, Coverage: coverage}
}

// worse is the coverage of what is computed from numbers of both.
func worse(a, b string) string {
	switch {
	case a == record.Unknown || b == record.Unknown || a == "" || b == "":
		return record.Unknown
	case a == record.Partial || b == record.Partial:
		return record.Partial
	}
	return record.Complete
}

// ratio is unknown where the divisor is nothing.
func ratio(a, b float64, coverage string) Measure {
	if b == 0 {
		return Measure{Coverage: record.Unknown}
	}
	return measure(a/b, coverage)
}

// numbers takes over what a document says.
func (s *Summary) numbers(d *record.Statistics, chat, viewers string) {
	s.StreamMinutes = count(d.Viewers.LiveMinutes, viewers)
	s.WatchMinutes = measure(d.Viewers.WatchMinutes, viewers)
	s.AverageViewers = measure(d.Viewers.Average, viewers)
	s.PeakViewers = count(d.Viewers.Peak, viewers)
	s.PeakAt = d.Viewers.PeakAt

	s.Messages = count(d.Messages, chat)
	s.SharedCopies = count(d.SharedCopies, chat)
	s.FirstMessages = count(d.FirstMessages, chat)
	s.Chatters = count(d.Chatters.Estimate, chat)
	s.Chatters.Error = d.Chatters.Error
	if !s.Chatters.Known() {
		s.Chatters.Error = 0
	}
	s.MessagesPerMinute = Measure{Coverage: record.Unknown}
	s.MessagesPerChatter = ratio(float64(d.Messages), float64(d.Chatters.Estimate), chat)
	s.MessagesPerChatter.Error = s.Chatters.Error
	s.MessagesPerViewer = ratio(float64(d.Messages), d.Viewers.Average, worse(chat, viewers))
	s.MessagesPerViewerHour = ratio(float64(d.Messages), d.Viewers.WatchMinutes/60, worse(chat, viewers))

	s.Emotes = count(d.Emotes.Total, chat)
	s.TopEmotes, s.TopEmotesExact = d.Emotes.Top, !d.Emotes.Truncated
	s.Bits = count(d.Bits, chat)
	s.Cheers = count(d.Cheers, chat)
	s.Subs = count(d.Subs, chat)
	s.Resubs = count(d.Resubs, chat)
	s.Gifts = count(d.Gifts, chat)
	s.GiftBombs = count(d.GiftBombs, chat)
	s.Upgrades = count(d.Upgrades, chat)
	s.RaidsIn = count(d.Raids, chat)
	s.RaidInViewers = count(d.RaidViewers, chat)
	s.RaidsOut, s.RaidOutViewers = Count{Coverage: record.Unknown}, Count{Coverage: record.Unknown}
	s.Bans = count(d.Bans, chat)
	s.Timeouts = count(d.Timeouts, chat)
	s.Deletes = count(d.Deletes, chat)
	s.Clears = count(d.Clears, chat)
	s.ModerationPer1000 = ratio(float64(d.Bans+d.Timeouts+d.Deletes+d.Clears)*1000, float64(d.Messages), chat)
}

func (s *Summary) sessions(all []Session, r Range) {
	for _, one := range all {
		if s.Channel != record.AllChannels && one.Channel != s.Channel {
			continue
		}
		if one.Range = one.Within(r); !one.Empty() {
			s.Sessions = append(s.Sessions, one)
		}
	}
	slices.SortFunc(s.Sessions, bySession)
}

func bySession(a, b Session) int {
	return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Stream, b.Stream))
}

func (s *Summary) raids(m *Material, r Range) {
	if m.RaidsCoverage == "" {
		return
	}
	var raids, viewers int64
	for _, raid := range m.Raids {
		if raid.From != "" && r.Contains(raid.Time) && (s.Channel == record.AllChannels || raid.From == s.Channel) {
			raids++
			viewers += raid.Viewers
		}
	}
	s.RaidsOut, s.RaidOutViewers = count(raids, m.RaidsCoverage), count(viewers, m.RaidsCoverage)
}

// donationsOf says what the sources say of a range; clip is the part of it that is counted.
func donationsOf(funds []FundOf, d *record.Statistics, clip Range) []Donations {
	out := make([]Donations, 0, len(funds))
	for i := range funds {
		f := &funds[i]
		var said record.Donations
		if i := slices.IndexFunc(d.Donations, func(x record.Donations) bool { return fund(x) == f.Fund }); i >= 0 {
			said = d.Donations[i]
		}
		out = append(out, f.donations(said, clip))
	}
	slices.SortFunc(out, func(a, b Donations) int {
		return cmp.Or(-cmp.Compare(b2i(a.Main), b2i(b.Main)), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Currency, b.Currency))
	})
	if len(out) == 0 {
		return nil
	}
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func fund(d record.Donations) Fund { return Fund{Source: d.Source, Currency: d.Currency} }

// standing is the running total of a span by its last sample; ok is false where it has none.
func (f *FundOf) standing(d *record.Donations) (s Standing, ok bool) {
	switch f.By {
	case BySamples:
		return Standing{d.Total, d.TotalAt}, d.Samples > 0
	case ByChannels:
		return Standing{d.Sum, d.SumAt}, !d.SumAt.IsZero()
	}
	return Standing{}, false
}

func (f *FundOf) donations(said record.Donations, clip Range) Donations {
	out := Donations{Source: f.Source, Currency: f.Currency, Main: f.Main, By: f.By}
	known, seconds := record.Unknown, f.knownIn(clip)
	switch {
	case seconds > 0 && seconds >= clip.Length().Seconds()-dirt:
		known = record.Complete
	case seconds > 0 || said.Count > 0:
		known = record.Partial
	}
	out.Count, out.Cents = count(said.Count, known), count(said.Cents, known)
	out.Largest = count(said.Largest, known)
	out.Mean = ratio(float64(said.Cents), float64(said.Count), known)

	corrected := func(s Standing) int64 { return s.Cents + corrections.Sum(f.Effects, s.At) }
	if f.By == ByDonations {
		end := clip.To.Add(-time.Millisecond)
		before := Standing{f.Before.Cents, clip.From.Add(-time.Millisecond)}
		now := Standing{f.Before.Cents + said.Cents, end}
		after := corrected(now) + f.late(now, clip)
		out.Total, out.Corrected = count(now.Cents, known), count(after, known)
		out.Raised, out.RaisedCorrected = count(said.Cents, known), count(after-corrected(before), known)
		if out.Total.Known() {
			out.At = end
		}
		return out
	}
	now, sampled := f.standing(&said)
	base, first := f.Before, false
	if base.At.IsZero() {
		if base, first = f.First, true; f.By == BySamples {
			base = Standing{said.First, said.FirstAt}
		}
	}
	whole, wholeBase := true, true
	if f.By == ByChannels {
		of := said.Channels
		if !sampled {
			of = f.Of
		}
		whole, wholeBase = of >= f.most(clip.To), first || f.Of >= f.most(clip.From)
	}
	if !sampled {
		now = f.Before
	}
	total := record.Unknown
	if !now.At.IsZero() {
		total = record.Partial
		if whole && !now.At.Before(clip.To.Add(-fresh)) {
			total = record.Complete
		}
		out.At = now.At
	}
	late := f.late(now, clip)
	after := corrected(now) + late
	out.Total, out.Corrected = count(now.Cents, total), count(after, total)
	raised := record.Unknown
	if sampled {
		raised = record.Partial
		if total == record.Complete && wholeBase && (!first && !base.At.Before(clip.From.Add(-fresh)) ||
			first && !base.At.After(clip.From.Add(fresh))) {
			raised = record.Complete
		}
	}
	if base.At.IsZero() {
		base = now
	}
	out.Raised = count(now.Cents-base.Cents, raised)
	if late != 0 && raised == record.Unknown {
		raised = record.Partial // what was corrected is known
	}
	out.RaisedCorrected = count(after-corrected(base), raised)
	return out
}
