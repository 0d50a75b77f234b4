package collector_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/collector"
)

// repairs notes what was asked of the reader.
type repairs struct {
	homes map[string]string
	done  []string
	moves int
}

func (r *repairs) Homes() map[string]string { return r.homes }

func (r *repairs) Rejoin(channel string) bool {
	r.done = append(r.done, "rejoin "+channel)
	r.moves++
	r.homes[channel] = fmt.Sprintf("moved-%d", r.moves)
	return true
}

func (r *repairs) Replace(connection string) bool {
	r.done = append(r.done, "replace "+connection)
	for id, home := range r.homes {
		if home == connection {
			r.homes[id] = connection + "+"
		}
	}
	return true
}

func (r *repairs) take() []string {
	done := r.done
	r.done = nil
	return done
}

// room is a listener with channels on one connection, a clock, and who talks: each talking channel
// once a second.
type room struct {
	*collector.Listener
	repairs *repairs
	now     time.Time
	live    map[string]int
	logins  map[string]string
	talking map[string]bool
	deaf    bool
}

func newRoom(channels int) *room {
	r := &room{
		repairs: &repairs{homes: map[string]string{}}, now: start,
		live: map[string]int{}, logins: map[string]string{}, talking: map[string]bool{},
	}
	r.Listener = collector.NewListener(r.repairs)
	for i := range channels {
		id := strconv.Itoa(i)
		r.repairs.homes[id], r.live[id], r.logins[id], r.talking[id] = "c-1", 100, "login"+id, true
	}
	return r
}

func (r *room) pass(d time.Duration) {
	for end := r.now.Add(d); r.now.Before(end); {
		r.now = r.now.Add(time.Second)
		for id, talks := range r.talking {
			if talks {
				collector.Hear(r.Listener, id, r.now)
			}
		}
		collector.Look(r.Listener, r.now, r.live, r.logins, r.deaf)
	}
}

func (r *room) silent() (logins []string) {
	for _, c := range collector.Conditions(r.Listener) {
		if c.Name != "channel-silent" {
			logins = append(logins, c.Name)
		}
		logins = append(logins, c.Subject)
	}
	return logins
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestSilentChannelIsReadAnew(t *testing.T) {
	t.Parallel()
	r := newRoom(5)
	r.pass(10 * time.Minute)
	expect(t, "while all talk", r.silent())
	r.talking["2"] = false
	r.pass(time.Minute)
	expect(t, "told", r.silent(), "login2")
	expect(t, "repaired", r.repairs.take(), "rejoin 2")
	r.pass(4 * time.Minute)
	expect(t, "soon after", r.repairs.take())
	r.pass(2 * time.Minute)
	expect(t, "after five minutes", r.repairs.take(), "rejoin 2")
	r.pass(8 * time.Minute)
	expect(t, "before ten more", r.repairs.take())
	r.pass(2 * time.Minute)
	expect(t, "after ten more", r.repairs.take(), "rejoin 2")
	expect(t, "all the while", r.silent(), "login2")
	r.talking["2"] = true
	r.pass(time.Second)
	expect(t, "when it talks", r.silent())
	// Silent once more, soon: the pauses go on where they were.
	r.pass(5 * time.Minute)
	r.talking["2"] = false
	r.pass(2 * time.Minute)
	expect(t, "again", r.silent(), "login2")
	expect(t, "not yet", r.repairs.take())
	// Offline channels may be silent.
	delete(r.live, "2")
	r.pass(time.Second)
	expect(t, "offline", r.silent())
}

func TestSilentConnectionsChannelsAreReplacedTogether(t *testing.T) {
	t.Parallel()
	r := newRoom(5)
	for i := range 5 {
		id := strconv.Itoa(10 + i)
		r.repairs.homes[id], r.live[id], r.logins[id], r.talking[id] = "c-2", 100, "other"+id, true
	}
	r.pass(10 * time.Minute)
	for i := range 3 {
		r.talking[strconv.Itoa(i)] = false
	}
	r.pass(time.Minute)
	expect(t, "repaired", r.repairs.take(), "replace c-1")
	expect(t, "told", r.silent(), "login0", "login1", "login2")
	r.pass(3 * time.Minute)
	expect(t, "no sooner again", r.repairs.take())
}

// What is our own doing is nobody's silence.
func TestOurOwnSilence(t *testing.T) {
	t.Parallel()
	quiet := func(r *room) {
		for id := range r.talking {
			r.talking[id] = false
		}
	}
	for name, do := range map[string]func(r *room){
		"the process slept": func(r *room) {
			quiet(r)
			r.pass(10 * time.Second)
			r.now = r.now.Add(10 * time.Minute)
			r.pass(10 * time.Second)
		},
		"nothing is read, for lack of room": func(r *room) {
			r.deaf = true
			quiet(r)
			r.pass(10 * time.Minute)
			r.deaf = false
			r.pass(10 * time.Second)
		},
		"the connection was lost": func(r *room) {
			quiet(r)
			clear(r.repairs.homes)
			r.pass(5 * time.Minute)
			for id := range r.live {
				r.repairs.homes[id] = "c-1.2"
			}
			r.pass(10 * time.Second)
		},
		"no event is on": func(r *room) {
			clear(r.logins)
			quiet(r)
			r.pass(10 * time.Minute)
		},
		"no sweep tells": func(r *room) {
			clear(r.live)
			quiet(r)
			r.pass(10 * time.Minute)
		},
	} {
		r := newRoom(3)
		r.pass(10 * time.Minute)
		do(r)
		expect(t, name, r.silent())
		expect(t, name+", repaired", r.repairs.take())
	}
}

func TestClocksApart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		lags  map[string]time.Duration
		lines int
		off   bool
	}{
		{"as usual", map[string]time.Duration{"a": 200 * time.Millisecond, "b": 300 * time.Millisecond}, 50, false},
		{"one channel comes late", map[string]time.Duration{"a": 20 * time.Second, "b": 300 * time.Millisecond}, 50, false},
		{"all come late", map[string]time.Duration{"a": 20 * time.Second, "b": 12 * time.Second}, 50, true},
		{"before they were sent", map[string]time.Duration{"a": -3 * time.Second, "b": -2 * time.Second}, 50, true},
		{"a little before", map[string]time.Duration{"a": -500 * time.Millisecond}, 50, false},
		{"too few to tell", map[string]time.Duration{"a": -3 * time.Second}, 5, false},
	} {
		var l collector.Lags
		collector.JudgeLags(&l, start)
		for range test.lines {
			for channel, lag := range test.lags {
				collector.AddLag(&l, channel, lag)
			}
		}
		collector.JudgeLags(&l, start.Add(30*time.Second))
		if since, _ := collector.LagTrouble(&l); !since.IsZero() {
			t.Errorf("%s: judged before the minute is full", test.name)
		}
		collector.JudgeLags(&l, start.Add(time.Minute))
		since, lag := collector.LagTrouble(&l)
		if since.IsZero() == test.off {
			t.Errorf("%s: since %v, %v", test.name, since, lag)
		}
		// The next minute is as usual.
		for range 50 {
			collector.AddLag(&l, "a", 100*time.Millisecond)
		}
		collector.JudgeLags(&l, start.Add(2*time.Minute))
		if since, _ := collector.LagTrouble(&l); !since.IsZero() {
			t.Errorf("%s: it does not end", test.name)
		}
	}
}

