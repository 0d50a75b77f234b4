package statistics_test

import (
	"errors"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/charity/totals"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
)

// weekend is three hours of two channels: alpha streams and is read all along, beta from 20 minutes on,
// for an hour, with a gap in its samples.
func weekend(t *testing.T) *world {
	w := newWorld(t, utc("2026-09-04T16:00:00Z"), 3*time.Hour)
	w.channel("1", "alpha")
	w.channel("2", "beta")
	w.session("1", "s1", w.at(-time.Hour), time.Time{}, "Just Chatting")
	w.session("2", "s2", w.at(20*time.Minute), w.at(80*time.Minute), "Chess")
	for i := range 180 {
		m := w.at(time.Duration(i) * time.Minute)
		w.messages("1", 3, m)
		w.viewers("1", 100+i, m)
		w.amount("zevent", "1", int64(1000*i), m)
		w.amount("zevent", "", int64(50_000+1500*i), m)
		live := i >= 20 && i < 80
		if i < 40 || i >= 50 {
			n := -1
			if live {
				n = 50
			}
			w.viewers("2", n, m)
			w.amount("zevent", "2", int64(500*min(i, 80)), m)
		}
		if live {
			w.message("2", "only-beta", m)
			w.message("2", "chatter-1", m, "Kappa")
		}
		w.read(m, time.Minute, "1", "2")
	}
	return w
}

func TestASummaryOfAStreamerAndOfTheEvent(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	w.raid("1", "2", 40, w.at(30*time.Minute))
	w.raid("", "1", 7, w.at(31*time.Minute))
	r := w.fill()

	beta := summary(t, r, "2", r.Whole())
	if beta.Login != "beta" || beta.Channels != 1 || beta.Messages != complete(120) || beta.StreamMinutes != partial(50) ||
		beta.WatchMinutes.N != 2500 || beta.AverageViewers.N != 50 || beta.PeakViewers != partial(50) ||
		!beta.PeakAt.Equal(w.at(20*time.Minute)) || beta.Emotes != complete(60) || beta.RaidsIn != complete(1) ||
		beta.RaidInViewers != complete(40) || beta.RaidsOut != unknown() {
		t.Errorf("beta: %+v", beta)
	}
	if beta.Chatters.N != 2 || beta.Chatters.Error == 0 || beta.MessagesPerChatter.N != 60 {
		t.Errorf("beta's chatters: %+v, %+v", beta.Chatters, beta.MessagesPerChatter)
	}
	d, ok := beta.MainDonations()
	if !ok || d.Total != complete(40_000) || d.Raised != complete(40_000) || d.By != statistics.BySamples || d.Count != unknown() {
		t.Errorf("beta's donations: %+v", d)
	}

	if s := summary(t, r, record.AllChannels, r.Whole()); s.Sessions != nil {
		t.Errorf("nobody asked for sessions: %+v", s.Sessions)
	}
	if _, err := r.Sessions(t.Context(), record.AllChannels); err != nil {
		t.Fatal(err)
	}
	event := summary(t, r, record.AllChannels, r.Whole())
	if event.Channels != 2 || event.Messages != complete(660) || event.StreamMinutes != partial(230) || len(event.Sessions) != 2 ||
		event.PeakViewers != partial(279) || !event.PeakAt.Equal(w.at(179*time.Minute)) {
		t.Errorf("event: %+v", event)
	}
	d, _ = event.MainDonations()
	if d.Total != complete(50_000+1500*179) || d.Raised != complete(1500*179) || d.By != statistics.BySamples {
		t.Errorf("the event's donations: %+v", d)
	}

	if _, err := r.Raids(t.Context()); err != nil {
		t.Fatal(err)
	}
	alpha := summary(t, r, "1", r.Whole())
	if alpha.RaidsOut != complete(1) || alpha.RaidOutViewers != complete(40) || alpha.RaidsIn != complete(1) {
		t.Errorf("alpha's raids: %+v", alpha)
	}

	all, err := r.Summaries(t.Context(), r.Whole())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || !reflect.DeepEqual(all[0], alpha) || all[1].RaidsOut != complete(0) {
		t.Errorf("all at once:\n%+v\nalpha:\n%+v", all, alpha)
	}
	part := statistics.Range{From: w.at(30 * time.Minute), To: w.at(150 * time.Minute)}
	if all, err = r.Summaries(t.Context(), part); err != nil {
		t.Fatal(err)
	}
	if want := summary(t, r, "2", part); !reflect.DeepEqual(all[1], want) {
		t.Errorf("all of a part:\n%+v\nbeta:\n%+v", all[1], want)
	}
}

