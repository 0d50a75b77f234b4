package statistics_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
)

func edition(t *testing.T, text string) statistics.Curve {
	t.Helper()
	c, err := statistics.ReadEdition(strings.NewReader(text), "earlier")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEditionsAreAlignedByTheirStart(t *testing.T) {
	t.Parallel()
	here := edition(t, "time,viewers,chat_messages,donations_count,donations_total_eur\n"+
		"2026-09-04T16:00:00Z,100,10,1,10\n2026-09-04T16:01:00Z,200,20,2,30\n2026-09-04T16:02:00Z,,30,,\n"+
		"2026-09-04T16:03:00Z,400,40,4,50.55\n2026-09-04T16:04:00Z,500,50,5,60\n")
	there := edition(t, "time,viewers,chat_messages,donations_count,donations_total_usd\n"+
		"2020-01-05T13:30:00+01:00,50,5,1,20\n2020-01-05T13:31:00+01:00,100,0,1,20\n2020-01-05T13:34:00+01:00,100,10,1,0\n")
	c, err := statistics.Compare(here, there, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Points) != 5 || c.Here.Currency != "EUR" || c.There.Currency != "USD" || !c.There.Start.Equal(utc("2020-01-05T12:30:00Z")) {
		t.Fatalf("%+v", c)
	}
	known := func(n float64) statistics.Measure { return statistics.Measure{N: n, Coverage: record.Complete} }
	bound := func(n float64) statistics.Measure { return statistics.Measure{N: n, Coverage: record.Partial} }
	none := statistics.Measure{Coverage: record.Unknown}
	for i, want := range []statistics.ComparisonPoint{
		{
			Viewers: statistics.Pair{Here: known(100), There: known(50), Ratio: known(2)}, Messages: statistics.Pair{Here: known(10), There: known(5), Ratio: known(2)},
			Written: statistics.Pair{Here: known(10), There: known(5), Ratio: known(2)}, Total: statistics.Pair{Here: known(1000), There: known(2000), Ratio: known(0.5)},
		},
		{
			Viewers: statistics.Pair{Here: known(200), There: known(100), Ratio: known(2)}, Messages: statistics.Pair{Here: known(20), There: known(0), Ratio: none},
			Written: statistics.Pair{Here: known(30), There: known(5), Ratio: known(6)}, Total: statistics.Pair{Here: known(3000), There: known(2000), Ratio: known(1.5)},
		},
		{
			Viewers: statistics.Pair{Here: none, There: none, Ratio: none}, Messages: statistics.Pair{Here: known(30), There: none, Ratio: none},
			Written: statistics.Pair{Here: known(60), There: none, Ratio: none}, Total: statistics.Pair{Here: none, There: none, Ratio: none},
		},
		{
			Viewers: statistics.Pair{Here: known(400), There: none, Ratio: none}, Messages: statistics.Pair{Here: known(40), There: none, Ratio: none},
			Written: statistics.Pair{Here: known(100), There: none, Ratio: none}, Total: statistics.Pair{Here: known(5055), There: none, Ratio: none},
		},
		{
			Viewers: statistics.Pair{Here: known(500), There: known(100), Ratio: known(5)}, Messages: statistics.Pair{Here: known(50), There: known(10), Ratio: known(5)},
			Written: statistics.Pair{Here: known(150), There: bound(15), Ratio: bound(10)}, Total: statistics.Pair{Here: known(6000), There: known(0), Ratio: none},
		},
	} {
		if want.After = time.Duration(i) * time.Minute; c.Points[i] != want {
			t.Errorf("point %d:\n%+v\n%+v", i, c.Points[i], want)
		}
	}
	wide, err := statistics.Compare(here, there, 2*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if len(wide.Points) != 3 || wide.Points[0].Viewers.Here != known(150) || wide.Points[1].Viewers.Here != bound(400) ||
		wide.Points[1].Viewers.There != none || wide.Points[0].Messages.There != known(5) || wide.Points[2].Written.There != bound(15) {
		t.Errorf("%+v", wide.Points)
	}
	// One that ends within a step is not compared with the whole of it.
	live := here
	live.Points = here.Points[:2]
	short, err := statistics.Compare(live, there, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if p := short.Points; len(p) != 2 || p[0].To != 2*time.Minute || p[0].Messages != (statistics.Pair{Here: known(30), There: known(5), Ratio: known(6)}) ||
		p[0].Total != (statistics.Pair{Here: known(3000), There: known(2000), Ratio: known(1.5)}) || p[1].After != 2*time.Minute ||
		p[1].To != 5*time.Minute || p[1].Messages != (statistics.Pair{Here: none, There: bound(10), Ratio: none}) {
		t.Errorf("%+v", p)
	}
	if p := here.Points[3]; p.Raised != complete(2055) || p.Donations != complete(2) {
		t.Errorf("given since the last known total: %+v", p)
	}
	if _, err := statistics.Compare(here, there, 90*time.Second); !errors.Is(err, statistics.ErrStep) {
		t.Errorf("a step of 90 seconds: %v", err)
	}
}

func TestRecordingsThatCantBeRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":             "is empty",
		"viewers\n1\n": `no column is named "time"`,
		"time,donations_total_money\n2020-01-05T13:30:00Z,1\n":                          "does not end in a currency",
		"time,donations_total_eur\n2020-01-05T13:30:00Z,1\n2020-01-05T13:31:00Z,much\n": "line 3",
		"time,donations_count\n2020-01-05T13:30:00Z,-1\n":                               "line 2: donations_count",
		"time,viewers\n2020-01-05T13:30:00Z,1\n2023-01-05T13:30:00Z,1\n":                "longer than a year",
		"time,viewers\n2020-01-05T13:30:00Z,1\n2020-01-05T13:30:00Z,1\n":                "does not come after",
		"time,viewers\n2020-01-05T13:30:30Z,1\n":                                        "not the start of a minute",
	} {
		if _, err := statistics.ReadEdition(strings.NewReader(text), "earlier"); !errors.Is(err, statistics.ErrRecording) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, should say %q", text, err, want)
		}
	}
}
