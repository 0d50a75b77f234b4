package statistics_test

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
)

func TestAnAudienceIsCountedExactly(t *testing.T) {
	t.Parallel()
	// From 20:00 in Paris over midnight.
	w := newWorld(t, utc("2026-09-04T18:00:00Z"), 6*time.Hour)
	for i, login := range []string{"alpha", "beta", "gamma"} {
		w.channel(strconv.Itoa(i+1), login)
	}
	w.message("1", "ann", w.at(0), "Kappa", "PogChamp")
	w.message("1", "ann", w.at(time.Minute), "Kappa")
	w.message("2", "ann", w.at(2*time.Hour))
	w.message("1", "bob", w.at(time.Hour))
	w.message("1", "bob", w.at(5*time.Hour)) // after midnight
	w.message("2", "cid", w.at(5*time.Hour))
	w.message("2", "", w.at(5*time.Hour)) // nobody knows whose
	w.n++
	w.add(&record.Message{Header: w.header("3", w.at(time.Hour)), MessageID: "copy", Chatter: "dan", Source: &record.Source{Channel: "1"}})
	for i := range 360 {
		w.read(w.at(time.Duration(i)*time.Minute), time.Minute, "1", "2", "3")
	}
	r := w.fill()
	a, err := r.Audience(t.Context(), r.Whole())
	if err != nil {
		t.Fatal(err)
	}
	if a.Chatters != complete(3) || a.Messages != complete(7) || a.Authorless != 1 {
		t.Errorf("%+v", a)
	}
	if !reflect.DeepEqual(a.Overlaps, []statistics.Overlap{{A: "1", B: "2", Shared: 1, OfA: 0.5, OfB: 0.5, Jaccard: 1.0 / 3, Coverage: record.Complete}}) {
		t.Errorf("overlaps: %+v", a.Overlaps)
	}
	if len(a.Channels) != 2 || a.Channels[0].Login != "alpha" || a.Channels[0].Chatters != complete(2) || a.Channels[0].Only != complete(1) ||
		a.Channels[0].Newcomers != complete(2) || a.Channels[0].Messages != complete(4) || a.Channels[1].Newcomers != complete(1) {
		t.Errorf("channels: %+v", a.Channels)
	}
	crowd := func(at time.Duration, all, fresh int64) statistics.Crowd {
		return statistics.Crowd{Time: w.at(at), Chatters: complete(all), Newcomers: complete(fresh), Returning: complete(all - fresh)}
	}
	if want := []statistics.Crowd{
		crowd(0, 1, 1), crowd(time.Hour, 1, 1), crowd(2*time.Hour, 1, 0), crowd(3*time.Hour, 0, 0), crowd(4*time.Hour, 0, 0),
		crowd(5*time.Hour, 2, 1),
	}; !reflect.DeepEqual(a.Hours, want) {
		t.Errorf("hours: %+v", a.Hours)
	}
	if want := []statistics.Crowd{crowd(0, 2, 2), crowd(4*time.Hour, 2, 1)}; !reflect.DeepEqual(a.Days, want) {
		t.Errorf("days: %+v", a.Days)
	}
	if a.Spread[0].Chatters != 1 || a.Spread[1].Chatters != 2 || a.Spread[1].Messages != 5 || a.Reach[0].Chatters != 2 || a.Reach[1].Chatters != 1 {
		t.Errorf("spread %+v, reach %+v", a.Spread, a.Reach)
	}
	if !slices.Equal(a.Emotes, []record.Emote{{ID: "Kappa", Name: "Kappa", Count: 2}, {ID: "PogChamp", Name: "PogChamp", Count: 1}}) {
		t.Errorf("emotes: %+v", a.Emotes)
	}

	// Of a part, those who wrote before are no newcomers.
	if a, err = r.Audience(t.Context(), statistics.Range{From: w.at(90 * time.Minute), To: w.event.End}); err != nil {
		t.Fatal(err)
	}
	if a.Chatters != complete(3) || a.Messages != complete(4) || a.Overlaps != nil || a.Hours[0].Newcomers != complete(0) ||
		a.Channels[0].Newcomers != complete(1) || a.Days[1].Newcomers != complete(1) || a.Days[0].Chatters != complete(1) {
		t.Errorf("a part: %+v", a)
	}

	n := statistics.NetworkOf(a, []statistics.Raid{
		{Time: w.at(2 * time.Hour), From: "1", To: "3", Viewers: 50},
		{Time: w.at(time.Hour), From: "1", To: "3", Viewers: 9},
		{Time: w.at(2 * time.Hour), To: "1", Viewers: 5},
		{Time: w.at(3 * time.Hour), From: "3", To: "1", Viewers: 7},
	}, 1)
	if len(n.Nodes) != 3 || n.Nodes[0].RaidsIn != 2 || n.Nodes[0].RaidsOut != 1 ||
		!slices.Equal(n.Links, []statistics.Link{{A: "1", B: "3", RaidsAB: 1, ViewersAB: 50, RaidsBA: 1, ViewersBA: 7}}) {
		t.Errorf("network: %+v", n)
	}
}

