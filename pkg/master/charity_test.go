package master_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// raised writes the statistics of donations as the rollup does: for each channel and minute a document
// with its running total, the event's with their sum, and total documents up to the last minute.
func (w *world) raised(event string, from time.Time, minutes int, totals map[string]func(minute int) int64) {
	w.t.Helper()
	last := map[string]record.Donations{}
	for m := range minutes {
		at := from.Add(time.Duration(m) * time.Minute)
		all := record.Donations{Source: "zevent", Currency: "EUR"}
		put := func(channel string, d record.Donations) {
			doc := record.Statistics{
				ID: record.StatisticsID(event, channel, at), Event: event, Channel: channel, Time: at, State: record.StateClosed, Minutes: 1, Through: at,
				Donations: []record.Donations{d},
			}
			w.write(store.Minutes, doc.ID, doc)
			last[channel] = d
			if (m+1)%60 == 0 || m == minutes-1 {
				doc.Time = at.Truncate(time.Hour)
				doc.ID = record.StatisticsID(event, channel, doc.Time)
				w.write(store.Hours, doc.ID, doc)
			}
		}
		for channel, total := range totals {
			cents := total(m)
			all.Sum, all.SumAt = all.Sum+cents, at
			all.Channels++
			put(channel, record.Donations{Source: "zevent", Currency: "EUR", Samples: 1, First: cents, FirstAt: at, Total: cents, TotalAt: at})
		}
		put(record.AllChannels, all)
	}
	for channel, d := range last {
		through := from.Add(time.Duration(minutes-1) * time.Minute)
		doc := record.Statistics{
			ID: record.StatisticsID(event, channel, time.Time{}), Event: event, Channel: channel, Time: from, State: record.StateClosed,
			Minutes: minutes, Through: through, Donations: []record.Donations{d},
		}
		w.write(store.Totals, doc.ID, doc)
	}
}

// given is a live event with two channels that have been collecting for some minutes: 1000 gets 10 euros
// a minute, 1001 5 and a cent, and from minute 40 to 50 it shows the total of 1000.
func (w *world) given() time.Time {
	w.t.Helper()
	w.startMaster("m1")
	w.live("zevent", 2, 1)
	from := record.Minute(time.Now().UTC()).Add(-59 * time.Minute)
	first := func(m int) int64 { return 500_000 + int64(m)*1000 }
	w.raised("zevent", from, 60, map[string]func(int) int64{
		"1000": first,
		"1001": func(m int) int64 {
			if m >= 40 && m < 50 {
				return first(m)
			}
			return int64(m) * 501
		},
	})
	return from
}

