package custody_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/consumer"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/custody"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
)

func TestMain(m *testing.M) {
	// The coders keep channels, which must not be those of a bubble.
	r, err := record.Encode(&record.Viewers{Header: record.Header{Event: event, Channel: "1", Time: time.Now()}, Source: "x"})
	if err == nil {
		var b []byte
		if b, err = record.EncodeBatch([]record.Record{r}, record.Zstd); err == nil {
			_, err = record.DecodeBatch(b)
		}
	}
	if err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const (
	event = "zevent"
	other = "other"
	// anna and bert are pseudonyms of two people, by id and by login.
	anna     = "AnnaAnnaAnnaAnnaAnna01"
	annaName = "annaannaannaannaanna-2"
	bert     = "BertBertBertBertBert01"
	carl     = "CarlCarlCarlCarlCarl01"
)

// world is a store with all that runs on it, in a bubble of its own time.
type world struct {
	tb    testing.TB
	ctx   context.Context //nolint:containedctx // of all that runs
	store *mortal
	start time.Time
	end   time.Time
	key   ed25519.PrivateKey
	stops []func()

	mu     sync.Mutex
	ahead  time.Duration // of the custody's clock
	depths map[string]int
	n      int
}

// Depth makes world the queue.
func (w *world) Depth(_ context.Context, name string) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.depths[name], nil
}

func (w *world) depth(name string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.depths[name] = n
}

// Now and Until make world the custody's clock: days pass without a rollup that looks at its own.
func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

func (*world) Until(context.Context, time.Time) error { return errors.ErrUnsupported }

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

// inBubble runs a test with a rollup and a master that signs, in time that passes by itself.
func inBubble(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		now := time.Now().UTC()
		w := &world{
			tb: t, ctx: ctx, store: newMortal(newMemory(), -1, false),
			start: now.Add(-30 * time.Minute), end: now.Add(-20 * time.Minute),
			key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), depths: map[string]int{},
		}
		w.put(store.Events, event, &record.Event{Slug: event, Rev: 1, State: record.EventEnded, Start: w.start, End: w.end})
		w.put(store.Channels, event+"/1", &record.Channel{ID: event + "/1", Rev: 1, Event: event, Channel: "1"})
		r, err := rollup.New(rollup.Config{Store: w.store, Name: "r", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		w.run(func(ctx context.Context) error {
			time.Sleep(time.Millisecond) // what a test stores at first, unmarked, is there before the first scan
			return r.Run(ctx)
		})
		w.run(w.sign)
		defer func() {
			cancel()
			for _, stop := range slices.Backward(w.stops) {
				stop()
			}
		}()
		test(w)
	})
}

// run runs a role until stop is called, which waits for it.
func (w *world) run(role func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- role(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errDead) {
			w.tb.Errorf("run: %v", err)
		}
	})
	w.stops = append(w.stops, stop)
	return stop
}

