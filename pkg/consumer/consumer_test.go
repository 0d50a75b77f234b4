package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/consumer"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	queuelocal "github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	storelocal "github.com/tungstene/tungstene/pkg/store/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const event = "zevent"

// still is a clock that stands.
type still time.Time

func (s still) Now() time.Time { return time.Time(s) }

func (s still) Until(ctx context.Context, _ time.Time) error {
	<-ctx.Done()
	return ctx.Err()
}

var now = time.Date(2026, 9, 4, 18, 31, 40, 0, time.UTC)

// fixture is a store and a queue in files of their own.
type fixture struct {
	store *storelocal.Store
	queue *queuelocal.Queue
}

func open(tb testing.TB) fixture {
	tb.Helper()
	s, err := storelocal.Open(filepath.Join(tb.TempDir(), "store.db"), storelocal.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	q, err := queuelocal.Open(filepath.Join(tb.TempDir(), "queue.db"), queuelocal.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(q.Close(), s.Close()); err != nil {
			tb.Error(err)
		}
	})
	return fixture{store: s, queue: q}
}

// run runs a consumer until the returned function is called, which waits for it.
func run(tb testing.TB, cfg consumer.Config) (stop func()) {
	tb.Helper()
	cfg.Name, cfg.Logger = "c1", slog.New(slog.DiscardHandler)
	c, err := consumer.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("run: %v", err)
		}
	})
}

