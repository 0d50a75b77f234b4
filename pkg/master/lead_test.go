package master_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/record"
)

func TestChannelsAreSpreadAndBudgetsDealt(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 90, 2)
		for i := range 3 {
			w.startCollector(fmt.Sprint("c", i), fmt.Sprint("n", i%2), 200)
		}
		w.sleep(15 * time.Second)
		w.wantReaders(90, 2)
		for name, f := range w.collectors {
			a := f.assignment()
			if f.answers != 1 || len(f.left()) != 0 {
				t.Errorf("%s got %d assignments, parted %v: they should have come to rest at once", name, f.answers, f.left())
			}
			if got := a.Budget; got != (control.Budget{Joins: 20, JoinWindow: 12500 * time.Millisecond, PerConnection: 90, HelixPoints: 200}) {
				t.Errorf("%s has the budget %+v", name, got)
			}
			if len(a.Events) != 1 || len(a.Events[0].Key) != record.KeyBytes || len(a.Events[0].Public) != 90 {
				t.Errorf("%s has the events %+v", name, a.Events)
			}
		}
		// c0 and c2 share a node: every channel has its other replica on c1.
		if n := len(w.collectors["c1"].joined()); n != 90 {
			t.Errorf("the only collector of its node reads %d of 90", n)
		}
		if got := w.conditions(); got != "" {
			t.Errorf("conditions: %s", got)
		}
		list, err := w.op.Collectors(w.ctx)
		w.must(err)
		for _, c := range list {
			if c.State != control.CollectorAlive || !c.Current || c.Assigned != c.Joined {
				t.Errorf("collector %+v", c)
			}
		}
		health, err := w.op.Health(w.ctx)
		w.must(err)
		if !health.OK || health.Leader != "m1" || health.Collectors != 3 {
			t.Errorf("health %+v", health)
		}
	})
}

// The old collector keeps a channel until the new one has joined it.
func TestMakeBeforeBreak(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 40, 1)
		w.startCollector("a", "n1", 200)
		w.sleep(10 * time.Second)
		w.wantReaders(40, 1)

		late := w.startCollector("b", "n2", 200, func(f *fake) { f.stuck = true })
		w.sleep(20 * time.Second)
		moving := len(late.assignment().Channels)
		if moving < 15 || moving > 20 {
			t.Errorf("the new collector is to read %d of 40", moving)
		}
		w.wantReaders(40, 1)
		if a := w.collectors["a"]; len(a.left()) != 0 || len(a.joined()) != 40 {
			t.Errorf("the old one left %v before the new one had joined", a.left())
		}

		late.set(func(f *fake) {
			f.stuck = false
			for _, c := range f.have.Channels {
				f.joinedAt[c.Channel] = time.Now()
			}
		})
		w.sleep(5 * time.Second)
		w.wantReaders(40, 1)
		if n := len(late.joined()); n != moving {
			t.Errorf("the new collector reads %d, was to read %d", n, moving)
		}
	})
}

func TestDrainedCollectorLeavesNothingUnread(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 30, 1)
		a := w.startCollector("a", "n1", 200)
		w.startCollector("b", "n2", 200)
		w.sleep(10 * time.Second)
		a.set(func(f *fake) { f.Leaving = true })
		w.sleep(5 * time.Second)
		if n := len(w.collectors["b"].joined()); n != 30 {
			t.Errorf("the one who stays reads %d of 30", n)
		}
		if n := len(a.joined()); n != 0 {
			t.Errorf("the one who leaves still reads %d", n)
		}
		// When all leave there is nobody to go to, and nothing is left.
		w.collectors["b"].set(func(f *fake) { f.Leaving = true })
		w.sleep(5 * time.Second)
		w.wantReaders(30, 1)
	})
}