// custody runs one on a store.
func (w *world) custody(s store.Store, name string) (stop func()) {
	w.tb.Helper()
	c, err := custody.New(custody.Config{
		Store: s, Queue: w, Clock: w, Name: name, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry(),
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return w.run(c.Run)
}

// sign signs what is unsigned, as a master does.
func (w *world) sign(ctx context.Context) error {
	for {
		if m, ok := get[record.Manifest](w, store.Manifests, event); ok && m.State == record.FreezeUnsigned {
			if err := m.Sign(w.key, time.Now()); err != nil {
				return err
			}
			m.Rev++
			raw, err := bson.Marshal(&m)
			if err != nil {
				return err
			}
			err = w.store.CompareAndSet(ctx, store.Manifests, m.Rev-1, store.Doc{ID: m.Event, Raw: raw})
			if err != nil && !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *world) put(c store.Collection, id string, v any) {
	w.tb.Helper()
	raw, err := bson.Marshal(v)
	if err != nil {
		w.tb.Fatal(err)
	}
	if err := w.store.Put(w.ctx, c, []store.Doc{{ID: id, Raw: raw}}); err != nil {
		w.tb.Fatal(err)
	}
}

func get[T any](w *world, c store.Collection, id string) (v T, ok bool) {
	w.tb.Helper()
	raw, err := w.store.Get(w.ctx, c, id)
	if errors.Is(err, store.ErrNotFound) {
		return v, false
	}
	if err == nil {
		err = bson.Unmarshal(raw, &v)
	}
	if err != nil {
		w.tb.Fatal(err)
	}
	return v, true
}

// until waits in the bubble's time.
func (w *world) until(what string, ok func() bool) {
	w.tb.Helper()
	for deadline := time.Now().Add(time.Hour); !ok(); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			m, _ := get[record.Manifest](w, store.Manifests, event)
			w.tb.Fatalf("waited in vain until %s; manifest %s, waiting %q; conditions %+v", what, m.State, m.Waiting, w.conditions())
		}
	}
}

func (w *world) conditions() []control.Condition {
	var out []control.Condition
	for raw := range w.store.Find(w.ctx, store.Query{Collection: store.Members}) {
		var m control.Member
		if err := bson.Unmarshal(raw, &m); err != nil {
			w.tb.Fatal(err)
		}
		out = append(out, m.Conditions...)
	}
	return out
}

func (w *world) raised(name string) bool {
	return slices.ContainsFunc(w.conditions(), func(c control.Condition) bool { return c.Name == name })
}

func (w *world) header(at time.Time) record.Header {
	return record.Header{Event: event, Channel: "1", Time: at, Received: at}
}

func (w *world) encode(d record.Document) record.Record {
	w.tb.Helper()
	r, err := record.Encode(d)
	if err != nil {
		w.tb.Fatal(err)
	}
	return r
}

func (w *world) message(at time.Time, chatter, text string) record.Record {
	w.n++
	return w.encode(&record.Message{
		Header: w.header(at), MessageID: "m" + strconv.Itoa(w.n), Chatter: chatter, Text: text, Length: len(text),
	})
}

func (w *world) insert(records ...record.Record) {
	w.tb.Helper()
	if _, err := w.store.Insert(w.ctx, records); err != nil {
		w.tb.Fatal(err)
	}
}

// fill stores something of everything, over several minutes.
func (w *world) fill() {
	for i := range 5 {
		at := w.start.Add(time.Duration(i)*2*time.Minute + 7*time.Second)
		w.insert(
			w.message(at, anna, "hello"),
			w.message(at.Add(time.Second), bert, "@"+annaName+" hi"),
			w.message(at.Add(2*time.Second), carl, "nothing"),
		)
	}
	at := w.start.Add(3 * time.Minute)
	w.insert(
		w.encode(&record.Message{Header: w.header(at), MessageID: "r", Chatter: carl, Length: 2, Reply: &record.Reply{Message: "m1", Chatter: anna}}),
		w.encode(&record.Notice{Header: w.header(at), NoticeID: "g", Type: "subgift", Chatter: carl, Recipient: anna}),
		w.encode(&record.Notice{Header: w.header(at), NoticeID: "p", Type: "thing", Chatter: carl, Text: "words", Params: record.Params{"who": annaName}}),
		w.encode(&record.Moderation{Header: w.header(at), Action: record.ActionBan, Chatter: anna}),
		w.encode(&record.Moderation{Header: w.header(at), Action: record.ActionBan, Chatter: bert}),
		w.encode(&record.Viewers{Header: w.header(at), Source: record.SourceHelix, Live: true, Viewers: 7}),
	)
	batch := func(c record.Compression, records ...record.Record) []byte {
		b, err := record.EncodeBatch(records, c)
		if err != nil {
			w.tb.Fatal(err)
		}
		return b
	}
	whole := batch(record.None, w.message(at, anna, "dead"), w.message(at, carl, "kept"))
	for id, l := range map[string]record.Letter{
		"both":  {Event: event, Body: whole, Reason: "refused: " + anna},
		"gone":  {Event: event, Body: batch(record.Zstd, w.message(at, anna, "dead"))},
		"alone": {Event: event, Body: w.message(at, anna, "dead").Doc},
		"cut":   {Body: whole[:len(whole)-9]},
		"noise": {Body: []byte("noise")},
	} {
		l.ID, l.Rev, l.State, l.Time = id, 1, record.LetterDead, at
		w.put(store.Letters, id, &l)
	}
}

func (w *world) forget(user, name string) {
	w.put(store.Tombstones, event+"/"+user, &record.Tombstone{
		ID: event + "/" + user, Rev: 1, Event: event, Time: time.Now().UTC(), User: user, Name: name, State: record.TombstonePending,
	})
}

func (w *world) forgotten(user string) bool {
	s, _ := get[record.Tombstone](w, store.Tombstones, event+"/"+user)
	return s.State == record.TombstoneDone
}

func (w *world) wantFreeze() {
	w.put(store.Manifests, event, &record.Manifest{Event: event, Rev: 1, State: record.FreezeWaiting, Requested: time.Now().UTC()})
}

func (w *world) sealed() bool {
	m, _ := get[record.Manifest](w, store.Manifests, event)
	return m.State == record.FreezeDone
}

func (w *world) settled() {
	w.until("all is settled", func() bool {
		ok, err := rollup.Settled(w.ctx, w.store, event, w.end)
		if err != nil {
			w.tb.Fatal(err)
		}
		return ok
	})
}

// frozen fills and freezes the event, by a custody that stops then.
func (w *world) frozen() {
	w.wantFreeze()
	stop := w.custody(w.store, "first")
	w.until("the manifest is signed", w.sealed)
	stop()
}

// traces are the documents that hold one of some texts, tombstones apart.
func (w *world) traces(of ...string) []string {
	w.store.memory.mu.Lock()
	defer w.store.memory.mu.Unlock()
	var out []string
	for c, docs := range w.store.docs {
		if c == store.Tombstones {
			continue
		}
		for id, raw := range docs {
			for _, text := range of {
				if bytes.Contains(raw, []byte(text)) || strings.Contains(id, text) {
					out = append(out, fmt.Sprintf("%s %s: %s", c, id, text))
				}
			}
		}
	}
	return out
}

func (w *world) count(q store.Query) int {
	w.tb.Helper()
	n, err := w.store.Count(w.ctx, q)
	if err != nil {
		w.tb.Fatal(err)
	}
	return n
}

// exact checks that all statistics are those of what is stored.
func (w *world) exact() {
	w.tb.Helper()
	rep, err := custody.Reconcile(w.ctx, w.store, event, time.Time{}, time.Time{}, func(d custody.Drift) { w.tb.Errorf("drift: %+v", d) })
	if err != nil {
		w.tb.Fatal(err)
	}
	if rep.Pending > 0 || rep.Minutes == 0 || rep.Hours == 0 {
		w.tb.Errorf("compared %+v", rep)
	}
}

// signed checks that the manifest is that of what is stored.
func (w *world) signed(revision int64, cause string) {
	w.tb.Helper()
	public, _ := w.key.Public().(ed25519.PublicKey)
	res, err := custody.CheckManifest(w.ctx, w.store, event, base64.StdEncoding.EncodeToString(public))
	if err != nil {
		w.tb.Fatal(err)
	}
	if !res.OK() || res.Revision < revision || res.Cause != cause {
		w.tb.Errorf("manifest check: %+v, want OK, at least revision %d, cause %s", res, revision, cause)
	}
}

// checkForgotten checks that nothing is left of Anna, and nothing else gone.
func (w *world) checkForgotten() {
	w.tb.Helper()
	if left := w.traces(anna, annaName); len(left) > 0 {
		w.tb.Errorf("left of her: %q", left)
	}
	for _, id := range []string{"r", "p"} {
		if _, ok := get[bson.M](w, store.Records, event+"/"+map[string]string{"r": "message/r", "p": "notice/p"}[id]); !ok {
			w.tb.Errorf("record %s is gone", id)
		}
	}
	if n := w.count(store.Query{Collection: store.Records, Event: event, Kind: record.KindMessage}); n != 11 {
		w.tb.Errorf("%d messages are left, want 11", n)
	}
	if n := w.count(store.Query{Collection: store.Letters}); n != 2 { // both without hers, noise
		w.tb.Errorf("%d letters are left, want 2", n)
	}
	l, _ := get[record.Letter](w, store.Letters, "both")
	if records, err := record.DecodeBatch(l.Body); err != nil || len(records) != 1 || l.Records != 1 {
		w.tb.Errorf("letter: %d records, %v", len(records), err)
	}
	if n := w.count(store.Query{Collection: store.Marks}); n != 0 {
		w.tb.Errorf("%d marks are left", n)
	}
	w.exact()
}

func TestForget(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.fill()
		w.settled()
		w.custody(w.store, "c")
		w.forget(anna, annaName)
		w.until("she is forgotten", func() bool { return w.forgotten(anna) })
		w.checkForgotten()
		s, _ := get[record.Tombstone](w, store.Tombstones, event+"/"+anna)
		if s.Records != 7 || s.Redacted != 7 || s.Letters != 4 || s.Minutes == 0 || len(s.Dirty) > 0 || s.Finished.IsZero() ||
			!strings.Contains(s.Remains, "1 dead letters can't be read") {
			w.tb.Errorf("tombstone: %+v", s)
		}
		w.until("custody tells of itself", func() bool {
			m, ok := get[control.Member](w, store.Members, "custody/c")
			return ok && m.Custody != nil && m.Custody.Leader && m.Custody.Pending == 0 && len(m.Conditions) == 0
		})
	})
}

