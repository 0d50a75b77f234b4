package collector_test

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/collector"
)

var start = time.Date(2026, 9, 4, 16, 0, 0, 0, time.UTC)

// recordedGaps are the gaps between the messages of a real channel, in seconds.
func recordedGaps(t *testing.T) []float64 {
	t.Helper()
	f, err := os.Open("../../testdata/chat-2019.txt.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	stamp := regexp.MustCompile(`tmi-sent-ts=(\d+).* PRIVMSG #`)
	var stamps []float64
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		if m := stamp.FindStringSubmatch(lines.Text()); m != nil {
			ms, err := strconv.ParseInt(m[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			stamps = append(stamps, float64(ms)/1000)
		}
	}
	if lines.Err() != nil || len(stamps) < 4000 {
		t.Fatalf("%d messages, %v", len(stamps), lines.Err())
	}
	slices.Sort(stamps)
	gaps := make([]float64, len(stamps)-1)
	for i := range gaps {
		gaps[i] = stamps[i+1] - stamps[i]
	}
	return gaps
}

// recordedMinutes are the messages of each minute of a week of a real event; -1 where it was not
// recorded.
func recordedMinutes(t *testing.T) []int {
	t.Helper()
	f, err := os.Open("../../testdata/agdq2020-minutes.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := slices.Index(rows[0], "chat_messages")
	var out []int
	for _, row := range rows[1:] {
		n, err := strconv.Atoi(row[column])
		if err != nil {
			n = -1
		}
		out = append(out, n)
	}
	return out
}

// talk is a simulated channel: how long from one message to the next, in seconds.
type talk func() float64

// poisson talks at a rate, each message on its own.
func poisson(r *rand.Rand, rate float64) talk {
	return func() float64 { return r.ExpFloat64() / rate }
}

// bursts talks as the recorded channel does, at another rate: its gaps in their order, in blocks of
// some seconds from random places, stretched.
func bursts(r *rand.Rand, gaps []float64, rate float64) talk {
	mean := 0.0
	for _, g := range gaps {
		mean += g / float64(len(gaps))
	}
	at, left := 0, 0
	return func() float64 {
		if left == 0 {
			at, left = r.IntN(len(gaps)), 100+r.IntN(100)
		}
		left--
		at = (at + 1) % len(gaps)
		return gaps[at] / mean / rate
	}
}

// alarms counts silences that were judged while a channel talked, over some hours, looking every
// second as the collector does.
func alarms(next talk, hours float64) (n int) {
	var p collector.Pulse
	at := 0.0
	for at < hours*3600 {
		p.Beat(start.Add(time.Duration(at * float64(time.Second))))
		gap := next()
		if gap >= 1 && p.Judge(start.Add(time.Duration((at+gap)*float64(time.Second)))) {
			n++
		}
		at += gap
	}
	return n
}

func TestFalseAlarms(t *testing.T) {
	t.Parallel()
	gaps := recordedGaps(t)
	// At most so many alarms in a thousand hours of a channel.
	const hours = 4000
	for _, rate := range []float64{0.1, 0.3, 0.5, 1, 3, 10} {
		r := rand.New(rand.NewPCG(1, uint64(rate*10)))
		spoken := min(hours, 5e5/rate/3600)
		burst := float64(alarms(bursts(r, gaps, rate), spoken)) / spoken * 1000
		alone := float64(alarms(poisson(r, rate), spoken)) / spoken * 1000
		t.Logf("%4.1f messages/s: %.2f false alarms in 1,000 hours with recorded bursts, %.2f of independent messages", rate, burst, alone)
		if burst > 10 || alone > 1 {
			t.Error("too many")
		}
	}
	// A week of a real event: the rate changes from minute to minute, the bursts are the recorded ones.
	for _, share := range []float64{1, 0.3, 0.1, 0.03} {
		r := rand.New(rand.NewPCG(2, uint64(share*100)))
		var p collector.Pulse
		n, minutes := 0, recordedMinutes(t)
		shape := bursts(r, gaps, 1)
		for i, messages := range minutes {
			from := start.Add(time.Duration(i) * time.Minute)
			if messages <= 0 { // the recording's holes have both forms
				p.Forgive(from.Add(time.Minute))
				continue
			}
			rate := float64(messages) * share / 60
			for at := shape() / rate; at < 60; at += shape() / rate {
				now := from.Add(time.Duration(at * float64(time.Second)))
				if p.Judge(now) {
					n++
				}
				p.Beat(now)
			}
		}
		t.Logf("a week of a real event, %3.0f%% of its chat: %d false alarms in %d hours", share*100, n, len(minutes)/60)
		if n > 30 {
			t.Error("too many")
		}
	}
}

// How long it takes until a channel that falls silent is judged to be.
func TestSilenceIsDetectedWithinAMinute(t *testing.T) {
	t.Parallel()
	gaps := recordedGaps(t)
	for _, rate := range []float64{0.5, 0.7, 1, 2, 5, 10} {
		for _, name := range []string{"independent", "recorded bursts"} {
			var took []float64
			for seed := range uint64(100) {
				r := rand.New(rand.NewPCG(seed, 3))
				next := poisson(r, rate)
				if name != "independent" {
					next = bursts(r, gaps, rate)
				}
				var p collector.Pulse
				at := 0.0
				for at < 1800 {
					p.Beat(start.Add(time.Duration(at * float64(time.Second))))
					at += next()
				}
				for s := 1.0; ; s++ {
					if p.Judge(start.Add(time.Duration((1800 + s) * float64(time.Second)))) {
						took = append(took, s)
						break
					}
				}
			}
			slices.Sort(took)
			t.Logf("%4.1f messages/s, %s: median %v s, 99%% %v s", rate, name, took[50], took[98])
			if took[98] > 60 && (name == "independent" || rate > 0.5) {
				t.Errorf("%.1f messages/s: silence is detected after %v s", rate, took[98])
			}
		}
	}
}
