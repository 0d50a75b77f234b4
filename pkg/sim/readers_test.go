package sim_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/sim"
)

func TestReadMinutes(t *testing.T) {
	t.Parallel()
	const head = "time,viewers,chat_messages,emotes\n"
	for _, tc := range []struct{ name, csv, want string }{
		{"empty", "", "it is empty: the first line names the columns"},
		{"only a header", head, "no minute follows the header"},
		{"no time", "viewers,emotes\n1,2\n", `line 1: no column is named "time"`},
		{"twice", "time,viewers,Viewers\n", `line 1: the column "viewers" is there twice`},
		{"no date", head + "yesterday,1,2,3\n", `line 2: time "yesterday": use RFC 3339`},
		{"seconds", head + "2020-01-05T13:00:01Z,1,2,3\n", "line 2: time \"2020-01-05T13:00:01Z\" is not the start of a minute"},
		{"too few fields", head + "2020-01-05T13:00:00Z,1,2\n", "line 2: wrong number of fields"},
		{"no number", head + "2020-01-05T13:00:00Z,1,2,0\n2020-01-05T13:01:00Z,x,2,0\n", `line 3: viewers "x": use a whole number`},
		{"negative", head + "2020-01-05T13:00:00Z,1,-2,0\n", `line 2: chat_messages "-2"`},
		{"fraction", head + "2020-01-05T13:00:00Z,1,2.5,0\n", `line 2: chat_messages "2.5"`},
		{"emotes in nothing", head + "2020-01-05T13:00:00Z,1,0,3\n", "line 2: 3 emotes in 0 messages"},
		{"too many emotes", head + "2020-01-05T13:00:00Z,1,1,121\n", "line 2: 121 emotes in 1 messages: a message holds at most 120"},
		{"a third decimal", "time,donations_total_usd\n2020-01-05T13:00:00Z,1.005\n", `line 2: donations_total_usd "1.005": use a number`},
		{"an exponent", "time,donations_total_usd\n2020-01-05T13:00:00Z,1e6\n", `line 2: donations_total_usd "1e6"`},
		{"a negative total", "time,donations_total_usd\n2020-01-05T13:00:00Z,-1\n", `line 2: donations_total_usd "-1"`},
		{"back", head + "2020-01-05T13:01:00Z,1,2,3\n\n2020-01-05T13:00:00Z,1,2,3\n", "line 4: the minute 2020-01-05T13:00:00Z does not come after"},
		{"repeated", head + "2020-01-05T13:01:00Z,1,2,3\n2020-01-05T14:01:00+01:00,1,2,3\n", "line 3: the minute 2020-01-05T13:01:00Z does not come after"},
		{"quotes", head + "\"2020-01-05T13:01:00Z,1,2,3\n", "line 2"},
	} {
		rows, err := sim.ReadMinutes(strings.NewReader(tc.csv))
		if !errors.Is(err, sim.ErrMinutes) || !strings.Contains(err.Error(), tc.want) || rows != nil {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	rows, err := sim.ReadMinutes(strings.NewReader("\ufeffEmotes, chat_messages,note,time\n,12,x,2020-01-05T14:00:00+01:00\n7,,\"a\nb\",2020-01-05T13:05:00Z\n"))
	if err == nil { // emotes without messages can't be
		t.Errorf("emotes in a minute without messages: %+v", rows)
	}
	rows, err = sim.ReadMinutes(strings.NewReader("\ufeffEmotes, chat_messages,note,time\n,12,x,2020-01-05T14:00:00+01:00\n0,,\"a\nb\",2020-01-05T13:05:00Z\n"))
	at := time.Date(2020, 1, 5, 13, 0, 0, 0, time.UTC)
	want := []sim.Minute{{Time: at, Viewers: -1, Messages: 12, Emotes: -1, Donations: -1, Cents: -1}, {Time: at.Add(5 * time.Minute), Viewers: -1, Messages: -1, Emotes: 0, Donations: -1, Cents: -1}}
	if err != nil || len(rows) != 2 || rows[0] != want[0] || rows[1] != want[1] {
		t.Errorf("%+v, %v", rows, err)
	}
}

// TestAGDQ2020 holds the recording that the program carries against the file it was made of.
func TestAGDQ2020(t *testing.T) {
	t.Parallel()
	f, err := os.Open("../../testdata/agdq2020-minutes.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, err := sim.ReadMinutes(f)
	if err != nil {
		t.Fatal(err)
	}
	got, err := sim.AGDQ2020()
	if err != nil || len(got) != 10_242 || len(got) != len(want) {
		t.Fatalf("%d minutes of %d, %v", len(got), len(want), err)
	}
	sum := 0
	for i := range got {
		if sum += got[i].Messages; got[i] != want[i] {
			t.Fatalf("%+v is %+v in the file", got[i], want[i])
		}
	}
	if sum != 863_623 {
		t.Errorf("%d messages", sum)
	}
	if last := got[len(got)-1]; last.Donations != 54_134 || last.Cents != 313_306_278 {
		t.Errorf("at the end %d donations, %d cents", last.Donations, last.Cents)
	}
}

func TestMinutesRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		_ = w.Write([]string{"time", "emotes", "chat_messages", "donations_total_usd", "viewers", "donations_count"})
		cell := func(n int) string {
			if n == sim.NotRecorded {
				return ""
			}
			return strconv.Itoa(n)
		}
		at := time.Unix(60*int64(rapid.IntRange(1, 1<<25).Draw(t, "minute")), 0).UTC()
		var want []sim.Minute
		for range rapid.IntRange(1, 20).Draw(t, "rows") {
			m := sim.Minute{Time: at, Viewers: rapid.IntRange(-1, 1e6).Draw(t, "viewers"), Messages: rapid.IntRange(-1, 1e4).Draw(t, "messages")}
			m.Emotes = rapid.IntRange(-1, max(0, 120*m.Messages)).Draw(t, "emotes")
			m.Donations, m.Cents = rapid.IntRange(-1, 1e8).Draw(t, "donations"), rapid.Int64Range(-1, 1e13).Draw(t, "cents")
			want = append(want, m)
			total := ""
			if m.Cents != sim.NotRecorded {
				total = fmt.Sprintf("%d.%02d", m.Cents/100, m.Cents%100)
			}
			_ = w.Write([]string{at.Format(time.RFC3339), cell(m.Emotes), cell(m.Messages), total, cell(m.Viewers), cell(m.Donations)})
			at = at.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "step")) * time.Minute)
		}
		w.Flush()
		got, err := sim.ReadMinutes(&b)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d rows of %d, %v", len(got), len(want), err)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%+v became %+v", want[i], got[i])
			}
		}
	})
}