// TestForgetWaits: as long as nothing counts, or letters are on their way, nobody is done, and after
// some minutes that is a condition.
func TestForgetWaits(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.fill()
		w.settled()
		w.depth(queue.Dead, 1)
		w.custody(w.store, "c")
		w.forget(anna, annaName)
		w.until("it is a condition", func() bool { return w.raised(custody.CondTombstones) })
		if w.forgotten(anna) {
			w.tb.Error("done while dead letters wait to be filed")
		}
		late := record.Letter{ID: "late", Rev: 1, Event: event, Body: w.message(w.start, anna, "x").Doc, Time: time.Now()}
		w.put(store.Letters, "late", &late)
		w.depth(queue.Dead, 0)
		w.until("she is forgotten", func() bool { return w.forgotten(anna) })
		w.checkForgotten()
		w.until("the condition is over", func() bool { return !w.raised(custody.CondTombstones) })
	})
}

// crashes runs a scenario once for every step at which a custody can die, before and after the step,
// and each time has another one finish.
func crashes(t *testing.T, prepare func(w *world), done func(w *world) bool, check func(w *world)) {
	t.Helper()
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after=%v", after), func(t *testing.T) {
			t.Parallel()
			steps := 0
			defer func() { t.Logf("%d steps", steps) }()
			for n, died := 1, true; died && !t.Failed(); n++ {
				inBubble(t, func(w *world) {
					prepare(w)
					s := newMortal(w.store.memory, n, after)
					stop := w.custody(s, "c")
					w.until("it dies or is done", func() bool {
						select {
						case <-s.dead:
							return true
						default:
							return done(w)
						}
					})
					select {
					case <-s.dead:
					default:
						died = false
					}
					stop()
					w.custody(w.store, "d")
					w.until("it is done", func() bool { return done(w) })
					check(w)
					if w.tb.Failed() {
						w.tb.Logf("died at step %d", n)
					}
				})
				steps = n
				if n > 5000 {
					t.Fatal("it never comes to an end")
				}
			}
		})
	}
}

func TestForgetCrashes(t *testing.T) {
	t.Parallel()
	crashes(t, func(w *world) {
		w.fill()
		w.settled()
		w.forget(anna, annaName)
		// A consumer that does not know yet stores another of hers.
		late := w.message(w.start.Add(5*time.Minute), anna, "late")
		w.run(func(ctx context.Context) error {
			select {
			case <-time.After(1900 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
			w.insert(late)
			m := record.NewMark(event, late.Time, "nonce")
			w.put(store.Marks, m.ID, &m)
			return nil
		})
	}, func(w *world) bool { return w.forgotten(anna) }, (*world).checkForgotten)
}

// TestForgetBlips: whichever step fails once, the same custody finishes.
func TestForgetBlips(t *testing.T) {
	t.Parallel()
	for n, failed := 1, true; failed && !t.Failed(); n++ {
		inBubble(t, func(w *world) {
			w.fill()
			w.settled()
			w.forget(anna, annaName)
			s := newMortal(w.store.memory, n, n%2 == 0)
			s.blips = true
			w.custody(s, "c")
			w.until("she is forgotten", func() bool { return w.forgotten(anna) })
			select {
			case <-s.dead:
			default:
				failed = false
			}
			w.checkForgotten()
			if w.tb.Failed() {
				w.tb.Logf("step %d failed", n)
			}
		})
	}
}

// TestNewcomers: who is forgotten meanwhile does not keep others waiting for ever.
func TestNewcomers(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.fill()
		w.settled()
		w.custody(w.store, "c")
		w.forget(anna, annaName)
		for i := range 30 {
			time.Sleep(4 * time.Second)
			w.forget(fmt.Sprintf("Newcomer-%012d-", i), "")
		}
		if !w.forgotten(anna) {
			w.tb.Error("she waits for those who came after her")
		}
		w.until("the last is forgotten", func() bool { return w.forgotten(fmt.Sprintf("Newcomer-%012d-", 29)) })
		w.checkForgotten()
	})
}

// TestNameLearned: a name that becomes known when all passes are over is searched before anybody is done.
func TestNameLearned(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.fill()
		w.settled()
		w.stops[0]() // the rollup: nothing is counted, nobody is done
		w.custody(w.store, "c")
		w.forget(anna, "")
		time.Sleep(time.Minute)
		p, _ := get[record.Tombstone](w, store.Tombstones, event+"/"+anna)
		p.Name, p.Rev = annaName, p.Rev+1
		w.put(store.Tombstones, p.ID, &p)
		r, err := rollup.New(rollup.Config{Store: w.store, Name: "r2", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			w.tb.Fatal(err)
		}
		w.run(r.Run)
		w.until("she is forgotten", func() bool { return w.forgotten(anna) })
		w.checkForgotten()
		if w.raised(custody.CondFails) {
			w.tb.Errorf("conditions: %+v", w.conditions())
		}
	})
}

// telltale is a store that can't write tombstones, and says of whom they are.
type telltale struct{ *mortal }