// Any range is what its minutes say, wherever hours begin.
func TestARangeIsReadFromHoursAndEdges(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	r := w.fill()
	for _, c := range []struct{ from, to int }{
		{0, 180}, {0, 1}, {0, 60}, {60, 120}, {60, 121}, {59, 121}, {1, 179}, {13, 47}, {20, 80}, {40, 50}, {120, 180}, {179, 180}, {90, 90},
	} {
		rg := statistics.Range{From: w.at(time.Duration(c.from) * time.Minute), To: w.at(time.Duration(c.to) * time.Minute)}
		alpha := summary(t, r, "1", rg)
		n := int64(c.to - c.from)
		want := complete(3 * n)
		if n == 0 {
			want = unknown()
		}
		if alpha.Messages != want || n > 0 && (alpha.PeakViewers.N != int64(99+c.to) || alpha.StreamMinutes != complete(n)) {
			t.Errorf("%d to %d: %+v", c.from, c.to, alpha)
		}
		d, _ := alpha.MainDonations()
		raised := 1000 * int64(c.to-max(c.from, 1))
		if n > 0 && (d.Total != complete(1000*int64(c.to-1)) || d.Raised.N != raised) {
			t.Errorf("%d to %d: %+v, raised should be %d", c.from, c.to, d, raised)
		}
		event := summary(t, r, record.AllChannels, rg)
		var live, sampled int64
		for i := c.from; i < c.to; i++ {
			live++
			if i >= 20 && i < 80 && (i < 40 || i >= 50) {
				live++
			}
			if i < 40 || i >= 50 {
				sampled++
			}
		}
		if event.StreamMinutes.N != live || n > 0 && (event.StreamMinutes.Coverage == record.Complete) != (sampled == n) {
			t.Errorf("%d to %d: %d live and %d sampled minutes, %+v", c.from, c.to, live, sampled, event.StreamMinutes)
		}
	}
}

