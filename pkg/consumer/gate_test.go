package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/consumer"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	storelocal "github.com/tungstene/tungstene/pkg/store/local"
)

// put writes one document.
func put(tb testing.TB, s store.Store, c store.Collection, id string, v any) {
	tb.Helper()
	raw, err := bson.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Put(context.WithoutCancel(tb.Context()), c, []store.Doc{{ID: id, Raw: raw}}); err != nil {
		tb.Error(err)
	}
}

func putEvent(tb testing.TB, s store.Store, slug, state string) {
	tb.Helper()
	put(tb, s, store.Events, slug, record.Event{
		Slug: slug, Rev: 1, State: state, Start: now.Add(-time.Hour), End: now.Add(time.Hour),
	})
}

// ann is forgotten in the tests.
func ann(tb testing.TB) (user, name string) {
	tb.Helper()
	p, err := record.NewPseudonyms(bytes.Repeat([]byte{1}, record.KeyBytes), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return p.User("1"), p.Name("ann")
}

func forget(tb testing.TB, s store.Store, slug string) {
	tb.Helper()
	user, name := ann(tb)
	put(tb, s, store.Tombstones, slug+"/"+user, record.Tombstone{
		ID: slug + "/" + user, Rev: 1, Event: slug, Time: now, User: user, Name: name, State: record.TombstonePending,
	})
}

func encode(tb testing.TB, d record.Document) record.Record {
	tb.Helper()
	r, err := record.Encode(d)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// said is a message of someone in an event.
func said(tb testing.TB, slug string, id int, chatter, text string) record.Record {
	tb.Helper()
	return encode(tb, &record.Message{
		Header:    record.Header{Event: slug, Channel: "1", Time: now.Add(-time.Minute), Received: now},
		MessageID: fmt.Sprintf("%08d", id), Chatter: chatter, Length: len(text), Text: text,
	})
}

// hooked is a store that calls something before and after what it does.
type hooked struct {
	store.Store
	before, after func(ctx context.Context, op string, c store.Collection) error
}

func (s *hooked) do(ctx context.Context, op string, c store.Collection, f func() error) error {
	if s.before != nil {
		if err := s.before(ctx, op, c); err != nil {
			return err
		}
	}
	err := f()
	if s.after != nil {
		return errors.Join(err, s.after(ctx, op, c))
	}
	return err
}

func (s *hooked) Insert(ctx context.Context, records []record.Record) (out []store.Result, err error) {
	err = s.do(ctx, "insert", store.Records, func() error {
		out, err = s.Store.Insert(ctx, records)
		return err
	})
	return out, err
}

func (s *hooked) Get(ctx context.Context, c store.Collection, id string) (out bson.Raw, err error) {
	err = s.do(ctx, "get", c, func() error {
		out, err = s.Store.Get(ctx, c, id)
		return err
	})
	return out, err
}

func (s *hooked) CompareAndSet(ctx context.Context, c store.Collection, rev int64, d store.Doc) error {
	return s.do(ctx, "set", c, func() error { return s.Store.CompareAndSet(ctx, c, rev, d) })
}

func (s *hooked) Put(ctx context.Context, c store.Collection, docs []store.Doc) error {
	return s.do(ctx, "put", c, func() error { return s.Store.Put(ctx, c, docs) })
}

func (s *hooked) DeleteIf(ctx context.Context, c store.Collection, id, field, value string) (ok bool, err error) {
	err = s.do(ctx, "delete", c, func() error {
		ok, err = s.Store.DeleteIf(ctx, c, id, field, value)
		return err
	})
	return ok, err
}

func (s *hooked) Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	if s.before != nil {
		if err := s.before(ctx, "find", q.Collection); err != nil {
			return func(yield func(bson.Raw, error) bool) { yield(nil, err) }
		}
	}
	return s.Store.Find(ctx, q)
}

func recordIDs(tb testing.TB, s store.Store) map[string]bson.Raw {
	tb.Helper()
	out := map[string]bson.Raw{}
	for raw, err := range s.Find(context.WithoutCancel(tb.Context()), store.Query{Collection: store.Records}) {
		if err != nil {
			tb.Fatal(err)
		}
		out[store.DocID(raw)] = raw
	}
	return out
}

// held are the ids of all records that dead letters hold.
func held(tb testing.TB, letters []record.Letter) []string {
	tb.Helper()
	var ids []string
	for _, l := range letters {
		records, err := record.DecodeBatch(l.Body)
		if err != nil {
			tb.Fatal(err)
		}
		for _, r := range records {
			ids = append(ids, r.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// TestFrozen: nothing of a frozen event is stored; what it has already is no news.
func TestFrozen(t *testing.T) {
	t.Parallel()
	f := open(t)
	stored := said(t, "old", 1, "x", "")
	if _, err := f.store.Insert(t.Context(), []record.Record{stored}); err != nil {
		t.Fatal(err)
	}
	putEvent(t, f.store, "old", record.EventFrozen)
	putEvent(t, f.store, event, record.EventLive)
	defer run(t, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(now)})()
	late := []record.Record{said(t, "old", 2, "x", ""), said(t, "old", 3, "x", "")}
	other := said(t, event, 4, "x", "")
	publish(t, f.queue, batch(t, stored, late[0], late[1], other))
	eventually(t, "it is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	l := letters(t, f.store, 1)[0]
	if got, want := held(t, []record.Letter{l}), []string{late[0].ID, late[1].ID}; !slices.Equal(got, want) {
		t.Errorf("the letter holds %v, want %v", got, want)
	}
	if l.Code != record.CodeFrozen || l.Event != "old" || l.Records != 2 || !strings.Contains(l.Reason, "event old is frozen") {
		t.Errorf("letter %+v", l)
	}
	if got := recordIDs(t, f.store); len(got) != 2 || got[stored.ID] == nil || got[other.ID] == nil {
		t.Errorf("stored %v", slices.Collect(maps.Keys(got)))
	}
	if n, err := f.store.Count(t.Context(), store.Query{Collection: store.Marks, Event: "old"}); err != nil || n != 0 {
		t.Errorf("%d marks of the frozen event, err %v", n, err)
	}
}

// TestFreezeRace: an event that is frozen between an insert and the second look has none of it.
func TestFreezeRace(t *testing.T) {
	t.Parallel()
	for _, state := range []string{record.EventEnded, record.EventScheduled, "", record.EventLive} {
		t.Run("was "+state, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			if state != "" {
				putEvent(t, f.store, event, state)
			}
			var freeze sync.Once
			s := &hooked{Store: f.store, after: func(_ context.Context, op string, _ store.Collection) error {
				if op == "insert" {
					freeze.Do(func() { putEvent(t, f.store, event, record.EventFrozen) })
				}
				return nil
			}}
			cfg := consumer.Config{Store: s, Queue: f.queue, Clock: still(now)}
			if state == record.EventLive {
				// A grace so short that the event could be ended and frozen within GateAge.
				cfg.Grace = cfg.Skew + consumer.GateAge
			}
			defer run(t, cfg)()
			var want []string
			for i := range 20 {
				r := said(t, event, i, "x", "")
				want = append(want, r.ID)
				publish(t, f.queue, batch(t, r))
			}
			eventually(t, "all is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
			eventually(t, "all letters are filed", func() bool { return depth(t, f.queue, queue.Dead) == 0 })
			if got := held(t, letters(t, f.store, 20)); !slices.Equal(got, want) {
				t.Errorf("letters hold %v", got)
			}
			if n := count(t, f.store, store.Records); n != 0 {
				t.Errorf("%d records of a frozen event", n)
			}
			if n := count(t, f.store, store.Marks); n != 1 {
				t.Errorf("%d marks, want that of the minute of what was taken out again", n)
			}
		})
	}
}

// TestFreezeRaceInAnOutage: what was inserted before the second look failed is taken out all the same.
func TestFreezeRaceInAnOutage(t *testing.T) {
	t.Parallel()
	f := open(t)
	putEvent(t, f.store, event, record.EventEnded)
	var (
		inserts atomic.Int64
		broken  atomic.Int64
	)
	s := &hooked{Store: f.store}
	s.after = func(_ context.Context, op string, _ store.Collection) error {
		if op == "insert" && inserts.Add(1) == 1 {
			putEvent(t, f.store, event, record.EventFrozen)
			broken.Store(2)
		}
		return nil
	}
	s.before = func(_ context.Context, op string, c store.Collection) error {
		if c == store.Events && broken.Add(-1) >= 0 || op == "delete" && c == store.Records && broken.Add(-1) >= -2 {
			return errDown
		}
		return nil
	}
	defer run(t, consumer.Config{Store: s, Queue: f.queue, Clock: still(now)})()
	publish(t, f.queue, batch(t, said(t, event, 1, "x", ""), said(t, event, 2, "x", "")))
	eventually(t, "it is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	if got := held(t, letters(t, f.store, 1)); len(got) != 2 {
		t.Errorf("letters hold %v", got)
	}
	if n := count(t, f.store, store.Records); n != 0 {
		t.Errorf("%d records of a frozen event", n)
	}
}

func TestForgotten(t *testing.T) {
	t.Parallel()
	f := open(t)
	user, name := ann(t)
	putEvent(t, f.store, event, record.EventLive)
	forget(t, f.store, event)
	reply := encode(t, &record.Message{
		Header: record.Header{Event: event, Channel: "1", Time: now, Received: now}, MessageID: "reply", Chatter: "x",
		Reply: &record.Reply{Message: "theirs", Chatter: user},
	})
	gift := encode(t, &record.Notice{
		Header: record.Header{Event: event, Channel: "1", Time: now, Received: now}, NoticeID: "gift", Type: "subgift",
		Chatter: "x", Recipient: user,
	})
	ban := encode(t, &record.Moderation{
		Header: record.Header{Event: event, Channel: "1", Time: now, Received: now}, Action: record.ActionBan, Chatter: user,
	})
	records := []record.Record{
		said(t, event, 1, user, "hello"), said(t, event, 2, "x", "hi @"+name), said(t, event, 3, "x", "hi"), reply, gift, ban,
		said(t, "other", 4, user, "hello @"+name), // another event has forgotten nobody
	}
	check := func(s store.Store) {
		t.Helper()
		got := recordIDs(t, s)
		for i, want := range []bool{false, true, true, true, false, false, true} {
			if _, ok := got[records[i].ID]; ok != want {
				t.Errorf("record %d is stored: %v", i, ok)
			}
		}
		for id, raw := range got {
			if strings.HasPrefix(id, event+"/") && (bytes.Contains(raw, []byte(user)) || bytes.Contains(raw, []byte(name))) {
				t.Errorf("%s still names her", raw)
			}
		}
		if text := got[records[1].ID].Lookup("text").StringValue(); text != "hi @"+record.Erased {
			t.Errorf("text %q", text)
		}
		if !bytes.Equal(got[records[6].ID], records[6].Doc) {
			t.Error("a record of the other event was changed")
		}
	}
	stop := run(t, consumer.Config{Store: f.store, Queue: f.queue, Clock: still(now)})
	publish(t, f.queue, batch(t, records...))
	eventually(t, "it is acknowledged", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	stop()
	check(f.store)
	if n := count(t, f.store, store.Letters) + depth(t, f.queue, queue.Dead); n != 0 {
		t.Errorf("%d letters", n)
	}

	g := open(t)
	forget(t, g.store, event)
	in, err := consumer.NewIntake(consumer.IntakeConfig{Store: g.store, Clock: still(now)})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []consumer.IntakeResult{
		{Inserted: 4, Forgotten: 3, Redacted: 2, Marks: 2}, {Existed: 4, Forgotten: 3, Redacted: 2, Marks: 2},
	} {
		got, err := in.Write(t.Context(), records)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("write %d: %+v, err %v, want %+v", i, got, err, want)
		}
		check(g.store)
	}
}

// putTextless puts an event whose texts were erased.
func putTextless(tb testing.TB, s store.Store, slug string) {
	tb.Helper()
	put(tb, s, store.Events, slug, record.Event{
		Slug: slug, Rev: 2, State: record.EventEnded, Start: now.Add(-2 * time.Hour), End: now.Add(-time.Hour), TextErased: now,
	})
}

// TestTextsThatWereErased: what comes after the texts of an event were erased is stored without, by
// whatever way, and so are the dead letters; what was stored meanwhile loses it.
func TestTextsThatWereErased(t *testing.T) {
	t.Parallel()
	f := open(t)
	putTextless(t, f.store, event)
	stop := run(t, consumer.Config{Store: &faulty{Store: f.store, refuse: "00000002"}, Queue: f.queue, Clock: still(now)})
	publish(t, f.queue, batch(t, said(t, event, 1, "x", "hello"), said(t, event, 2, "x", "hello"), said(t, "other", 3, "x", "hello")))
	dead(t, f.queue, batch(t, said(t, event, 4, "x", "hello")))
	for _, l := range letters(t, f.store, 2) {
		if bytes.Contains(l.Body, []byte("hello")) {
			t.Errorf("a letter has a text: %q", l.Body)
		}
	}
	eventually(t, "it is stored", func() bool { return count(t, f.store, store.Records) == 2 })
	stop()
	// Erased between insert and the look after it.
	putEvent(t, f.store, "third", record.EventEnded)
	var once sync.Once
	in, err := consumer.NewIntake(consumer.IntakeConfig{Clock: still(now), Store: &hooked{
		Store: f.store,
		after: func(_ context.Context, op string, _ store.Collection) error {
			if op == "insert" {
				once.Do(func() { putTextless(t, f.store, "third") })
			}
			return nil
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := in.Write(t.Context(), []record.Record{said(t, "third", 5, "x", "hello")}); err != nil || got.Inserted != 1 || got.Redacted != 1 {
		t.Errorf("%+v, err %v", got, err)
	}
	stored := recordIDs(t, f.store)
	for id, raw := range stored {
		if has := !raw.Lookup("text").IsZero(); has != strings.HasPrefix(id, "other/") {
			t.Errorf("%s has a text: %v", id, has)
		}
		if n, _ := raw.Lookup("length").AsInt64OK(); n != 5 {
			t.Errorf("%s lost its length", id)
		}
	}
	if len(stored) != 3 {
		t.Errorf("%d records", len(stored))
	}
}

// TestForgottenBeforeItWasTold: what someone stored who died before it could look again, or who was
// not answered, is taken out by who comes next.
func TestForgottenBeforeItWasTold(t *testing.T) {
	t.Parallel()
	f := open(t)
	user, name := ann(t)
	records := []record.Record{said(t, event, 1, user, "hello"), said(t, event, 2, "x", "hi @"+name), said(t, event, 3, "x", "hi")}
	var once sync.Once
	s := &hooked{Store: f.store, after: func(_ context.Context, op string, _ store.Collection) (err error) {
		if op == "insert" {
			once.Do(func() {
				forget(t, f.store, event)
				err = errDown
			})
		}
		return err
	}}
	in, err := consumer.NewIntake(consumer.IntakeConfig{Store: s, Clock: still(now), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(t.Context(), records); !errors.Is(err, errDown) {
		t.Fatalf("err %v", err)
	}
	if n := count(t, f.store, store.Records); n != 3 {
		t.Fatalf("%d records, want all", n)
	}
	// A new one, which knows nothing.
	if in, err = consumer.NewIntake(consumer.IntakeConfig{Store: f.store, Clock: still(now)}); err != nil {
		t.Fatal(err)
	}
	got, err := in.Write(t.Context(), records)
	if want := (consumer.IntakeResult{Inserted: 1, Existed: 1, Forgotten: 1, Redacted: 1, Marks: 1}); err != nil ||
		fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, err %v, want %+v", got, err, want)
	}
	stored := recordIDs(t, f.store)
	if len(stored) != 2 || stored[records[1].ID].Lookup("text").StringValue() != "hi @"+record.Erased {
		t.Errorf("stored %v", stored)
	}
}

// inBubble runs a test of time with a store whose file is open for as long as that.
func inBubble(t *testing.T, test func(t *testing.T, s store.Store)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	synctest.Test(t, func(t *testing.T) {
		s, err := storelocal.Open(path, storelocal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		test(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
	})
}

// TestLateWake: whoever stops between looking and inserting, and goes on much later, takes out again
// what should not be stored any more.
func TestLateWake(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, f store.Store) {
		user, name := ann(t)
		putEvent(t, f, event, record.EventLive)
		putEvent(t, f, "other", record.EventLive)
		asleep := false
		s := &hooked{Store: f, before: func(_ context.Context, op string, _ store.Collection) error {
			if op == "insert" && asleep {
				putEvent(t, f, event, record.EventFrozen)
				forget(t, f, "other")
				time.Sleep(time.Hour)
				asleep = false
			}
			return nil
		}}
		in, err := consumer.NewIntake(consumer.IntakeConfig{Store: s, Clock: still(now)})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := in.Write(t.Context(), []record.Record{said(t, event, 1, user, ""), said(t, "other", 1, user, "")}); err != nil || got.Inserted != 2 {
			t.Fatalf("%+v, err %v", got, err)
		}
		asleep = true
		got, err := in.Write(t.Context(), []record.Record{
			said(t, event, 2, user, ""), said(t, "other", 2, user, ""), said(t, "other", 3, "x", "hi "+name), said(t, "other", 4, "x", "hi"),
		})
		if want := (consumer.IntakeResult{Inserted: 2, Frozen: 1, Forgotten: 1, Redacted: 1, Marks: 2}); err != nil ||
			fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%+v, err %v, want %+v", got, err, want)
		}
		stored := recordIDs(t, f)
		if len(stored) != 4 || stored["other/message/00000003"].Lookup("text").StringValue() != "hi "+record.Erased {
			t.Errorf("stored %v", stored)
		}
	})
}

// TestGateReads: of an event that is live and not at its end little is read; of all others the state
// is read before and after each insert. Nothing is stored by what is older than GateAge.
func TestGateReads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, state string
		end         time.Time
		want        int64
	}{
		{"live", record.EventLive, now.Add(time.Hour), 1},
		{"live, its end is over", record.EventLive, now, 20},
		{"ended", record.EventEnded, now.Add(-time.Hour), 20},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, f store.Store) {
				put(t, f, store.Events, event, record.Event{Slug: event, State: c.state, End: c.end})
				var events, tombstones atomic.Int64
				s := &hooked{Store: f, before: func(_ context.Context, _ string, c store.Collection) error {
					switch c {
					case store.Events:
						events.Add(1)
					case store.Tombstones:
						tombstones.Add(1)
					default:
					}
					return nil
				}}
				in, err := consumer.NewIntake(consumer.IntakeConfig{Store: s, Clock: still(now)})
				if err != nil {
					t.Fatal(err)
				}
				user, _ := ann(t)
				write := func(id int) consumer.IntakeResult {
					got, err := in.Write(t.Context(), []record.Record{said(t, event, id, user, "")})
					if err != nil {
						t.Fatal(err)
					}
					return got
				}
				for i := range 10 {
					write(i)
				}
				if events.Load() != c.want || tombstones.Load() != 1 {
					t.Errorf("the event was read %d times, tombstones %d times", events.Load(), tombstones.Load())
				}
				forget(t, f, event)
				time.Sleep(consumer.GateAge)
				if got := write(11); got.Forgotten != 1 {
					t.Errorf("after a tombstone has been there for %s: %+v", consumer.GateAge, got)
				}
			})
		})
	}
}

func TestIntakeConfiguration(t *testing.T) {
	t.Parallel()
	f := open(t)
	for what, cfg := range map[string]consumer.IntakeConfig{"no store": {}, "negative": {Store: f.store, Grace: -1}} {
		if _, err := consumer.NewIntake(cfg); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	s := &faulty{Store: f.store, refuse: "00000002"}
	putEvent(t, f.store, "old", record.EventFrozen)
	in, err := consumer.NewIntake(consumer.IntakeConfig{Store: s, Clock: still(now), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	refused := said(t, event, 2, "x", "")
	got, err := in.Write(t.Context(), []record.Record{said(t, event, 1, "x", ""), refused, said(t, "old", 3, "x", "")})
	if err != nil || got.Inserted != 1 || got.Refused != 1 || got.Frozen != 1 || got.Reasons[refused.ID] != "key too large" {
		t.Errorf("%+v, err %v", got, err)
	}
	s.down.Store(true)
	if _, err := in.Write(t.Context(), []record.Record{refused}); !errors.Is(err, errDown) {
		t.Errorf("err %v", err)
	}
}