func (s telltale) CompareAndSet(ctx context.Context, c store.Collection, rev int64, d store.Doc) error {
	if c == store.Tombstones {
		return fmt.Errorf("set tombstones/%s: no", d.ID)
	}
	return s.mortal.CompareAndSet(ctx, c, rev, d)
}

func TestErrorsNameNobody(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.fill()
		w.settled()
		w.forget(anna, annaName)
		w.custody(telltale{w.store}, "c")
		w.until("it is a condition", func() bool { return w.raised(custody.CondFails) })
		for _, c := range w.conditions() {
			if strings.Contains(c.Detail, anna) || !strings.Contains(c.Detail, "write a tombstone of event "+event) {
				w.tb.Errorf("condition: %s", c.Detail)
			}
		}
	})
}

// stops runs a scenario once for every step before which a custody can be stopped, lets another finish
// it and what meanwhile asks for, and wakes the first. To be stopped after a step is to be stopped before the next.
func stops(
	t *testing.T, prepare func(w *world), first func(w *world) bool,
	meanwhile func(w *world), done func(w *world) bool, check func(w *world),
) {
	t.Helper()
	for n, asleep := 1, true; asleep && !t.Failed(); n++ {
		inBubble(t, func(w *world) {
			prepare(w)
			s := newMortal(w.store.memory, n, false)
			s.wake = make(chan struct{})
			w.custody(s, "c")
			w.until("it sleeps or is done with the first", func() bool {
				select {
				case <-s.dead:
					return true
				default:
					return first(w)
				}
			})
			select {
			case <-s.dead:
			default:
				asleep = false
			}
			w.custody(w.store, "d")
			meanwhile(w)
			w.until("it is done", func() bool { return done(w) })
			close(s.wake)
			time.Sleep(10 * time.Second)
			w.settled()
			w.until("it is done", func() bool { return done(w) })
			check(w)
			if w.tb.Failed() {
				w.tb.Logf("stopped at step %d", n)
			}
		})
		if n > 5000 {
			t.Fatal("it never comes to an end")
		}
	}
}

// TestStoppedWhileForgetting: what a stopped custody writes when it wakes brings nobody back.
func TestStoppedWhileForgetting(t *testing.T) {
	t.Parallel()
	gone := func(w *world) bool { return w.forgotten(anna) && w.forgotten(bert) && w.sealed() }
	stops(t, func(w *world) {
		w.fill()
		w.frozen()
		w.forget(anna, annaName)
	}, func(w *world) bool { return w.forgotten(anna) && w.sealed() }, func(w *world) { w.forget(bert, "") }, gone, func(w *world) {
		if left := w.traces(anna, annaName, bert); len(left) > 0 {
			w.tb.Errorf("left: %q", left)
		}
		m, _ := get[record.Manifest](w, store.Manifests, event)
		w.signed(2, m.Cause)
		w.exact()
	})
}

// TestStoppedWhileTextsGo: nor does it bring back a text or a record.
func TestStoppedWhileTextsGo(t *testing.T) {
	t.Parallel()
	stops(t, func(w *world) {
		w.fill()
		w.frozen()
		w.patch(func(e *record.Event) { e.TextDays = 1 })
		w.pass(24 * time.Hour)
	}, func(w *world) bool { return w.withoutTexts() && w.sealed() }, func(w *world) { w.forget(anna, annaName) }, func(w *world) bool {
		return w.forgotten(anna) && w.withoutTexts() && w.sealed()
	}, func(w *world) {
		if left := w.traces(anna, annaName, "hello", "nothing", "kept", "words"); len(left) > 0 {
			w.tb.Errorf("left: %q", left)
		}
		m, _ := get[record.Manifest](w, store.Manifests, event)
		w.signed(2, m.Cause)
		w.exact()
	})
}

// TestStoppedAndKilled: a custody is stopped before any step, another takes over, and at any of its steps the
// first wakes, does that one step, and is killed.
func TestStoppedAndKilled(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		before, at := rapid.IntRange(1, 160).Draw(rt, "stopped before"), rapid.IntRange(1, 320).Draw(rt, "wakes at")
		texts := rapid.Bool().Draw(rt, "texts go too")
		inBubble(t, func(w *world) {
			w.fill()
			w.frozen()
			if texts {
				w.patch(func(e *record.Event) { e.TextDays = 1 })
				w.pass(24 * time.Hour)
			}
			w.forget(anna, annaName)
			first, second := newMortal(w.store.memory, before, false), newMortal(w.store.memory, at, false)
			first.wake, first.dying, second.wake = make(chan struct{}), true, make(chan struct{})
			done := func() bool {
				return w.forgotten(anna) && w.forgotten(bert) && w.sealed() && (!texts || w.withoutTexts())
			}
			over := func(s *mortal) func() bool {
				return func() bool {
					select {
					case <-s.dead:
						return true
					default:
						return done()
					}
				}
			}
			w.custody(first, "c")
			w.until("it sleeps", func() bool { return over(first)() || w.forgotten(anna) && w.sealed() })
			w.forget(bert, "")
			w.custody(second, "d")
			w.until("the other has come so far", over(second))
			close(first.wake)
			synctest.Wait()
			close(second.wake)
			w.until("it is done", done)
			time.Sleep(10 * time.Second)
			w.settled()
			w.until("it is done", done)
			if left := w.traces(anna, annaName, bert); len(left) > 0 {
				rt.Errorf("left: %q", left)
			}
			if texts {
				if left := w.traces("hello", "nothing", "kept", "words"); len(left) > 0 {
					rt.Errorf("texts are left: %q", left)
				}
			}
			m, _ := get[record.Manifest](w, store.Manifests, event)
			w.signed(2, m.Cause)
			w.exact()
		})
		if t.Failed() {
			rt.FailNow()
		}
	})
}