func TestVanishedCollectorIsReplaced(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 60, 1)
		for i := range 4 {
			w.startCollector(fmt.Sprint("c", i), "", 200)
		}
		w.sleep(10 * time.Second)
		w.wantReaders(60, 1)
		before := map[string][]string{}
		for name, f := range w.collectors {
			before[name] = f.joined()
		}
		w.collectors["c2"].set(func(f *fake) { f.silent = true })
		w.sleep(6 * time.Second)
		read := 0
		for name, f := range w.collectors {
			if name == "c2" {
				continue
			}
			read += len(f.joined())
			for _, id := range before[name] {
				if !slices.Contains(f.joined(), id) {
					t.Errorf("channel %s left %s, which had not vanished", id, name)
				}
			}
		}
		if read != 60 {
			t.Errorf("%d of 60 are read after a collector vanished", read)
		}
		// It comes back and gets a share again.
		w.collectors["c2"].set(func(f *fake) { f.silent = false })
		w.sleep(10 * time.Second)
		w.wantReaders(60, 1)
		if n := len(w.collectors["c2"].joined()); n < 10 {
			t.Errorf("the one who came back reads %d", n)
		}
	})
}

func TestMassSilenceMovesNothing(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 60, 1)
		for i := range 3 {
			w.startCollector(fmt.Sprint("c", i), "", 200)
		}
		w.sleep(10 * time.Second)
		before, err := w.op.Assignments(w.ctx)
		w.must(err)

		// One after the other, within a heartbeat.
		w.collectors["c0"].set(func(f *fake) { f.silent = true })
		w.sleep(700 * time.Millisecond)
		w.collectors["c1"].set(func(f *fake) { f.silent = true })
		w.sleep(20 * time.Second)
		if got := w.conditions(); got != "mass-silence" {
			t.Errorf("conditions: %q", got)
		}
		after, err := w.op.Assignments(w.ctx)
		w.must(err)
		if fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("assignments changed from\n%v to\n%v", before, after)
		}
		// What is new is read all the same.
		w.importLogins("zevent", 60, 62)
		w.sleep(5 * time.Second)
		w.wantReaders(62, 1)

		for _, name := range []string{"c0", "c1"} {
			w.collectors[name].set(func(f *fake) { f.silent = false })
		}
		w.sleep(10 * time.Second)
		if got := w.conditions(); got != "" {
			t.Errorf("conditions after all came back: %q", got)
		}
		for name, f := range w.collectors {
			if len(f.left()) != 0 {
				t.Errorf("%s had to leave %v", name, f.left())
			}
		}
	})
}

// An operator says that the silent ones won't come back.
func TestForgottenCollectors(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 30, 1)
		for i := range 3 {
			w.startCollector(fmt.Sprint("c", i), "", 200)
		}
		w.sleep(10 * time.Second)
		if err := w.op.ForgetCollector(w.ctx, "c0"); err == nil || err.Error() != "forget collector c0: collector c0 is alive: stop it first" {
			t.Errorf("forgetting a collector that beats: %v", err)
		}
		for _, name := range []string{"c0", "c1"} {
			w.collectors[name].cancel()
			<-w.collectors[name].done
		}
		w.sleep(20 * time.Second)
		for _, name := range []string{"c0", "c1"} {
			w.must(w.op.ForgetCollector(w.ctx, name))
		}
		w.sleep(5 * time.Second)
		if n := len(w.collectors["c2"].joined()); n != 30 {
			t.Errorf("the last collector reads %d of 30", n)
		}
		if err := w.op.ForgetCollector(w.ctx, "c0"); err == nil {
			t.Error("a collector was forgotten twice")
		}
	})
}

func TestOnlyCollectorKeepsItsChannelsOverARestart(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 20, 1)
		c := w.startCollector("c0", "", 200)
		w.sleep(10 * time.Second)
		c.set(func(f *fake) { f.silent = true })
		w.sleep(30 * time.Second)
		if got := w.conditions(); got != "collector-silent c0, no-collectors" {
			t.Errorf("conditions: %q", got)
		}
		c.set(func(f *fake) { f.silent, f.Run = false, "another" })
		w.sleep(10 * time.Second)
		if len(c.left()) != 0 || len(c.joined()) != 20 {
			t.Errorf("it parted %v and reads %d of 20", c.left(), len(c.joined()))
		}
	})
}