func FuzzReadMinutes(f *testing.F) {
	f.Add("time,viewers,chat_messages,emotes\n2020-01-05T13:00:00Z,1,2,3\n")
	f.Add("\ufefftime\n\"2020-01-05T13:00:00Z\"\n")
	f.Fuzz(func(t *testing.T, s string) {
		rows, err := sim.ReadMinutes(strings.NewReader(s))
		if (err == nil) != (len(rows) > 0) || err != nil && !errors.Is(err, sim.ErrMinutes) {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		if err != nil {
			return
		}
		simulator, err := sim.New(sim.Config{Replay: &sim.Replay{Rows: rows[:1]}})
		if err != nil {
			t.Fatalf("what was read can't be played: %v", err)
		}
		_ = simulator.Close()
	})
}

func readLedger(s string) ([]sim.Entry, error) {
	var out []sim.Entry
	for e, err := range sim.ReadLedger(strings.NewReader(s)) {
		if err != nil {
			return out, err
		}
		out = append(out, e)
	}
	return out, nil
}

func TestReadLedger(t *testing.T) {
	t.Parallel()
	got, err := readLedger(`{"channel":"a","id":"1","sent_ms":5}
{"id":"2","sent_ms":6,"channel":"b","emotes":2,"bits":100,"shared":true,"room":"77","more":{"x":[1]}}

  {"channel":"c","id":"3","sent_ms":7,"shared":"perhaps","emotes":null,"bits":"many","room":7}`)
	want := []sim.Entry{
		{Channel: "a", ID: "1", SentMS: 5},
		{Channel: "b", ID: "2", SentMS: 6, Emotes: 2, Bits: 100, Shared: true, Room: "77"},
		{Channel: "c", ID: "3", SentMS: 7},
	}
	if err != nil || len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("%+v, %v", got, err)
	}
	const good = `{"channel":"a","id":"1","sent_ms":5}` + "\n"
	for _, tc := range []struct{ name, in, want string }{
		{"no object", good + "[1]\n", "line 2: not a ledger's JSON object"},
		{"no JSON", good + "\n" + "hello\n", "line 3: not a ledger's JSON object"},
		{"two on a line", `{"channel":"a","id":"1","sent_ms":5}{}` + "\n", "line 1: not a ledger's JSON object"},
		{"no channel", `{"id":"1","sent_ms":5}`, `line 1: "channel" is missing or empty`},
		{"empty id", `{"channel":"a","id":"","sent_ms":5}`, `line 1: "id" is missing or empty`},
		{"no time", `{"channel":"a","id":"1"}` + "\n", `line 1: "sent_ms" is missing or not above 0`},
		{"negative time", `{"channel":"a","id":"1","sent_ms":-5}`, `line 1: "sent_ms" is missing or not above 0`},
		{"id is a number", `{"channel":"a","id":1,"sent_ms":5}`, "line 1: not a ledger's JSON object"},
		{"time is a fraction", `{"channel":"a","id":"1","sent_ms":5.5}`, "line 1: not a ledger's JSON object"},
		{"cut off", good + `{"channel":"a","id":"1","se`, "line 2: not a ledger's JSON object"},
		{"cut off, why", good + `{"channel":"a","id":"1","se`, "the last line has no end: was its writer stopped?"},
		{"endless", good + strings.Repeat("x", 2<<20), "line 2: longer than 1048576 bytes"},
	} {
		_, err := readLedger(tc.in)
		if !errors.Is(err, sim.ErrLedger) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	if got, err := readLedger(""); got != nil || err != nil {
		t.Errorf("nothing: %v, %v", got, err)
	}
	long := `{"channel":"a","id":"1","note":"` + strings.Repeat("x", 500_000) + `","sent_ms":5}` + "\n"
	if got, err := readLedger(long + good); err != nil || len(got) != 2 {
		t.Errorf("a long line: %d entries, %v", len(got), err)
	}
}

func FuzzReadLedger(f *testing.F) {
	f.Add(`{"channel":"a","id":"1","sent_ms":5}`)
	f.Add("\n\n{}\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := readLedger(s)
		if err != nil && !errors.Is(err, sim.ErrLedger) {
			t.Fatal(err)
		}
		var b bytes.Buffer
		for _, e := range got {
			if e.Channel == "" || e.ID == "" || e.SentMS <= 0 {
				t.Fatalf("%+v", e)
			}
			line, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(append(line, '\n'))
		}
		again, err := readLedger(b.String())
		if err != nil || len(again) != len(got) {
			t.Fatalf("%d entries became %d, %v", len(got), len(again), err)
		}
	})
}