func TestOfflineIsNotUnsampled(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	r := w.fill()
	c, err := r.Curve(t.Context(), "2", r.Whole(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Points) != 180 {
		t.Fatalf("%d points", len(c.Points))
	}
	for i, want := range map[int]struct {
		viewers, total statistics.Count
	}{
		0:   {complete(0), complete(0)},
		30:  {complete(50), complete(15_000)},
		45:  {unknown(), unknown()},
		100: {complete(0), complete(40_000)},
	} {
		if p := c.Points[i]; p.Peak != want.viewers || p.Viewers.Coverage != want.viewers.Coverage || p.Total != want.total || p.Messages.Coverage != record.Complete {
			t.Errorf("minute %d: %+v", i, p)
		}
	}
	// What was given in the gap shows at its end, and nobody knows when it was.
	if p := c.Points[50]; p.Raised != partial(500*11) {
		t.Errorf("after the gap: %+v", p)
	}
	summed := summary(t, r, "2", statistics.Range{From: w.at(40 * time.Minute), To: w.at(50 * time.Minute)})
	if summed.StreamMinutes != unknown() || summed.AverageViewers.Known() || summed.Messages != complete(20) {
		t.Errorf("within the gap: %+v", summed)
	}
}

func TestTheEventsTotalIsTheSumOfTheChannelsWhereTheSourceHasNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, utc("2026-09-04T16:00:00Z"), 2*time.Hour)
	w.channel("1", "alpha")
	w.channel("2", "beta")
	for i := range 120 {
		m := w.at(time.Duration(i) * time.Minute)
		w.amount("zevent", "1", int64(10_000+100*i), m)
		w.amount("zevent", "2", int64(20_000+200*i), m)
		w.read(m, time.Minute, "1", "2")
	}
	r := w.fill()
	for _, c := range []struct {
		from, to      int
		total, raised int64
	}{{0, 120, 30_000 + 300*119, 300 * 119}, {0, 30, 30_000 + 300*29, 300 * 29}, {30, 90, 30_000 + 300*89, 300 * 60}} {
		s := summary(t, r, record.AllChannels, statistics.Range{From: w.at(time.Duration(c.from) * time.Minute), To: w.at(time.Duration(c.to) * time.Minute)})
		if d, ok := s.MainDonations(); !ok || d.By != statistics.ByChannels || d.Total != complete(c.total) || d.Raised != complete(c.raised) {
			t.Errorf("%+v: %+v", c, d)
		}
	}
	for _, step := range []time.Duration{time.Minute, time.Hour} {
		c, err := r.Curve(t.Context(), record.AllChannels, r.Whole(), step)
		if err != nil {
			t.Fatal(err)
		}
		var raised int64
		for _, p := range c.Points {
			raised += p.Raised.N
		}
		if raised != 300*119 {
			t.Errorf("in steps of %s: %d was raised", step, raised)
		}
	}
}

// A sum that lacks the total of a channel which was sampled before is partial, and so is what was raised
// since or until then.
func TestASumThatLacksAChannelIsPartial(t *testing.T) {
	t.Parallel()
	w := newWorld(t, utc("2026-09-04T16:00:00Z"), 3*time.Hour)
	w.channel("1", "alpha")
	w.channel("2", "beta")
	for i := range 180 {
		m := w.at(time.Duration(i) * time.Minute)
		w.amount("zevent", "1", int64(10_000+100*i), m)
		if i >= 20 && i < 100 || i >= 110 && i < 140 {
			w.amount("zevent", "2", int64(20_000+200*i), m)
		}
		w.read(m, time.Minute, "1", "2")
	}
	r := w.fill()
	for _, c := range []struct {
		from, to      int
		total, raised string
	}{
		{0, 180, record.Partial, record.Partial},
		{0, 10, record.Complete, record.Complete},
		{0, 105, record.Partial, record.Partial},
		{30, 100, record.Complete, record.Complete},
		{30, 130, record.Complete, record.Complete},
		{105, 130, record.Complete, record.Partial}, // of less than all at its beginning
		{150, 160, record.Partial, record.Partial},
		{120, 180, record.Partial, record.Partial},
	} {
		s := summary(t, r, record.AllChannels, statistics.Range{From: w.at(time.Duration(c.from) * time.Minute), To: w.at(time.Duration(c.to) * time.Minute)})
		if d, ok := s.MainDonations(); !ok || d.By != statistics.ByChannels || d.Total.Coverage != c.total || d.Raised.Coverage != c.raised {
			t.Errorf("%+v: %+v", c, d)
		}
	}
	for step, lack := range map[time.Duration]func(i int) bool{
		time.Minute: func(i int) bool { return i >= 100 && i < 110 || i >= 140 },
		time.Hour:   func(i int) bool { return i == 2 },
	} {
		c, err := r.Curve(t.Context(), record.AllChannels, r.Whole(), step)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range c.Points {
			if (p.Total.Coverage == record.Partial) != lack(i) {
				t.Errorf("step %d of %s: %+v", i, step, p.Total)
			}
		}
	}
	races, err := r.Races(t.Context(), statistics.ByDonated)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{record.Complete, record.Complete, record.Partial} {
		if have := races[0].Event[i]; have.Coverage != want {
			t.Errorf("the leaderboard's event after hour %d: %+v", i+1, have)
		}
	}
}

