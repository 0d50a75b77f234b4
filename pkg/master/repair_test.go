package master_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/consumer"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
)

// write writes documents as they are.
func (w *world) write(c store.Collection, id string, v any) {
	w.t.Helper()
	raw, err := bson.Marshal(v)
	w.must(err)
	w.must(w.store.Put(w.ctx, c, []store.Doc{{ID: id, Raw: raw}}))
}

// message makes a record.
func (w *world) message(event, channel, id string, at time.Time) record.Record {
	w.t.Helper()
	r, err := record.Encode(&record.Message{
		Header: record.Header{Event: event, Channel: channel, Time: at, Received: at}, MessageID: id, Chatter: "abcdefghijklmnopqrstuv", Length: 3,
	})
	w.must(err)
	return r
}

func (w *world) letter(id, event, code string, at time.Time, body []byte, records int) record.Letter {
	w.t.Helper()
	l := record.Letter{
		ID: id, Rev: 1, Event: event, Time: at, First: at, Reason: "it is " + code, Code: code, Count: 1,
		Queue: "store", Message: "m" + id, State: record.LetterDead, Body: body, Records: records,
		Headers: map[string]string{"failed": at.Format(time.RFC3339)},
	}
	w.write(store.Letters, id, l)
	return l
}

// repairs is a configuration as the app makes it.
func (w *world) repairs() {
	w.configure = func(c *master.Config) {
		in, err := consumer.NewIntake(consumer.IntakeConfig{Store: w.store, Logger: c.Logger})
		w.must(err)
		c.Intake = intake{in}
		c.Rebuild = func(ctx context.Context, event string, from, to time.Time, channel string) (int, error) {
			return rollup.Rebuild(ctx, w.store, event, from, to, channel)
		}
	}
}

type intake struct{ in *consumer.Intake }

func (i intake) Write(ctx context.Context, records []record.Record) (master.Taken, error) {
	r, err := i.in.Write(ctx, records)
	return master.Taken{
		Inserted: r.Inserted, Existed: r.Existed, Refused: r.Refused, Reasons: r.Reasons, Frozen: r.Frozen, Forgotten: r.Forgotten,
	}, err
}

