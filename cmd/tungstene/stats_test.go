package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
)

func TestMarks(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"1,234":                       countText(statistics.Count{N: 1234, Coverage: record.Complete}),
		"≥ 1,234":                     countText(statistics.Count{N: 1234, Coverage: record.Partial}),
		"≈ 8,378 (±1.6 %, of a part)": countText(statistics.Count{N: 8378, Coverage: record.Partial, Error: 0.016}),
		"≈ 8,378 (±1.6 %)":            countText(statistics.Count{N: 8378, Coverage: record.Complete, Error: 0.016}),
		"unknown":                     countText(statistics.Count{Coverage: record.Unknown, Error: 0.016}),
		"~ 16,625.2":                  meanText(statistics.Measure{N: 16625.24, Coverage: record.Partial}, 1),
		"-1,000":                      meanText(statistics.Measure{N: -999.6, Coverage: record.Complete}, 0),
		"≥ 1,000":                     sumText(statistics.Measure{N: 999.6, Coverage: record.Partial}),
		"~ €5.00":                     raisedText(statistics.Count{N: 500, Coverage: record.Partial}, "EUR"),
		"≥ €5.00":                     centsText(statistics.Count{N: 500, Coverage: record.Partial}, "EUR"),
		"highest peak, event":         featText(statistics.Feat{Name: "highest_peak_event"}),
		"first to €100,000, event":    featText(statistics.Feat{Name: "first_to_100000_event", Currency: "EUR"}),
		"first to €10,000":            featText(statistics.Feat{Name: "first_to_10000", Currency: "EUR"}),
		"most raised in an hour":      featText(statistics.Feat{Name: statistics.MostRaised}),
	} {
		if text != want {
			t.Errorf("%q, should be %q", text, want)
		}
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	if code, _, errs := run(t, "sample", "--channels", "4", "--hours", "2", "--messages", "400", "--data", data); code != app.ExitOK {
		t.Fatal(errs)
	}
	stats := func(args string) (code int, out, errs string) {
		return run(t, append([]string{"stats"}, strings.Fields(args+" --data "+data)...)...)
	}
	_, out, _ := stats("leaderboard --json")
	var b statistics.Board
	if err := json.Unmarshal([]byte(out), &b); err != nil || b.By != statistics.ByDonated || len(b.Rows) != 4 {
		t.Fatalf("%v: %s", err, out)
	}
	who := b.Rows[0].Streamer
	for args, want := range map[string][]string{
		"":                          {"Sample event", "viewers, average"},
		"--channel " + who.Login:    {"STREAM", "(began "},
		"curve --step 90m":          nil,
		"curve --step 24h":          {"18:00 to 20:00"},
		"leaderboard":               {"OF THE EVENT", who.Name},
		"leaderboard --by chatters": {"VALUE\n"},
		"leaderboard --from 2026-09-04T17:00:00Z":                                                {"donations until Fri 4 Sep 20:00", "OF THE EVENT"},
		"leaderboard --from 2026-09-04T17:00:00Z --by raid_in_viewers --to 2026-09-04T17:01:00Z": {"no raid in viewers are recorded; try --by messages"},
		"records":                        {"longest stream", "more"},
		"overlap":                        {"DAY ", "OF THE SECOND"},
		"overlap --channel " + who.Login: {who.Name + ": ", "wrote in no other channel", "OF THIS CHANNEL"},
		"bursts --from 2026-09-04T16:00:00Z --to 2026-09-04T16:05:00Z": {"no bursts: "},
	} {
		code, out, errs := stats(args)
		if want == nil {
			if code != app.ExitUsage || !strings.Contains(errs, "--step") {
				t.Errorf("%s: exit code %d, %s", args, code, errs)
			}
			continue
		}
		for _, text := range want {
			if code != app.ExitOK || !strings.Contains(out, text) {
				t.Errorf("%s: exit code %d, no %q in\n%s%s", args, code, text, out, errs)
			}
		}
		if strings.HasPrefix(args, "overlap --channel") && strings.Contains(out, "DAY") {
			t.Errorf("%s: what is the event's is told too:\n%s", args, out)
		}
	}
	_, out, _ = stats("overlap --json --channel " + who.Login)
	var a channelAudience
	if err := json.Unmarshal([]byte(out), &a); err != nil || a.Login != who.Login || a.Messages.N == 0 || len(a.Overlaps) == 0 {
		t.Errorf("%v: %s", err, out)
	}
	for args, want := range map[string]string{
		"curve --from 2027-01-01T00:00:00Z":                                "it is from 2026-09-04T18:00:00+02:00 to 2026-09-04T20:00:00+02:00",
		"--to 2026-09-04T16:00:59Z":                                        "less than a minute of event sample",
		"bursts --from 2026-09-04T16:00:00Z --to 2026-09-04T16:00:10Z":     "less than a minute",
		"overlap --to 2020-01-01T00:00:00Z":                                "less than a minute",
		"compare --with README.md":                                         "there is neither such a file of minutes",
		"leaderboard --by donations --from 2027-01-01T00:00:00Z":           "less than a minute",
		"categories --from 2027-01-01T00:00:00Z --to 2027-01-02T00:00:00Z": "less than a minute",
	} {
		if code, _, errs := stats(args); code != app.ExitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %s", args, code, errs)
		}
	}
}