func TestLeaderChangeMovesNothing(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.sleep(time.Second)
		w.startMaster("m2")
		w.live("zevent", 60, 2)
		for i := range 4 {
			w.startCollector(fmt.Sprint("c", i), fmt.Sprint("n", i), 200)
		}
		w.sleep(15 * time.Second)
		w.wantReaders(60, 2)
		if !w.masters["m1"].Leading() || w.masters["m2"].Leading() {
			t.Fatal("m1 should lead")
		}
		before := map[string]control.Assignment{}
		for name, f := range w.collectors {
			before[name] = f.assignment()
		}
		w.stopMaster("m1")
		w.sleep(15 * time.Second)
		if !w.masters["m2"].Leading() {
			t.Fatal("m2 should lead")
		}
		for name, f := range w.collectors {
			a := f.assignment()
			if a.Epoch <= before[name].Epoch {
				t.Errorf("%s has an assignment of epoch %d, had one of %d", name, a.Epoch, before[name].Epoch)
			}
			if fmt.Sprint(a.Channels) != fmt.Sprint(before[name].Channels) || len(f.left()) != 0 {
				t.Errorf("%s had to move: %v became %v", name, before[name].Channels, a.Channels)
			}
		}
		if got := w.conditions(); got != "" {
			t.Errorf("conditions: %q", got)
		}
		// The new leader goes on dealing.
		w.collectors["c3"].set(func(f *fake) { f.silent = true })
		w.sleep(6 * time.Second)
		delete(w.collectors, "c3")
		w.wantReaders(60, 2)
	})
}

func TestLiveEdits(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 10, 1)
		w.startCollector("c0", "", 200)
		w.startCollector("c1", "", 200)
		w.sleep(10 * time.Second)
		w.importLogins("zevent", 10, 11)
		w.must(w.op.RemoveChannel(w.ctx, "zevent", "https://twitch.tv/Login3"))
		w.must(w.op.RemoveChannel(w.ctx, "zevent", "1004"))
		w.sleep(3 * time.Second)
		w.wantReaders(9, 1)
		if n := w.readers(); n["1003"]+n["1004"] != 0 || n["1010"] != 1 {
			t.Errorf("channels read: %v", n)
		}
		// Whoever reads any channel of the event knows all that are public.
		for name, f := range w.collectors {
			public := f.assignment().Events[0].Public
			if len(public) != 9 || public["1010"] != "login10" {
				t.Errorf("%s has the public list %v", name, public)
			}
		}
		if err := w.op.RemoveChannel(w.ctx, "zevent", "nobody"); err == nil {
			t.Error("a channel that isn't there was removed")
		}
	})
}

func TestEventsGoByTheClock(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.slowly()
		w.startMaster("m1")
		w.startCollector("c0", "", 200)
		start := time.Now().Add(time.Hour)
		_, err := w.op.CreateEvent(w.ctx, control.NewEvent{Slug: "zevent", Start: start, End: start.Add(time.Hour)})
		w.must(err)
		w.importLogins("zevent", 0, 5)
		state := func() string {
			t.Helper()
			e, err := w.op.Event(w.ctx, "zevent")
			w.must(err)
			return e.State
		}
		w.sleep(55 * time.Minute)
		if state() != record.EventDraft || len(w.readers()) != 0 {
			t.Errorf("a draft is %s and %d channels are read", state(), len(w.readers()))
		}
		_, err = w.op.UpdateEvent(w.ctx, "zevent", control.EventPatch{Start: new(start.Add(time.Hour)), End: new(start.Add(2 * time.Hour))})
		w.must(err)
		_, err = w.op.SetState(w.ctx, "zevent", control.Schedule)
		w.must(err)
		w.sleep(30 * time.Minute)
		w.wantReaders(0, 0)
		w.sleep(30 * time.Minute) // five minutes before the start
		if state() != record.EventScheduled {
			t.Errorf("before its start it is %s", state())
		}
		w.wantReaders(5, 1)
		w.sleep(6 * time.Minute)
		if state() != record.EventLive {
			t.Errorf("after its start it is %s", state())
		}
		w.sleep(59*time.Minute + 30*time.Second) // half a minute after the end
		w.wantReaders(5, 1)
		w.sleep(time.Minute)
		if state() != record.EventEnded {
			t.Errorf("after its end it is %s", state())
		}
		w.wantReaders(0, 0)
	})
}

