package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// memory is the part of a store that an election uses.
type memory struct {
	store.Store
	mu   sync.Mutex
	docs map[string]bson.Raw
	// exchanges are under way; a bubble's time stands still when its test is over.
	exchanges sync.WaitGroup
}

func newMemory() *memory { return &memory{docs: map[string]bson.Raw{}} }

func (m *memory) get(id string) (bson.Raw, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if raw, ok := m.docs[id]; ok {
		return raw, nil
	}
	return nil, store.ErrNotFound
}

func (m *memory) compareAndSet(rev int64, d store.Doc) error {
	if err := d.ValidateRevision(rev); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	raw, ok := m.docs[d.ID]
	if ok != (rev != 0) || ok && raw.Lookup("rev").AsInt64() != rev {
		return store.ErrConflict
	}
	m.docs[d.ID] = d.Raw
	return nil
}

func (m *memory) PutFenced(_ context.Context, _ store.Collection, epoch int64, docs []store.Doc) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range docs {
		if raw, ok := m.docs[d.ID]; ok && raw.Lookup("epoch").AsInt64() > epoch {
			return store.ErrFenced
		}
		m.docs[d.ID] = d.Raw
	}
	return nil
}

// fault is what befalls one exchange: it takes effect after before, and its answer arrives after
// after, if at all.
type fault struct {
	before, after time.Duration
	lost          bool // it takes effect, and the answer is an error
	failed        bool // it takes no effect
}

var errAway = errors.New("the store is away")

// view is one process's way to the store.
type view struct {
	*memory
	next func() fault
}

// exchange does what is to be done in the order and at the times that the fault says, whether or
// not the caller still waits.
func (v *view) exchange(ctx context.Context, do func() error) error {
	f := v.next()
	done := make(chan error, 1)
	v.exchanges.Go(func() {
		time.Sleep(f.before)
		err := errAway
		if !f.failed {
			err = do()
		}
		if f.lost {
			err = errAway
		}
		time.Sleep(f.after)
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *view) Get(ctx context.Context, _ store.Collection, id string) (raw bson.Raw, err error) {
	var got atomic.Pointer[bson.Raw]
	err = v.exchange(ctx, func() error {
		raw, err := v.get(id)
		got.Store(&raw)
		return err
	})
	if err != nil {
		return nil, err
	}
	return *got.Load(), nil
}

func (v *view) CompareAndSet(ctx context.Context, _ store.Collection, rev int64, d store.Doc) error {
	return v.exchange(ctx, func() error { return v.compareAndSet(rev, d) })
}

// switchable is a way to the store that a test can cut.
type switchable struct {
	fault atomic.Pointer[fault]
}

func (s *switchable) next() fault {
	if f := s.fault.Load(); f != nil {
		return *f
	}
	return fault{before: time.Millisecond, after: time.Millisecond}
}

// candidate is an elector under test and what it has been through.
type candidate struct {
	*store.Elector
	store  *memory
	way    *switchable
	stop   context.CancelFunc
	done   chan error
	begun  chan int64 // epochs
	ended  chan error // causes
	result error      // what lead returns when its context ends
}

func start(t *testing.T, m *memory, holder string) *candidate {
	t.Helper()
	c := &candidate{store: m, way: &switchable{}, done: make(chan error, 1), begun: make(chan int64, 10), ended: make(chan error, 10)}
	var err error
	c.Elector, err = store.NewElector(store.ElectorConfig{
		Store: &view{memory: m, next: c.way.next}, Name: "lease", Holder: holder, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	go func() {
		c.done <- c.Run(ctx, func(ctx context.Context, epoch int64) error {
			c.begun <- epoch
			<-ctx.Done()
			c.ended <- context.Cause(ctx)
			return c.result
		})
	}()
	return c
}

func (c *candidate) finish(t *testing.T) {
	t.Helper()
	c.stop()
	if err := <-c.done; err != nil {
		t.Errorf("run: %v", err)
	}
	c.store.exchanges.Wait()
}

// leads fails unless the candidate begins a term of that epoch within d.
func (c *candidate) leads(t *testing.T, epoch int64, d time.Duration) {
	t.Helper()
	select {
	case got := <-c.begun:
		if got != epoch {
			t.Fatalf("leads in epoch %d, want %d", got, epoch)
		}
	case <-time.After(d):
		t.Fatalf("does not lead after %v", d)
	}
	if !c.Leading() || c.Epoch() != epoch {
		t.Fatalf("leading %v, epoch %d, want %d", c.Leading(), c.Epoch(), epoch)
	}
}

const (
	ttl    = 6 * time.Second
	renew  = 2 * time.Second
	margin = time.Second
	blink  = 100 * time.Millisecond
)

func TestFirstLeadsAndKeepsLeading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := start(t, m, "a")
		a.leads(t, 1, blink)
		b := start(t, m, "b")
		time.Sleep(time.Hour)
		if !a.Leading() || a.Epoch() != 1 || b.Leading() || len(b.begun) != 0 {
			t.Fatal("the leader has changed without a reason")
		}
		raw, err := m.get("lease")
		if err != nil || raw.Lookup("rev").AsInt64() < 1700 {
			t.Fatalf("the lease is not renewed every %v: %s, %v", renew, raw, err)
		}
		a.finish(t)
		b.finish(t)
		if a.Leading() {
			t.Fatal("leads after its end")
		}
	})
}

func TestStandbyTakesOverAfterDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := start(t, m, "a")
		a.leads(t, 1, blink)
		b := start(t, m, "b")
		time.Sleep(time.Minute)
		a.way.fault.Store(&fault{failed: true})
		died := time.Now()
		b.leads(t, 2, ttl+renew+blink)
		if took := time.Since(died); took < ttl-renew-blink {
			t.Fatalf("taken over after %v, before the lease had ended", took)
		}
		if len(a.ended) != 1 || !errors.Is(<-a.ended, store.ErrLeaseExpired) {
			t.Fatal("the old leader still led")
		}
		// Back again, it stands by.
		a.way.fault.Store(nil)
		time.Sleep(time.Minute)
		if a.Leading() || !b.Leading() {
			t.Fatal("the leader has changed without a reason")
		}
		b.finish(t)
		a.leads(t, 3, renew+blink)
		a.finish(t)
	})
}

func TestStalledLeaderStopsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, newMemory(), "a")
		a.leads(t, 1, blink)
		time.Sleep(10*renew + renew/2) // between two renewals
		a.way.fault.Store(&fault{before: time.Hour})
		stalled := time.Now()
		if cause := <-a.ended; !errors.Is(cause, store.ErrLeaseExpired) {
			t.Fatalf("ended by %v", cause)
		}
		// The last renewal was sent up to renew before the stall, and not after it.
		if took := time.Since(stalled); took > ttl-margin || took < ttl-margin-renew {
			t.Fatalf("led for %v after the stall", took)
		}
		if a.Leading() || a.Epoch() != 0 {
			t.Fatal("says that it leads")
		}
		a.finish(t)
	})
}

func TestStaleWritesAreFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := start(t, m, "a")
		a.leads(t, 1, blink)
		b := start(t, m, "b")
		write := func(epoch int64) error {
			raw, err := bson.Marshal(bson.D{{Key: "_id", Value: "minute"}, {Key: "epoch", Value: epoch}})
			if err != nil {
				t.Fatal(err)
			}
			return m.PutFenced(t.Context(), store.Minutes, epoch, []store.Doc{{ID: "minute", Raw: raw}})
		}
		if err := write(1); err != nil {
			t.Fatal(err)
		}
		a.way.fault.Store(&fault{failed: true})
		b.leads(t, 2, ttl+renew+blink)
		if err := write(2); err != nil {
			t.Fatal(err)
		}
		if err := write(1); !errors.Is(err, store.ErrFenced) {
			t.Fatalf("the write of the old leader: %v", err)
		}
		a.finish(t)
		b.finish(t)
	})
}

func TestReleaseOnStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := start(t, m, "a")
		a.leads(t, 1, blink)
		b := start(t, m, "b")
		time.Sleep(3 * ttl)
		a.finish(t)
		b.leads(t, 2, renew+blink)
		b.finish(t)
		// And one that comes later need not wait at all.
		c := start(t, m, "c")
		c.leads(t, 3, blink)
		c.finish(t)
	})
}

func TestLostAnswersAreNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, newMemory(), "a")
		a.leads(t, 1, blink)
		for range 5 {
			a.way.fault.Store(&fault{lost: true})
			time.Sleep(renew + blink)
			a.way.fault.Store(nil)
			time.Sleep(2 * ttl)
		}
		if !a.Leading() || a.Epoch() != 1 || len(a.ended) != 0 {
			t.Fatal("it has lost its own lease")
		}
		a.finish(t)
	})
}