func TestCorrectionsAreAppliedAtReading(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	w.correct(record.Correction{Channel: "1", Source: "zevent", Kind: record.CorrectionDouble, Time: w.at(100 * time.Minute), Cents: 30_000, Total: true})
	w.correct(record.Correction{Channel: "2", Source: "zevent", Kind: record.CorrectionAmount, Time: w.at(60 * time.Minute), Cents: 5_000})
	// The source showed alpha's total of 110 to 120 by mistake: nothing of it was given.
	w.correct(record.Correction{Channel: "1", Source: "zevent", Kind: record.CorrectionMirror, Time: w.at(110 * time.Minute), To: w.at(120 * time.Minute)})
	r := w.fill()
	for _, c := range []struct {
		channel       string
		to            int
		raw, adjusted int64
	}{
		{"1", 100, 99_000, 99_000},
		{"1", 101, 100_000, 70_000},
		{"1", 115, 114_000, 79_000},
		{"1", 180, 179_000, 139_000},
		{"2", 60, 29_500, 29_500},
		{"2", 180, 40_000, 45_000},
		{record.AllChannels, 101, 200_000, 170_000},
		{record.AllChannels, 180, 318_500, 288_500},
	} {
		s := summary(t, r, c.channel, statistics.Range{From: w.event.Start, To: w.at(time.Duration(c.to) * time.Minute)})
		d, _ := s.MainDonations()
		if d.Total != complete(c.raw) || d.Corrected != complete(c.adjusted) {
			t.Errorf("%+v: %+v", c, d)
		}
	}
	b, err := r.Races(t.Context(), statistics.ByDonated)
	if err != nil {
		t.Fatal(err)
	}
	if last := b[0].Last(); last.Currency != "EUR" || last.Rows[0].Value.N != 139_000 || last.Rows[1].Value.N != 45_000 {
		t.Errorf("leaderboard: %+v", last)
	}
}