func message(tb testing.TB, id int, at time.Time) record.Record {
	tb.Helper()
	r, err := record.Encode(&record.Message{
		Header:    record.Header{Event: event, Channel: strconv.Itoa(id % 350), Time: at, Received: at},
		MessageID: fmt.Sprintf("%08d", id), Chatter: "someone", Length: 3,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func batch(tb testing.TB, records ...record.Record) queue.Message {
	tb.Helper()
	body, err := record.EncodeBatch(records, record.None)
	if err != nil {
		tb.Fatal(err)
	}
	return queue.Message{ID: records[0].ID, Body: body, Headers: map[string]string{"collector": "a"}}
}

func publish(tb testing.TB, q queue.Publisher, messages ...queue.Message) {
	tb.Helper()
	if err := q.Publish(tb.Context(), queue.Store, messages...); err != nil {
		tb.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited in vain until %s", what)
		}
	}
}

func depth(tb testing.TB, q *queuelocal.Queue, name string) int {
	tb.Helper()
	n, err := q.Depth(tb.Context(), name)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func count(tb testing.TB, s store.Store, c store.Collection) int {
	tb.Helper()
	n, err := s.Count(tb.Context(), store.Query{Collection: c})
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestStoresOnceAndMarksLateMinutes(t *testing.T) {
	t.Parallel()
	f := open(t)
	reg := prometheus.NewPedanticRegistry()
	var fresh atomic.Int64
	stop := run(t, consumer.Config{
		Store: f.store, Queue: f.queue, Clock: still(now), Registerer: reg,
		Stored: func(records []record.Record) { fresh.Add(int64(len(records))) },
	})
	defer stop()
	// With a grace of 20 s, at 18:31:40 the minute 18:30 closed at 18:31:20; 18:31 closes at 18:32:20.
	messages := make([]queue.Message, 0, 40)
	for i := range 20 {
		b := batch(t, message(t, 2*i, now), message(t, 2*i+1, now.Add(-time.Second)))
		messages = append(messages, b, b)
	}
	publish(t, f.queue, messages...)
	eventually(t, "everything is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	if n := count(t, f.store, store.Records); n != 40 || fresh.Load() != 40 {
		t.Errorf("%d records stored, %d new; want 40", n, fresh.Load())
	}
	if n := count(t, f.store, store.Marks); n != 0 {
		t.Errorf("%d marks of an open minute", n)
	}
	late := batch(t, message(t, 100, now.Add(-time.Minute)), message(t, 101, now.Add(-time.Hour)))
	nonces := map[string]bool{}
	for range 2 { // a redelivery marks again, with another nonce
		publish(t, f.queue, late)
		eventually(t, "the late batch is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
		for raw, err := range f.store.Find(t.Context(), store.Query{Collection: store.Marks, Event: event}) {
			if err != nil {
				t.Fatal(err)
			}
			var m record.Mark
			if err := bson.Unmarshal(raw, &m); err != nil {
				t.Fatal(err)
			}
			if at := record.Minute(now); !m.Time.Equal(at.Add(-time.Minute)) && !m.Time.Equal(at.Add(-time.Hour)) || m.Channel != "" {
				t.Errorf("a mark of %v", m.Time)
			}
			nonces[m.Nonce] = true
		}
	}
	if len(nonces) != 4 {
		t.Errorf("%d nonces, want 4", len(nonces))
	}
	stop()
	raw, err := f.store.Get(t.Context(), store.Members, control.RoleConsumer+"/c1")
	if err != nil {
		t.Fatal(err)
	}
	var m control.Member
	if err := bson.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	if m.Consumer == nil || m.Consumer.Inserted != 42 || m.Consumer.Existed != 42 || m.Consumer.Batches != 42 || m.Consumer.Marks != 4 {
		t.Errorf("member %+v", m.Consumer)
	}
	if _, err := reg.Gather(); err != nil {
		t.Error(err)
	}
}

// TestSkew: a minute that closes within the skew is marked, one that closes later is not.
func TestSkew(t *testing.T) {
	t.Parallel()
	for at, want := range map[time.Duration]int{
		80*time.Second - 5001*time.Millisecond: 0, 80*time.Second - 5*time.Second: 1, 80 * time.Second: 1, time.Hour: 1,
	} {
		f := open(t)
		minute := record.Minute(now)
		stop := run(t, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(minute.Add(at))})
		publish(t, f.queue, batch(t, message(t, 1, minute)))
		eventually(t, "it is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
		stop()
		if n := count(t, f.store, store.Marks); n != want {
			t.Errorf("stored %v after the minute's start: %d marks, want %d", at, n, want)
		}
	}
}

// faulty is a store that fails, refuses, and keeps a journal.
type faulty struct {
	store.Store
	down   atomic.Bool
	failed atomic.Int64
	refuse string
	why    error // default "key too large"

	mu      sync.Mutex
	journal []string
}

var errDown = errors.New("the store is down")

func (s *faulty) log(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal = append(s.journal, what)
}

func (s *faulty) Insert(ctx context.Context, records []record.Record) ([]store.Result, error) {
	if s.down.Load() {
		s.failed.Add(1)
		return nil, errDown
	}
	results := make([]store.Result, len(records))
	for i, r := range records {
		if s.refuse != "" && strings.HasSuffix(r.ID, s.refuse) {
			why := s.why
			if why == nil {
				why = errors.New("key too large")
			}
			results[i] = store.Result{Outcome: store.Refused, Err: why}
			continue
		}
		one, err := s.Store.Insert(ctx, []record.Record{r})
		if err != nil {
			return nil, err
		}
		results[i] = one[0]
	}
	s.log("insert")
	return results, nil
}

func (s *faulty) Put(ctx context.Context, c store.Collection, docs []store.Doc) error {
	err := s.Store.Put(ctx, c, docs)
	if c == store.Marks {
		s.log("mark")
	}
	return err
}

// journaled notes acknowledgements in the store's journal.
type journaled struct {
	*queuelocal.Queue
	store *faulty
}

func (q journaled) Subscribe(ctx context.Context, name string, prefetch int) (<-chan queue.Delivery, error) {
	in, err := q.Queue.Subscribe(ctx, name, prefetch)
	if err != nil {
		return nil, err
	}
	out := make(chan queue.Delivery)
	go func() {
		defer close(out)
		for d := range in {
			ack := d.Ack
			d.Ack = func(ctx context.Context) error {
				q.store.log("ack")
				return ack(ctx)
			}
			select {
			case out <- d:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

func TestOrderOfWrites(t *testing.T) {
	t.Parallel()
	f := open(t)
	s := &faulty{Store: f.store}
	stop := run(t, consumer.Config{Store: s, Queue: journaled{Queue: f.queue, store: s}, Clock: still(now)})
	publish(t, f.queue, batch(t, message(t, 1, now.Add(-time.Hour))))
	eventually(t, "it is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	stop()
	if want := []string{"insert", "mark", "ack"}; !slices.Equal(s.journal, want) {
		t.Errorf("%v, want %v", s.journal, want)
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	f := open(t)
	s := &faulty{Store: f.store}
	s.down.Store(true)
	stop := run(t, consumer.Config{Store: s, Queue: f.queue, Clock: still(now), Prefetch: 4})
	defer stop()
	for i := range 20 {
		publish(t, f.queue, batch(t, message(t, i, now)))
	}
	eventually(t, "it has tried three times", func() bool { return s.failed.Load() >= 3 })
	if n := depth(t, f.queue, queue.Store); n != 20 {
		t.Errorf("%d batches left during an outage, want 20", n)
	}
	s.down.Store(false)
	eventually(t, "everything is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	if n := count(t, f.store, store.Records); n != 20 {
		t.Errorf("%d records, want 20", n)
	}
}

// TestStopDuringOutage: what is held goes back to the queue, and to the next consumer.
func TestStopDuringOutage(t *testing.T) {
	t.Parallel()
	f := open(t)
	s := &faulty{Store: f.store}
	s.down.Store(true)
	stop := run(t, consumer.Config{Store: s, Queue: f.queue, Clock: still(now)})
	for i := range 10 {
		publish(t, f.queue, batch(t, message(t, i, now)))
	}
	eventually(t, "it has tried", func() bool { return s.failed.Load() >= 1 })
	stop()
	if n := depth(t, f.queue, queue.Store); n != 10 {
		t.Errorf("%d batches left, want 10", n)
	}
	defer run(t, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(now)})()
	eventually(t, "everything is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	if n := count(t, f.store, store.Records); n != 10 {
		t.Errorf("%d records, want 10", n)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	f := open(t)
	s := &faulty{Store: f.store, refuse: "00000002"}
	stop := run(t, consumer.Config{Store: s, Queue: f.queue, Clock: still(now)})
	defer stop()
	refused := message(t, 2, now)
	poison := queue.Message{ID: "poison", Body: []byte("no batch"), Headers: map[string]string{
		consumer.HeaderCount: "2", consumer.HeaderFailed: "2026-09-04T10:00:00Z",
	}}
	publish(t, f.queue, batch(t, message(t, 1, now), refused, message(t, 3, now)), poison)
	eventually(t, "both are acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	if n := count(t, f.store, store.Records); n != 2 {
		t.Errorf("%d records, want the two mates", n)
	}
	for _, l := range letters(t, f.store, 2) {
		if l.Queue != queue.Store || l.State != record.LetterDead || l.Time.IsZero() {
			t.Errorf("letter %+v", l)
		}
		if l.Message == "poison" {
			if string(l.Body) != "no batch" || l.Count != 3 || !l.First.Equal(time.Date(2026, 9, 4, 10, 0, 0, 0, time.UTC)) ||
				!strings.Contains(l.Reason, "invalid batch") || l.Code != record.CodeUnreadable || l.Records != 0 {
				t.Errorf("poison %+v", l)
			}
			continue
		}
		records, err := record.DecodeBatch(l.Body)
		if err != nil || len(records) != 1 || records[0].ID != refused.ID || l.Records != 1 {
			t.Errorf("records %v, err %v", records, err)
		}
		if l.Record != refused.ID || l.Count != 1 || l.Headers["collector"] != "a" || l.Reason != "key too large" ||
			l.Code != record.CodeRefused || l.Event != event || l.Channel != "2" || l.Kind != record.KindMessage {
			t.Errorf("letter %+v", l)
		}
	}
}

// letters waits until so many dead letters are filed and none is in the queue.
func letters(tb testing.TB, s store.Store, n int) []record.Letter {
	tb.Helper()
	var out []record.Letter
	eventually(tb, fmt.Sprintf("%d letters are filed", n), func() bool {
		out = filed(tb, s)
		return len(out) == n
	})
	return out
}

// filed is the dead letters that are filed now.
func filed(tb testing.TB, s store.Store) []record.Letter {
	tb.Helper()
	var out []record.Letter
	for raw, err := range s.Find(tb.Context(), store.Query{Collection: store.Letters}) {
		if err != nil {
			tb.Fatal(err)
		}
		var l record.Letter
		if err := bson.Unmarshal(raw, &l); err != nil {
			tb.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// stubborn is a queue that fails to take acknowledgements, and what is too large for its dead letters.
type stubborn struct {
	*queuelocal.Queue
	broken func(id string) bool
	failed atomic.Int64
	// largest is the largest body that the dead letters take; 0: any.
	largest int
}

var errFull = errors.New("the disk is full")

func (q *stubborn) Subscribe(ctx context.Context, name string, prefetch int) (<-chan queue.Delivery, error) {
	in, err := q.Queue.Subscribe(ctx, name, prefetch)
	if err != nil {
		return nil, err
	}
	out := make(chan queue.Delivery)
	go func() {
		defer close(out)
		for d := range in {
			ack := d.Ack
			d.Ack = func(ctx context.Context) error {
				if q.broken(d.ID) {
					q.failed.Add(1)
					return errFull
				}
				return ack(ctx)
			}
			select {
			case out <- d:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

func (q *stubborn) Publish(ctx context.Context, name string, messages ...queue.Message) error {
	for i := range messages {
		if name == queue.Dead && q.largest > 0 && len(messages[i].Body) > q.largest {
			return fmt.Errorf("publish: %w", queue.ErrTooLarge)
		}
	}
	return q.Queue.Publish(ctx, name, messages...)
}

// TestAcknowledgesAgain: a disk that is full for a while stops nobody for longer than that.
func TestAcknowledgesAgain(t *testing.T) {
	t.Parallel()
	f := open(t)
	var full atomic.Bool
	full.Store(true)
	q := &stubborn{Queue: f.queue, broken: func(string) bool { return full.Load() }}
	const prefetch, batches = 4, 20
	stop := run(t, consumer.Config{Store: f.store, Queue: q, Clock: still(now), Prefetch: prefetch})
	defer stop()
	for i := range batches {
		publish(t, f.queue, batch(t, message(t, i, now)))
	}
	// All that may be held is stored, though none of it could be acknowledged.
	eventually(t, "acknowledgements failed", func() bool {
		return q.failed.Load() > 2*prefetch && count(t, f.store, store.Records) == prefetch
	})
	if n := depth(t, f.queue, queue.Store); n != batches {
		t.Errorf("%d batches left, want all %d", n, batches)
	}
	conditions := func() []control.Condition {
		raw, err := f.store.Get(t.Context(), store.Members, control.RoleConsumer+"/c1")
		if err != nil {
			return nil
		}
		var m control.Member
		if err := bson.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		return m.Conditions
	}
	eventually(t, "the condition shows", func() bool {
		c := conditions()
		return len(c) == 1 && c[0].Name == "consumer-waiting" && strings.Contains(c[0].Detail, errFull.Error())
	})
	full.Store(false)
	eventually(t, "everything is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	if n := count(t, f.store, store.Records); n != batches {
		t.Errorf("%d records, want %d", n, batches)
	}
	stop()
	if c := conditions(); len(c) > 0 {
		t.Errorf("conditions %+v", c)
	}
}

// TestOneAcknowledgementStopsNobody: batches behind one that can't be acknowledged go on, and the
// stop waits for it no longer than it may.
func TestOneAcknowledgementStopsNobody(t *testing.T) {
	t.Parallel()
	f := open(t)
	stuck := batch(t, message(t, 0, now))
	q := &stubborn{Queue: f.queue, broken: func(id string) bool { return id == stuck.ID }}
	stop := run(t, consumer.Config{
		Store: f.store, Queue: q, Clock: still(now), Prefetch: 2, StopTimeout: 50 * time.Millisecond,
	})
	publish(t, f.queue, stuck)
	for i := range 20 {
		publish(t, f.queue, batch(t, message(t, i+1, now)))
	}
	eventually(t, "all others are acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 1 })
	stop()
	if n := depth(t, f.queue, queue.Store); n != 1 {
		t.Errorf("%d batches left, want the one", n)
	}
}

// TestMarksOnlyWhatCounts: a stream that began hours ago makes no minute be counted again.
func TestMarksOnlyWhatCounts(t *testing.T) {
	t.Parallel()
	f := open(t)
	old := record.Minute(now.Add(-5 * time.Hour))
	h := func(minutes int) record.Header {
		at := old.Add(time.Duration(minutes) * time.Minute)
		return record.Header{Event: event, Channel: "1", Time: at, Received: now}
	}
	var records []record.Record
	for _, d := range []record.Document{
		&record.Session{Header: h(0), Stream: "1", Phase: "start", Started: old},
		&record.Change{Header: h(1), Field: "title", To: "x"},
		&record.RoomState{Header: h(2)},
		&record.Viewers{Header: h(3), Source: record.SourceHelix}, // the only one of a counted kind
	} {
		r, err := record.Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	raw, err := bson.Marshal(bson.D{
		{Key: "_id", Value: event + "/raffle/1"},
		{Key: "kind", Value: "raffle"},
		{Key: "event", Value: event},
		{Key: "channel", Value: "1"},
		{Key: "time", Value: old.Add(4 * time.Minute)},
	})
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := record.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(now)})
	publish(t, f.queue, batch(t, append(records, unknown)...))
	eventually(t, "it is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	stop()
	if n := count(t, f.store, store.Records); n != 5 {
		t.Errorf("%d records stored, want all 5", n)
	}
	for raw, err := range f.store.Find(t.Context(), store.Query{Collection: store.Marks}) {
		if err != nil {
			t.Fatal(err)
		}
		if at := raw.Lookup("time").Time(); !at.Equal(old.Add(3 * time.Minute)) {
			t.Errorf("a mark of %v", at)
		}
	}
	if n := count(t, f.store, store.Marks); n != 1 {
		t.Errorf("%d marks, want the one of the sample", n)
	}
}

// TestLargeDeadLetters: an id, a reason and headers larger than a queue takes stop nothing.
func TestLargeDeadLetters(t *testing.T) {
	t.Parallel()
	for what, largest := range map[string]int{"all of it": 0, "no body": 1} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			long := strings.Repeat("é", 220)
			r, err := record.Encode(&record.Message{
				Header: record.Header{Event: event, Channel: "1", Time: now, Received: now}, MessageID: long, Chatter: "x",
			})
			if err != nil {
				t.Fatal(err)
			}
			s := &faulty{Store: f.store, refuse: "é", why: errors.New(strings.Repeat("too large ", 10_000))}
			q := &stubborn{Queue: f.queue, broken: func(string) bool { return false }, largest: largest}
			defer run(t, consumer.Config{Store: s, Queue: q, Clock: still(now)})()
			poison := queue.Message{ID: "poison", Body: []byte("no batch"), Headers: map[string]string{
				"collector": "a", "padding": strings.Repeat("x", queue.MaxHeaderBytes-100),
			}}
			b := batch(t, r, message(t, 1, now))
			b.ID = "b"
			publish(t, f.queue, b, poison)
			eventually(t, "both are acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
			for _, l := range letters(t, f.store, 2) {
				if l.Count != 1 || l.Reason == "" || l.Queue != queue.Store || l.Code == "" {
					t.Errorf("letter %+v", l)
				}
				switch {
				case largest > 0:
					if len(l.Body) > 0 {
						t.Errorf("a body of %d bytes", len(l.Body))
					}
				case l.Message == "poison":
					if string(l.Body) != "no batch" || l.Headers["collector"] != "a" || l.Headers["padding"] != "" {
						t.Errorf("poison %q, collector %q, %d bytes of padding", l.Body, l.Headers["collector"], len(l.Headers["padding"]))
					}
				default:
					records, err := record.DecodeBatch(l.Body)
					if err != nil || len(records) != 1 || records[0].ID != r.ID || l.Record != r.ID {
						t.Errorf("records %v, err %v, record %s", records, err, l.Record)
					}
				}
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	f := open(t)
	for what, cfg := range map[string]consumer.Config{
		"no store": {Queue: f.queue, Name: "c"}, "no queue": {Store: f.store, Name: "c"},
		"no name": {Store: f.store, Queue: f.queue}, "negative": {Store: f.store, Queue: f.queue, Name: "c", Skew: -1},
	} {
		if _, err := consumer.New(cfg); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func BenchmarkConsumer(b *testing.B) {
	f := open(b)
	const size = 250
	n := 0
	for b.Loop() {
		b.StopTimer()
		for range 40 {
			records := make([]record.Record, size)
			for i := range records {
				records[i] = message(b, n, now)
				n++
			}
			publish(b, f.queue, batch(b, records...))
		}
		b.StartTimer()
		stop := run(b, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(now)})
		eventually(b, "everything is acknowledged", func() bool { return depth(b, f.queue, queue.Store) == 0 })
		b.StopTimer()
		stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
