package consumer_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/consumer"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	queuelocal "github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// ask sets a letter to be replayed, as the master does.
func ask(tb testing.TB, s store.Store, l record.Letter) {
	tb.Helper()
	rev := l.Rev
	l.Rev, l.State, l.Replay = l.Rev+1, record.LetterReplay, rand.Text()
	raw, err := bson.Marshal(l)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.CompareAndSet(tb.Context(), store.Letters, rev, store.Doc{ID: l.ID, Raw: raw}); err != nil {
		tb.Fatal(err)
	}
}

func member(tb testing.TB, s store.Store) control.Member {
	tb.Helper()
	var m control.Member
	raw, err := s.Get(context.WithoutCancel(tb.Context()), store.Members, control.RoleConsumer+"/c1")
	if errors.Is(err, store.ErrNotFound) {
		return m
	}
	if err != nil {
		tb.Fatal(err)
	}
	if err := bson.Unmarshal(raw, &m); err != nil {
		tb.Fatal(err)
	}
	return m
}

func condition(m control.Member, name string) string {
	for _, c := range m.Conditions {
		if c.Name == name {
			return c.Detail
		}
	}
	return ""
}

func dead(tb testing.TB, q queue.Publisher, messages ...queue.Message) {
	tb.Helper()
	if err := q.Publish(tb.Context(), queue.Dead, messages...); err != nil {
		tb.Fatal(err)
	}
}

// TestFiles: whatever lies in the queue of dead letters is filed, once for each body and reason.
func TestFiles(t *testing.T) {
	t.Parallel()
	f := open(t)
	user, name := ann(t)
	forget(t, f.store, event)
	failed := time.Date(2026, 9, 4, 10, 0, 0, 0, time.UTC)
	ours := func(reason string, count int, r ...record.Record) queue.Message {
		m := batch(t, r...)
		m.Headers = map[string]string{
			consumer.HeaderReason: reason, consumer.HeaderCode: record.CodeFrozen, consumer.HeaderQueue: queue.Store,
			consumer.HeaderFailed: failed.Format(time.RFC3339Nano), consumer.HeaderCount: strconv.Itoa(count), "collector": "a",
		}
		return m
	}
	same := ours("same", 1, message(t, 1, now))
	later := ours("same", 1, message(t, 1, now))
	later.Headers[consumer.HeaderFailed] = failed.Add(time.Hour).Format(time.RFC3339Nano)
	hers := ours("hers", 1, said(t, event, 2, user, "hello"))
	mentions := ours("mentions", 1, said(t, event, 3, "x", "hi @"+name), said(t, event, 4, user, ""))
	alone := queue.Message{ID: "alone", Body: said(t, event, 5, "x", "hi "+name).Doc}
	several := ours("several", 4, message(t, 1, now), said(t, "other", 1, "x", ""))
	foreign := queue.Message{Body: []byte("what is this"), Headers: map[string]string{"x.death$": "y\xff", "": "z"}}
	dead(t, f.queue, later, same, same, hers, mentions, alone, several, foreign, queue.Message{})
	defer run(t, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(now)})()
	eventually(t, "the queue is empty", func() bool { return depth(t, f.queue, queue.Dead) == 0 })
	got := map[string]record.Letter{}
	for _, l := range letters(t, f.store, 6) {
		if l.State != record.LetterDead || l.First.After(l.Time) || l.Time.IsZero() || l.Reason == "" {
			t.Errorf("letter %+v", l)
		}
		if bytes.Contains(l.Body, []byte(user)) || bytes.Contains(l.Body, []byte(name)) {
			t.Errorf("letter %s names her", l.Reason)
		}
		key := l.Reason
		if strings.HasPrefix(key, "nothing says why") {
			key = string(l.Body[:min(len(l.Body), 4)])
			if l.Kind != "" {
				key = l.Message
			}
		}
		got[key] = l
	}
	if l := got["same"]; l.Count != 3 || !l.First.Equal(failed) || l.Event != event || l.Channel != "1" ||
		l.Kind != record.KindMessage || l.Records != 1 || l.Code != record.CodeFrozen || l.Headers["collector"] != "a" || len(l.Headers) != 1 {
		t.Errorf("same: %+v", l)
	}
	if l := got["several"]; l.Count != 4 || l.Event != "" || l.Channel != "1" || l.Kind != record.KindMessage || l.Records != 2 {
		t.Errorf("several: %+v", l)
	}
	if l := got["mentions"]; l.Records != 1 || len(held(t, []record.Letter{l})) != 1 {
		t.Errorf("mentions: %+v", l)
	}
	if l := got["alone"]; l.Records != 0 || l.Event != event || l.Code != record.CodeRefused {
		t.Errorf("alone: %+v", l)
	}
	if l := got["what"]; l.Code != record.CodeUnreadable || l.Count != 1 || l.Event != "" || l.Headers["x_death_"] != "y\uFFFD" || len(l.Headers) != 1 {
		t.Errorf("foreign: %+v", l)
	}
	if l, ok := got[""]; !ok || l.Code != record.CodeUnreadable {
		t.Errorf("empty: %+v", l)
	}
}