func (w *world) wantError(err error, want string) {
	w.t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		w.t.Errorf("%v, want %q", err, want)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		now := time.Now().UTC()
		batch, err := record.EncodeBatch([]record.Record{
			w.message("zevent", "1000", "a", now), w.message("zevent", "1000", "b", now),
		}, record.Zstd)
		w.must(err)
		w.letter("aaaaaa1", "zevent", record.CodeRefused, now, batch, 2)
		w.letter("aaaaaa2", "zevent", record.CodeFrozen, now, batch, 2)
		w.letter("bbbbbbb", "", record.CodeUnreadable, now.Add(time.Second), bytes.Repeat([]byte{0xfe}, 9000), 0)
		w.letter("ccccccc", "other", record.CodeRefused, now.Add(-time.Second), batch, 2)

		ids := func(q control.LetterQuery) string {
			t.Helper()
			var list []string
			for {
				page, err := w.op.Letters(w.ctx, q)
				w.must(err)
				for _, l := range page.Letters {
					list = append(list, l.ID)
				}
				if q.After = page.Next; q.After == "" {
					return strings.Join(list, " ")
				}
			}
		}
		for _, tc := range []struct {
			q    control.LetterQuery
			want string
		}{
			{control.LetterQuery{}, "bbbbbbb aaaaaa2 aaaaaa1 ccccccc"},
			{control.LetterQuery{Limit: 1}, "bbbbbbb aaaaaa2 aaaaaa1 ccccccc"},
			{control.LetterQuery{Limit: 3}, "bbbbbbb aaaaaa2 aaaaaa1 ccccccc"},
			{control.LetterQuery{Event: "zevent", Limit: 1}, "aaaaaa2 aaaaaa1"},
			{control.LetterQuery{Code: record.CodeRefused}, "aaaaaa1 ccccccc"},
		} {
			if got := ids(tc.q); got != tc.want {
				t.Errorf("%+v: %s, want %s", tc.q, got, tc.want)
			}
		}
		_, err = w.op.Letters(w.ctx, control.LetterQuery{After: "nonsense"})
		w.wantError(err, "is not the field next of an answer")
		_, err = w.op.Letters(w.ctx, control.LetterQuery{Event: "nothing"})
		w.wantError(err, "there is no event nothing")
		_, err = w.op.Letters(w.ctx, control.LetterQuery{Code: "bogus"})
		w.wantError(err, "query.code: expected value to be one of")
		_, err = w.op.ReplayLetters(w.ctx, control.LetterChoice{All: true, Event: "nothing"})
		w.wantError(err, "there is no event nothing")
		w.live("empty", 1, 1)
		if got := ids(control.LetterQuery{Event: "empty"}); got != "" {
			t.Errorf("%s of an event without any", got)
		}

		// What would come back at once is refused at once, and what is of no frozen event is not.
		w.write(store.Events, "old", record.Event{Slug: "old", Rev: 1, State: record.EventFrozen, TimeZone: "UTC", Currency: "EUR", Replicas: 1})
		w.letter("ddddddd", "old", record.CodeFrozen, now.Add(-2*time.Second), batch, 2)
		refused, err := w.op.ReplayLetters(w.ctx, control.LetterChoice{IDs: []string{"bbbbbbb", "ddddddd"}})
		w.must(err)
		if refused.Refused != 2 || refused.Changed != 0 || len(refused.Problems) != 2 ||
			!strings.HasPrefix(refused.Problems[0], "bbbbbbb can't be replayed, since it can't be read (") ||
			!strings.Contains(refused.Problems[1], "event old is frozen") {
			t.Errorf("replay of what can't be: %+v", refused)
		}
		gone, err := w.op.DropLetters(w.ctx, control.LetterChoice{IDs: []string{"ddddddd"}})
		w.must(err)
		if gone.Changed != 1 {
			t.Errorf("%+v", gone)
		}

		// One, with and without what it holds.
		v, err := w.op.Letter(w.ctx, "aaaaaa1", 0)
		w.must(err)
		if v.Bytes != len(batch) || v.Records != 2 || v.Headers["failed"] == "" || len(v.Documents) != 0 {
			t.Errorf("%+v", v)
		}
		v, err = w.op.Letter(w.ctx, "aaaaaa1", 1)
		w.must(err)
		var doc struct {
			ID string `json:"_id"`
		}
		if len(v.Documents) != 1 || !v.Cut || json.Unmarshal(v.Documents[0], &doc) != nil || doc.ID != "zevent/message/a" {
			t.Errorf("%+v", v)
		}
		v, err = w.op.Letter(w.ctx, "bbbbbb", 5)
		w.must(err)
		if v.ID != "bbbbbbb" || v.Unreadable == "" || !strings.HasPrefix(v.Hex, "fefe") || len(v.Hex) != 8192 || !v.Cut {
			t.Errorf("%+v", v)
		}
		for id, want := range map[string]string{
			"aaaaaa":  "is the beginning of several dead letters",
			"aaaa":    "use at least 6 characters",
			"zzzzzzz": "there is no dead letter zzzzzzz",
		} {
			_, err := w.op.Letter(w.ctx, id, 0)
			w.wantError(err, want)
		}

		// Replayed twice is once; an unknown one changes nothing at all.
		_, err = w.op.ReplayLetters(w.ctx, control.LetterChoice{IDs: []string{"aaaaaa1", "zzzzzzz"}})
		w.wantError(err, "there is no dead letter zzzzzzz (any more): nothing was changed")
		for _, want := range []control.LetterOutcome{{Changed: 2}, {Already: 2}} {
			got, err := w.op.ReplayLetters(w.ctx, control.LetterChoice{IDs: []string{"aaaaaa1", "cccccc"}})
			w.must(err)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("replay: %+v, want %+v", got, want)
			}
		}
		v, err = w.op.Letter(w.ctx, "aaaaaa1", 0)
		w.must(err)
		if v.State != record.LetterReplay || v.Rev != 2 || v.Bytes != len(batch) {
			t.Errorf("%+v", v)
		}

		// What is being replayed is not dropped.
		_, err = w.op.DropLetters(w.ctx, control.LetterChoice{})
		w.wantError(err, "name dead letters, or all of them")
		got, err := w.op.DropLetters(w.ctx, control.LetterChoice{All: true, Event: "zevent"})
		w.must(err)
		if !reflect.DeepEqual(got, control.LetterOutcome{Changed: 1, Already: 1}) {
			t.Errorf("drop: %+v", got)
		}
		if got := ids(control.LetterQuery{}); got != "bbbbbbb aaaaaa1 ccccccc" {
			t.Errorf("left: %s", got)
		}
	})
}

