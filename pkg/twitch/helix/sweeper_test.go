package helix_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/helix"
)

// sweeps runs a sweeper within a synctest bubble, whose clock starts at midnight, 2000-01-01 UTC.
type sweeps struct {
	*helix.Sweeper
	fake *twitch
	reg  *prometheus.Registry

	mu   sync.Mutex
	docs []record.Document
	fail error
	slow time.Duration
	stop func()
}

var midnight = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func slot(minute int) time.Time { return midnight.Add(time.Duration(minute) * time.Minute) }

func startSweeps(t *testing.T, channels int, edit func(*helix.SweeperConfig)) *sweeps {
	t.Helper()
	s := &sweeps{fake: newTwitch(), reg: prometheus.NewRegistry()}
	cfg := helix.SweeperConfig{Emit: s.emit, Logger: slog.New(slog.DiscardHandler), Registerer: s.reg}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if s.Sweeper, err = helix.NewSweeper(client(t, s.fake, nil), cfg); err != nil {
		t.Fatal(err)
	}
	var assigned []control.AssignedChannel
	for _, id := range span(channels) {
		s.fake.users[id] = user{ID: id, Login: "login" + id, Name: "Name" + id, Picture: "p" + id}
		assigned = append(assigned, control.AssignedChannel{Channel: id, Login: "login" + id, Events: []string{"ev"}})
	}
	s.Set(assigned, []control.AssignedEvent{{Slug: "ev", Start: midnight, End: midnight.AddDate(1, 0, 0)}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return s
}

func (s *sweeps) emit(ctx context.Context, docs []record.Document) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slow > 0 {
		select {
		case <-time.After(s.slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.fail != nil {
		return s.fail
	}
	s.docs = append(s.docs, docs...)
	return nil
}

// upTo lets the clock run to 10 s after a minute's slot.
func upTo(minute int) {
	time.Sleep(time.Until(slot(minute).Add(10 * time.Second)))
	synctest.Wait()
}

// take returns what was emitted since the last time, readably, sorted. Lines: kind channel@minute.
func (s *sweeps) take(t *testing.T, kinds ...record.Kind) []string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, d := range s.docs {
		r, err := record.Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		if len(kinds) > 0 && !slices.Contains(kinds, r.Kind) {
			continue
		}
		line := fmt.Sprintf("%s %s@%v", r.Kind, r.Channel, r.Time.Sub(midnight).Minutes())
		if r.Event != "ev" {
			line = r.Event + ": " + line
		}
		switch d := d.(type) {
		case *record.Viewers:
			if d.Source != record.SourceHelix || d.Received.Before(d.Time) {
				t.Errorf("%+v", d)
			}
			line += fmt.Sprintf(" %v %d %s", d.Live, d.Viewers, d.Stream)
		case *record.Session:
			line += fmt.Sprintf(" %s %s", d.Stream, d.Phase)
		case *record.Change:
			line += fmt.Sprintf(" %s %s>%s", d.Field, d.From, d.To)
		}
		out = append(out, line)
	}
	s.docs = nil
	slices.Sort(out)
	return out
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startSweeps(t, 2, nil)
		defer s.stop()
		s.fake.goLive("1000", "s1", 42, slot(-30))
		upTo(0)
		same(t, s.take(t),
			"change 1000@0 display_name >Name1000", "change 1000@0 login >login1000", "change 1000@0 picture >p1000",
			"change 1001@0 display_name >Name1001", "change 1001@0 login >login1001", "change 1001@0 picture >p1001")
		upTo(1)
		same(t, s.take(t),
			"change 1000@1 category >Chess", "change 1000@1 title >title", "session 1000@-30 s1 start",
			"viewers 1000@1 true 42 s1", "viewers 1001@1 false 0 ")
		if st := s.Status(); st.Live != 1 || st.Viewers != 42 || !st.LastSweep.Equal(slot(1)) || st.Taken != 2 {
			t.Errorf("%+v", st)
		}
		s.fake.change(func(f *twitch) {
			l := f.live["1000"]
			l.Title, l.Game, l.GameName, l.Viewers = "new", "8", "Go", 50
			f.live["1000"] = l
		})
		upTo(2)
		same(t, s.take(t),
			"change 1000@2 category Chess>Go", "change 1000@2 title title>new",
			"viewers 1000@2 true 50 s1", "viewers 1001@2 false 0 ")
		upTo(3)
		same(t, s.take(t), "viewers 1000@3 true 50 s1", "viewers 1001@3 false 0 ")
	})
}

func TestSessionsEndAtTheFirstOfTwoOfflineSamples(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startSweeps(t, 1, nil)
		defer s.stop()
		off := func() { s.fake.change(func(f *twitch) { clear(f.live) }) }
		s.fake.goLive("1000", "a", 1, slot(-9))
		upTo(1)
		off()
		upTo(2)
		s.fake.goLive("1000", "a", 1, slot(-9))
		upTo(3)
		same(t, s.take(t, record.KindSession), "session 1000@-9 a start")
		off()
		upTo(4)
		// An unsampled slot between is no sample.
		s.fake.change(func(f *twitch) {
			f.onAPI = func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
		})
		upTo(5)
		same(t, s.take(t, record.KindSession))
		s.fake.change(func(f *twitch) { f.onAPI = nil })
		upTo(6)
		same(t, s.take(t, record.KindSession), "session 1000@4 a end")
		s.fake.goLive("1000", "b", 1, slot(6))
		upTo(7)
		s.fake.goLive("1000", "c", 1, slot(7))
		upTo(8)
		same(t, s.take(t, record.KindSession), "session 1000@6 b start", "session 1000@7 c start", "session 1000@8 b end")
		// One stale answer is ignored, two are believed.
		s.fake.goLive("1000", "b", 1, slot(6))
		upTo(9)
		s.fake.goLive("1000", "c", 1, slot(7))
		upTo(10)
		same(t, s.take(t, record.KindSession))
		off()
		upTo(11)
		s.fake.goLive("1000", "d", 1, slot(11))
		upTo(12)
		same(t, s.take(t, record.KindSession), "session 1000@11 c end", "session 1000@11 d start")
	})
}