// Rates alone move channels only after a while, and then not again and again.
func TestRatesMoveRarely(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.slowly()
		w.startMaster("m1")
		w.live("zevent", 40, 1)
		a, b := w.startCollector("a", "", 200), w.startCollector("b", "", 200)
		w.sleep(3 * time.Minute)
		busy := a.joined()
		rates := map[string]float64{}
		for _, id := range busy {
			rates[id] = 10
		}
		for _, f := range []*fake{a, b} {
			f.set(func(f *fake) { f.rates = rates })
		}
		w.sleep(5 * time.Minute)
		if len(a.left())+len(b.left()) != 0 {
			t.Errorf("channels moved after 5 minutes: %v %v", a.left(), b.left())
		}
		w.sleep(20 * time.Minute)
		moved := len(a.left()) + len(b.left())
		if moved < 7 || moved > 12 {
			t.Errorf("%d channels moved, about half of the 20 busy ones should have", moved)
		}
		w.wantReaders(40, 1)
		w.sleep(40 * time.Minute)
		if n := len(a.left()) + len(b.left()); n != moved {
			t.Errorf("%d more channels moved without a reason", n-moved)
		}
	})
}

func TestCapacityAndReplicasAreReported(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 30, 2)
		w.sleep(10 * time.Second)
		if got := w.conditions(); got != "no-collectors" {
			t.Errorf("conditions: %q", got)
		}
		w.startCollector("c0", "", 20)
		w.sleep(10 * time.Second)
		if got := w.conditions(); got != "channels-unassigned, replicas-missing" {
			t.Errorf("conditions: %q", got)
		}
		w.wantReaders(20, 1)
		w.startCollector("c1", "", 40)
		w.sleep(20 * time.Second)
		if got := w.conditions(); got != "replicas-missing" {
			t.Errorf("conditions: %q", got)
		}
		if n := w.readers(); len(n) != 30 {
			t.Errorf("%d of 30 are read", len(n))
		}
		w.startCollector("c2", "", 40)
		w.sleep(20 * time.Second)
		w.wantReaders(30, 2)
		if got := w.conditions(); got != "" {
			t.Errorf("conditions: %q", got)
		}
	})
}

func TestRenamesAndUnknownLogins(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.slowly()
		w.startMaster("m1")
		w.live("zevent", 3, 1)
		c := w.startCollector("c0", "", 20)
		in, err := w.op.ImportChannels(w.ctx, "zevent", "", []byte("login1\nnobody\nlogin5\n"))
		w.must(err)
		if fmt.Sprint(in) != "{[nobody login5] [login1] [] [] [nobody] [] }" {
			t.Errorf("import: %v", in)
		}
		w.sleep(3 * time.Minute)
		if got := w.conditions(); !strings.HasPrefix(got, "channels-unknown zevent") { // and nobody counts here
			t.Errorf("conditions: %q", got)
		}
		w.wantReaders(4, 1)

		w.twitch.set(func(f *twitch) {
			u := f.users["1002"]
			u.Login, u.Name = "new_name", "New Name"
			f.users["1002"] = u
			f.users["7"] = master.User{ID: "7", Login: "nobody", Name: "Nobody"}
		})
		w.sleep(11 * time.Minute)
		w.wantReaders(5, 1)
		var login string
		for _, a := range c.assignment().Channels {
			if a.Channel == "1002" {
				login = a.Login
			}
		}
		if login != "new_name" || c.assignment().Events[0].Public["1002"] != "new_name" {
			t.Errorf("the renamed channel is assigned as %q", login)
		}
		channels, err := w.op.Channels(w.ctx, "zevent")
		w.must(err)
		for _, ch := range channels {
			if ch.Status != record.ChannelActive || ch.Channel == "" {
				t.Errorf("channel %+v", ch)
			}
		}
		if len(channels) != 5 {
			t.Errorf("%d channels", len(channels))
		}
		// Imported under its new name, it is the same channel.
		in, err = w.op.ImportChannels(w.ctx, "zevent", "application/json", []byte(`["New_Name"]`))
		w.must(err)
		if len(in.Existing) != 1 || len(in.Added) != 0 {
			t.Errorf("import of the new name: %+v", in)
		}
		// A rename that nobody noticed before the import.
		w.twitch.set(func(f *twitch) {
			u := f.users["1001"]
			u.Login = "newer_name"
			f.users["1001"] = u
		})
		in, err = w.op.ImportChannels(w.ctx, "zevent", "application/json", []byte(`["newer_name"]`))
		w.must(err)
		if len(in.Existing) != 1 || len(in.Added) != 0 {
			t.Errorf("import of a new name: %+v", in)
		}
		w.twitch.set(func(f *twitch) { delete(f.users, "1000") })
		res, err := w.op.ResolveChannels(w.ctx, "zevent")
		w.must(err)
		if fmt.Sprint(res.Gone) != "[login0]" {
			t.Errorf("resolved: %+v", res)
		}
	})
}