// TestFreezeCancelled: whenever the wish is taken back, the event is not frozen without a manifest.
func TestFreezeCancelled(t *testing.T) {
	t.Parallel()
	for n, asleep := 1, true; asleep && !t.Failed(); n++ {
		inBubble(t, func(w *world) {
			w.fill()
			w.settled()
			w.wantFreeze()
			s := newMortal(w.store.memory, n, false)
			s.wake = make(chan struct{})
			w.custody(s, "c")
			w.until("it sleeps or is done", func() bool {
				select {
				case <-s.dead:
					return true
				default:
					return w.sealed()
				}
			})
			select {
			case <-s.dead:
			default:
				asleep = false
			}
			// As a master does it, in the shortest of times.
			cancelled, err := w.store.DeleteIf(w.ctx, store.Manifests, event, "state", record.FreezeWaiting)
			if err != nil {
				w.tb.Fatal(err)
			}
			if e, _ := get[record.Event](w, store.Events, event); e.State == record.EventFrozen {
				cancelled = false // the master sees it, and puts the manifest back
			} else if cancelled {
				w.patch(func(*record.Event) {})
			}
			close(s.wake)
			time.Sleep(time.Minute)
			if e, _ := get[record.Event](w, store.Events, event); cancelled && e.State == record.EventFrozen {
				w.tb.Errorf("stopped at step %d: the event is frozen though that was cancelled", n)
			}
		})
	}
}

// TestFreezeWaitsForMoney: an event is not frozen as long as corrections or goals of it may be being written.
func TestFreezeWaitsForMoney(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.fill()
		w.settled()
		held := time.Now().Add(10 * time.Minute)
		w.patch(func(e *record.Event) { e.Held = held })
		w.wantFreeze()
		w.custody(w.store, "c")
		time.Sleep(time.Until(held) - time.Minute)
		m, _ := get[record.Manifest](w, store.Manifests, event)
		if e, _ := get[record.Event](w, store.Events, event); e.State == record.EventFrozen ||
			!slices.Equal(m.Waiting, []string{"Corrections or goals of the event are being changed."}) {
			w.tb.Errorf("%s, waits for %q", e.State, m.Waiting)
		}
		w.until("the manifest is signed", w.sealed)
		if time.Now().Before(held) {
			w.tb.Error("sealed too soon")
		}
	})
}

// TestTextsOfFrozen: texts that came after theirs were erased don't outlive the freeze, nor do those in
// letters that are filed later.
func TestTextsOfFrozen(t *testing.T) {
	t.Parallel()
	crashes(t, func(w *world) {
		w.fill()
		w.patch(func(e *record.Event) { e.TextDays, e.TextErased = 1, w.Now().Add(24*time.Hour) })
		w.pass(24 * time.Hour)
		w.wantFreeze()
	}, (*world).sealed, func(w *world) {
		late := record.Letter{ID: "late", Rev: 1, Event: event, Body: w.message(w.start, carl, "late").Doc, Time: w.Now()}
		w.put(store.Letters, "late", &late)
		w.pass(2 * time.Hour)
		time.Sleep(10 * time.Second)
		if left := w.traces("hello", "nothing", "kept", "words", "late text"); len(left) > 0 {
			w.tb.Errorf("texts are left: %q", left)
		}
		if l, _ := get[record.Letter](w, store.Letters, "late"); bytes.Contains(l.Body, []byte("text")) {
			w.tb.Error("the text of a letter is left")
		}
		w.signed(1, record.CauseFreeze)
		w.exact()
	})
}

func TestForgetOfFrozenCrashes(t *testing.T) {
	t.Parallel()
	crashes(t, func(w *world) {
		w.fill()
		w.frozen()
		w.forget(anna, annaName)
	}, func(w *world) bool { return w.forgotten(anna) && w.sealed() }, func(w *world) {
		w.checkForgotten()
		w.signed(2, record.CauseForget)
	})
}

// TestStoppedConsumer: a consumer that is stopped between an insert and its second look, which is over
// only when the event is frozen and signed, takes its records out again, and the manifest is that of
// what is left. Nothing waits for it: it may be a master with an upload.
func TestStoppedConsumer(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for n, woke := 1, true; woke && !t.Failed(); n++ {
			inBubble(t, func(w *world) {
				w.fill()
				w.settled()
				s := newMortal(w.store.memory, n, after)
				s.wake = make(chan struct{})
				in, err := consumer.NewIntake(consumer.IntakeConfig{Store: s, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					w.tb.Fatal(err)
				}
				at := w.start.Add(time.Minute)
				change := w.encode(&record.Change{Header: w.header(at), Field: "title", To: "late"}) // counted in nothing
				done := make(chan struct{})
				w.run(func(ctx context.Context) error {
					defer close(done)
					_, err := in.Write(ctx, []record.Record{w.message(at, carl, "late"), change})
					return err
				})
				select {
				case <-s.dead:
				case <-done:
					woke = false
				}
				w.wantFreeze()
				w.custody(w.store, "c")
				w.until("the manifest is signed", w.sealed)
				close(s.wake)
				<-done
				time.Sleep(10 * time.Second)
				w.until("the manifest is signed again", func() bool { return w.sealed() })
				w.settled()
				w.exact()
				m, _ := get[record.Manifest](w, store.Manifests, event)
				w.signed(1, m.Cause)
				if w.tb.Failed() {
					w.tb.Logf("stopped at step %d, after=%v", n, after)
				}
			})
			if n > 100 {
				t.Fatal("it never comes to an end")
			}
		}
	}
}

// TestMarkOfFrozen: whoever marks a minute of a frozen event, the manifest is that of what is stored,
// even when another rollup leads and writes its epoch.
func TestMarkOfFrozen(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.fill()
		w.frozen()
		w.custody(w.store, "c")
		w.stops[0]() // the rollup
		r, err := rollup.New(rollup.Config{Store: w.store, Name: "r2", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			w.tb.Fatal(err)
		}
		w.run(r.Run)
		m := record.NewMark(event, w.start, "stray")
		w.put(store.Marks, m.ID, &m)
		w.until("the mark is counted", func() bool { return w.count(store.Query{Collection: store.Marks}) == 0 })
		w.until("the manifest is signed again", w.sealed)
		w.signed(2, record.CauseLate)
		if m, _ := get[record.Manifest](w, store.Manifests, event); len(m.Earlier) != 1 || m.Earlier[0].Cause != record.CauseFreeze {
			w.tb.Errorf("earlier: %+v", m.Earlier)
		}
	})
}