// swollen is a queue whose dead letters have grown larger than a queue of ours takes.
type swollen struct{ *queuelocal.Queue }

func (q swollen) Subscribe(ctx context.Context, name string, prefetch int) (<-chan queue.Delivery, error) {
	in, err := q.Queue.Subscribe(ctx, name, prefetch)
	if err != nil || name != queue.Dead {
		return in, err
	}
	out := make(chan queue.Delivery)
	go func() {
		defer close(out)
		for d := range in {
			d.Body = bytes.Repeat([]byte("x"), queue.MaxBodyBytes+1)
			d.Headers = map[string]string{"a": strings.Repeat("y", 5<<20)}
			select {
			case out <- d:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

func TestFilesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	f := open(t)
	dead(t, f.queue, queue.Message{ID: "large"})
	defer run(t, consumer.Config{Store: f.store, Queue: swollen{f.queue}, Clock: still(now)})()
	l := letters(t, f.store, 1)[0]
	if len(l.Body) != queue.MaxBodyBytes || !strings.Contains(l.Reason, fmt.Sprintf("the first %d of %d bytes", queue.MaxBodyBytes, queue.MaxBodyBytes+1)) {
		t.Errorf("%d bytes, %s", len(l.Body), l.Reason)
	}
}

// TestReplays: a letter that the store takes now is stored and gone; one that it still refuses comes
// back as old as it was, and counted; one that is no batch stays.
func TestReplays(t *testing.T) {
	t.Parallel()
	f := open(t)
	s := &faulty{Store: f.store, refuse: "0000000"}
	stop := run(t, consumer.Config{Store: s, Queue: f.queue, Clock: still(now)})
	good, bad := message(t, 11, now), message(t, 100000001, now)
	s.refuse = "1"
	publish(t, f.queue, batch(t, good), batch(t, bad), queue.Message{ID: "poison", Body: []byte("no batch")})
	before := map[string]record.Letter{}
	eventually(t, "all are filed", func() bool {
		return count(t, f.store, store.Letters) == 3 && depth(t, f.queue, queue.Dead) == 0
	})
	for _, l := range letters(t, f.store, 3) {
		before[l.Message] = l
	}
	if m := member(t, f.store); m.Consumer != nil && m.Consumer.Filed > 3 {
		t.Errorf("member %+v", m.Consumer)
	}
	stop()
	for _, l := range before {
		ask(t, f.store, l)
	}
	s.refuse = "00001"
	defer run(t, consumer.Config{Store: s, Queue: f.queue, Clock: still(now)})()
	eventually(t, "two are back and one is stored", func() bool {
		if count(t, f.store, store.Letters) != 2 || count(t, f.store, store.Records) != 1 {
			return false
		}
		return !slices.ContainsFunc(letters(t, f.store, 2), func(l record.Letter) bool { return l.State != record.LetterDead })
	})
	for _, l := range letters(t, f.store, 2) {
		old := before[l.Message]
		if !l.First.Equal(old.First) {
			t.Errorf("first %s, was %s", l.First, old.First)
		}
		switch l.Message {
		case bad.ID:
			if l.Count != 2 || l.ID != old.ID || l.Headers["collector"] != "a" || l.Reason != "key too large" {
				t.Errorf("letter %+v", l)
			}
		case "poison":
			if l.Count != 1 || !strings.HasPrefix(l.Reason, "it can't be replayed: invalid batch") || !strings.HasSuffix(l.Reason, old.Reason) {
				t.Errorf("letter %+v", l)
			}
			first := l.Reason
			ask(t, f.store, l)
			eventually(t, "it is dead again", func() bool {
				return slices.ContainsFunc(letters(t, f.store, 2), func(n record.Letter) bool { return n.Message == l.Message && n.Rev == l.Rev+2 })
			})
			for _, n := range letters(t, f.store, 2) {
				if n.Message == l.Message && n.Reason != first {
					t.Errorf("reason %q, was %q", n.Reason, first)
				}
			}
		default:
			t.Errorf("letter %+v", l)
		}
	}
	eventually(t, "it tells", func() bool { m := member(t, f.store); return m.Consumer != nil && m.Consumer.Replayed == 2 })
}

// TestTellsOfLetters: the member says that there are dead letters.
func TestTellsOfLetters(t *testing.T) {
	t.Parallel()
	f := open(t)
	dead(t, f.queue, queue.Message{ID: "a", Body: []byte("a")}, queue.Message{ID: "b", Body: []byte("b")})
	stop := run(t, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(now)})
	letters(t, f.store, 2)
	stop()
	stop = run(t, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(now)})
	eventually(t, "the condition shows", func() bool {
		m := member(t, f.store)
		return strings.HasPrefix(condition(m, "dead-letters"), "2 dead letters") && m.Consumer.Letters == 2
	})
	stop()
	for _, l := range letters(t, f.store, 2) {
		if _, err := f.store.DeleteIf(t.Context(), store.Letters, l.ID, "state", record.LetterDead); err != nil {
			t.Fatal(err)
		}
	}
	defer run(t, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(now)})()
	eventually(t, "the condition is gone", func() bool {
		m := member(t, f.store)
		return condition(m, "dead-letters") == "" && m.Consumer.Letters == 0
	})
}

