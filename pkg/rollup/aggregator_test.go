package rollup_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
)

const event = "zevent"

var (
	minute = time.Date(2026, 9, 4, 18, 31, 0, 0, time.UTC)
	start  = minute.Add(-2 * time.Hour)
	end    = minute.Add(50 * time.Hour)
)

func header(channel string, at time.Time) record.Header {
	return record.Header{Event: event, Channel: channel, Time: at, Received: at}
}

func encode(t interface{ Fatalf(string, ...any) }, d record.Document) record.Record {
	r, err := record.Encode(d)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return r
}

// document draws one of every kind of document in the minute.
func document(t *rapid.T, i int) record.Document {
	channel := rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "channel")
	at := minute.Add(time.Duration(rapid.IntRange(0, 59_999).Draw(t, "ms")) * time.Millisecond)
	h := header(channel, at)
	var source *record.Source
	if rapid.IntRange(0, 5).Draw(t, "copy") == 0 {
		source = &record.Source{Channel: "9"}
	}
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		types := []string{
			"sub", "resub", "subgift", "submysterygift", "giftpaidupgrade", "primepaidupgrade", "raid", "unraid",
			"announcement", "somethingnew",
		}
		n := &record.Notice{
			Header: h, NoticeID: fmt.Sprint("n", i), Type: rapid.SampledFrom(types).Draw(t, "type"), Gifts: 5, Source: source,
		}
		if n.Type == "raid" {
			n.Raid = &record.Raid{Viewers: rapid.IntRange(0, 900).Draw(t, "raid")}
		}
		return n
	case 1:
		actions := []string{record.ActionBan, record.ActionTimeout, record.ActionClear, record.ActionDelete}
		return &record.Moderation{Header: h, Action: rapid.SampledFrom(actions).Draw(t, "action"), Chatter: strconv.Itoa(i)}
	case 2:
		h.Time = minute.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "slot")) * 15 * time.Second)
		v := &record.Viewers{Header: h, Source: record.SourceHelix, Live: rapid.Bool().Draw(t, "live")}
		if v.Live {
			v.Viewers = rapid.IntRange(0, 1000).Draw(t, "viewers")
		}
		return v
	case 3:
		set := rapid.SampledFrom([][]string{{"1"}, {"1", "2"}, {"2", "3", "4"}}).Draw(t, "set")
		c := &record.Coverage{
			Header: h, Source: record.SourceChat, Collector: "c", Connection: strconv.Itoa(i), Set: record.ChannelSet(set),
		}
		c.Channel = ""
		left := int(minute.Add(time.Minute).Sub(at).Milliseconds())
		c.To = at.Add(time.Duration(rapid.IntRange(1, left).Draw(t, "covered")) * time.Millisecond)
		if rapid.Bool().Draw(t, "listed") {
			c.Channels = set
		}
		return c
	case 4:
		return &record.RoomState{Header: h, Slow: i}
	case 5:
		return charityDocument(t, h, i)
	}
	m := &record.Message{
		Header: h, MessageID: fmt.Sprint("m", i), Chatter: fmt.Sprint("chatter", rapid.IntRange(0, 40).Draw(t, "chatter")),
		Length: 5, First: rapid.IntRange(0, 9).Draw(t, "first") == 0, Source: source,
	}
	if rapid.Bool().Draw(t, "cheer") {
		m.Bits = rapid.IntRange(1, 500).Draw(t, "bits")
	}
	for e := range rapid.IntRange(0, 3).Draw(t, "emotes") {
		m.Emotes = append(m.Emotes, record.Emote{
			ID: fmt.Sprint("e", e+rapid.IntRange(0, 80).Draw(t, "emote")), Name: "E", Count: 1 + e,
		})
	}
	return m
}

// records draws different records.
func records(t *rapid.T) ([]record.Record, []record.Document) {
	var (
		out  []record.Record
		docs []record.Document
		ids  = map[string]bool{}
	)
	for i := range rapid.IntRange(0, 120).Draw(t, "n") {
		d := document(t, i)
		r := encode(t, d)
		if !ids[r.ID] {
			ids[r.ID] = true
			out, docs = append(out, r), append(docs, d)
		}
	}
	return out, docs
}

func aggregate(records []record.Record) []record.Statistics {
	a := rollup.NewAggregator(event, minute, start, end)
	for _, r := range records {
		a.Add(r)
	}
	return a.Result()
}

func TestOrderAndDuplicatesChangeNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want, _ := records(t)
		got := append(slices.Clone(want), want...)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		rnd.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		seen := rollup.NewSeen()
		got = slices.DeleteFunc(got, func(r record.Record) bool { return !seen.Add(r.ID) })
		if a, b := aggregate(want), aggregate(got); !reflect.DeepEqual(a, b) {
			t.Fatalf("in order\n%+v\nshuffled\n%+v", a, b)
		}
	})
}

// naive counts documents in the most obvious way.
func naive(docs []record.Document) map[string]record.Statistics {
	type state struct {
		s        record.Statistics
		chatters map[string]bool
		emotes   map[string]int64
		samples  map[time.Time]*record.Viewers
		covered  [60_000]bool
	}
	of := map[string]*state{}
	get := func(c string) *state {
		if of[c] == nil {
			of[c] = &state{chatters: map[string]bool{}, emotes: map[string]int64{}, samples: map[time.Time]*record.Viewers{}}
		}
		return of[c]
	}
	listed := map[string][]string{}
	for _, d := range docs {
		if c, ok := d.(*record.Coverage); ok && c.Channels != nil {
			listed[c.Set] = c.Channels
		}
	}
	for _, d := range docs {
		switch d := d.(type) {
		case *record.Donation, *record.Amount: // below
		case *record.Coverage:
			for _, c := range listed[d.Set] {
				for ms := d.Time.Sub(minute).Milliseconds(); ms < d.To.Sub(minute).Milliseconds(); ms++ {
					get(c).covered[ms] = true
				}
			}
		case *record.Message:
			for _, c := range []string{d.Channel, record.AllChannels} {
				v := get(c)
				if d.Source != nil {
					v.s.SharedCopies++
					continue
				}
				v.s.Messages++
				v.chatters[d.Chatter] = true
				if d.First {
					v.s.FirstMessages++
				}
				if d.Bits > 0 {
					v.s.Bits += int64(d.Bits)
					v.s.Cheers++
				}
				for _, e := range d.Emotes {
					v.emotes[e.ID] += int64(e.Count)
					v.s.Emotes.Total += int64(e.Count)
				}
			}
		case *record.Notice:
			for _, c := range []string{d.Channel, record.AllChannels} {
				v := get(c)
				if d.Source != nil {
					continue
				}
				v.s.Notices++
				switch d.Type {
				case "sub":
					v.s.Subs++
				case "resub":
					v.s.Resubs++
				case "subgift":
					v.s.Gifts++
				case "submysterygift":
					v.s.GiftBombs++
				case "giftpaidupgrade", "primepaidupgrade":
					v.s.Upgrades++
				case "raid":
					v.s.Raids++
					v.s.RaidViewers += int64(d.Raid.Viewers)
				}
			}
		case *record.Moderation:
			for _, c := range []string{d.Channel, record.AllChannels} {
				switch v := get(c); d.Action {
				case record.ActionBan:
					v.s.Bans++
				case record.ActionTimeout:
					v.s.Timeouts++
				case record.ActionClear:
					v.s.Clears++
				case record.ActionDelete:
					v.s.Deletes++
				}
			}
		case *record.Viewers:
			get(d.Channel).samples[d.Time] = d
			get(record.AllChannels).samples[d.Time] = &record.Viewers{}
		}
	}
	event := get(record.AllChannels).samples
	for c, v := range of {
		if c == record.AllChannels {
			continue
		}
		for slot, sum := range event {
			// The last at or before the slot, else the first.
			var s *record.Viewers
			for at, one := range v.samples {
				switch before := !at.After(slot); {
				case s == nil,
					before && (s.Time.After(slot) || at.After(s.Time)),
					!before && at.Before(s.Time):
					s = one
				}
			}
			if s != nil {
				sum.Live = sum.Live || s.Live
				sum.Viewers += s.Viewers
			}
		}
	}
	donations := naiveDonations(docs)
	for c := range donations {
		get(c).s.Donations = donations[c]
	}
	out := map[string]record.Statistics{}
	for c, v := range of {
		v.s.Chatters.Estimate = int64(len(v.chatters))
		total := 0
		for _, s := range v.samples {
			total += s.Viewers
			if s.Live {
				v.s.Viewers.SpanMinutes = 1
				v.s.Viewers.Peak = max(v.s.Viewers.Peak, int64(s.Viewers))
			}
		}
		if v.s.Viewers.SpanMinutes > 0 {
			v.s.Viewers.Average = float64(total) / float64(len(v.samples))
		}
		for _, covered := range v.covered {
			if covered {
				v.s.Coverage.Seconds += 0.001
			}
		}
		v.s.Emotes.Truncated = len(v.emotes) > rollup.TopEmotes
		out[c] = v.s
	}
	return out
}