func TestFreezeCrashes(t *testing.T) {
	t.Parallel()
	crashes(t, func(w *world) {
		w.fill()
		w.wantFreeze()
	}, (*world).sealed, func(w *world) {
		w.signed(1, record.CauseFreeze)
		w.exact()
		e, _ := get[record.Event](w, store.Events, event)
		if e.State != record.EventFrozen {
			w.tb.Errorf("the event is %s", e.State)
		}
	})
}

func (w *world) patch(change func(e *record.Event)) {
	e, _ := get[record.Event](w, store.Events, event)
	e.Rev++
	change(&e)
	w.put(store.Events, event, &e)
}

func (w *world) withoutTexts() bool {
	e, _ := get[record.Event](w, store.Events, event)
	return !e.TextErased.IsZero()
}

func TestTextsCrash(t *testing.T) {
	t.Parallel()
	crashes(t, func(w *world) {
		w.fill()
		w.frozen()
		w.patch(func(e *record.Event) { e.TextDays = 1 })
		w.pass(24 * time.Hour)
	}, func(w *world) bool { return w.withoutTexts() && w.sealed() }, func(w *world) {
		if left := w.traces("hello", "nothing", "kept", "words"); len(left) > 0 {
			w.tb.Errorf("texts are left: %q", left)
		}
		m, _ := get[record.Message](w, store.Records, event+"/message/m1")
		if m.Length != 5 || m.Text != "" || m.Chatter != anna {
			w.tb.Errorf("message %+v", m)
		}
		w.signed(2, record.CauseRetention)
		w.exact()
	})
}

func TestRecordsCrash(t *testing.T) {
	t.Parallel()
	crashes(t, func(w *world) {
		w.fill()
		w.frozen()
		h := w.header(w.start)
		h.Event = other
		body, err := record.EncodeBatch([]record.Record{
			w.message(w.start, anna, "dead"), w.encode(&record.Message{Header: h, MessageID: "o", Chatter: bert}),
		}, record.Zstd)
		if err != nil {
			w.tb.Fatal(err)
		}
		w.put(store.Letters, "mixed", &record.Letter{ID: "mixed", Rev: 1, Body: body, Records: 2, Time: w.start})
		w.put(store.Letters, "fresh", &record.Letter{ID: "fresh", Rev: 1, Body: []byte("noise"), Time: w.end.Add(time.Hour)})
		w.patch(func(e *record.Event) { e.RecordDays = 2 })
		w.pass(48 * time.Hour)
	}, func(w *world) bool {
		e, _ := get[record.Event](w, store.Events, event)
		return !e.RecordsErased.IsZero() && w.sealed() && w.count(store.Query{Collection: store.Records, Event: event, Kind: record.KindMessage}) == 0 &&
			w.count(store.Query{Collection: store.Letters}) == 2
	}, func(w *world) {
		mixed, _ := get[record.Letter](w, store.Letters, "mixed")
		_, fresh := get[record.Letter](w, store.Letters, "fresh")
		if records, err := record.DecodeBatch(mixed.Body); err != nil || len(records) != 1 || records[0].Event != other || !fresh {
			w.tb.Errorf("letter of several events: %+v, %v; the one that is not old is there: %v", records, err, fresh)
		}
		if n := w.count(store.Query{Collection: store.Records}); n != 1 {
			w.tb.Errorf("%d records are left, want the sample of viewers", n)
		}
		// Whoever marks a minute now changes nothing.
		m := record.NewMark(event, w.start, "n")
		w.put(store.Marks, m.ID, &m)
		w.until("the mark is cleared", func() bool { return w.count(store.Query{Collection: store.Marks}) == 0 })
		w.signed(2, record.CauseRetention)
		d, _ := get[record.Statistics](w, store.Totals, event+"/"+record.AllChannels)
		if d.Messages != 16 {
			w.tb.Errorf("%d messages in the totals, want 16", d.Messages)
		}
		if _, err := custody.Reconcile(w.ctx, w.store, event, time.Time{}, time.Time{}, nil); err == nil {
			w.tb.Error("reconciles with what is erased")
		}
	})
}

func TestRetentionWaitsForFreeze(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.fill()
		w.patch(func(e *record.Event) { e.RecordDays, e.TextDays = 1, 1 })
		w.settled()
		w.custody(w.store, "c")
		w.pass(20 * time.Hour)
		time.Sleep(10 * time.Second)
		if w.withoutTexts() || w.raised(custody.CondRetention) {
			w.tb.Error("too early")
		}
		w.pass(5 * time.Hour)
		time.Sleep(time.Minute)
		if !w.withoutTexts() || !w.raised(custody.CondRetention) {
			w.tb.Errorf("texts erased: %v; conditions %+v", w.withoutTexts(), w.conditions())
		}
		if n := w.count(store.Query{Collection: store.Records, Kind: record.KindMessage}); n != 16 {
			w.tb.Errorf("%d messages", n)
		}
		// Texts that come late go too, a day later.
		w.insert(w.message(w.start, carl, "late text"))
		m := record.NewMark(event, w.start, "n")
		w.put(store.Marks, m.ID, &m)
		w.pass(26 * time.Hour)
		time.Sleep(time.Minute)
		if left := w.traces("late text"); len(left) > 0 {
			w.tb.Errorf("left: %q", left)
		}
		w.wantFreeze()
		w.until("it is frozen", w.sealed)
		w.pass(2 * time.Hour)
		time.Sleep(time.Minute)
		if n := w.count(store.Query{Collection: store.Records, Kind: record.KindMessage}); n != 0 || w.raised(custody.CondRetention) {
			w.tb.Errorf("%d messages; conditions %+v", n, w.conditions())
		}
		w.signed(2, record.CauseRetention)

		// Who is forgotten now was there.
		w.forget(anna, annaName)
		w.until("she is forgotten", func() bool { return w.forgotten(anna) })
		s, _ := get[record.Tombstone](w, store.Tombstones, event+"/"+anna)
		if !strings.Contains(s.Remains, "sketches") {
			w.tb.Errorf("remains: %q", s.Remains)
		}
		if left := w.traces(anna, annaName); len(left) > 0 {
			w.tb.Errorf("left: %q", left)
		}
	})
}