func TestTotalsAndCorrections(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		from := w.given()
		got, err := w.op.Totals(w.ctx, "zevent", "")
		w.must(err)
		if !got.Known || got.Source != "zevent" || got.Currency != "EUR" || got.Event.By != "channels" || len(got.Channels) != 2 ||
			got.Channels[0].Login != "login0" || got.Channels[0].Raw != 559_000 || got.Event.Raw != 559_000+59*501 || got.Event.Coverage != record.Complete {
			t.Errorf("%+v", got)
		}

		// What looks wrong is pointed out, with the correction that takes it out.
		query := control.SuspectQuery{From: from, To: from.Add(time.Hour)}
		found, err := w.op.Suspects(w.ctx, "zevent", query)
		w.must(err)
		if len(found.Suspicions) != 1 {
			t.Fatalf("%+v", found)
		}
		s := found.Suspicions[0]
		if s.Kind != "mirror" || s.Login != "login1" || s.Other != "1000" || !s.Time.Equal(from.Add(40*time.Minute)) || !s.To.Equal(from.Add(50*time.Minute)) ||
			!strings.Contains(s.Evidence, "the total of Login1 went from €195.39 to €5,400.00, exactly the total of Login0") || s.EvidenceFR == "" {
			t.Errorf("%+v", s)
		}
		add := *s.Suggestion
		add.Author, add.DryRun = "ada", true
		dry, err := w.op.AddCorrection(w.ctx, "zevent", add)
		w.must(err)
		add.DryRun = false
		if list, err := w.op.Corrections(w.ctx, "zevent"); err != nil || len(list.Corrections) != 0 || !dry.DryRun || !dry.Known {
			t.Errorf("%+v, %v after a dry run that said %+v", list, err, dry)
		}
		done, err := w.op.AddCorrection(w.ctx, "zevent", add)
		w.must(err)
		if done.Before != 59*501 || done.After != 59*501 || done.Correction.Author != "ada" || done.Correction.Channel != "1001" {
			t.Errorf("%+v", done) // it came back by itself: nothing is left of it
		}
		if found, err = w.op.Suspects(w.ctx, "zevent", query); err != nil || len(found.Suspicions) != 0 {
			t.Errorf("%+v, %v after its correction", found, err)
		}
		query.Answered = true
		if found, err = w.op.Suspects(w.ctx, "zevent", query); err != nil || len(found.Suspicions) != 1 || !found.Suspicions[0].Answered {
			t.Errorf("%+v, %v", found, err)
		}
		_, err = w.op.AddCorrection(w.ctx, "zevent", add)
		w.wantError(err, "takes that time out already")

		// A manual amount changes the channel and the event, which is the sum.
		amount := control.NewCorrection{
			Channel: "login1", Kind: "amount", Time: from.Add(30 * time.Minute), Cents: -5_000, Author: " ada ", Reason: "a gift that was taken back",
		}
		time.Sleep(time.Second)
		done, err = w.op.AddCorrection(w.ctx, "zevent", amount)
		w.must(err)
		if done.After != done.Before-5000 || done.EventAfter != done.EventBefore-5000 || done.Raw != 59*501 {
			t.Errorf("%+v", done)
		}
		if got, err = w.op.Totals(w.ctx, "zevent", "zevent"); err != nil || got.Channels[1].Corrected != 59*501-5000 || got.Channels[1].Raw != 59*501 ||
			got.Event.Corrected != got.Event.Raw-5000 {
			t.Errorf("%+v, %v", got, err)
		}
		time.Sleep(time.Second)
		event := control.NewCorrection{Channel: "*", Kind: "amount", Time: from, Cents: 7, Author: "ada", Reason: "cash"}
		onStage, err := w.op.AddCorrection(w.ctx, "zevent", event)
		w.must(err)
		if onStage.EventAfter != onStage.EventBefore+7 || onStage.After != onStage.Before+7 {
			t.Errorf("%+v", onStage)
		}

		// Withdrawn, it is as if it had never been; both stay in the list.
		time.Sleep(time.Second)
		id := strings.TrimPrefix(done.Correction.ID, "zevent/")
		back, err := w.op.WithdrawCorrection(w.ctx, "zevent", id[:8], control.Withdrawal{Author: "grace", Reason: "it was given again"})
		w.must(err)
		if back.After != 59*501 || back.Before != 59*501-5000 || back.Correction.Withdraws != done.Correction.ID {
			t.Errorf("%+v", back)
		}
		_, err = w.op.WithdrawCorrection(w.ctx, "zevent", id, control.Withdrawal{Author: "grace", Reason: "again"})
		w.wantError(err, "is withdrawn already")
		_, err = w.op.WithdrawCorrection(w.ctx, "zevent", back.Correction.ID, control.Withdrawal{Author: "grace", Reason: "again"})
		w.wantError(err, "is a withdrawal itself")
		_, err = w.op.WithdrawCorrection(w.ctx, "zevent", "nothing", control.Withdrawal{Author: "grace", Reason: "again"})
		w.wantError(err, "event zevent has no correction nothing")
		list, err := w.op.Corrections(w.ctx, "zevent")
		w.must(err)
		var states []string
		for _, c := range list.Corrections {
			states = append(states, fmt.Sprintf("%s %s %d", c.Kind, c.State, c.Effect))
		}
		if got := strings.Join(states, ", "); got != "mirror standing 0, amount withdrawn 0, amount standing 7,  withdrawal 0" {
			t.Error(got)
		}
		if len(list.Totals) != 2 || list.Totals[0].Channel != "*" || list.Totals[1].Login != "login1" {
			t.Errorf("%+v", list.Totals)
		}

		for want, change := range map[string]func(c *control.NewCorrection){
			"is no channel of event zevent":    func(c *control.NewCorrection) { c.Channel = "nobody" },
			"say it: it is kept":               func(c *control.NewCorrection) { c.Reason = "  " },
			"author":                           func(c *control.NewCorrection) { c.Author = "" },
			"has characters that are none":     func(c *control.NewCorrection) { c.Author = "a\tb" },
			"an amount of 0 changes nothing":   func(c *control.NewCorrection) { c.Cents = 0 },
			"lies in the future":               func(c *control.NewCorrection) { c.Time = time.Now().AddDate(1, 0, 0) },
			"say from when on it holds":        func(c *control.NewCorrection) { c.Time = time.Time{} },
			"only a mirror has an end":         func(c *control.NewCorrection) { c.To = c.Time.Add(time.Hour) },
			"is not after":                     func(c *control.NewCorrection) { c.Kind, c.Cents, c.To = "mirror", 0, c.Time },
			"a reset has no amount":            func(c *control.NewCorrection) { c.Kind = "reset" },
			"as an amount above 0":             func(c *control.NewCorrection) { c.Kind = "double" },
			"the most is":                      func(c *control.NewCorrection) { c.Cents = 1 << 60 },
			"expected value to be one of":      func(c *control.NewCorrection) { c.Kind = "haircut" },
			"a correction of the event's own ": func(c *control.NewCorrection) { c.Channel, c.Total = "*", true },
		} {
			bad := amount
			change(&bad)
			if _, err := w.op.AddCorrection(w.ctx, "zevent", bad); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		_, err = w.op.Suspects(w.ctx, "zevent", control.SuspectQuery{From: from, To: from.AddDate(0, 0, 9)})
		w.wantError(err, "at most 72 hours")
		_, err = w.op.Totals(w.ctx, "nothing", "")
		w.wantError(err, "there is no event nothing")
		if other, err := w.op.Totals(w.ctx, "zevent", "other"); err != nil || other.Known {
			t.Errorf("%+v, %v of a source that said nothing", other, err)
		}
	})
}