func TestLostAnswerToAcquisition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		n := 0
		e, err := store.NewElector(store.ElectorConfig{
			Store: &view{memory: m, next: func() fault {
				n++
				return fault{lost: n == 2} // the first compare-and-set
			}}, Name: "lease", Holder: "a", Logger: quiet,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		begun := make(chan int64, 1)
		done := make(chan error, 1)
		go func() {
			done <- e.Run(ctx, func(ctx context.Context, epoch int64) error {
				begun <- epoch
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		// It finds the lease in its own name and takes it at once, in a new epoch.
		select {
		case epoch := <-begun:
			if epoch != 2 {
				t.Errorf("epoch %d", epoch)
			}
		case <-time.After(renew + blink):
			t.Error("waits for its own lease to end")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		m.exchanges.Wait()
	})
}

func TestLeadReturns(t *testing.T) {
	for _, result := range []error{nil, errors.New("out of luck")} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			e, err := store.NewElector(store.ElectorConfig{
				Store: &view{memory: m, next: (&switchable{}).next}, Name: "lease", Holder: "a", Logger: quiet,
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var epochs []int64
			err = e.Run(ctx, func(_ context.Context, epoch int64) error {
				if epochs = append(epochs, epoch); epoch == 4 {
					cancel()
				}
				return result
			})
			if fmt.Sprint(epochs) != "[1 2 3 4]" {
				t.Errorf("epochs %v", epochs)
			}
			// Only what goes wrong at the end is for the caller.
			if !errors.Is(err, result) || (result == nil) != (err == nil) {
				t.Errorf("run: %v", err)
			}
			m.exchanges.Wait()
			raw, err := m.get("lease")
			if err != nil || !raw.Lookup("released").Boolean() {
				t.Errorf("the lease is not released: %s, %v", raw, err)
			}
		})
	}
}

func TestElectorConfig(t *testing.T) {
	good := store.ElectorConfig{Store: newMemory(), Name: "lease", Holder: "a"}
	for name, change := range map[string]func(*store.ElectorConfig){
		"no store":       func(c *store.ElectorConfig) { c.Store = nil },
		"no name":        func(c *store.ElectorConfig) { c.Name = "" },
		"no holder":      func(c *store.ElectorConfig) { c.Holder = "" },
		"renew too long": func(c *store.ElectorConfig) { c.TTL, c.Renew = time.Second, time.Second },
		"margin of ttl":  func(c *store.ElectorConfig) { c.TTL, c.Margin = time.Second, time.Second },
		"negative":       func(c *store.ElectorConfig) { c.Renew = -1 },
	} {
		c := good
		change(&c)
		if _, err := store.NewElector(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := store.NewElector(good); err != nil {
		t.Error(err)
	}
}

// TestNeverTwoLeaders runs three electors over ways to the store that delay, fail and lose answers
// as they like, some of which stop and start again.
func TestNeverTwoLeaders(t *testing.T) {
	genFault := rapid.Custom(func(rt *rapid.T) fault {
		kind := rapid.IntRange(0, 9).Draw(rt, "kind")
		long := rapid.IntRange(0, 9000)
		short := rapid.IntRange(0, 50)
		f := fault{
			before: time.Duration(short.Draw(rt, "before")) * time.Millisecond,
			after:  time.Duration(short.Draw(rt, "after")) * time.Millisecond,
		}
		switch kind {
		case 0:
			f.failed = true
		case 1:
			f.lost = true
		case 2:
			f.before = time.Duration(long.Draw(rt, "late")) * time.Millisecond
		case 3:
			f.after = time.Duration(long.Draw(rt, "late answer")) * time.Millisecond
		}
		return f
	})
	rapid.Check(t, func(rt *rapid.T) {
		const electors = 3
		faults := make([][]fault, electors)
		lives := make([][]int, electors)
		for i := range electors {
			faults[i] = rapid.SliceOfN(genFault, 10, 60).Draw(rt, "faults")
			lives[i] = rapid.SliceOfN(rapid.IntRange(1, 60_000), 1, 4).Draw(rt, "lives")
		}
		var wrong atomic.Pointer[string]
		fail := func(format string, args ...any) {
			s := fmt.Sprintf(format, args...)
			wrong.CompareAndSwap(nil, &s)
		}
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			var (
				wg      sync.WaitGroup
				mu      sync.Mutex
				leaders int
				highest int64
			)
			for i := range electors {
				wg.Go(func() {
					n := 0
					next := func() fault { // at the end it begins anew
						mu.Lock()
						defer mu.Unlock()
						n++
						return faults[i][n%len(faults[i])]
					}
					for life, ms := range lives[i] {
						e, err := store.NewElector(store.ElectorConfig{
							Store: &view{memory: m, next: next}, Name: "lease", Holder: fmt.Sprint(i, "/", life), Logger: quiet,
						})
						if err != nil {
							fail("%v", err)
							return
						}
						ctx, cancel := context.WithTimeout(context.Background(), time.Duration(ms)*time.Millisecond)
						err = e.Run(ctx, func(ctx context.Context, epoch int64) error {
							mu.Lock()
							if leaders++; leaders > 1 {
								fail("%d lead at the same time", leaders)
							}
							if epoch <= highest {
								fail("epoch %d after %d", epoch, highest)
							}
							highest = epoch
							mu.Unlock()
							<-ctx.Done()
							mu.Lock()
							leaders--
							mu.Unlock()
							return nil
						})
						cancel()
						if err != nil {
							fail("run: %v", err)
						}
					}
				})
			}
			wg.Wait()
			m.exchanges.Wait()
		})
		if s := wrong.Load(); s != nil {
			rt.Fatal(*s)
		}
	})
}