func TestEqualsTheNaiveCount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		recs, docs := records(t)
		want := naive(docs)
		got := aggregate(recs)
		channels := 0
		covered := 0.0
		for _, g := range got {
			if g.Channel == record.AllChannels {
				continue
			}
			channels++
			covered += g.Coverage.Seconds
		}
		for _, g := range got {
			w, ok := want[g.Channel]
			if !ok && g.Channel != record.AllChannels {
				t.Fatalf("a document of channel %q, where nothing was", g.Channel)
			}
			delete(want, g.Channel)
			near(t, "average", g.Viewers.Average, w.Viewers.Average)
			near(t, "watch minutes", g.Viewers.WatchMinutes, w.Viewers.Average)
			if g.Viewers.Average > float64(g.Viewers.Peak) {
				t.Fatalf("average %v above the peak %v", g.Viewers.Average, g.Viewers.Peak)
			}
			if g.Channel != record.AllChannels {
				near(t, "seconds", g.Coverage.Seconds, w.Coverage.Seconds)
				near(t, "expected", g.Coverage.Expected, 60)
			} else {
				near(t, "seconds of the event", g.Coverage.Seconds, covered)
				near(t, "expected of the event", g.Coverage.Expected, float64(60*channels))
			}
			if g.Chatters.Estimate != w.Chatters.Estimate { // so few that the sketch is exact
				t.Fatalf("%s: %d chatters, want %d", g.Channel, g.Chatters.Estimate, w.Chatters.Estimate)
			}
			if got, want := additive(g), additive(w); got != want {
				t.Fatalf("%s: got\n%+v want\n%+v", g.Channel, got, want)
			}
			if !reflect.DeepEqual(g.Donations, w.Donations) {
				t.Fatalf("%s: donations\n%+v\nwant\n%+v", g.Channel, g.Donations, w.Donations)
			}
			if g.Emotes.Truncated != w.Emotes.Truncated {
				t.Fatalf("%s: truncated %v", g.Channel, g.Emotes.Truncated)
			}
		}
		delete(want, record.AllChannels)
		if len(want) > 0 {
			t.Fatalf("no documents of %v", want)
		}
	})
}

func near(t *rapid.T, what string, got, want float64) {
	if math.Abs(got-want) > 1e-6*max(1, want) {
		t.Fatalf("%s %v, want %v", what, got, want)
	}
}

// additive is the counts alone.
func additive(s record.Statistics) [18]int64 {
	return [18]int64{
		s.Messages, s.SharedCopies, s.FirstMessages, s.Emotes.Total, s.Bits, s.Cheers, s.Subs, s.Resubs, s.Gifts,
		s.GiftBombs, s.Upgrades, s.Raids, s.RaidViewers, s.Notices, s.Bans, s.Timeouts, s.Clears, s.Deletes,
	}
}

// span draws the statistics of a minute of its own.
func span(t *rapid.T, i int) record.Statistics {
	recs, _ := records(t)
	for _, s := range aggregate(recs) {
		if s.Channel == "1" {
			s.Time = s.Time.Add(time.Duration(i) * time.Minute)
			s.Through, s.State = s.Time, record.StateClosed
			if s.Viewers.SpanMinutes > 0 {
				s.Viewers.PeakAt = s.Viewers.PeakAt.Add(time.Duration(i) * time.Minute)
			}
			return s
		}
	}
	at := minute.Add(time.Duration(i) * time.Minute)
	return record.Statistics{
		Event: event, Channel: "1", Time: at, Through: at, State: record.StateClosed,
		Coverage: record.Covered{Chat: record.Unknown, Viewers: record.Unknown},
	}
}

func merge(t *rapid.T, a, b record.Statistics) record.Statistics {
	m, err := rollup.Merge(start, a, b)
	if err != nil {
		t.Fatalf("merge: %v", err)
	}
	return m
}

func TestMerge(t *testing.T) {
	t.Parallel()
	same := func(t *rapid.T, x, y record.Statistics) {
		near(t, "average", x.Viewers.Average, y.Viewers.Average)
		near(t, "watch minutes", x.Viewers.WatchMinutes, y.Viewers.WatchMinutes)
		near(t, "seconds", x.Coverage.Seconds, y.Coverage.Seconds)
		x.Viewers.Average, x.Viewers.WatchMinutes, x.Coverage.Seconds = 0, 0, 0
		y.Viewers.Average, y.Viewers.WatchMinutes, y.Coverage.Seconds = 0, 0, 0
		if x.Emotes.Truncated || y.Emotes.Truncated {
			x.Emotes.Top, y.Emotes.Top, x.Emotes.Truncated, y.Emotes.Truncated = nil, nil, false, false
		}
		x.ID, y.ID = "", ""
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("\n%+v\n%+v", x, y)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := span(t, 0), span(t, 1), span(t, 2)
		same(t, merge(t, a, b), merge(t, b, a))
		same(t, merge(t, merge(t, a, b), c), merge(t, a, merge(t, b, c)))
	})
}

func TestMergeOfPartsIsTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all, _ := records(t)
		cut := rapid.IntRange(0, len(all)).Draw(t, "cut")
		parts := map[string]record.Statistics{}
		for _, part := range [][]record.Record{all[:cut], all[cut:]} {
			for _, s := range aggregate(part) {
				if old, ok := parts[s.Channel]; ok {
					s = merge(t, old, s)
				}
				parts[s.Channel] = s
			}
		}
		for _, whole := range aggregate(all) {
			part, ok := parts[whole.Channel]
			if !ok {
				continue // covered by a set listed in the other part
			}
			if additive(part) != additive(whole) || !reflect.DeepEqual(part.Chatters, whole.Chatters) {
				t.Fatalf("%s: parts\n%+v\nwhole\n%+v", whole.Channel, part, whole)
			}
		}
	})
}

// TestSketchesAreCanonical holds what the documents rely on: equal sets of chatters give equal
// bytes, in whatever order and through whatever merges they came together, sparse or dense.
func TestSketchesAreCanonical(t *testing.T) {
	t.Parallel()
	for _, n := range []int{10, 500, 2000, 9000} {
		recs := make([]record.Record, n)
		for i := range recs {
			recs[i] = encode(t, &record.Message{
				Header: header("1", minute), MessageID: strconv.Itoa(i), Chatter: fmt.Sprint("chatter-", i),
			})
		}
		whole := aggregate(recs)
		var merged [2]record.Statistics
		for _, part := range [][]record.Record{recs[n/3:], recs[:n/2], recs[:n/5]} {
			for i, s := range aggregate(part) {
				if merged[i].Channel != "" {
					var err error
					if s, err = rollup.Merge(start, s, merged[i]); err != nil {
						t.Fatal(err)
					}
				}
				merged[i] = s
			}
		}
		for i := range whole {
			if !reflect.DeepEqual(whole[i].Chatters, merged[i].Chatters) {
				t.Errorf("%d chatters: estimate %d, merged from parts %d", n,
					whole[i].Chatters.Estimate, merged[i].Chatters.Estimate)
			}
			off := math.Abs(float64(whole[i].Chatters.Estimate)-float64(n)) / float64(n)
			if off > 4*whole[i].Chatters.Error {
				t.Errorf("%d chatters: estimate %d is off by %v", n, whole[i].Chatters.Estimate, off)
			}
		}
	}
}

func TestBoundsOfTheEvent(t *testing.T) {
	t.Parallel()
	a := rollup.NewAggregator(event, minute, minute.Add(20*time.Second), minute.Add(50*time.Second))
	for _, s := range []int{0, 19, 20, 49, 50, 59} {
		at := minute.Add(time.Duration(s) * time.Second)
		a.Add(encode(t, &record.Message{Header: header("1", at), MessageID: strconv.Itoa(s), Chatter: "x"}))
	}
	got := a.Result()
	if len(got) != 2 || got[1].Messages != 2 || got[1].Coverage.Expected != 30 || a.Ignored() != 4 {
		t.Fatalf("%+v, ignored %d", got, a.Ignored())
	}
}