func TestGoals(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		from := w.given()
		list := "amount;text\n5 300,50 €;A song\n6 000;Shave\n"
		how := control.GoalImport{Channel: "login0", Author: "ada"}
		how.DryRun = true
		dry, err := w.op.ImportGoals(w.ctx, "zevent", how, []byte(list))
		w.must(err)
		how.DryRun = false
		if got, err := w.op.Goals(w.ctx, "zevent", ""); err != nil || len(got.Goals) != 0 || dry.Added != 2 {
			t.Errorf("%+v, %v after a dry run that said %+v", got, err, dry)
		}
		imported := func(list, want string) {
			t.Helper()
			r, err := w.op.ImportGoals(w.ctx, "zevent", how, []byte(list))
			w.must(err)
			var problems []string
			for _, p := range r.Problems {
				problems = append(problems, fmt.Sprint(p.Line, " ", p.Message))
			}
			if got := fmt.Sprintf("%d %d %d %d %s", r.Added, r.Changed, r.Unchanged, r.Deleted, strings.Join(problems, "; ")); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		imported(list, "2 0 0 0 ")
		imported(list, "0 0 2 0 ") // twice is once
		imported("amount;text\n5 400;A song\n", "0 1 0 0 ")
		imported("amount;text\n5;A song\nfive;B\n", "0 0 0 0 3 is no amount in EUR: has no digits")
		imported("amount;text;channel\n1 000 000;Sleep;*\n", "1 0 0 0 ")
		how.Channel = ""
		imported("amount;text\n5;Whose\n", "0 0 0 0 2 whose goal is it? Name the channel with --channel, or --global for the event")
		imported("amount;text;streamer\n5;A;nobody\n300,00;B;Login1\n", "0 0 0 0 2 \"nobody\" is no channel of event zevent: use a Twitch id, a login, or * for the event")
		imported("amount;text;streamer\n300,00;B;Login1\n", "1 0 0 0 ")
		imported(`[{"id":"7","name":"All","amount":61700000,"category":"global"},{"id":7,"name":"Again","amount":1,"category":"global"}]`, "0 0 0 0 2 is in the list twice")
		imported(`{"donation_goals":[{"id":"7","name":"All","amount":61700000,"category":"global"}]}`, "1 0 0 0 ")

		got, err := w.op.Goals(w.ctx, "zevent", "")
		w.must(err)
		var all []string
		for _, g := range got.Goals {
			at := ""
			if g.Reached {
				at = fmt.Sprint(" reached at ", int(g.ReachedAt.Sub(from).Minutes()))
			}
			if !g.ETA.At.IsZero() {
				at += fmt.Sprint(" ", g.ETA.Certainty, " at ", int(g.ETA.At.Sub(from).Minutes()))
			}
			all = append(all, fmt.Sprintf("%s %s %d missing %d%s", g.Channel, g.Name, g.Progress, g.Missing, at))
		}
		want := "* Sleep 5 missing 99411441; * All 9 missing 61111441; 1000 A song 1000 missing 0 reached at 40; " +
			"1000 Shave 931 missing 41000 likely at 100; 1001 B 985 missing 441"
		if x := strings.Join(all, "; "); !strings.HasPrefix(x, want) {
			t.Errorf("%s\nwant %s", x, want)
		}
		if len(got.Next) != 3 || got.Currency != "EUR" {
			t.Errorf("%+v", got.Next)
		}
		if own, err := w.op.Goals(w.ctx, "zevent", "login0"); err != nil || len(own.Goals) != 2 || len(own.Next) != 1 {
			t.Errorf("%+v, %v", own, err)
		}

		// By hand, with history.
		g, err := w.op.AddGoal(w.ctx, "zevent", control.NewGoal{Channel: "login1", Name: "  A\n dance ", Cents: 20_000, Author: "grace"})
		w.must(err)
		id := strings.TrimPrefix(g.ID, "zevent/")
		yes, name, cents := true, "A long dance", int64(25_000)
		if g, err = w.op.ChangeGoal(w.ctx, "zevent", id[:8], control.GoalPatch{Name: &name, Cents: &cents, Author: "ada"}); err != nil || g.Name != name {
			t.Errorf("%+v, %v", g, err)
		}
		g, err = w.op.ChangeGoal(w.ctx, "zevent", id, control.GoalPatch{Accomplished: &yes, Links: &[]string{"https://a.example/clip"}, Author: "ada"})
		w.must(err)
		again, err := w.op.ChangeGoal(w.ctx, "zevent", id, control.GoalPatch{Accomplished: &yes, Author: "grace"})
		w.must(err)
		if g.Accomplished.IsZero() || !again.Accomplished.Equal(g.Accomplished) || again.Rev != g.Rev {
			t.Errorf("%+v", again)
		}
		w.must(w.op.DeleteGoal(w.ctx, "zevent", id, "grace"))
		view, err := w.op.Goal(w.ctx, "zevent", id)
		w.must(err)
		var history []string
		for _, h := range view.History {
			if h.Field == "accomplished" {
				h.To = "then"
			}
			history = append(history, fmt.Sprintf("%s %s %s→%s", h.Author, h.Field, h.From, h.To))
		}
		if x := strings.Join(history, "; "); x != "grace created →; ada name A dance→A long dance; ada money 200.00 EUR→250.00 EUR; ada links →https://a.example/clip; "+
			"ada accomplished →then; grace deleted no→yes" || !view.Deleted {
			t.Error(x)
		}
		_, err = w.op.ChangeGoal(w.ctx, "zevent", id, control.GoalPatch{Name: &name, Author: "ada"})
		w.wantError(err, "is deleted")

		// What is gone from a list goes with --replace, of that list and channel alone.
		how.Channel, how.Replace = "login0", true
		imported("amount;text\n6 000;Shave\n", "0 0 1 1 ")
		if own, err := w.op.Goals(w.ctx, "zevent", "1000"); err != nil || len(own.Goals) != 1 {
			t.Errorf("%+v, %v", own, err)
		}
		imported(list, "0 1 1 0 ") // and comes back with its history
		if rest, err := w.op.Goals(w.ctx, "zevent", ""); err != nil || len(rest.Goals) != 5 {
			t.Errorf("%+v, %v", rest, err)
		}

		for want, in := range map[string]control.NewGoal{
			"is no channel of event zevent":      {Channel: "nobody", Name: "A", Cents: 5, Author: "ada"},
			"its amount must be more than 0":     {Channel: "*", Name: "A", Author: "ada"},
			"is no address of a page":            {Channel: "*", Name: "A", Cents: 5, Links: []string{"javascript:1"}, Author: "ada"},
			"a goal needs a text":                {Channel: "*", Name: " ", Cents: 5, Author: "ada"},
			"expected value to be one of":        {Channel: "*", Name: "A", Cents: 5, Category: "raffle", Author: "ada"},
			"expected length >= 1":               {Channel: "*", Name: "A", Cents: 5},
			"its amount is too large, the most ": {Channel: "*", Name: "A", Cents: 1 << 60, Author: "ada"},
		} {
			if _, err := w.op.AddGoal(w.ctx, "zevent", in); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		_, err = w.op.Goal(w.ctx, "zevent", "nothing")
		w.wantError(err, "event zevent has no goal nothing")

		// A correction takes a goal back.
		before, err := w.op.Goals(w.ctx, "zevent", "1000")
		w.must(err)
		_, err = w.op.AddCorrection(w.ctx, "zevent", control.NewCorrection{
			Channel: "1000", Kind: "amount", Time: from, Cents: -100_000, Author: "ada", Reason: "counted twice",
		})
		w.must(err)
		after, err := w.op.Goals(w.ctx, "zevent", "1000")
		w.must(err)
		if !before.Goals[0].Reached || after.Goals[0].Reached || after.Goals[0].Current != before.Goals[0].Current-100_000 {
			t.Errorf("%+v\n%+v", before.Goals, after.Goals)
		}

		// Frozen, nothing changes any more, and all can be read.
		e, err := w.op.Event(w.ctx, "zevent")
		w.must(err)
		e.State = record.EventFrozen
		w.write(store.Events, "zevent", e)
		for _, change := range []func() error{
			func() error { _, err := w.op.ImportGoals(w.ctx, "zevent", how, []byte(list)); return err },
			func() error {
				_, err := w.op.AddGoal(w.ctx, "zevent", control.NewGoal{Channel: "*", Name: "A", Cents: 5, Author: "ada"})
				return err
			},
			func() error {
				_, err := w.op.ChangeGoal(w.ctx, "zevent", "7", control.GoalPatch{Accomplished: &yes, Author: "ada"})
				return err
			},
			func() error { return w.op.DeleteGoal(w.ctx, "zevent", "7", "ada") },
			func() error {
				_, err := w.op.AddCorrection(w.ctx, "zevent", control.NewCorrection{Channel: "*", Kind: "amount", Time: from, Cents: 5, Author: "ada", Reason: "r"})
				return err
			},
			func() error {
				_, err := w.op.WithdrawCorrection(w.ctx, "zevent", "7777", control.Withdrawal{Author: "ada", Reason: "r"})
				return err
			},
		} {
			w.wantError(change(), "event zevent is frozen")
		}
		if frozen, err := w.op.Goals(w.ctx, "zevent", ""); err != nil || len(frozen.Goals) != 5 {
			t.Errorf("%+v, %v", frozen, err)
		}
	})
}

