package statistics_test

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/statistics"
)

const marathon = "22510310"

// agdq is the recorded week as records: as many messages as were counted, their emotes, one sample of
// viewers and one of the total where there was one, and chat that was read in each recorded minute.
// It is cut to its first minutes.
func agdq(t *testing.T, minutes int) (*world, *statistics.Reader) {
	t.Helper()
	f, err := os.Open(filepath.FromSlash("../../testdata/agdq2020-minutes.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := newWorld(t, utc("2020-01-05T13:00:00Z"), time.Duration(minutes)*time.Minute)
	w.event.Currency, w.event.Name = "USD", "AGDQ 2020"
	w.channel(marathon, "gamesdonequick")

	// The aggregator reads an author and emotes out of a message's document, all else out of the record.
	plain := make([]record.Record, 500)
	for i := range plain {
		plain[i] = encoded(t, &record.Message{
			Header: w.header(marathon, w.event.Start), MessageID: strconv.Itoa(i), Chatter: fmt.Sprintf("chatter-%d", i), Length: 1,
		})
	}
	fill := rollup.NewFiller(w.store, w.event, w.event.End)
	rows := csv.NewReader(f)
	for n := 0; ; n++ {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			continue
		}
		minute := utc(row[0])
		if !minute.Before(w.event.End) {
			break
		}
		a := rollup.NewAggregator(slug, minute, w.event.Start, w.event.End)
		messages, emotes := number(t, row[2]), number(t, row[3])
		for i := range messages {
			r := plain[(n+i)%len(plain)]
			if i == 0 && emotes > 0 {
				r = encoded(t, &record.Message{
					Header: w.header(marathon, minute), MessageID: row[0], Chatter: "chatter-0", Length: 1,
					Emotes: []record.Emote{{ID: "25", Name: "Kappa", Count: emotes}},
				})
			}
			r.Time = minute.Add(time.Duration(i) * time.Minute / time.Duration(messages))
			a.Add(r)
		}
		if row[1] != "" {
			a.Add(encoded(t, &record.Viewers{
				Header: w.header(marathon, minute), Source: record.SourceHelix, Live: true, Viewers: number(t, row[1]), Stream: "1",
			}))
		}
		if row[5] != "" {
			whole, cents, _ := strings.Cut(row[5], ".")
			total := record.Money{Cents: int64(number(t, whole)*100 + number(t, (cents + "00")[:2])), Currency: "USD"}
			a.Add(encoded(t, &record.Amount{Header: w.header("", minute), Source: "gdq", Money: total}))
		}
		a.Add(encoded(t, &record.Coverage{
			Header: w.header("", minute), Source: record.SourceChat, To: minute.Add(time.Minute), Collector: "c", Connection: "c-1",
			Set: record.ChannelSet([]string{marathon}), Channels: []string{marathon},
		}))
		if a.Ignored() > 0 {
			t.Fatalf("%s: %d records were not counted", minute, a.Ignored())
		}
		if err := fill.Minute(t.Context(), minute, a.Result()); err != nil {
			t.Fatal(err)
		}
	}
	if err := fill.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.put("events", slug, w.event)
	return w, w.open()
}

func encoded(t *testing.T, d record.Document) record.Record {
	t.Helper()
	r, err := record.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The numbers were computed from the same file with awk, one line each:
//
//	cd testdata; f=agdq2020-minutes.csv
//	awk -F, 'NR>1{m+=$3; e+=$4; if($2!=""){v+=$2; n++}} END{print m, e, v, n}' OFMT=%.0f $f
//	  863623 1126882 1174023959 9769
//	awk -F, 'NR>1 && $2+0>p{p=$2+0; t=$1} END{print p, t}' $f     237523 2020-01-12T02:41
//	awk -F, 'NR>1 && $3+0>p{p=$3+0; t=$1} END{print p, t}' $f     932 2020-01-12T05:21
//	awk -F, 'NR>1 && $4+0>p{p=$4+0; t=$1} END{print p, t}' $f     6225 2020-01-12T07:29
//	awk -F, 'NR>1 && $6!=""{if(!n++)print $6; l=$6} END{print l}' $f     30.0 3133062.78
//	awk -F, 'NR>1 && $6!="" && $6+0>=1000000{print $1; exit}' $f         2020-01-10T02:44
//	awk -F, 'NR>1{h=substr($1,1,13); m[h]+=$3} END{for(h in m)print m[h], h}' $f | sort -rn | head -1
//	  21832 2020-01-12T05
//	awk -F, 'NR>1 && $6!=""{h=substr($1,1,13); if(!(h in t))o[++n]=h; t[h]=$6; if(f=="")f=$6}
//	  END{p=f; for(i=1;i<=n;i++){printf "%.2f %s\n", t[o[i]]-p, o[i]; p=t[o[i]]}}' $f | sort -rn | head -1
//	  530481.46 2020-01-12T05
//	awk -F, '$1>="2020-01-05T23:00" && $1<"2020-01-06T23:00"{n++; m+=$3; e+=$4; v+=$2; if($2+0>p){p=$2+0; t=$1}}
//	  END{print n, m, e, v, p, t}' $f     1440 80905 78859 170806435 167574 2020-01-06T00:04
func TestGolden(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("counts 863,623 messages")
	}
	if raceEnabled {
		_, r := agdq(t, 2*24*60)
		theSecondDay(t, r)
		asEdition(t, r, 2*24*60)
		return
	}
	_, r := agdq(t, 10243)
	theSecondDay(t, r)
	asEdition(t, r, 10243)
	for _, channel := range []string{marathon, record.AllChannels} {
		s := summary(t, r, channel, r.Whole())
		check := func(what string, have, want any) {
			t.Helper()
			if have != want {
				t.Errorf("channel %s: %s is %v, should be %v", channel, what, have, want)
			}
		}
		// A minute is missing, and 473 have no viewers: all of it is partial.
		check("messages", s.Messages, partial(863_623))
		check("emotes", s.Emotes, partial(1_126_882))
		check("top emote", s.TopEmotes[0].Count, 1_126_882)
		check("peak", s.PeakViewers, partial(237_523))
		check("time of the peak", s.PeakAt, utc("2020-01-12T02:41:00Z"))
		check("watch time", s.WatchMinutes.N, 1_174_023_959.0)
		check("stream time", s.StreamMinutes, partial(9_769))
		check("average", math.Round(s.AverageViewers.N*1000), math.Round(1_174_023_959.0/9_769*1000))
		check("read minutes", math.Round(s.MessagesPerMinute.N*1e6), math.Round(863_623.0/10_242*1e6))
	}
	whole := summary(t, r, record.AllChannels, r.Whole())
	d, ok := whole.MainDonations()
	if !ok || d.Source != "gdq" || d.Currency != "USD" || d.By != statistics.BySamples ||
		d.Total != complete(313_306_278) || d.Raised != complete(313_303_278) || d.At != utc("2020-01-12T15:42:00Z") {
		t.Errorf("donations: %+v", d)
	}

	curve, err := r.Curve(t.Context(), record.AllChannels, r.Whole(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var most, raised statistics.Point
	var sum, gains int64
	for _, p := range curve.Points {
		if p.Messages.N > most.Messages.N {
			most = p
		}
		if p.Raised.N > raised.Raised.N {
			raised = p
		}
		sum += p.Messages.N
		gains += p.Raised.N
	}
	if most.Messages.N != 21_832 || !most.Time.Equal(utc("2020-01-12T05:00:00Z")) {
		t.Errorf("the hour with most messages: %+v", most)
	}
	if raised.Raised.N != 53_048_146 || !raised.Time.Equal(utc("2020-01-12T05:00:00Z")) {
		t.Errorf("the hour in which most was raised: %+v", raised)
	}
	if sum != 863_623 || gains != 313_303_278 {
		t.Errorf("the hours together: %d messages, %d cents", sum, gains)
	}

	feats, err := r.Feats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		n  int64
		at string
	}{
		statistics.MostMessages:      {932, "2020-01-12T05:21:00Z"},
		statistics.MostMessagesEvent: {932, "2020-01-12T05:21:00Z"},
		statistics.MostEmotes:        {6225, "2020-01-12T07:29:00Z"},
		statistics.HighestPeak:       {237_523, "2020-01-12T02:41:00Z"},
		statistics.MostRaisedEvent:   {53_048_146, "2020-01-12T05:00:00Z"},
		"first_to_1000000_event":     {6584, "2020-01-10T02:44:00Z"},
	} {
		found := false
		for _, f := range feats {
			if f.Name == name {
				found = true
				if f.Value.N != want.n || !f.At.Equal(utc(want.at)) {
					t.Errorf("%s: %+v", name, f)
				}
			}
		}
		if !found {
			t.Errorf("nobody holds %s", name)
		}
	}
}

// theSecondDay is that of Paris.
func theSecondDay(t *testing.T, r *statistics.Reader) {
	t.Helper()
	days := statistics.Days(&record.Event{TimeZone: "Europe/Paris"}, r.Whole())
	day := summary(t, r, marathon, days[1])
	if day.Messages != complete(80_905) || day.Emotes != complete(78_859) || day.WatchMinutes.N != 170_806_435 ||
		day.PeakViewers != complete(167_574) || !day.PeakAt.Equal(utc("2020-01-06T00:04:00Z")) {
		t.Errorf("day %s: %+v", days[1].From, day)
	}
}

// asEdition says that the file itself as an edition is the same curve, as far as that goes.
func asEdition(t *testing.T, r *statistics.Reader, minutes int) {
	t.Helper()
	f, err := os.Open(filepath.FromSlash("../../testdata/agdq2020-minutes.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	edition, err := statistics.ReadEdition(f, "agdq2020")
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Compare(t.Context(), edition, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Points) != 10_243 {
		t.Errorf("%d points", len(c.Points))
	}
	differ := 0
	for i, p := range c.Points[:minutes] {
		for _, pair := range []statistics.Pair{p.Viewers, p.Messages, p.Total, p.Written} {
			if pair.Here.N != pair.There.N && differ < 5 {
				differ++
				t.Errorf("point %d: %+v", i, p)
			}
		}
	}
}

func TestTheEditionIsWhatTheSimulatorReplays(t *testing.T) {
	t.Parallel()
	rows, err := sim.AGDQ2020()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.FromSlash("../../testdata/agdq2020-minutes.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := statistics.ReadEdition(f, "agdq2020")
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for _, p := range c.Points {
		if !p.Time.Equal(rows[next].Time) {
			if p.Messages != unknown() || p.Total != unknown() {
				t.Errorf("%s was not recorded: %+v", p.Time, p)
			}
			continue
		}
		if p.Messages.N != int64(rows[next].Messages) || p.Viewers.Known() != (rows[next].Viewers != sim.NotRecorded) {
			t.Errorf("%s: %+v, recorded %+v", p.Time, p, rows[next])
		}
		next++
	}
	if next != len(rows) {
		t.Errorf("%d of %d rows", next, len(rows))
	}
}