func TestTwitchIsDownDuringTheImport(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.twitch.set(func(f *twitch) { f.down = true })
		w.live("zevent", 3, 1)
		w.startCollector("c0", "", 20)
		w.sleep(40 * time.Second)
		if got := w.conditions(); got != "channels-unresolved zevent, look-up-failing zevent" {
			t.Errorf("conditions: %q", got)
		}
		w.twitch.set(func(f *twitch) { f.down = false })
		w.sleep(70 * time.Second)
		w.wantReaders(3, 1)
		if got := w.conditions(); got != "" {
			t.Errorf("conditions: %q", got)
		}
	})
}

// What an operator removes while Twitch is asked about it stays removed.
func TestRemovedDuringTheLookUp(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.twitch.set(func(f *twitch) { f.down = true })
		w.live("zevent", 3, 1)
		w.startCollector("c0", "", 20)
		removed := false
		w.twitch.set(func(f *twitch) {
			f.down = false
			f.during = func() {
				if removed {
					return
				}
				removed = true
				if err := w.op.RemoveChannel(w.ctx, "zevent", "login1"); err != nil {
					t.Error(err)
				}
			}
		})
		w.sleep(70 * time.Second)
		if got := w.channels("zevent"); !removed || got != "zevent/1000 active, zevent/1002 active" {
			t.Errorf("channels: %s", got)
		}
		w.wantReaders(2, 1)
	})
}

// A login that has claimed its id when its master fails gets it at the next look, without Twitch,
// and can't be removed by halves in between.
func TestInterruptedAdoption(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ id, have string }{
		{"zevent/1001", "zevent/login:login1 unresolved, zevent/login:login2 unresolved"},
		{"zevent/login:login1", "zevent/1001 active, zevent/login:login1 unresolved, zevent/login:login2 unresolved"},
	} {
		t.Run(tc.id, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(w *world) {
				armed := new(atomic.Bool)
				w.store = tripwire{w.store, tc.id, armed}
				w.startMaster("m1")
				w.twitch.set(func(f *twitch) { f.down = true })
				w.live("zevent", 0, 1)
				_, err := w.op.ImportChannels(w.ctx, "zevent", "", []byte("login1\nlogin2\n"))
				w.must(err)
				w.sleep(10 * time.Second) // the leader has looked, and will again after half a minute
				armed.Store(true)
				w.twitch.set(func(f *twitch) { f.down = false })
				if _, err := w.op.ResolveChannels(w.ctx, "zevent"); err == nil {
					t.Error("the store failed in silence")
				}
				w.twitch.set(func(f *twitch) { f.down = true })
				if got := w.channels("zevent"); got != tc.have {
					t.Errorf("interrupted, the channels are %s", got)
				}
				for _, name := range []string{"login1", "1001"} {
					err := w.op.RemoveChannel(w.ctx, "zevent", name)
					if err == nil || !strings.Contains(err.Error(), "channel login1 is just being given its Twitch id: try again in a moment") {
						t.Errorf("remove %s: %v", name, err)
					}
				}
				armed.Store(false)
				w.sleep(70 * time.Second)
				if got := w.channels("zevent"); got != "zevent/1001 active, zevent/login:login2 unresolved" {
					t.Errorf("after the next look the channels are %s", got)
				}
				for _, name := range []string{"login1", "login2"} {
					w.must(w.op.RemoveChannel(w.ctx, "zevent", name))
				}
				w.twitch.set(func(f *twitch) { f.down = false })
				w.sleep(70 * time.Second)
				if got := w.channels("zevent"); got != "" {
					t.Errorf("after all were removed the channels are %s", got)
				}
			})
		})
	}
}