func TestGoalsBeforeAnythingWasGiven(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 1, 1)
		_, err := w.op.AddGoal(w.ctx, "zevent", control.NewGoal{Channel: "*", Name: "A", Cents: 5, Author: "ada"})
		w.must(err)
		got, err := w.op.Goals(w.ctx, "zevent", "*")
		w.must(err)
		if len(got.Goals) != 1 || got.Goals[0].Known || got.Goals[0].ETA.Certainty != "unknown" {
			t.Errorf("%+v", got)
		}
		if totals, err := w.op.Totals(w.ctx, "zevent", ""); err != nil || totals.Known {
			t.Errorf("%+v, %v", totals, err)
		}
		_, err = w.op.AddCorrection(w.ctx, "zevent", control.NewCorrection{Channel: "*", Kind: "amount", Time: time.Now(), Cents: 5, Author: "ada", Reason: "cash"})
		w.wantError(err, "no charity source of event zevent has said anything yet")
		done, err := w.op.AddCorrection(w.ctx, "zevent", control.NewCorrection{
			Channel: "*", Source: "zevent", Kind: "amount", Time: time.Now(), Cents: 5, Author: "ada", Reason: "cash",
		})
		w.must(err)
		if done.Known {
			t.Errorf("%+v", done)
		}
		list, err := w.op.Corrections(w.ctx, "zevent")
		w.must(err)
		if len(list.Corrections) != 1 || list.Currency != "EUR" || len(list.Totals) != 0 {
			t.Errorf("%+v", list)
		}
		if s, err := w.op.Suspects(w.ctx, "zevent", control.SuspectQuery{}); err != nil || len(s.Suspicions) != 0 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// meanwhile is a store in which an event becomes frozen at a moment.