// Each number of an audience has the coverage of its own channel and time; newcomers that of all the time
// before them.
func TestAnAudiencesCoverage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, utc("2026-09-04T18:00:30Z"), 4*time.Hour)
	w.channel("1", "alpha")
	w.channel("2", "beta")
	for i := range 241 {
		at, part := record.Minute(w.at(0)).Add(time.Duration(i)*time.Minute), time.Minute
		switch i {
		case 0:
			at, part = w.at(0), 30*time.Second
		case 240:
			part = 30 * time.Second
		}
		if i >= 70 && i < 80 {
			w.read(at, part, "1")
		} else {
			w.read(at, part, "1", "2")
		}
	}
	for h := range 4 {
		at := w.at(time.Duration(h)*time.Hour + 10*time.Minute)
		w.message("1", "ann", at)
		w.message("2", "ann", at)
		w.message("2", strconv.Itoa(h), at)
	}
	r := w.fill()
	audience := func(from, to time.Time) statistics.Audience {
		a, err := r.Audience(t.Context(), statistics.Range{From: from, To: to})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := audience(w.at(0), w.event.End)
	for i, want := range [][3]statistics.Count{
		{complete(2), complete(2), complete(0)},
		{partial(2), partial(1), partial(1)},
		{complete(2), partial(1), partial(1)},
		{complete(2), partial(1), partial(1)},
	} {
		if h := a.Hours[i]; [3]statistics.Count{h.Chatters, h.Newcomers, h.Returning} != want {
			t.Errorf("hour %d: %+v", i, h)
		}
	}
	if a.Chatters != partial(5) || a.Overlaps[0].Coverage != record.Partial {
		t.Errorf("%+v", a)
	}
	beta, alpha := a.Channels[0], a.Channels[1]
	if alpha.Messages != complete(4) || alpha.Chatters != complete(1) || alpha.Only != partial(0) || alpha.Newcomers != partial(1) {
		t.Errorf("%+v", alpha)
	}
	if beta.Messages != partial(8) || beta.Only != partial(4) {
		t.Errorf("%+v", beta)
	}
	if a = audience(w.at(0), w.at(30*time.Minute)); a.Messages != complete(3) || a.Overlaps[0].Coverage != record.Complete {
		t.Errorf("a beginning within a minute: %+v", a)
	}
	if a = audience(w.at(2*time.Hour), w.event.End); a.Messages != complete(6) || a.Channels[1].Newcomers != partial(0) ||
		a.Hours[0].Newcomers != partial(1) || a.Hours[0].Chatters != complete(2) {
		t.Errorf("after a gap: %+v", a)
	}
}

// read is chat that was read all the time.
func read(string, statistics.Range) string { return record.Complete }