// All of many letters are dealt with in several calls, and one that comes back is not met again.
func TestAllDeadLetters(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		now := time.Now().UTC()
		const n = control.MaxLetters + 5
		batch, err := record.EncodeBatch([]record.Record{w.message("zevent", "1000", "a", now)}, record.None)
		w.must(err)
		var docs []store.Doc
		for i := range n {
			l := record.Letter{
				ID: fmt.Sprintf("letter-%05d", i), Rev: 1, Event: "zevent", Time: now.Add(time.Duration(i/7) * time.Millisecond),
				Code: record.CodeRefused, State: record.LetterDead, Body: batch,
			}
			raw, err := bson.Marshal(l)
			w.must(err)
			docs = append(docs, store.Doc{ID: l.ID, Raw: raw})
		}
		w.must(w.store.Put(w.ctx, store.Letters, docs))
		choice, changed := control.LetterChoice{All: true}, 0
		for calls := 0; ; calls++ {
			out, err := w.op.ReplayLetters(w.ctx, choice)
			w.must(err)
			changed += out.Changed
			if choice.After = out.Next; choice.After == "" {
				if calls != 1 {
					t.Errorf("%d more calls", calls)
				}
				break
			}
			// The newest comes back.
			w.letter("letter-01004", "zevent", record.CodeRefused, now.Add(time.Hour), batch, 1)
		}
		if changed != n {
			t.Errorf("%d of %d were given back", changed, n)
		}
	})
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.repairs()
		w.startMaster("m1")
		w.live("zevent", 3, 1)
		e, err := w.op.Event(w.ctx, "zevent")
		w.must(err)
		var records []record.Record
		for i := range 10 { // each minute on one channel, every second on another
			at := e.Start.Add(time.Duration(i) * time.Minute)
			records = append(records, w.message("zevent", "1000", fmt.Sprint("a", i), at))
			if i%2 == 0 {
				records = append(records, w.message("zevent", "1001", fmt.Sprint("b", i), at))
			}
		}
		_, err = w.store.Insert(w.ctx, records)
		w.must(err)

		// Nothing is closed, so nothing has to be counted again.
		r, err := w.op.Rebuild(w.ctx, "zevent", control.Rebuild{})
		w.must(err)
		if r.Minutes != 0 || !r.From.Equal(r.To) {
			t.Errorf("%+v", r)
		}
		w.write(store.Progress, "zevent", record.Progress{ID: "zevent", ClosedThrough: record.Minute(e.Start.Add(7 * time.Minute))})
		minute := record.Minute(e.Start)
		for _, tc := range []struct {
			ask  control.Rebuild
			want int
		}{
			{control.Rebuild{}, 8},
			{control.Rebuild{Channel: "login1"}, 4},
			{control.Rebuild{Channel: "1002"}, 0},
			{control.Rebuild{From: e.Start.Add(150 * time.Second), To: e.Start.Add(200 * time.Second)}, 2},
			{control.Rebuild{From: e.Start.Add(time.Minute), To: e.Start.Add(2 * time.Minute), Channel: "1001"}, 0},
		} {
			w.must(deleteMarks(w))
			r, err := w.op.Rebuild(w.ctx, "zevent", tc.ask)
			w.must(err)
			state, err := w.op.RebuildState(w.ctx, "zevent", r.From, r.To)
			w.must(err)
			if r.Minutes != tc.want || state.Marks != tc.want || !r.Next.IsZero() {
				t.Errorf("%+v: %+v with %d marks, want %d", tc.ask, r, state.Marks, tc.want)
			}
			if r.From.Before(minute) || r.To.After(minute.Add(8*time.Minute)) {
				t.Errorf("%+v: %+v", tc.ask, r)
			}
		}
		for want, ask := range map[string]control.Rebuild{
			"lies outside: event zevent lasts from " + e.Start.Format(time.RFC3339): {From: e.Start.Add(-time.Hour)},
			"body.to: ":                          {To: e.End.Add(time.Hour)},
			"is not after":                       {From: e.Start.Add(time.Hour), To: e.Start.Add(time.Minute)},
			"event zevent has no channel nobody": {Channel: "nobody"},
		} {
			_, err := w.op.Rebuild(w.ctx, "zevent", ask)
			w.wantError(err, strings.TrimPrefix(want, "body."))
		}
		_, err = w.op.Rebuild(w.ctx, "absent", control.Rebuild{})
		w.wantError(err, "there is no event absent")
		e.State = record.EventFrozen
		e.Rev++
		w.write(store.Events, "zevent", e)
		_, err = w.op.Rebuild(w.ctx, "zevent", control.Rebuild{})
		w.wantError(err, "event zevent is frozen: its minutes don't change any more")
		_, err = w.op.CreateEvent(w.ctx, control.NewEvent{Slug: "draft"})
		w.must(err)
		_, err = w.op.Rebuild(w.ctx, "draft", control.Rebuild{})
		w.wantError(err, "event draft is draft: nothing of it is counted yet")
	})
}