// TestComesBackBeforeItIsGone: a letter that is refused again before the one who replays it has
// deleted it stays.
func TestComesBackBeforeItIsGone(t *testing.T) {
	t.Parallel()
	f := open(t)
	refusing := &faulty{Store: f.store, refuse: "1"}
	stop := run(t, consumer.Config{Store: refusing, Queue: f.queue, Clock: still(now)})
	publish(t, f.queue, batch(t, message(t, 1, now)))
	old := letters(t, f.store, 1)[0]
	stop()
	ask(t, f.store, old)
	deleted := make(chan struct{})
	s := &hooked{Store: refusing}
	s.before = func(_ context.Context, op string, c store.Collection) error {
		if c == store.Letters && op == "delete" {
			for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
				raw, err := f.store.Get(t.Context(), store.Letters, old.ID)
				if err == nil && raw.Lookup("state").StringValue() == record.LetterDead {
					break // it is back
				}
			}
		}
		return nil
	}
	s.after = func(_ context.Context, op string, c store.Collection) error {
		if c == store.Letters && op == "delete" {
			close(deleted)
		}
		return nil
	}
	defer run(t, consumer.Config{Store: s, Queue: f.queue, Clock: still(now)})()
	<-deleted
	if l := letters(t, f.store, 1)[0]; l.ID != old.ID || l.Count != 2 || !l.First.Equal(old.First) || l.State != record.LetterDead {
		t.Errorf("letter %+v", l)
	}
}

// TestAskedAgainBeforeItIsGone: a letter that has come back, and that somebody wants replayed once more,
// is not deleted by the one who replayed it the first time.
func TestAskedAgainBeforeItIsGone(t *testing.T) {
	t.Parallel()
	f := open(t)
	stop := run(t, consumer.Config{Store: &faulty{Store: f.store, refuse: "1"}, Queue: f.queue, Clock: still(now)})
	publish(t, f.queue, batch(t, message(t, 1, now)))
	old := letters(t, f.store, 1)[0]
	stop()
	ask(t, f.store, old)
	var once sync.Once
	again, s := make(chan bool, 1), &hooked{Store: f.store}
	s.before = func(_ context.Context, op string, c store.Collection) error {
		if c == store.Letters && op == "delete" {
			once.Do(func() {
				l := letters(t, f.store, 1)[0]
				l.State, l.Replay = record.LetterDead, "" // it has come back
				put(t, f.store, store.Letters, l.ID, l)
				ask(t, f.store, l)
			})
		}
		return nil
	}
	s.after = func(_ context.Context, op string, c store.Collection) error {
		if c == store.Letters && op == "delete" {
			_, err := f.store.Get(t.Context(), store.Letters, old.ID)
			select {
			case again <- err == nil:
			default:
			}
		}
		return nil
	}
	defer run(t, consumer.Config{Store: s, Queue: f.queue, Clock: still(now)})()
	if !<-again {
		t.Error("the second wish was deleted unheard")
	}
	eventually(t, "it is replayed again", func() bool { return count(t, f.store, store.Letters) == 0 })
}