// collector writes what a master keeps of a collector, until it is stopped.
func (w *world) collector(m *control.CollectorMember) (stop func()) {
	return w.member("collector", func(d *control.Member) { d.Collector = m })
}

func (w *world) member(role string, fill func(*control.Member)) (stop func()) {
	return w.run(func(ctx context.Context) error {
		for beat := int64(1); ; beat++ {
			d := control.Member{ID: role + "/a", Role: role, Name: "a", Beat: beat}
			w.mu.Lock()
			fill(&d)
			w.put(store.Members, d.ID, &d)
			w.mu.Unlock()
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil
			}
		}
	})
}

func TestFreezeWaits(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.fill()
		w.settled()
		w.patch(func(e *record.Event) { e.State = record.EventLive })
		w.put(store.Assignments, "a", &control.Assignment{Collector: "a", Rev: 1, Epoch: 1, Revision: 1, Channels: []control.AssignedChannel{
			{Channel: "1", Events: []string{event, other}},
		}})
		c := &control.CollectorMember{Epoch: 1, Revision: 1, Joined: []string{"1"}, Status: control.CollectorStatus{OutboxBatches: 3}}
		stopCollector := w.collector(c)
		consumer := &control.ConsumerStatus{Held: 2}
		run := "1"
		consume := func() (stop func()) {
			return w.member("consumer", func(d *control.Member) { d.Consumer, d.Run = consumer, run })
		}
		stopConsumer := consume()
		w.depth(queue.Store, 5)
		w.custody(w.store, "c")
		w.wantFreeze()
		waits := func(text string) {
			w.tb.Helper()
			w.until("it waits: "+text, func() bool {
				m, _ := get[record.Manifest](w, store.Manifests, event)
				return slices.ContainsFunc(m.Waiting, func(s string) bool { return strings.Contains(s, text) })
			})
		}
		change := func(f func()) {
			w.mu.Lock()
			defer w.mu.Unlock()
			f()
		}
		waits("The event is live")
		w.patch(func(e *record.Event) { e.State = record.EventEnded })
		waits("3 batches in its outbox")
		stopCollector()
		waits("Collector a is silent")
		w.collector(c)
		waits("3 batches in its outbox")
		change(func() {
			c.Status.Sources = []control.Source{{Name: "team", Events: []string{other}}, {Name: "more", Events: []string{event}}}
		})
		waits("Collector a still asks charity sources")
		change(func() { c.Status.Sources[1].Events = nil })
		change(func() { c.Status.OutboxBatches = -1 })
		waits("can't tell what is in its outbox")
		change(func() { c.Status.OutboxBatches, c.Status.Waiting = 0, 4 })
		waits("4 records that its outbox does not take")
		change(func() { c.Status.Waiting, c.Status.Conditions = 0, []control.Condition{{Name: "outbox-unwritable"}} })
		waits("can't write its outbox")
		change(func() { c.Status.Conditions = nil })
		waits("still reads 1 channel of")
		w.put(store.Assignments, "a", &control.Assignment{Collector: "a", Rev: 1, Epoch: 1, Revision: 2, Channels: []control.AssignedChannel{
			{Channel: "1", Events: []string{other}},
		}})
		waits("still reads 1 channel of")
		change(func() { c.Revision = 2 })
		waits("5 batches are in the queue")
		w.depth(queue.Store, 0)
		waits("Consumer a holds 2 batches")
		stopConsumer()
		waits("Consumer a is silent")
		consume()
		waits("Consumer a holds 2 batches")
		// Another event goes on: what is now in outbox and queue is its own.
		change(func() { c.Status.OutboxBatches = 7 })
		w.depth(queue.Store, 9)
		waits("Consumer a holds 2 batches")
		// One that ends gives back what it held: then the queue must be empty once more.
		change(func() { run = "2" })
		waits("9 batches are in the queue")
		w.depth(queue.Store, 0)
		waits("Consumer a holds 2 batches")
		w.depth(queue.Store, 9)
		w.put(store.Marks, "x", &record.Mark{ID: "x", Event: event, Time: w.start.Add(time.Minute), Nonce: "n"})
		change(func() { consumer.Held = 0 })
		w.until("it is frozen", w.sealed)
		w.signed(1, record.CauseFreeze)
		if m, _ := get[record.Manifest](w, store.Manifests, event); len(m.Waiting) > 0 || m.Frozen.IsZero() || m.Revision != 1 {
			w.tb.Errorf("manifest: %+v", m)
		}
	})
}

// TestFreezeByForce: members that are gone for good are waited for until somebody says so.
func TestFreezeByForce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.fill()
		w.settled()
		w.collector(&control.CollectorMember{Status: control.CollectorStatus{OutboxBatches: 3}})()
		w.member("consumer", func(d *control.Member) { d.Consumer = &control.ConsumerStatus{Held: 2} })()
		w.custody(w.store, "c")
		w.wantFreeze()
		force := func(of string) {
			w.tb.Helper()
			w.until(of+" is waited for", func() bool {
				m, _ := get[record.Manifest](w, store.Manifests, event)
				return slices.ContainsFunc(m.Waiting, func(s string) bool { return strings.HasPrefix(s, of+" a is silent") })
			})
			m, _ := get[record.Manifest](w, store.Manifests, event)
			m.Rev++
			m.Force = true
			w.put(store.Manifests, event, &m)
		}
		force("Collector")
		w.until("it is frozen", w.sealed)
	})
}