// TestCountsTheKindsThatCount: what consumers leave unmarked changes nothing.
func TestCountsTheKindsThatCount(t *testing.T) {
	t.Parallel()
	set := []string{"1"}
	for _, d := range []record.Document{
		&record.Message{Header: header("1", minute), MessageID: "1", Chatter: "x"},
		&record.Notice{Header: header("1", minute), NoticeID: "1", Type: "sub"},
		&record.Moderation{Header: header("1", minute), Action: record.ActionClear},
		&record.Viewers{Header: header("1", minute), Source: record.SourceHelix},
		&record.Coverage{
			Header: header("", minute), To: minute.Add(time.Second), Source: record.SourceChat, Collector: "c", Connection: "1",
			Set: record.ChannelSet(set), Channels: set,
		},
		&record.Coverage{
			Header: header("", minute), To: minute.Add(time.Second), Source: "zevent", Collector: "c", Connection: "1",
		},
		&record.Donation{Header: header("1", minute), Source: "zevent", Donation: "1", Money: record.Money{Currency: "EUR"}},
		&record.Donation{Header: header("", minute), Source: "zevent", Donation: "1", Money: record.Money{Currency: "EUR"}},
		&record.Amount{Header: header("1", minute), Source: "zevent", Money: record.Money{Currency: "EUR"}},
		&record.Amount{Header: header("", minute), Source: "zevent", Member: "5", Money: record.Money{Currency: "EUR"}},
		&record.Amount{Header: header("", minute), Source: "zevent", Money: record.Money{Currency: "EUR"}},
		&record.Answer{Header: header("", minute), Source: "zevent", Hash: "h"},
		&record.RoomState{Header: header("1", minute)},
		&record.Session{Header: header("1", minute), Stream: "1", Phase: "start", Started: minute},
		&record.Change{Header: header("1", minute), Field: "title", To: "x"},
	} {
		r := encode(t, d)
		a := rollup.NewAggregator(event, minute, start, end)
		a.Add(r)
		if got := len(a.Result()) > 0; got != r.Kind.Counted() || got == (a.Ignored() > 0) {
			t.Errorf("%s: a document %v, ignored %d", r.Kind, got, a.Ignored())
		}
	}
}

// FuzzAdd holds that no document, however odd, makes the aggregator panic.
func FuzzAdd(f *testing.F) {
	for _, d := range []record.Document{
		&record.Message{Header: header("1", minute), MessageID: "1", Emotes: []record.Emote{{ID: "1", Count: 2}}, Bits: 4},
		&record.Notice{Header: header("1", minute), NoticeID: "1", Type: "raid", Raid: &record.Raid{Viewers: 4}},
		&record.Viewers{Header: header("1", minute), Source: "helix", Live: true, Viewers: 3},
		&record.Coverage{
			Header: header("", minute), To: minute.Add(time.Second), Source: "chat", Set: record.ChannelSet([]string{"1"}),
			Channels: []string{"1"},
		},
		&record.Coverage{Header: header("", minute), To: minute.Add(time.Second), Source: "zevent"},
		&record.Donation{Header: header("1", minute), Source: "zevent", Donation: "1", Money: record.Money{Cents: 5, Currency: "EUR"}},
		&record.Amount{Header: header("1", minute), Source: "zevent", Member: "5", Money: record.Money{Cents: -5, Currency: "EUR"}},
	} {
		r := encode(f, d)
		f.Add(string(r.Kind), []byte(r.Doc))
	}
	f.Fuzz(func(t *testing.T, kind string, doc []byte) {
		for _, channel := range []string{"1", ""} {
			a := rollup.NewAggregator(event, minute, start, end)
			r := record.Record{ID: "x", Kind: record.Kind(kind), Event: event, Channel: channel, Time: minute, Doc: bson.Raw(doc)}
			a.Add(r)
			one := a.Result()
			for i := range one {
				if _, err := rollup.Merge(start, one[i], one[i]); err != nil {
					t.Fatal(err)
				}
			}
			if r.Kind != record.KindDonation && r.Kind != record.KindAmount {
				continue
			}
			a.Add(r)
			if two := a.Result(); !reflect.DeepEqual(one, two) {
				t.Fatalf("the second time\n%+v\nis not\n%+v", two, one)
			}
		}
	})
}

func BenchmarkAggregator(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	docs := make([]bson.Raw, 20_000)
	for i := range docs {
		m := &record.Message{
			Header:    header(strconv.Itoa(100_000+int(350*rnd.Float64()*rnd.Float64())), minute.Add(time.Duration(i)*time.Millisecond)),
			MessageID: fmt.Sprintf("%032x", i), Chatter: fmt.Sprintf("%022d", rnd.IntN(8000)), Length: 40,
			Badges: []string{"subscriber/12", "premium/1"}, Subscriber: 14,
		}
		if i%3 == 0 {
			m.Emotes = []record.Emote{{ID: strconv.Itoa(rnd.IntN(500)), Name: "Kappa", Count: 2}}
		}
		docs[i] = encode(b, m).Doc
	}
	b.ResetTimer()
	n := 0
	for b.Loop() {
		a := rollup.NewAggregator(event, minute, start, end)
		for _, d := range docs {
			r, err := record.Parse(d)
			if err != nil {
				b.Fatal(err)
			}
			a.Add(r)
		}
		if len(a.Result()) == 0 {
			b.Fatal("no result")
		}
		n += len(docs)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