// A census agrees with a simple count, in whatever order messages and channels come.
func TestACensusIsASimpleCount(t *testing.T) {
	t.Parallel()
	e := record.Event{Slug: slug, Start: utc("2026-10-24T18:30:00Z"), End: utc("2026-10-28T12:00:00Z"), TimeZone: "Asia/Kolkata"}
	length := e.End.Sub(e.Start)
	rapid.Check(t, func(t *rapid.T) {
		type said struct {
			channel, chatter string
			at               time.Time
		}
		var all []said
		for range rapid.IntRange(0, 60).Draw(t, "messages") {
			all = append(all, said{
				strconv.Itoa(rapid.IntRange(1, 4).Draw(t, "channel")), fmt.Sprintf("%022d", rapid.IntRange(0, 12).Draw(t, "chatter")),
				e.Start.Add(time.Duration(rapid.Int64Range(0, int64(length/time.Second)).Draw(t, "at")) * time.Second),
			})
		}
		from := e.Start.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "from")) * time.Hour)
		rg := statistics.Range{From: from, To: e.End}
		count := func(list []said) statistics.Audience {
			c := statistics.NewCensus(&e, rg)
			polls := map[string]*statistics.Poll{}
			var order []string
			for i, m := range list {
				if polls[m.channel] == nil {
					polls[m.channel] = c.Poll(m.channel)
					order = append(order, m.channel)
				}
				r, err := record.Encode(&record.Message{
					Header: record.Header{Event: slug, Channel: m.channel, Time: m.at}, MessageID: strconv.Itoa(i), Chatter: m.chatter,
				})
				if err != nil {
					t.Fatal(err)
				}
				polls[m.channel].Add(r.Doc)
			}
			for _, channel := range order {
				polls[channel].Close()
			}
			return c.Audience(nil, read)
		}
		a := count(all)
		if b := count(rapid.Permutation(all).Draw(t, "order")); !reflect.DeepEqual(a, b) {
			t.Fatalf("in another order:\n%+v\n%+v", a, b)
		}
		// The simple count.
		where, first := map[string]map[string]bool{}, map[string]time.Time{}
		messages := int64(0)
		for _, m := range all {
			if at, ok := first[m.chatter]; !ok || m.at.Before(at) {
				first[m.chatter] = m.at
			}
			if !rg.Contains(m.at) {
				continue
			}
			messages++
			if where[m.chatter] == nil {
				where[m.chatter] = map[string]bool{}
			}
			where[m.chatter][m.channel] = true
		}
		if a.Chatters.N != int64(len(where)) || a.Messages.N != messages {
			t.Fatalf("%+v: %d people, %d messages", a, len(where), messages)
		}
		for _, o := range a.Overlaps {
			var n int64
			for _, in := range where {
				if in[o.A] && in[o.B] {
					n++
				}
			}
			if n != o.Shared {
				t.Fatalf("%+v: %d", o, n)
			}
		}
		for i, spans := range [][]statistics.Range{statistics.Hours(rg), statistics.Days(&e, rg)} {
			for j, span := range spans {
				crowd := [][]statistics.Crowd{a.Hours, a.Days}[i][j]
				who, fresh := map[string]bool{}, int64(0)
				for _, m := range all {
					if span.Contains(m.at) && !who[m.chatter] {
						who[m.chatter] = true
						if !first[m.chatter].Before(span.From) {
							fresh++
						}
					}
				}
				if !crowd.Time.Equal(span.From) || crowd.Chatters.N != int64(len(who)) || crowd.Newcomers.N != fresh {
					t.Fatalf("%s: %+v, should be %d and %d", span.From, crowd, len(who), fresh)
				}
			}
		}
	})
}

func FuzzPoll(f *testing.F) {
	e := record.Event{Slug: slug, Start: utc("2026-09-04T16:00:00Z"), End: utc("2026-09-05T16:00:00Z")}
	r, err := record.Encode(&record.Message{
		Header: record.Header{Event: slug, Channel: "1", Time: e.Start}, MessageID: "1", Chatter: "ann",
		Emotes: []record.Emote{{ID: "25", Name: "Kappa", Count: 2}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(r.Doc))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, doc []byte) {
		c := statistics.NewCensus(&e, statistics.Range{From: e.Start, To: e.End})
		p := c.Poll("1")
		p.Add(doc)
		p.Add(doc)
		p.Close()
		if a := c.Audience(nil, read); a.Chatters.N > 1 || a.Messages.N%2 != 0 {
			t.Errorf("%+v", a)
		}
		if _, err := statistics.Decode(doc); err == nil {
			return
		}
	})
}