// handClock goes on when it is told to.
type handClock struct {
	mu      sync.Mutex
	now     time.Time
	changed chan struct{}
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) Until(ctx context.Context, t time.Time) error {
	for {
		c.mu.Lock()
		now, changed := c.now, c.changed
		c.mu.Unlock()
		if !now.Before(t) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	close(c.changed)
	c.changed = make(chan struct{})
}

// TestRate looks at whole cycles: with and without bursts, the mean is the rate.
func TestRate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ rate, burst float64 }{{50, 0}, {50, 1}, {33.3, 6}, {7.7, 18}, {0.4, 3}} {
		clk := &handClock{now: time.UnixMilli(1_795_317_660_000), changed: make(chan struct{})}
		s := start(t, sim.Config{Channels: 3, Rate: tc.rate, Burst: tc.burst, Clock: clk, Seed: 3})
		c := login(t, s, "justinfan1")
		c.join(s.Logins()...)
		s.Begin()
		go func() { _, _ = c.rest() }()
		for minute := 1; minute <= 3; minute++ {
			for range 6 {
				clk.advance(10 * time.Second)
			}
			want := int64(tc.rate*60*float64(minute) + 0.5)
			eventually(t, "all messages of the minute", func() bool { return s.Sent() >= want })
			<-time.After(3 * time.Millisecond)
			if got := s.Sent(); got != want {
				t.Errorf("rate %v, bursts of %v: %d messages in %d minutes, want %d", tc.rate, tc.burst, got, minute, want)
			}
		}
	}
}