func TestHowLongTheOutboxLasts(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	var f collector.Fill
	now, bytes := start, int64(0)
	left := func() time.Duration {
		d, _ := collector.Left(&f, 1000*mib, 72*time.Hour)
		return d.Round(time.Second)
	}
	// It is emptied every moment.
	for range 600 {
		now = now.Add(time.Second)
		bytes = (bytes + mib/4) % mib
		collector.Observe(&f, now, bytes, now.Add(-200*time.Millisecond))
		if left() != 0 {
			t.Fatalf("filling, with %d bytes", bytes)
		}
	}
	// The queue goes away: a MiB a second.
	gone := now
	bytes = 0
	for i := range 400 {
		now = now.Add(time.Second)
		bytes += mib
		collector.Observe(&f, now, bytes, gone)
		switch d := left(); {
		case i < 25 && d != 0:
			t.Fatalf("called filling after %d s", i)
		case i > 40 && d != time.Duration(1000-i-1)*time.Second:
			t.Fatalf("%d s left after %d s", d/time.Second, i)
		}
	}
	// Half as fast: in some minutes it knows.
	for range 400 {
		now = now.Add(time.Second)
		bytes += mib / 2
		collector.Observe(&f, now, bytes, gone)
	}
	if d := left(); d != 800*time.Second {
		t.Errorf("%v left, want 800 s", d)
	}
	says := func(bytes int64, age time.Duration, full collector.Policy) string {
		list := collector.Says(&f, bytes, age, full)
		if len(list) != 1 || list[0].Name != "outbox-filling" || list[0].Since.Sub(gone).Abs() > 15*time.Second {
			t.Fatalf("%+v", list)
		}
		return list[0].Detail
	}
	for _, told := range []struct{ got, want string }{
		{says(1000*mib, 72*time.Hour, collector.Stop), "holds 600 MiB of 1000 MiB; at the present rate it is full in 13m, and nothing more is read then: see to the queue"},
		{says(8192*mib, 72*time.Hour, collector.Drop), "holds 600 MiB of 8 GiB; at the present rate it is full in 4h13m, and what arrives then is dropped: see to the queue"},
		{says(1000*mib, 15*time.Minute, collector.Stop), "its oldest records have waited for 13m of 15m; it counts as full in 2m, and nothing more is read then"},
	} {
		if !strings.Contains(told.got, told.want) {
			t.Errorf("it says %q, want %q", told.got, told.want)
		}
	}
	// Its age is nearer.
	if d, byAge := collector.Left(&f, 1<<50, 15*time.Minute); !byAge || d != 15*time.Minute-now.Sub(gone) {
		t.Errorf("%v left, by age: %v", d, byAge)
	}
	// Drained: it holds much and is not filling.
	for i := range 60 {
		now = now.Add(time.Second)
		bytes -= 2 * mib
		collector.Observe(&f, now, bytes, gone)
		if i > 5 && (left() != 0 || len(collector.Says(&f, 1000*mib, 0, collector.Stop)) > 0) {
			t.Fatal("filling while it is drained")
		}
	}
}