func TestOfflineIsNotUnsampled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startSweeps(t, 150, nil)
		defer s.stop()
		for _, id := range span(150) {
			s.fake.goLive(id, "s"+id, 2, slot(-1))
		}
		upTo(1)
		if n := len(s.take(t, record.KindViewers)); n != 150 {
			t.Error(n)
		}
		// The second chunk's answers are broken until they are too late: at half the interval.
		s.fake.change(func(f *twitch) {
			f.onAPI = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Query().Get("user_id") != "1100" {
					return false
				}
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
		})
		time.Sleep(time.Until(slot(3)) - time.Second)
		if n := len(s.take(t, record.KindViewers)); n != 100 {
			t.Error(n)
		}
		if st := s.Status(); st.Missed != 50 || st.Live != 100 || !st.LastSweep.Equal(slot(2)) || len(s.Conditions()) != 0 {
			t.Errorf("%+v %+v", st, s.Conditions())
		}
		// Nothing in time.
		s.fake.change(func(f *twitch) {
			f.onAPI = func(_ http.ResponseWriter, r *http.Request) bool {
				select {
				case <-time.After(9 * time.Second):
				case <-r.Context().Done():
				}
				return false
			}
		})
		upTo(3)
		time.Sleep(time.Until(slot(4)) - time.Second)
		if n := len(s.take(t, record.KindViewers)); n != 150 { // 9 s is in time
			t.Error(n)
		}
		s.fake.change(func(f *twitch) {
			f.onAPI = func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
		})
		time.Sleep(time.Until(slot(5)) - time.Second)
		if st := s.Status(); st.Missed != 200 || !st.LastSweep.Equal(slot(3)) {
			t.Errorf("%+v", st)
		}
		same(t, s.take(t, record.KindViewers, record.KindSession))
		m := outcomes(t, s.reg)
		if m["tungstene_helix_samples_total/missed"] != 200 || m["tungstene_helix_sweeps_total/failed/streams"] != 1 {
			t.Error(m)
		}
	})
}