// TestAskedBeforeAcknowledged: a letter that somebody wants replayed is, though its message comes again
// because whoever filed it could not acknowledge that.
func TestAskedBeforeAcknowledged(t *testing.T) {
	t.Parallel()
	f := open(t)
	s := &faulty{Store: f.store, refuse: "1"}
	q := &stubborn{Queue: f.queue, broken: func(id string) bool { return strings.HasSuffix(id, "/00000001") }}
	stop := run(t, consumer.Config{Store: s, Queue: q, Clock: still(now)})
	m := batch(t, message(t, 1, now))
	m.ID = "batch"
	publish(t, f.queue, m)
	l := letters(t, f.store, 1)[0]
	eventually(t, "the batch is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	stop()
	ask(t, f.store, l)
	if n := depth(t, f.queue, queue.Dead); n != 1 {
		t.Fatalf("%d dead letters in the queue", n)
	}
	defer run(t, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(now)})()
	eventually(t, "it is stored", func() bool {
		return count(t, f.store, store.Records) == 1 && depth(t, f.queue, queue.Dead) == 0
	})
}

// mortal is a store and a queue that a process uses until it dies: at the given step of those that
// matter, before or after that has its effect. Nothing it does later arrives.
type mortal struct {
	dies   int64
	effect bool // the step at which it dies is still done
	steps  atomic.Int64
	died   chan struct{}
}

var errDied = errors.New("the process has died")

func (m *mortal) step(f func() error) error {
	switch n := m.steps.Add(1) - 1; {
	case n < m.dies:
		return f()
	case n > m.dies:
		return errDied
	}
	defer close(m.died)
	if m.effect {
		_ = f()
	}
	return errDied
}

func (m *mortal) dead() bool {
	select {
	case <-m.died:
		return true
	default:
		return false
	}
}

type mortalStore struct {
	*hooked
	m *mortal
}

func newMortalStore(s store.Store, m *mortal) mortalStore {
	return mortalStore{hooked: &hooked{Store: s}, m: m}
}

func (s mortalStore) Get(ctx context.Context, c store.Collection, id string) (out bson.Raw, err error) {
	if c != store.Letters {
		return s.hooked.Get(ctx, c, id)
	}
	stepped := s.m.step(func() error {
		out, err = s.hooked.Get(ctx, c, id)
		return err
	})
	return out, stepped
}

func (s mortalStore) CompareAndSet(ctx context.Context, c store.Collection, rev int64, d store.Doc) error {
	return s.m.step(func() error { return s.hooked.CompareAndSet(ctx, c, rev, d) })
}

func (s mortalStore) DeleteIf(ctx context.Context, c store.Collection, id, field, value string) (ok bool, err error) {
	stepped := s.m.step(func() error {
		ok, err = s.hooked.DeleteIf(ctx, c, id, field, value)
		return err
	})
	return ok, stepped
}

type mortalQueue struct {
	*queuelocal.Queue
	m *mortal
}

func (q mortalQueue) Publish(ctx context.Context, name string, messages ...queue.Message) error {
	return q.m.step(func() error { return q.Queue.Publish(ctx, name, messages...) })
}