// An event that is stopped is read until its grace is over: what was sent before the end arrives,
// and a collector's coverage, which ends at the last line received, can reach the end.
func TestStoppedEventIsReadForItsGrace(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 5, 1)
		c := w.startCollector("c0", "", 20)
		w.sleep(10*time.Second + 300*time.Millisecond)
		stopped := time.Now()
		_, err := w.op.SetState(w.ctx, "zevent", control.Stop)
		w.must(err)
		for range 5 { // until a second before the grace is over
			w.sleep(11*time.Second + 800*time.Millisecond)
			w.wantReaders(5, 1)
			if a := c.assignment(); len(a.Events) != 1 || !a.Events[0].End.Equal(record.Millis(stopped)) || len(c.left()) != 0 {
				t.Errorf("%s after the stop the collector has %+v and was to leave %v", time.Since(stopped), a.Events, c.left())
			}
		}
		w.sleep(4 * time.Second)
		w.wantReaders(0, 0)
	})
}

// One that polls charity sources reads no channel, and knows every event that is collected or ended
// lately, with all of its channels and their names.
func TestCharityCollectorKnowsEveryEvent(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.startCollector("c0", "", 20)
		money := w.startCollector("money", "", 0, func(f *fake) { f.Charity = true })
		idle := w.startCollector("idle", "", 0)
		w.live("zevent", 5, 1)
		w.live("other", 2, 1)
		w.sleep(10*time.Second + 300*time.Millisecond)
		w.wantReaders(5, 1)
		slugs := func(a control.Assignment) (out []string) {
			for _, e := range a.Events {
				out = append(out, e.Slug)
			}
			return out
		}
		a := money.assignment()
		if got := slugs(a); len(a.Channels) != 0 || !slices.Equal(got, []string{"other", "zevent"}) {
			t.Fatalf("the charity collector has %d channels and the events %v", len(a.Channels), got)
		}
		for _, e := range a.Events {
			if len(e.Key) == 0 || e.Start.IsZero() || e.End.IsZero() || len(e.Public) == 0 || len(e.Names) != len(e.Public) {
				t.Errorf("event %s: %d bytes of key, %d channels, %d names", e.Slug, len(e.Key), len(e.Public), len(e.Names))
			}
		}
		if got := slugs(idle.assignment()); len(got) != 0 {
			t.Errorf("one that wants nothing has the events %v", got)
		}
		points := func(f *fake) int { return f.assignment().Budget.HelixPoints }
		if c := w.collectors["c0"]; points(c) != points(money) || points(c) < 2 {
			t.Errorf("one reader of chat has %d Helix points, the others %d", points(c), points(money))
		}
		_, err := w.op.SetState(w.ctx, "zevent", control.Stop)
		w.must(err)
		stopped := time.Now()
		w.sleep(30 * time.Minute)
		if a := money.assignment(); !slices.Equal(slugs(a), []string{"other", "zevent"}) || !a.Events[1].End.Equal(record.Millis(stopped)) {
			t.Errorf("half an hour after the stop it has %+v", a.Events)
		}
		if got := slugs(w.collectors["c0"].assignment()); !slices.Equal(got, []string{"other"}) {
			t.Errorf("the reader of chat has %v", got)
		}
		w.sleep(31 * time.Minute)
		if got := slugs(money.assignment()); !slices.Equal(got, []string{"other"}) {
			t.Errorf("an hour after the stop it has %v", got)
		}
		money.set(func(f *fake) { f.silent = true })
		w.sleep(10 * time.Second)
		if got := w.conditions(); !strings.Contains(got, "collector-silent money") {
			t.Errorf("conditions: %s", got)
		}
		money.set(func(f *fake) { f.silent = false })
		w.sleep(5 * time.Second)
		if got := w.conditions(); strings.Contains(got, "collector-silent") {
			t.Errorf("conditions: %s", got)
		}
	})
}