func deleteMarks(w *world) error {
	_, err := w.store.Delete(w.ctx, store.Query{Collection: store.Marks})
	return err
}

func TestDrain(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 30, 1)
		a := w.startCollector("a", "n1", 200)
		b := w.startCollector("b", "n2", 200, func(f *fake) { f.stuck = true })
		w.sleep(10 * time.Second)
		b.set(func(f *fake) { f.stuck = false })
		for _, c := range b.assignment().Channels {
			b.set(func(f *fake) { f.joinedAt[c.Channel] = time.Now() })
		}
		w.sleep(5 * time.Second)
		w.wantReaders(30, 1)

		_, err := w.op.Drain(w.ctx, "nobody")
		w.wantError(err, "there is no collector nobody")
		w.wantError(w.op.Undrain(w.ctx, "nobody"), "there is no collector nobody")
		w.must(w.op.Undrain(w.ctx, "a")) // it is not drained

		// The other one joins first.
		b.set(func(f *fake) { f.stuck = true })
		for range 2 { // twice is once
			k, err := w.op.Drain(w.ctx, "a")
			w.must(err)
			if !k.Drained || k.State != control.CollectorLeaving {
				t.Errorf("%+v", k)
			}
		}
		w.sleep(5 * time.Second)
		if len(a.left()) != 0 {
			t.Errorf("it left %v before somebody else had joined", a.left())
		}
		b.set(func(f *fake) {
			f.stuck = false
			for _, c := range f.have.Channels {
				f.joinedAt[c.Channel] = time.Now()
			}
		})
		w.sleep(5 * time.Second)
		if len(a.joined()) != 0 || len(b.joined()) != 30 {
			t.Errorf("the drained one reads %d, the other %d", len(a.joined()), len(b.joined()))
		}

		// It stays drained when it restarts, and when another master leads.
		a.set(func(f *fake) { f.Run = "another" })
		w.startMaster("m2")
		w.stopMaster("m1")
		w.sleep(20 * time.Second)
		if len(a.joined()) != 0 || len(b.joined()) != 30 {
			t.Errorf("after restarts the drained one reads %d, the other %d", len(a.joined()), len(b.joined()))
		}

		// Nobody has room when the other leaves too: all are read on, and that is told.
		_, err = w.op.Drain(w.ctx, "b")
		w.must(err)
		w.sleep(5 * time.Second)
		w.wantReaders(30, 1)
		if got := w.conditions(); got != "drain-waiting b" { // none is without a collector
			t.Errorf("conditions: %s", got)
		}
		w.must(w.op.Undrain(w.ctx, "a"))
		w.sleep(10 * time.Second)
		if len(a.joined()) != 30 || len(b.joined()) != 0 {
			t.Errorf("it reads %d after it was taken back, the other %d", len(a.joined()), len(b.joined()))
		}
		if got := w.conditions(); got != "" {
			t.Errorf("conditions: %s", got)
		}
		// Who is forgotten is not drained when it comes back.
		b.cancel()
		<-b.done
		w.sleep(20 * time.Second)
		w.must(w.op.ForgetCollector(w.ctx, "b"))
		delete(w.collectors, "b")
		w.startCollector("b", "n2", 200)
		w.sleep(10 * time.Second)
		list, err := w.op.Collectors(w.ctx)
		w.must(err)
		for _, k := range list {
			if k.Drained || k.State != control.CollectorAlive {
				t.Errorf("%+v", k)
			}
		}
		w.wantReaders(30, 1)
	})
}