type meanwhile struct {
	store.Store
	// goals is the goal that is written as the last before it; corrections that it is when those are read.
	goals       int
	corrections bool
	written     int
	freeze      func(s store.Store)
	// loose are what was written though a freeze may have come before.
	loose []string
}

func (h *meanwhile) CompareAndSet(ctx context.Context, c store.Collection, rev int64, d store.Doc) error {
	if c == store.Goals || c == store.Corrections {
		var e record.Event
		if raw, err := h.Get(ctx, store.Events, "zevent"); err != nil || bson.Unmarshal(raw, &e) != nil {
			return errors.New("there is no event")
		}
		if until, ok := ctx.Deadline(); !ok || until.Add(5*time.Second).After(e.Held) {
			h.loose = append(h.loose, d.ID)
		}
	}
	err := h.Store.CompareAndSet(ctx, c, rev, d)
	if c == store.Goals {
		if h.written++; h.written == h.goals {
			h.freeze(h.Store)
		}
	}
	return err
}

func (h *meanwhile) Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	if q.Collection == store.Corrections && h.corrections {
		h.freeze(h.Store)
	}
	return h.Store.Find(ctx, q)
}

// As long as goals or corrections may be written the event is held, and a freeze waits; one that comes all the
// same is seen before more is written, and one that looked at the event before the change fails.
func TestAFreezeWhileMoneyIsChanged(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		h := &meanwhile{Store: w.store, goals: 60}
		w.store = h
		from := w.given()
		h.freeze = func(s store.Store) {
			raw, err := s.Get(w.ctx, store.Events, "zevent")
			w.must(err)
			var e record.Event
			w.must(bson.Unmarshal(raw, &e))
			e.State = record.EventFrozen
			raw, err = bson.Marshal(e)
			w.must(err)
			w.must(s.Put(w.ctx, store.Events, []store.Doc{{ID: "zevent", Raw: raw}}))
		}
		seen, err := w.op.Event(w.ctx, "zevent")
		w.must(err)
		add := control.NewCorrection{Channel: "1001", Kind: "amount", Time: from, Cents: 5, Author: "ada", Reason: "cash"}
		_, err = w.op.AddCorrection(w.ctx, "zevent", add)
		w.must(err)
		raw, err := bson.Marshal(record.Event{Slug: "zevent", Rev: seen.Rev + 1, State: record.EventFrozen})
		w.must(err)
		if err := h.Store.CompareAndSet(w.ctx, store.Events, seen.Rev, store.Doc{ID: "zevent", Raw: raw}); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a freeze that looked before the correction: %v", err)
		}

		var list strings.Builder
		for i := range 200 {
			fmt.Fprintf(&list, "%d;Goal %d\n", i+1, i)
		}
		_, err = w.op.ImportGoals(w.ctx, "zevent", control.GoalImport{Channel: "1000", Author: "ada"}, []byte(list.String()))
		w.wantError(err, "event zevent is frozen")
		if n, err := h.Count(w.ctx, store.Query{Collection: store.Goals, Event: "zevent"}); err != nil || n != 100 {
			t.Errorf("%d goals, %v", n, err)
		}

		e, err := w.op.Event(w.ctx, "zevent")
		w.must(err)
		e.State = record.EventLive
		w.write(store.Events, "zevent", e)
		h.corrections = true
		add.Cents = 6
		_, err = w.op.AddCorrection(w.ctx, "zevent", add)
		w.wantError(err, "event zevent is frozen")
		h.corrections = false
		if n, err := h.Count(w.ctx, store.Query{Collection: store.Corrections, Event: "zevent"}); err != nil || n != 1 {
			t.Errorf("%d corrections, %v", n, err)
		}
		if len(h.loose) > 0 {
			t.Errorf("%d of these are not held: %q", len(h.loose), h.loose[0])
		}
	})
}