// What is dated after the last sample, or after the end, is in the final totals, as it is in the current
// ones of an event that is over; not in those of a part.
func TestCorrectionsAfterTheLastSample(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	w.channel("3", "gamma") // of which nothing is said any more
	w.amount("zevent", "3", 1000, w.at(10*time.Minute))
	w.amount("zevent", "3", 2000, w.at(11*time.Minute))
	for _, c := range []record.Correction{
		{Channel: "3", Kind: record.CorrectionAmount, Time: w.at(150 * time.Minute), Cents: 33},
		{Channel: "1", Kind: record.CorrectionAmount, Time: w.at(179*time.Minute + 30*time.Second), Cents: 700, Total: true},
		{Channel: "2", Kind: record.CorrectionAmount, Time: w.at(190 * time.Minute), Cents: 50},
		{Channel: "2", Kind: record.CorrectionReset, Time: w.at(190 * time.Minute)},
		{Channel: record.AllChannels, Kind: record.CorrectionDouble, Time: w.at(48 * time.Hour), Cents: 9},
	} {
		c.Source = "zevent"
		w.correct(c)
	}
	r := w.fill()
	cur, err := totals.ReadCurrent(t.Context(), w.store, w.event, "", w.event.End.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	part := statistics.Range{From: w.event.Start, To: w.at(179 * time.Minute)}
	for channel, want := range map[string][2]int64{
		"1": {179_000, 179_700}, "2": {40_000, 40_050}, record.AllChannels: {318_500, 319_191},
	} {
		s := summary(t, r, channel, r.Whole())
		d, _ := s.MainDonations()
		now := cur.Event
		if channel != record.AllChannels {
			now = cur.Channels[channel]
		}
		if d.Total != complete(want[0]) || d.Corrected != complete(want[1]) || d.RaisedCorrected.N-d.Raised.N != want[1]-want[0] ||
			now.Raw != d.Total.N || now.Corrected != d.Corrected.N {
			t.Errorf("%s: %+v, now %+v", channel, d, now)
		}
		s = summary(t, r, channel, part)
		if d, _ := s.MainDonations(); d.Corrected != d.Total || d.RaisedCorrected != d.Raised {
			t.Errorf("%s in a part: %+v", channel, d)
		}
		for _, step := range []time.Duration{time.Minute, time.Hour} {
			c, err := r.Curve(t.Context(), channel, r.Whole(), step)
			if err != nil {
				t.Fatal(err)
			}
			if p := c.Points[len(c.Points)-1]; p.Total.N != want[0] || p.Corrected.N != want[1] {
				t.Errorf("%s by %s ends with %+v", channel, step, p)
			}
		}
	}
	s := summary(t, r, "3", r.Whole())
	c, err := r.Curve(t.Context(), "3", r.Whole(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	d, _ := s.MainDonations()
	if p := c.Points[179]; d.Total != partial(2000) || d.Corrected != partial(2033) || d.RaisedCorrected.N != 1033 || p.Corrected != d.Corrected || p.RaisedCorrected != partial(33) {
		t.Errorf("%+v, %+v", d, p)
	}
	all, err := r.Summaries(t.Context(), r.Whole())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if d, _ := s.MainDonations(); d.Corrected.N != cur.Channels[s.Channel].Corrected {
			t.Errorf("%s among all: %+v", s.Channel, d)
		}
	}
}

func TestWhoIsFound(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	w.channel("1", "alpha_new") // renamed
	w.change("1", record.FieldLogin, "alpha", "alpha_new", w.at(10*time.Minute))
	w.change("3", record.FieldLogin, "", "removed", w.at(10*time.Minute))
	w.change("3", record.FieldName, "", "Removed", w.at(10*time.Minute))
	w.messages("3", 2, w.at(12*time.Minute)) // was taken out of the event
	r := w.fill()
	for name, want := range map[string]string{
		"1": "alpha_new", "ALPHA_NEW": "alpha_new", "alpha": "alpha_new", "beta": "beta", "Removed": "removed", "": slug, "*": slug,
	} {
		if s, err := r.Find(t.Context(), name); err != nil || s.Login != want {
			t.Errorf("%q: %+v, %v", name, s, err)
		}
	}
	if _, err := r.Find(t.Context(), "nobody"); !errors.Is(err, statistics.ErrUnknown) {
		t.Errorf("nobody: %v", err)
	}
	if s := summary(t, r, "3", r.Whole()); s.Name != "Removed" || s.Messages != partial(2) {
		t.Errorf("the removed channel: %+v", s)
	}
	if _, err := statistics.Open(t.Context(), w.store, "other"); !errors.Is(err, statistics.ErrUnknown) {
		t.Errorf("another event: %v", err)
	}
	w.put("events", "second", record.Event{Slug: "second"})
	if _, err := statistics.Open(t.Context(), w.store, ""); !errors.Is(err, statistics.ErrUnknown) {
		t.Errorf("one of two: %v", err)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	e := record.Event{Slug: slug, Start: utc("2026-09-04T16:00:00Z"), End: utc("2026-09-04T20:00:00Z")}
	at := func(d time.Duration) time.Time { return e.Start.Add(d) }
	start := func(stream string, d time.Duration) record.Session {
		return record.Session{Header: record.Header{Channel: "1", Time: at(d)}, Stream: stream, Phase: record.PhaseStart, Started: at(d)}
	}
	end := func(stream string, began, d time.Duration) record.Session {
		return record.Session{Header: record.Header{Channel: "1", Time: at(d)}, Stream: stream, Phase: record.PhaseEnd, Started: at(began)}
	}
	through := at(3*time.Hour - time.Minute)
	for _, c := range []struct {
		name    string
		records []record.Session
		want    []statistics.Range
	}{
		{"none", nil, []statistics.Range{}},
		{"within", []record.Session{start("a", time.Hour), end("a", time.Hour, 2*time.Hour)}, []statistics.Range{{From: at(time.Hour), To: at(2 * time.Hour)}}},
		{"over the start", []record.Session{start("a", -time.Hour), end("a", -time.Hour, time.Hour)}, []statistics.Range{{From: at(0), To: at(time.Hour)}}},
		{"an end alone", []record.Session{end("a", -time.Hour, time.Hour)}, []statistics.Range{{From: at(0), To: at(time.Hour)}}},
		{"running", []record.Session{start("a", time.Hour)}, []statistics.Range{{From: at(time.Hour), To: at(3 * time.Hour)}}},
		{"a start that comes late", []record.Session{end("a", time.Hour, 2*time.Hour), start("a", time.Hour)}, []statistics.Range{{From: at(time.Hour), To: at(2 * time.Hour)}}},
		{
			"one that nobody saw end",
			[]record.Session{start("a", 0), start("b", time.Hour), end("b", time.Hour, 90*time.Minute)},
			[]statistics.Range{{From: at(0), To: at(time.Hour)}, {From: at(time.Hour), To: at(90 * time.Minute)}},
		},
		{"told twice", []record.Session{start("a", 0), start("a", 0), end("a", 0, time.Hour), end("a", 0, time.Hour)}, []statistics.Range{{From: at(0), To: at(time.Hour)}}},
	} {
		have := []statistics.Range{}
		for _, s := range statistics.SessionsOf(&e, c.records, through) {
			have = append(have, s.Range)
		}
		if !slices.Equal(have, c.want) {
			t.Errorf("%s: %v, should be %v", c.name, have, c.want)
		}
	}
}

func TestCategories(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	w.change("1", record.FieldCategory, "", "Just Chatting", w.at(time.Second)) // found
	w.change("1", record.FieldCategory, "Just Chatting", "Chess", w.at(90*time.Minute))
	w.change("2", record.FieldCategory, "Chess", "Art", w.at(100*time.Minute)) // offline: counts for nobody
	r := w.fill()
	have, err := r.Categories(t.Context(), record.AllChannels, r.Whole())
	if err != nil {
		t.Fatal(err)
	}
	if len(have) != 2 || have[0].Name != "Chess" || have[1].Name != "Just Chatting" {
		t.Fatalf("%+v", have)
	}
	var chess, talk float64
	for i := range 180 {
		if i < 90 {
			talk += float64(100 + i)
		} else {
			chess += float64(100 + i)
		}
	}
	if c := have[0]; c.Channels != 2 || c.Time != 150*time.Minute || c.WatchMinutes.N != chess+2500 || c.StreamMinutes != partial(140) ||
		c.Messages != complete(270+120) || c.Peak.N != 279 || c.PeakChannel != "1" || len(c.Stints) != 2 {
		t.Errorf("chess: %+v", c)
	}
	if c := have[1]; c.Channels != 1 || c.Time != 90*time.Minute || c.WatchMinutes.N != talk || c.StreamMinutes != complete(90) {
		t.Errorf("talk: %+v", c)
	}
	// A part that begins in the middle knows what was streamed.
	part, err := r.Categories(t.Context(), "1", statistics.Range{From: w.at(100 * time.Minute), To: w.at(110 * time.Minute)})
	if err != nil || len(part) != 1 || part[0].Name != "Chess" || part[0].StreamMinutes != complete(10) {
		t.Errorf("%+v, %v", part, err)
	}
}

func TestLeaderboards(t *testing.T) {
	t.Parallel()
	w := newWorld(t, utc("2026-09-04T16:00:00Z"), 3*time.Hour)
	for i, login := range []string{"alpha", "beta", "gamma", "delta"} {
		w.channel(strconv.Itoa(i+1), login)
	}
	for hour, of := range [][]int{{3, 2, 0, 0}, {0, 2, 4, 0}, {0, 0, 0, 0}} {
		for i, n := range of {
			w.messages(strconv.Itoa(i+1), n, w.at(time.Duration(hour)*time.Hour))
		}
	}
	for i := range 180 {
		w.read(w.at(time.Duration(i)*time.Minute), time.Minute, "1", "2", "3", "4")
	}
	r := w.fill()
	races, err := r.Races(t.Context(), statistics.ByMessages, statistics.ByChatters)
	if err != nil {
		t.Fatal(err)
	}
	race := races[0]
	type row struct {
		login         string
		place, change int
		fresh         bool
		n             int64
	}
	for i, want := range [][]row{
		{{"alpha", 1, 0, false, 3}, {"beta", 2, 0, false, 2}},
		{{"beta", 1, 1, false, 4}, {"gamma", 1, 0, true, 4}, {"alpha", 3, -2, false, 3}},
		{{"beta", 1, 0, false, 4}, {"gamma", 1, 0, false, 4}, {"alpha", 3, 0, false, 3}},
	} {
		var have []row
		for _, x := range race.At(i).Rows {
			have = append(have, row{x.Login, x.Place, x.Change, x.New, x.Value.N})
		}
		if !slices.Equal(have, want) {
			t.Errorf("hour %d: %v, should be %v", i+1, have, want)
		}
	}
	if places := race.Lanes[0].Places; race.Lanes[0].Login != "beta" || !slices.Equal(places, []int{2, 1, 1}) {
		t.Errorf("%+v", race.Lanes[0])
	}
	if last := races[1].Last(); last.Rows[0].Value.N != 4 || last.Rows[0].Login != "gamma" || last.Rows[0].Value.Error == 0 {
		t.Errorf("chatters: %+v", last)
	}
	summaries, err := r.Summaries(t.Context(), statistics.Range{From: w.at(time.Hour), To: w.at(2 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := statistics.BoardOf(statistics.ByMessages, summaries)
	if err != nil || len(b.Rows) != 2 || b.Rows[0].Login != "gamma" || b.Rows[0].Share != 4.0/6 {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := statistics.BoardOf("money", summaries); !errors.Is(err, statistics.ErrBy) {
		t.Errorf("by money: %v", err)
	}
}

func TestFeats(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	w.messages("2", 30, w.at(33*time.Minute))
	w.raid("1", "2", 40, w.at(30*time.Minute))
	w.raid("", "1", 90, w.at(31*time.Minute))
	w.donation("single", "2", 12_345, w.at(70*time.Minute))
	w.donation("single", "1", 345, w.at(71*time.Minute))
	w.event.Donations = "single"
	r := w.fill()
	feats, err := r.Feats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]statistics.Feat{}
	for _, f := range feats {
		have[f.Name] = f
	}
	for name, want := range map[string]struct {
		login string
		n     int64
		at    time.Duration
	}{
		statistics.MostMessages:      {"beta", 32, 33 * time.Minute},
		statistics.MostMessagesEvent: {slug, 35, 33 * time.Minute},
		statistics.MostEmotes:        {"beta", 1, 20 * time.Minute},
		statistics.HighestPeak:       {"alpha", 279, 179 * time.Minute},
		statistics.HighestPeakEvent:  {slug, 279, 179 * time.Minute},
		statistics.BiggestRaid:       {"alpha", 90, 31 * time.Minute},
		statistics.LargestDonation:   {"beta", 12_345, 70 * time.Minute},
		statistics.MostRaised:        {"beta", 12_345, 60 * time.Minute},
		statistics.LongestStream:     {"alpha", 180, 0},
	} {
		if f := have[name]; f.Login != want.login || f.Value.N != want.n || !f.At.Equal(w.at(want.at)) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f, ok := have[statistics.MostGifts]; ok {
		t.Errorf("nobody gave: %+v", f)
	}
}

// Who was first to an amount is known to the minute only where the total was sampled just before it.
func TestFirstToAfterAGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, utc("2026-09-04T16:00:00Z"), 2*time.Hour)
	w.channel("1", "alpha")
	for minute, euros := range map[int]int64{0: 100, 5: 200, 40: 10_500, 45: 49_000, 50: 50_500} {
		w.amount("zevent", "1", euros*100, w.at(time.Duration(minute)*time.Minute))
	}
	feats, err := w.fill().Feats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]statistics.Count{}
	for _, f := range feats {
		have[f.Name] = f.Value
	}
	if a, b := have[statistics.FirstTo+"10000"], have[statistics.FirstTo+"50000"]; a != partial(40) || b != complete(50) {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestMainFund(t *testing.T) {
	t.Parallel()
	said := []record.Donations{
		{Source: "a", Currency: "EUR", Count: 3},
		{Source: "b", Currency: "", Seconds: 60},
		{Source: "c", Currency: "USD", Samples: 2},
		{Source: "d", Currency: "EUR", SumAt: utc("2026-09-04T16:00:00Z")},
		{Source: "d", Currency: "USD", Samples: 1},
	}
	for _, c := range []struct {
		named, currency string
		said            []record.Donations
		want            statistics.Fund
	}{
		{"", "EUR", said, statistics.Fund{Source: "c", Currency: "USD"}},
		{"a", "EUR", said, statistics.Fund{Source: "a", Currency: "EUR"}},
		{"d", "EUR", said, statistics.Fund{Source: "d", Currency: "EUR"}},
		{"d", "USD", said, statistics.Fund{Source: "d", Currency: "USD"}},
		{"x", "EUR", said[:2], statistics.Fund{Source: "a", Currency: "EUR"}},
		{"", "EUR", said[1:2], statistics.Fund{}},
	} {
		have, ok := statistics.MainFund(&record.Event{Donations: c.named, Currency: c.currency}, c.said)
		if have != c.want || ok != (c.want != statistics.Fund{}) {
			t.Errorf("%q %s: %+v", c.named, c.currency, have)
		}
	}
}

func TestSinglesOfAnotherSource(t *testing.T) {
	t.Parallel()
	w := weekend(t)
	w.donation("single", "2", 12_345, w.at(70*time.Minute))
	w.donation("single", "1", 345, w.at(71*time.Minute))
	r := w.fill()
	c, err := r.Curve(t.Context(), "2", r.Whole(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Points[70]; c.Source != "zevent" || c.Singles != "single" || p.Donations != partial(1) || p.Largest != partial(12_345) || p.Total != complete(35_000) {
		t.Errorf("%s, %s: %+v", c.Source, c.Singles, p)
	}
	feats, err := r.Feats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(feats, func(f statistics.Feat) bool {
		return f.Name == statistics.LargestDonation && f.Login == "beta" && f.Value == partial(12_345)
	}) {
		t.Errorf("%+v", feats)
	}
}

func TestDaysWhereTheClocksChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		zone, from, to string
		hours          []int
	}{
		{"Europe/Paris", "2026-10-24T18:00:00+02:00", "2026-10-26T12:00:00+01:00", []int{6, 25, 12}},
		{"Europe/Paris", "2026-03-28T18:00:00+01:00", "2026-03-30T00:00:00+02:00", []int{6, 23}},
		{"America/New_York", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00", []int{25}},
		{"", "2026-11-01T12:00:00Z", "2026-11-02T01:00:00Z", []int{12, 1}},
	} {
		var hours []int
		rg := statistics.Range{From: utc(c.from), To: utc(c.to)}
		days := statistics.Days(&record.Event{TimeZone: c.zone}, rg)
		for i, d := range days {
			hours = append(hours, int(d.Length()/time.Hour))
			if i > 0 && !d.From.Equal(days[i-1].To) {
				t.Errorf("%s: %v", c.zone, days)
			}
		}
		if !slices.Equal(hours, c.hours) {
			t.Errorf("%s from %s: %v hours, should be %v", c.zone, c.from, hours, c.hours)
		}
	}
}