func TestManifestNamesWhatDiffers(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		if _, err := custody.CheckManifest(w.ctx, w.store, event, ""); !errors.Is(err, store.ErrNotFound) {
			w.tb.Errorf("without a manifest: %v", err)
		}
		w.fill()
		w.frozen()
		w.signed(1, record.CauseFreeze)
		w.insert(w.message(w.start, carl, "smuggled"))
		w.put(store.Channels, event+"/2", &record.Channel{ID: event + "/2", Rev: 1, Event: event, Channel: "2"})
		if _, err := w.store.Delete(w.ctx, store.Query{Collection: store.Hours}); err != nil {
			w.tb.Fatal(err)
		}
		res, err := custody.CheckManifest(w.ctx, w.store, event, "")
		if err != nil {
			w.tb.Fatal(err)
		}
		var got []string
		for _, d := range res.Differences {
			got = append(got, fmt.Sprint(d.Collection, " ", d.Day, " ", d.Manifest != nil, " ", d.Stored != nil))
		}
		date := w.start.Format(time.DateOnly)
		slices.Sort(got)
		if want := []string{"channels  true true", "hours " + w.start.Truncate(time.Hour).Format(time.DateOnly) + " true false", "records " + date + " true true"}; !slices.Equal(got, want) || res.OK() {
			w.tb.Errorf("differences %q, want %q", got, want)
		}
		res, err = custody.CheckManifest(w.ctx, w.store, event, base64.StdEncoding.EncodeToString(make([]byte, ed25519.PublicKeySize)))
		if err != nil || res.Signature == "" {
			w.tb.Errorf("another key: %+v, %v", res, err)
		}
	})
}

func TestDriftIsFoundAndMended(t *testing.T) {
	t.Parallel()
	inBubble(t, func(w *world) {
		w.fill()
		w.settled()
		w.custody(w.store, "c")
		id := record.StatisticsID(event, "1", record.Minute(w.end.Add(-time.Millisecond)))
		if _, ok := get[record.Statistics](w, store.Minutes, id); !ok { // the newest closed has none: give it one
			w.insert(w.message(w.end.Add(-time.Millisecond), carl, "last"))
			m := record.NewMark(event, w.end.Add(-time.Millisecond), "n")
			w.put(store.Marks, m.ID, &m)
			w.settled()
		}
		good, _ := get[record.Statistics](w, store.Minutes, id)
		bad := good
		bad.Messages, bad.Viewers.Peak = 77, 5
		w.put(store.Minutes, id, &bad)
		var drifts []string
		rep, err := custody.Reconcile(w.ctx, w.store, event, w.end.Add(-time.Minute), time.Time{}, func(d custody.Drift) {
			drifts = append(drifts, fmt.Sprintf("%s %s %s: %s, want %s", d.Collection, d.Channel, d.Field, d.Have, d.Want))
		})
		if err != nil || rep.Drifts < 2 || !slices.Contains(drifts, `minutes 1 messages: 77, want 1`) {
			w.tb.Errorf("%+v, %v: %q", rep, err, drifts)
		}
		w.until("it is a condition", func() bool { return w.raised(custody.CondDrift) })
		w.until("it is mended", func() bool {
			d, _ := get[record.Statistics](w, store.Minutes, id)
			return d.Messages == good.Messages && d.Viewers == good.Viewers
		})
		w.until("the condition is over", func() bool { return !w.raised(custody.CondDrift) })
		w.exact()
	})
}

// TestAnyForget: whatever is stored of whom, and whenever consumers that don't know yet store more,
// in the end no byte speaks of the forgotten and all statistics are those of what is left.
func TestAnyForget(t *testing.T) {
	t.Parallel()
	people := []string{anna, bert, carl}
	rapid.Check(t, func(rt *rapid.T) {
		type plan struct {
			who, about, kind int
			at               time.Duration
			late             time.Duration // after the tombstone; 0 is before
		}
		plans := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) plan {
			return plan{
				who: rapid.IntRange(0, 2).Draw(rt, "who"), about: rapid.IntRange(0, 2).Draw(rt, "about"),
				kind: rapid.IntRange(0, 3).Draw(rt, "kind"),
				at:   time.Duration(rapid.IntRange(0, 599).Draw(rt, "at")) * time.Second,
				late: time.Duration(rapid.IntRange(-3000, 1990).Draw(rt, "late")) * time.Millisecond,
			}
		}), 1, 60).Draw(rt, "plans")
		gone := rapid.IntRange(1, 2).Draw(rt, "gone")
		var failed string
		inBubble(t, func(w *world) {
			document := func(i int, p plan) record.Record {
				h := w.header(w.start.Add(p.at))
				switch p.kind {
				case 0:
					return w.encode(&record.Message{Header: h, MessageID: strconv.Itoa(i), Chatter: people[p.who], Text: "x@" + people[p.about] + "y", Length: 9})
				case 1:
					return w.encode(&record.Notice{Header: h, NoticeID: strconv.Itoa(i), Type: "subgift", Chatter: people[p.who], Recipient: people[p.about]})
				case 2:
					return w.encode(&record.Moderation{Header: h, Action: record.ActionBan, Chatter: people[p.who], Seconds: i})
				}
				return w.encode(&record.Message{
					Header: h, MessageID: strconv.Itoa(i), Chatter: people[p.who],
					Reply: &record.Reply{Message: "m", Chatter: people[p.about]},
				})
			}
			for i, p := range plans {
				if p.late <= 0 {
					w.insert(document(i, p))
				}
			}
			w.settled()
			w.custody(w.store, "c")
			for _, person := range people[:gone] {
				w.forget(person, "")
			}
			for i, p := range plans {
				if p.late > 0 {
					r := document(i, p)
					w.run(func(context.Context) error {
						time.Sleep(p.late)
						w.insert(r)
						m := record.NewMark(event, r.Time, strconv.Itoa(i))
						w.put(store.Marks, m.ID, &m)
						return nil
					})
				}
			}
			w.until("all are forgotten", func() bool {
				return !slices.ContainsFunc(people[:gone], func(p string) bool { return !w.forgotten(p) })
			})
			if left := w.traces(people[:gone]...); len(left) > 0 {
				failed = fmt.Sprintf("left: %q", left)
			}
			w.settled()
			_, err := custody.Reconcile(w.ctx, w.store, event, time.Time{}, time.Time{}, func(d custody.Drift) { failed += fmt.Sprintf(" drift %+v", d) })
			if err != nil {
				failed += err.Error()
			}
		})
		if failed != "" {
			rt.Fatal(failed)
		}
	})
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	s := newMortal(newMemory(), -1, false)
	for name, cfg := range map[string]custody.Config{
		"no store": {Queue: &world{}, Name: "c"},
		"no queue": {Store: s, Name: "c"},
		"no name":  {Store: s, Queue: &world{}},
		"negative": {Store: s, Queue: &world{}, Name: "c", Again: -1},
	} {
		if _, err := custody.New(cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