func (q mortalQueue) Subscribe(ctx context.Context, name string, prefetch int) (<-chan queue.Delivery, error) {
	in, err := q.Queue.Subscribe(ctx, name, prefetch)
	if err != nil {
		return nil, err
	}
	out := make(chan queue.Delivery)
	go func() {
		defer close(out)
		for d := range in {
			ack := d.Ack
			d.Ack = func(ctx context.Context) error { return q.m.step(func() error { return ack(ctx) }) }
			select {
			case out <- d:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

// dieEverywhere kills a consumer at every step of its way to a goal, before and after the step, and
// lets another go on from there. It returns how many deaths there were.
func dieEverywhere(t *testing.T, prepare func(f fixture), reached func(f fixture) bool, check func(t *testing.T, f fixture), refuse string) int {
	t.Helper()
	for n := int64(0); ; n++ {
		whole := false
		for _, effect := range []bool{false, true} {
			f := open(t)
			prepare(f)
			m := &mortal{dies: n, effect: effect, died: make(chan struct{})}
			ctx, cancel := context.WithCancel(context.Background())
			c, err := consumer.New(consumer.Config{
				Store: newMortalStore(&faulty{Store: f.store, refuse: refuse}, m), Queue: mortalQueue{f.queue, m}, Clock: still(now),
				Name: "c0", Logger: slog.New(slog.DiscardHandler), StopTimeout: time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			eventually(t, "it died or came to the end", func() bool { return m.dead() || reached(f) })
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			whole = whole || !m.dead() // asked now: it may have reached the goal by the step at which it died
			stop := run(t, consumer.Config{Store: &faulty{Store: f.store, refuse: refuse}, Queue: f.queue, Clock: still(now)})
			eventually(t, fmt.Sprintf("another has done it after a death at step %d, effect %v", n, effect), func() bool { return reached(f) })
			stop()
			check(t, f)
		}
		if whole {
			return int(n)
		}
	}
}

// TestClerkDies: wherever it dies, a letter is filed once, and counted once.
func TestClerkDies(t *testing.T) {
	t.Parallel()
	deaths := dieEverywhere(t, func(f fixture) {
		dead(t, f.queue, queue.Message{ID: "a", Body: []byte("a")}, queue.Message{ID: "b", Body: []byte("b")})
	}, func(f fixture) bool {
		return depth(t, f.queue, queue.Dead) == 0
	}, func(t *testing.T, f fixture) {
		t.Helper()
		for _, l := range letters(t, f.store, 2) {
			if l.Count != 1 || l.State != record.LetterDead {
				t.Errorf("letter %+v", l)
			}
		}
	}, "nothing")
	if deaths < 4 { // read, write, acknowledge, as a rule of each of two letters
		t.Errorf("it died %d times", deaths)
	}
}

// TestReplayDies: wherever it dies, a letter that is replayed is stored, or is a letter again.
func TestReplayDies(t *testing.T) {
	t.Parallel()
	for _, refuse := range []string{"nothing", "1"} {
		t.Run("the store refuses "+refuse, func(t *testing.T) {
			t.Parallel()
			first := now.Add(-time.Hour)
			r := message(t, 1, now)
			deaths := dieEverywhere(t, func(f fixture) {
				put(t, f.store, store.Letters, "x", record.Letter{
					ID: "x", Rev: 1, State: record.LetterReplay, Body: batch(t, r).Body, Reason: "key too large", Count: 1,
					Time: first, First: first, Queue: queue.Store, Message: r.ID, Code: record.CodeRefused,
				})
			}, func(f fixture) bool {
				if depth(t, f.queue, queue.Dead)+depth(t, f.queue, queue.Store) > 0 {
					return false
				}
				if refuse == "nothing" {
					return count(t, f.store, store.Letters) == 0
				}
				ls := filed(t, f.store)
				return len(ls) == 1 && ls[0].State == record.LetterDead && ls[0].ID != "x"
			}, func(t *testing.T, f fixture) {
				t.Helper()
				if refuse == "nothing" {
					if n := count(t, f.store, store.Records); n != 1 {
						t.Errorf("%d records", n)
					}
					return
				}
				l := letters(t, f.store, 1)[0]
				if l.Count < 2 || !l.First.Equal(first) || len(held(t, []record.Letter{l})) != 1 {
					t.Errorf("letter %+v", l)
				}
			}, refuse)
			if deaths < 3 { // read, publish, delete; as a rule acknowledge
				t.Errorf("it died %d times", deaths)
			}
		})
	}
}

// TestTwoClerks: letters that two replay at the same time are stored once, and none is left.
func TestTwoClerks(t *testing.T) {
	t.Parallel()
	f := open(t)
	const n = 50
	for i := range n {
		id := fmt.Sprintf("l%d", i)
		put(t, f.store, store.Letters, id, record.Letter{
			ID: id, Rev: 1, State: record.LetterReplay, Body: batch(t, message(t, i, now)).Body, Count: 1, Time: now, First: now, Message: id,
		})
	}
	for range 2 {
		defer run(t, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(now)})()
	}
	eventually(t, "all are stored", func() bool {
		return count(t, f.store, store.Letters) == 0 && count(t, f.store, store.Records) == n && depth(t, f.queue, queue.Store) == 0
	})
}

// TestLettersWait: while the store is away letters stay in the queue, and the member tells later.
func TestLettersWait(t *testing.T) {
	t.Parallel()
	f := open(t)
	var (
		down  atomic.Bool
		tried atomic.Int64
	)
	down.Store(true)
	s := &hooked{Store: f.store, before: func(_ context.Context, op string, c store.Collection) error {
		if c == store.Letters && op == "set" && down.Load() {
			tried.Add(1)
			return errDown
		}
		return nil
	}}
	dead(t, f.queue, queue.Message{ID: "a", Body: []byte("a")})
	defer run(t, consumer.Config{Store: s, Queue: f.queue, Clock: still(now)})()
	eventually(t, "the condition shows", func() bool {
		return strings.Contains(condition(member(t, f.store), "letters-waiting"), errDown.Error())
	})
	if n := depth(t, f.queue, queue.Dead); n != 1 || tried.Load() == 0 {
		t.Errorf("%d letters in the queue after %d attempts", n, tried.Load())
	}
	down.Store(false)
	letters(t, f.store, 1)
	eventually(t, "the condition is gone", func() bool { return condition(member(t, f.store), "letters-waiting") == "" })
	eventually(t, "it is acknowledged", func() bool { return depth(t, f.queue, queue.Dead) == 0 })
}