func TestBackfill(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.sleep(10 * 365 * 24 * time.Hour) // to times at which there is a Twitch
		w.repairs()
		w.startMaster("m1")
		w.live("zevent", 2, 1)
		e, err := w.op.Event(w.ctx, "zevent")
		w.must(err)
		w.sleep(5 * time.Minute)
		line := func(id, room, user string, at time.Time) string {
			return fmt.Sprintf("@badge-info=;badges=;color=;display-name=%s;emotes=;flags=;id=%s;mod=0;room-id=%s;subscriber=0;tmi-sent-ts=%d;turbo=0;user-id=%s;user-type= :%s!%s@%s.tmi.twitch.tv PRIVMSG #login%s :hello\r\n",
				"user"+user, id, room, at.UnixMilli(), user, "user"+user, "user"+user, "user"+user, room[3:])
		}
		file := line("m-1", "1000", "7", e.Start.Add(time.Minute)) +
			line("m-2", "1000", "8", e.Start.Add(2*time.Minute)) +
			line("m-3", "1001", "7", e.Start.Add(2*time.Minute)) + // of another channel
			line("m-4", "1000", "7", e.Start.Add(-time.Minute)) + // before the event
			line("m-5", "1000", "7", e.End) + // after it
			line("m-6", "1000", "9", e.Start.Add(3*time.Minute)) + // has opted out
			"PING :tmi.twitch.tv\r\n" +
			"@id=x nonsense\r\n"
		_, err = w.op.AddOptOut(w.ctx, control.NewOptOut{Persons: persons("9:user9")})
		w.must(err)
		chunk := control.BackfillChunk{Event: "zevent", Channel: "login0", Format: control.FormatIRC, Origin: "a.log", Body: []byte(file)}
		for _, tc := range []struct{ inserted, existed int }{{2, 0}, {0, 2}} {
			got, err := w.op.Backfill(w.ctx, chunk)
			w.must(err)
			if got.Inserted != tc.inserted || got.Existed != tc.existed || got.Outside != 2 || got.OtherChannel != 1 || got.Excluded != 1 ||
				got.Lines != 8 || got.Ignored+got.Skipped != 2 {
				t.Errorf("%+v", got)
			}
		}
		r := record.Message{}
		raw, err := w.store.Get(w.ctx, store.Records, "zevent/message/m-1")
		w.must(err)
		w.must(record.Decode(raw, &r))
		if r.Origin != "backfill:a.log" || r.Channel != "1000" || r.Chatter != w.pseudonyms("zevent").User("7") || r.Text != "" {
			t.Errorf("%+v", r)
		}
		// Its minutes had closed: they are counted again.
		if n, err := w.store.Count(w.ctx, store.Query{Collection: store.Marks, Event: "zevent"}); err != nil || n != 2 {
			t.Errorf("%d marks, %v", n, err)
		}

		refuse := func(change func(*control.BackfillChunk), want string) {
			t.Helper()
			c := chunk
			change(&c)
			_, err := w.op.Backfill(w.ctx, c)
			w.wantError(err, want)
		}
		refuse(func(c *control.BackfillChunk) { c.Event = "absent" }, "there is no event absent")
		refuse(func(c *control.BackfillChunk) { c.Channel = "nobody" }, "event zevent has no channel nobody")
		refuse(func(c *control.BackfillChunk) { c.Format = "xml" }, "format")
		refuse(func(c *control.BackfillChunk) { c.Body = make([]byte, control.MaxBackfillBytes+1) }, "too large")
		_, err = w.op.CreateEvent(w.ctx, control.NewEvent{Slug: "draft"})
		w.must(err)
		refuse(func(c *control.BackfillChunk) { c.Event = "draft" }, "event draft is draft: it has not begun")
		e, err = w.op.Event(w.ctx, "zevent")
		w.must(err)
		e.State, e.Rev = record.EventFrozen, e.Rev+1
		w.write(store.Events, "zevent", e)
		refuse(func(*control.BackfillChunk) {}, "event zevent is frozen: nothing is added to it any more")
	})
}

func TestBackfilledAdds(t *testing.T) {
	t.Parallel()
	var sum control.Backfilled
	sum.Add(control.Backfilled{Lines: 10, Inserted: 9, Skipped: 1, Problems: []control.BackfillProblem{{Line: 4, Reason: "a"}}})
	sum.Add(control.Backfilled{Lines: 5, Existed: 4, Skipped: 1, Problems: []control.BackfillProblem{{Line: 2, Reason: "b"}, {Reason: "c"}}})
	if fmt.Sprint(sum.Problems) != "[{4 a} {12 b} {0 c}]" || sum.Lines != 15 || sum.Skipped != 2 {
		t.Errorf("%+v", sum)
	}
}
