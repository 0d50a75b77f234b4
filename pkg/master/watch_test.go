package master_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// beating is a member that writes its document every two seconds.
type beating struct {
	mu     sync.Mutex
	member control.Member
	offset time.Duration // of its clock
	silent bool
	stalls bool // a rollup that beats and does nothing else
}

func (b *beating) set(change func(*beating)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

func (w *world) startMember(role, name string, change ...func(*beating)) *beating {
	b := &beating{member: control.Member{ID: role + "/" + name, Role: role, Name: name, Run: "run of " + name}}
	for _, c := range change {
		c(b)
	}
	w.wg.Go(func() {
		for {
			b.set(func(b *beating) {
				if !b.silent {
					b.member.Beat++
					b.member.Seen = time.Now().Add(b.offset).UTC()
					if r := b.member.Rollup; r != nil && !b.stalls {
						r.Steps++
					}
					w.write(store.Members, b.member.ID, b.member)
				}
			})
			select {
			case <-time.After(2 * time.Second):
			case <-w.ctx.Done():
				return
			}
		}
	})
	return b
}

// startRollup starts one that leads and works, and has the conditions tell of minutes that are not closed.
func (w *world) startRollup() {
	w.rollup = w.startMember(control.RoleRollup, "r", func(b *beating) { b.member.Rollup = &control.RollupStatus{Leader: true} })
}

// within waits for conditions, for as long as they may take.
func (w *world) within(limit time.Duration, want string) {
	w.t.Helper()
	began := time.Now()
	for {
		got := w.conditions()
		if got == want {
			return
		}
		if time.Since(began) >= limit {
			w.t.Errorf("after %v the conditions are %q, want %q", limit, got, want)
			return
		}
		w.sleep(time.Second)
	}
}

// never looks for a while.
func (w *world) never(d time.Duration, unwanted string) {
	w.t.Helper()
	for range int(d / (5 * time.Second)) {
		w.sleep(5 * time.Second)
		if got := w.conditions(); strings.Contains(got, unwanted) {
			w.t.Errorf("conditions: %s", got)
			return
		}
	}
}

func (w *world) detail(name string) string {
	w.t.Helper()
	h, err := w.op.Health(w.ctx)
	w.must(err)
	for _, c := range h.Conditions {
		if c.Name == name {
			return c.Detail
		}
	}
	return ""
}

func TestSilentMembers(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		// One that was taken away long ago is nobody's concern.
		w.write(store.Members, "consumer/old", control.Member{
			ID: "consumer/old", Role: control.RoleConsumer, Name: "old", Seen: time.Now().Add(-time.Hour), Beat: 7,
		})
		w.startMaster("m1")
		w.startMaster("m2")
		consumer := w.startMember(control.RoleConsumer, "c1")
		rollup := w.startMember(control.RoleRollup, "r1")
		w.never(time.Minute, "silent")

		consumer.set(func(b *beating) { b.silent = true })
		w.within(20*time.Second, "member-silent consumer/c1")
		consumer.set(func(b *beating) { b.silent = false })
		w.within(5*time.Second, "")

		// Whoever stops in good order is not missed.
		rollup.set(func(b *beating) { b.member.Left = true })
		w.sleep(5 * time.Second)
		rollup.set(func(b *beating) { b.silent = true })
		w.stopMaster("m2")
		w.never(time.Minute, "silent")

		// Whoever is killed for good is told of for a while, unless somebody says that it won't come back.
		dead := w.startMember(control.RoleConsumer, "c2")
		w.sleep(5 * time.Second)
		if err := w.op.ForgetMember(w.ctx, control.RoleConsumer, "c2"); err == nil || err.Error() != "forget consumer c2: consumer c2 is alive: stop it first" {
			t.Errorf("forgetting a consumer that beats: %v", err)
		}
		dead.set(func(b *beating) { b.silent = true })
		w.within(20*time.Second, "member-silent consumer/c2")
		w.must(w.op.ForgetMember(w.ctx, control.RoleConsumer, "c2"))
		w.within(5*time.Second, "")
		if err := w.op.ForgetMember(w.ctx, control.RoleConsumer, "c2"); err == nil {
			t.Error("a consumer was forgotten twice")
		}

		consumer.set(func(b *beating) { b.silent = true })
		w.within(20*time.Second, "member-silent consumer/c1")
		w.sleep(9 * time.Minute)
		w.within(0, "member-silent consumer/c1")
		w.within(2*time.Minute, "")
	})
}

func TestStalledConsumer(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		work := func(batches int64, depth, held int) func(*beating) {
			return func(b *beating) {
				b.member.Consumer = &control.ConsumerStatus{Batches: batches, Depth: depth, Held: held}
			}
		}
		c := w.startMember(control.RoleConsumer, "c1", work(5, 0, 0))
		w.never(time.Minute, "stalled") // it has nothing to do
		c.set(work(5, 12, 64))
		w.within(time.Minute, "consumer-stalled consumer/c1")
		if d := w.detail("consumer-stalled"); !strings.Contains(d, "holds 64 batches, 12 wait in the queue") {
			t.Errorf("detail: %s", d)
		}
		c.set(work(6, 11, 64))
		w.within(5*time.Second, "")
		c.set(work(6, -1, 3)) // the depth can't be told, but it holds some
		w.within(time.Minute, "consumer-stalled consumer/c1")
		c.set(func(b *beating) { // it says so itself
			b.member.Conditions = []control.Condition{{Name: "consumer-stalled", Detail: "no acknowledgement"}}
		})
		w.within(5*time.Second, "")
		c.set(func(b *beating) { b.member.Conditions = nil })
		w.within(5*time.Second, "consumer-stalled consumer/c1")
		c.set(work(6, 0, 0))
		w.within(5*time.Second, "")
		for i := range int64(8) { // slow, but not stalled
			c.set(work(7+i, 500, 64))
			w.never(10*time.Second, "stalled")
		}
	})
}