func TestSuddenEmptyAnswersAreSuspect(t *testing.T) {
	t.Parallel()
	live := func(s *sweeps, n int) {
		s.fake.change(func(f *twitch) { clear(f.live) })
		for _, id := range span(n) {
			s.fake.goLive(id, "s"+id, 1, slot(-5))
		}
	}
	t.Run("refuted", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := startSweeps(t, 4, nil)
			defer s.stop()
			live(s, 4)
			upTo(1)
			s.take(t)
			live(s, 0)
			upTo(2)
			same(t, s.take(t))
			if c := s.Conditions(); len(c) != 1 || c[0].Name != "helix-empty" || !c[0].Since.Equal(slot(2)) {
				t.Errorf("%+v", c)
			}
			if st := s.Status(); st.Live != 4 {
				t.Errorf("%+v", st)
			}
			live(s, 3)
			upTo(3)
			same(t, s.take(t), "viewers 1000@3 true 1 s1000", "viewers 1001@3 true 1 s1001", "viewers 1002@3 true 1 s1002", "viewers 1003@3 false 0 ")
			if st := s.Status(); len(s.Conditions()) != 0 || st.Discarded != 4 || st.Live != 3 {
				t.Errorf("%+v %+v", st, s.Conditions())
			}
		})
	})
	t.Run("confirmed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := startSweeps(t, 3, nil)
			defer s.stop()
			live(s, 3)
			upTo(1)
			s.take(t)
			live(s, 0)
			upTo(3)
			same(t, s.take(t),
				"session 1000@2 s1000 end", "session 1001@2 s1001 end", "session 1002@2 s1002 end",
				"viewers 1000@2 false 0 ", "viewers 1000@3 false 0 ",
				"viewers 1001@2 false 0 ", "viewers 1001@3 false 0 ",
				"viewers 1002@2 false 0 ", "viewers 1002@3 false 0 ")
			if st := s.Status(); st.Live != 0 || len(s.Conditions()) != 1 {
				t.Errorf("%+v", st)
			}
			upTo(4)
			same(t, s.take(t), "viewers 1000@4 false 0 ", "viewers 1001@4 false 0 ", "viewers 1002@4 false 0 ")
			upTo(12)
			if c := s.Conditions(); len(c) != 0 {
				t.Errorf("%+v", c)
			}
		})
	})
	t.Run("one of two chunks", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := startSweeps(t, 150, nil)
			defer s.stop()
			live(s, 150)
			upTo(1)
			s.take(t)
			live(s, 100)
			upTo(2)
			if n := len(s.take(t, record.KindViewers)); n != 100 {
				t.Error(n)
			}
			upTo(3)
			if n := len(s.take(t, record.KindViewers)); n != 200 {
				t.Error(n)
			}
		})
	})
}

func TestWhatIsNotKeptIsEmittedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startSweeps(t, 1, nil)
		defer s.stop()
		s.fake.goLive("1000", "a", 1, slot(-1))
		s.mu.Lock()
		s.fail = errors.New("disk full")
		s.mu.Unlock()
		upTo(1)
		if st := s.Status(); !st.LastSweep.IsZero() || st.Missed != 1 {
			t.Errorf("%+v", st)
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		upTo(2)
		same(t, s.take(t),
			"change 1000@2 category >Chess", "change 1000@2 display_name >Name1000", "change 1000@2 login >login1000",
			"change 1000@2 picture >p1000", "change 1000@2 title >title", "session 1000@-1 a start", "viewers 1000@2 true 1 a")
	})
}

func TestOneSweepAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startSweeps(t, 1, nil)
		defer s.stop()
		upTo(0)
		s.mu.Lock()
		s.slow = 100 * time.Second
		s.mu.Unlock()
		// Slot 1 is kept at 2:40, too late for slot 2; slot 3 at 4:40, too late for slot 4.
		time.Sleep(time.Until(slot(3).Add(110 * time.Second)))
		synctest.Wait()
		s.mu.Lock()
		s.slow = 0
		s.mu.Unlock()
		if st := s.Status(); st.Skipped != 2 || st.Sweeps != 2 || st.Missed != 2 {
			t.Errorf("%+v", st)
		}
		same(t, s.take(t, record.KindViewers), "viewers 1000@1 false 0 ", "viewers 1000@3 false 0 ")
	})
}

func TestEventsBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startSweeps(t, 0, nil)
		defer s.stop()
		s.fake.users["1000"] = user{ID: "1000", Login: "x", Name: "X"}
		s.fake.goLive("1000", "a", 1, slot(-9))
		s.Set([]control.AssignedChannel{{Channel: "1000", Login: "x", Events: []string{"early", "late", "unheard-of"}}, {Login: "unresolved"}},
			[]control.AssignedEvent{{Slug: "early", Start: slot(1), End: slot(3)}, {Slug: "late", Start: slot(3), End: slot(9)}})
		upTo(2)
		same(t, s.take(t, record.KindViewers, record.KindSession),
			"early: session 1000@-9 a start", "early: viewers 1000@1 true 1 a", "early: viewers 1000@2 true 1 a")
		upTo(3)
		same(t, s.take(t),
			"late: change 1000@3 category >Chess", "late: change 1000@3 display_name >X", "late: change 1000@3 login >x",
			"late: change 1000@3 title >title", "late: session 1000@-9 a start", "late: viewers 1000@3 true 1 a")
		// Left out: nothing more, and no end that nobody saw.
		s.Set(nil, nil)
		upTo(6)
		same(t, s.take(t))
		if st := s.Status(); st.Live != 0 || !st.LastSweep.Equal(slot(6)) {
			t.Errorf("%+v", st)
		}
	})
}

func TestUsersAreLookedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startSweeps(t, 3, nil)
		defer s.stop()
		upTo(1)
		s.take(t)
		s.fake.change(func(f *twitch) {
			f.users["1000"] = user{ID: "1000", Login: "renamed", Name: "Renamed", Picture: "p1000"}
			delete(f.users, "1002")
		})
		upTo(9)
		same(t, s.take(t, record.KindChange))
		upTo(10)
		same(t, s.take(t, record.KindChange), "change 1000@10 display_name Name1000>Renamed", "change 1000@10 login login1000>renamed")
		if got := conditions(s); len(got) != 0 {
			t.Error(got)
		}
		upTo(20)
		if got := conditions(s); got["channel-gone"] != "login1002 " {
			t.Error(got)
		}
		// New channels are looked up at once.
		s.fake.change(func(f *twitch) { f.users["7"] = user{ID: "7", Login: "seven"} })
		s.Set([]control.AssignedChannel{{Channel: "7", Events: []string{"ev"}}}, []control.AssignedEvent{{Slug: "ev", Start: midnight, End: slot(99)}})
		synctest.Wait()
		same(t, s.take(t, record.KindChange), "change 7@20 login >seven")
		if n := len(s.fake.seen("/users")); n != 4 {
			t.Errorf("%d lookups", n)
		}
		upTo(30)
		if got := conditions(s); len(got) != 0 {
			t.Error(got)
		}
	})
}

func TestScaledClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Date(2026, 9, 4, 18, 0, 30, 0, time.UTC)
		s := startSweeps(t, 0, func(cfg *helix.SweeperConfig) { cfg.Clock = clock.NewScaled(start, 60) })
		defer s.stop()
		s.Set([]control.AssignedChannel{{Channel: "1000", Events: []string{"ev"}}}, []control.AssignedEvent{{Slug: "ev", Start: start, End: start.Add(time.Hour)}})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.docs) != 10 {
			t.Fatal(len(s.docs))
		}
		for i, d := range s.docs {
			if v, ok := d.(*record.Viewers); !ok || !v.Time.Equal(start.Truncate(time.Minute).Add(time.Duration(i+1)*time.Minute)) {
				t.Error(v.Time)
			}
		}
	})
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	c := client(t, newTwitch(), nil)
	emit := func(context.Context, []record.Document) error { return nil }
	for _, cfg := range []helix.SweeperConfig{{}, {Emit: emit, Schedule: "x"}, {Emit: emit, UsersSchedule: "x"}, {Emit: emit, Schedule: "0 0 30 2 *"}} {
		if _, err := helix.NewSweeper(c, cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// Whatever Twitch lists, the starts and ends of a channel's sessions alternate, each end is of the
// stream that started last, no sample is dated twice, and nothing is emitted for what was not
// answered.
func TestSessionsAlternate(t *testing.T) {
	t.Parallel()
	type listing struct {
		broken bool
		live   [4]int // stream number, 0 offline
	}
	gen := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) listing {
		l := listing{broken: rapid.IntRange(0, 5).Draw(rt, "broken") == 0}
		for i := range l.live {
			l.live[i] = rapid.IntRange(0, 3).Draw(rt, "stream")
		}
		if rapid.IntRange(0, 4).Draw(rt, "empty") == 0 {
			l.live = [4]int{}
		}
		return l
	}), 1, 25)
	rapid.Check(t, func(rt *rapid.T) {
		listings := gen.Draw(rt, "listings")
		var docs []record.Document
		synctest.Test(t, func(t *testing.T) {
			s := startSweeps(t, 4, nil)
			for i, l := range listings {
				s.fake.change(func(f *twitch) {
					clear(f.live)
					f.onAPI = func(w http.ResponseWriter, _ *http.Request) bool {
						if l.broken {
							w.WriteHeader(http.StatusNotFound)
						}
						return l.broken
					}
				})
				for ch, n := range l.live {
					if n > 0 {
						s.fake.goLive(span(4)[ch], fmt.Sprintf("s%d", n), n, slot(-10+n))
					}
				}
				upTo(i + 1)
			}
			s.stop()
			docs = s.docs
		})
		open, ended, sampled := map[string]string{}, map[string]time.Time{}, map[string]bool{}
		for _, d := range docs {
			r, err := record.Encode(d)
			if err != nil {
				rt.Fatal(err)
			}
			minute := int(r.Time.Sub(midnight) / time.Minute)
			switch d := d.(type) {
			case *record.Viewers:
				if sampled[r.ID] {
					rt.Fatalf("%s twice", r.ID)
				}
				sampled[r.ID] = true
				l := listings[minute-1]
				n := l.live[slices.Index(span(4), r.Channel)]
				if l.broken || d.Live != (n > 0) || d.Viewers != n {
					rt.Fatalf("%+v of %+v", d, l)
				}
			case *record.Session:
				switch {
				case d.Phase == record.PhaseStart && open[r.Channel] == "":
					open[r.Channel] = d.Stream
				case d.Phase == record.PhaseEnd && open[r.Channel] == d.Stream:
					open[r.Channel] = ""
					if !d.Time.After(ended[r.Channel]) || listings[minute-1].broken {
						rt.Fatalf("ended at %s after %s", d.Time, ended[r.Channel])
					}
					ended[r.Channel] = d.Time
				default:
					rt.Fatalf("%s of %s while %q", d.Phase, d.Stream, open[r.Channel])
				}
			}
		}
	})
}