func TestClocksApart(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		c := w.startMember(control.RoleConsumer, "c1", func(b *beating) { b.offset = 1500 * time.Millisecond })
		r := w.startMember(control.RoleRollup, "r1", func(b *beating) { b.offset = -1500 * time.Millisecond })
		k := w.startCollector("k1", "", 10, func(f *fake) { f.Status.ClockOffset = -1500 * time.Millisecond })
		w.never(time.Minute, "apart")
		c.set(func(b *beating) { b.offset = 4 * time.Second })
		w.within(10*time.Second, "clock-apart consumer/c1")
		if d := w.detail("clock-apart"); !strings.Contains(d, "Its clock is at least ") || !strings.Contains(d, "s ahead of that") { // 4s when a look meets a beat
			t.Errorf("detail: %s", d)
		}
		c.set(func(b *beating) { b.offset = 0 })
		r.set(func(b *beating) { b.offset = -time.Hour })
		w.within(10*time.Second, "clock-apart rollup/r1")
		if d := w.detail("clock-apart"); !strings.Contains(d, "behind") {
			t.Errorf("detail: %s", d)
		}
		r.set(func(b *beating) { b.offset = 0 })
		k.set(func(f *fake) { f.Status.ClockOffset = 2500 * time.Millisecond })
		w.within(10*time.Second, "clock-apart collector/k1")
		k.set(func(f *fake) { f.Status.ClockOffset = 0 })
		w.within(10*time.Second, "")

		// A single heartbeat that was long on its way is no clock.
		c.set(func(b *beating) { b.offset = -10 * time.Second })
		w.sleep(2 * time.Second)
		c.set(func(b *beating) { b.offset = 0 })
		w.never(10*time.Second, "apart")
	})
}

func TestRollupBehind(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.startRollup()
		w.live("zevent", 0, 1)
		closed := func(until time.Time) {
			w.write(store.Progress, "zevent", record.Progress{ID: "zevent", ClosedThrough: record.Minute(until).Add(-time.Minute)})
		}
		for range 5 { // closed 20 s after each minute's end
			closed(time.Now().Add(-20 * time.Second))
			w.never(30*time.Second, "behind")
		}
		// A minute is not closed though the rollup goes on: it was due 20 s after its end, and is late 30 s after that.
		closed(time.Now().Add(-20 * time.Second))
		due := record.Minute(time.Now().Add(-20 * time.Second)).Add(time.Minute + 20*time.Second)
		w.sleep(time.Until(due))
		w.never(25*time.Second, "behind")
		w.within(10*time.Second, "rollup-behind zevent")
		closed(time.Now().Add(-20 * time.Second))
		w.within(5*time.Second, "")

		// An event that has ended waits for its last minute, and then for nothing.
		_, err := w.op.SetState(w.ctx, "zevent", control.Stop)
		w.must(err)
		w.within(115*time.Second, "rollup-behind zevent")
		closed(time.Now())
		w.within(5*time.Second, "")
		w.never(5*time.Minute, "behind")
		w.rollup.set(func(b *beating) { b.stalls = true })
		w.never(5*time.Minute, "behind") // nothing waits for it
	})
}

// TestRollupStands: that no rollup works is told within a minute, long before a minute is late.
func TestRollupStands(t *testing.T) {
	t.Parallel()
	for name, stand := range map[string]func(b *beating){
		"it beats and does nothing": func(b *beating) { b.stalls = true },
		"it is stopped":             func(b *beating) { b.silent = true },
		"it has ended": func(b *beating) {
			b.member.Left, b.member.Rollup.Leader = true, false
		},
		"it leads no more": func(b *beating) { b.member.Rollup.Leader = false },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(w *world) {
				w.startMaster("m1")
				w.startRollup()
				w.live("zevent", 0, 1)
				closes := func() { // as it does: it is never late
					w.write(store.Progress, "zevent", record.Progress{ID: "zevent", ClosedThrough: record.Minute(time.Now()).Add(-time.Minute)})
				}
				closes()
				w.never(time.Minute, "behind")
				closes()
				w.rollup.set(stand)
				began := time.Now()
				for !strings.Contains(w.conditions(), "rollup-behind zevent") {
					if w.sleep(time.Second); time.Since(began) > time.Minute {
						t.Fatalf("not told within a minute: %s", w.conditions())
					}
				}
				if d := time.Since(began); d < 28*time.Second {
					t.Errorf("told after %v: another could still take over", d)
				}
				if d := w.detail("rollup-behind"); !strings.Contains(d, "No rollup has done anything since") {
					t.Errorf("detail: %s", d)
				}
				closes()
				other := w.startMember(control.RoleRollup, "r2", func(b *beating) { b.member.Rollup = &control.RollupStatus{Leader: true, Epoch: 2} })
				began = time.Now()
				for strings.Contains(w.conditions(), "rollup-behind") {
					if w.sleep(time.Second); time.Since(began) > 10*time.Second {
						t.Fatalf("another works, and it is told still: %s", w.conditions())
					}
				}
				other.set(func(b *beating) { b.member.Left = true })
			})
		})
	}
}
