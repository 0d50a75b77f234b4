package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
)

// desk is a master's API with a store behind it, and what an operator needs to call it.
type desk struct {
	t     *testing.T
	store store.Store
	flags []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	dir := t.TempDir()
	s, err := local.Open(filepath.Join(dir, "store.db"), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := master.NewFileKeys(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	token := "operator-token-of-tests"
	m, err := master.New(master.Config{
		Store: s, Keys: keys, Name: "m1", Logger: slog.New(slog.DiscardHandler),
		OperatorTokens: master.StaticTokens(token), CollectorTokens: master.StaticTokens("collector-token-of-tests"),
		Rebuild: func(ctx context.Context, event string, from, to time.Time, channel string) (int, error) {
			return rollup.Rebuild(ctx, s, event, from, to, channel)
		},
		Intake: shelf{s},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(m.Handler())
	t.Cleanup(func() {
		server.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "operator.token"), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &desk{t: t, store: s, flags: []string{"--data", dir, "--master-urls", server.URL}}
}

// shelf stores records and nothing else.
type shelf struct{ store store.Store }

func (s shelf) Write(ctx context.Context, records []record.Record) (master.Taken, error) {
	var out master.Taken
	results, err := s.store.Insert(ctx, records)
	for _, r := range results {
		if r.Outcome == store.Inserted {
			out.Inserted++
		} else {
			out.Existed++
		}
	}
	return out, err
}

func (d *desk) put(c store.Collection, id string, v any) {
	d.t.Helper()
	raw, err := bson.Marshal(v)
	if err == nil {
		err = d.store.Put(d.t.Context(), c, []store.Doc{{ID: id, Raw: raw}})
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// want runs a command and looks at its exit code and at what it says on both outputs.
func (d *desk) want(code int, says string, args ...string) string {
	d.t.Helper()
	got, out, errs := run(d.t, append(args, d.flags...)...)
	if got != code || !strings.Contains(out+errs, says) {
		d.t.Errorf("%v: exit code %d, want %d and %q:\n%s%s", args, got, code, says, out, errs)
	}
	return out
}

func TestDeadletterCommands(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.want(app.ExitOK, "no dead letters", "deadletter", "list")
	d.want(app.ExitFailed, "there is no event zevent", "deadletter", "list", "--event", "zevent")
	d.want(app.ExitUsage, "--code must be one of", "deadletter", "list", "--code", "bogus")
	at := time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)
	said, err := record.Encode(&record.Message{
		Header: record.Header{Event: "zevent", Channel: "71092938", Time: at, Received: at}, MessageID: "1", Chatter: "abcdefghijklmnopqrstuv", Length: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := record.EncodeBatch([]record.Record{said}, record.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	for i, code := range []string{record.CodeRefused, record.CodeUnreadable, record.CodeRefused} {
		at := time.Date(2026, 9, 4, 18, 0, i, 0, time.UTC)
		l := record.Letter{
			ID: fmt.Sprintf("letter%d", i), Rev: 1, Event: "zevent", Time: at, First: at, Reason: "two\nlines", Code: code, Count: 1,
			State: record.LetterDead, Body: batch, Headers: map[string]string{"failed": "now"},
		}
		if code == record.CodeUnreadable {
			l.Body = []byte("no batch")
		}
		d.put(store.Letters, l.ID, l)
	}
	d.want(app.ExitOK, "there are more: --after", "deadletter", "list", "--limit", "2")
	d.want(app.ExitOK, "two lines", "deadletter", "list", "--code", "refused")
	var page control.LetterPage
	if err := json.Unmarshal([]byte(d.want(app.ExitOK, "", "deadletter", "list", "--json")), &page); err != nil || len(page.Letters) != 3 {
		t.Errorf("%d letters, %v", len(page.Letters), err)
	}
	d.want(app.ExitOK, "header   failed: now", "deadletter", "show", "letter1")
	d.want(app.ExitOK, "000000  6e6f206261746368", "deadletter", "show", "letter1", "--body")
	d.want(app.ExitFailed, "there is no dead letter nothing", "deadletter", "show", "nothing")
	d.want(app.ExitUsage, "at least 6 characters", "deadletter", "show", "let")
	d.want(app.ExitUsage, "several dead letters", "deadletter", "replay", "letter")
	d.want(app.ExitFailed, "0 given back for replay, 0 waited for it already, 1 refused\nletter1 can't be replayed, since it can't be read", "deadletter", "replay", "letter1")
	d.want(app.ExitOK, "1 given back for replay, 0 waited", "deadletter", "replay", "letter0")
	d.want(app.ExitOK, "1 given back for replay, 1 waited", "deadletter", "replay", "--all", "--code", "refused")
	d.want(app.ExitFailed, "0 dropped\n1 are being replayed and stay", "deadletter", "drop", "letter0")
	d.want(app.ExitOK, `"changed": 1`, "deadletter", "drop", "letter1", "--json")
	d.want(app.ExitFailed, "0 dropped\n2 are being", "deadletter", "drop", "--all", "--yes")
}

// live puts an event of some hours that is live, with a channel.
func (d *desk) live(start time.Time) {
	d.t.Helper()
	d.want(app.ExitOK, "zevent", "event", "create", "zevent", "--start", start.Format(time.RFC3339), "--end", start.Add(9*time.Hour).Format(time.RFC3339))
	d.put(store.Channels, "zevent/71092938", record.Channel{
		ID: "zevent/71092938", Rev: 1, Event: "zevent", Channel: "71092938", Login: "xqcow", Status: record.ChannelActive,
	})
	var e record.Event
	raw, err := d.store.Get(d.t.Context(), store.Events, "zevent")
	if err == nil {
		err = bson.Unmarshal(raw, &e)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	e.State = record.EventEnded
	d.put(store.Events, "zevent", e)
}

func TestBackfillAndRebuildCommands(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	start := time.Date(2019, 9, 15, 0, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "xqcow.log.gz")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	for i := range 9000 { // more than one chunk
		fmt.Fprintf(z, "@badge-info=;badges=;color=#FFFFFF;display-name=Someone;emotes=;flags=;id=ca561310-6855-43b3-8325-%012d;mod=0;room-id=71092938;"+
			"subscriber=0;tmi-sent-ts=%d;turbo=0;user-id=43424946;user-type= :someone!someone@someone.tmi.twitch.tv PRIVMSG #xqcow :hello\r\n",
			i, start.Add(time.Duration(i)*time.Second).UnixMilli())
	}
	if _, err := z.Write([]byte("@id=1;room-id=71092938;tmi-sent-ts=1 :x!x@x PRIVMSG\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{"backfill", "--event", "zevent", "--channel", "xqcow", file}
	d.want(app.ExitFailed, "there is no event zevent", args...)
	d.live(start)
	for _, want := range []string{"9001 lines: 9000 stored, 0 there already", "9001 lines: 0 stored, 9000 there already"} {
		_, out, _ := run(t, append(args, d.flags...)...)
		if !strings.Contains(out, want) {
			t.Errorf("%s, want %s", out, want)
		}
	}
	d.want(app.ExitFailed, "has no channel nobody", "backfill", "--event", "zevent", "--channel", "nobody", file)
	d.want(app.ExitUsage, "unknown format", "backfill", "--event", "zevent", "--channel", "xqcow", write(t, "x.bin", "\x00\x01\x02"))

	for name, c := range map[string]struct{ line, want string }{
		"other": {"@id=9;room-id=1;tmi-sent-ts=1568505600000;user-id=2 :x!x@x.tmi.twitch.tv PRIVMSG #someone :hello", "1 are of channels other than xqcow (someone)"},
		"early": {"@id=9;room-id=71092938;tmi-sent-ts=1568419200000;user-id=2 :x!x@x.tmi.twitch.tv PRIVMSG #xqcow :hello", "1 are outside of the event, which lasts from 2019-09-15"},
	} {
		d.want(app.ExitFailed, c.want, "backfill", "--event", "zevent", "--channel", "xqcow", write(t, name, c.line+"\n"))
	}
	vod := write(t, "vod.json", `{"comments":[{"_id":"1","created_at":"2019-09-15T00:01:00Z","channel_id":"71092938","commenter":{"_id":"2","name":"x"},"message":{"body":"hello"}},{"created_at":"x"}]}`)
	d.want(app.ExitFailed, "comment 2: has no id", "backfill", "--event", "zevent", "--channel", "xqcow", vod)
	past := []string{"--start", "2019-09-14T00:00:00Z", "--end", "2019-09-14T09:00:00Z"}
	d.want(app.ExitOK, "draft", append([]string{"event", "create", "past"}, past...)...)
	d.want(app.ExitFailed, "run tungstene event stop past first", "backfill", "--event", "past", "--channel", "xqcow", vod)
	d.want(app.ExitOK, "ended", "event", "stop", "past")

	rebuild := []string{"rollup", "rebuild", "--event", "zevent"}
	d.want(app.ExitOK, "no closed minute there has records", rebuild...)
	d.put(store.Progress, "zevent", record.Progress{ID: "zevent", ClosedThrough: start.Add(9*time.Hour - time.Minute)})
	d.want(app.ExitOK, "150 minutes are marked and will be counted again", append(rebuild, "--no-wait")...)
	d.want(app.ExitOK, `"minutes": 10`, append(rebuild, "--no-wait", "--json", "--channel", "xqcow", "--to", start.Add(10*time.Minute).Format(time.RFC3339))...)
	d.want(app.ExitUsage, "event zevent lasts from 2019-09-15T00:00:00Z to 2019-09-15T09:00:00Z", append(rebuild, "--to", start.Add(10*time.Hour).Format(time.RFC3339))...)
}

func TestDrainCommand(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.want(app.ExitFailed, "there is no collector c0", "drain", "c0")
	member := control.Member{
		ID: "collector/c0", Role: control.RoleCollector, Name: "c0", Seen: time.Now(), Collector: &control.CollectorMember{Capacity: 5},
	}
	member.Collector.Joined = []string{"1"}
	member.Seen = time.Now().Add(time.Hour) // it does not fall silent while this test is slow
	d.put(store.Members, member.ID, member)
	d.put(store.Members, "master/m1", control.Member{
		ID: "master/m1", Role: control.RoleMaster, Name: "m1", Seen: time.Now().Add(time.Hour), Master: &control.MasterStatus{Leader: true},
		Conditions: []control.Condition{{Name: "drain-waiting", Subject: "c0", Detail: "Nobody has room, or run: tungstene drain c0 --undo"}},
	})
	d.want(app.ExitOK, "\ndrain-waiting c0: Nobody has room", "collectors")
	d.want(app.ExitOK, "c0 is to be drained: 0 channels assigned, 1 read, 0 batches in its outbox", "drain", "c0", "--no-wait")
	d.want(app.ExitOK, "leaving (drain)", "collectors")
	d.want(app.ExitFailed, "c0 is not drained after 1ms: 0 channels assigned, 1 read, 0 batches in its outbox. Nobody has room, or run: tungstene drain c0 --undo", "drain", "c0", "--timeout", "1ms")
	member.Collector.Joined = nil
	member.Collector.Status.Waiting = 20_000
	d.put(store.Members, member.ID, member)
	d.want(app.ExitFailed, "0 batches in its outbox, 20000 records in memory", "drain", "c0", "--timeout", "1ms")
	member.Collector.Status.Waiting, member.Collector.Status.OutboxBatches = 0, -1
	d.put(store.Members, member.ID, member)
	d.want(app.ExitFailed, "0 read, its outbox can't be read", "drain", "c0", "--timeout", "1ms")
	d.want(app.ExitOK, "?", "collectors")
	member.Collector.Status.OutboxBatches = 0
	d.put(store.Members, member.ID, member)
	d.want(app.ExitOK, "c0 is drained: it reads no channel and its outbox is empty", "drain", "c0")
	d.want(app.ExitOK, "c0 gets channels again", "drain", "c0", "--undo")
	if out := d.want(app.ExitOK, "alive", "collectors"); strings.Contains(out, "(drain)") {
		t.Errorf("it is still drained:\n%s", out)
	}
}

// Without master.urls the doctor asks the master of this machine, and tells what it knows.
func TestDoctorAsksItsOwnMaster(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.put(store.Members, "consumer/c1", control.Member{
		ID: "consumer/c1", Role: control.RoleConsumer, Name: "c1", Seen: time.Now().Add(time.Hour),
		Conditions: []control.Condition{{Name: "dead-letters", Detail: "3 dead letters wait."}},
	})
	ask := func(listen string) string {
		t.Helper()
		_, out, _ := run(t, "doctor", "--data", d.flags[1], "--listen", listen,
			"--twitch-irc", "127.0.0.1:1", "--twitch-helix", "http://127.0.0.1:1", "--twitch-auth", "http://127.0.0.1:1")
		return out
	}
	if out := ask(strings.TrimPrefix(d.flags[3], "http://")); !strings.Contains(out, "warning  m1 answers, nobody leads, 0 collectors; dead-letters: 3 dead letters wait.") {
		t.Errorf("it says:\n%s", out)
	}
	if out := ask("127.0.0.1:1"); !strings.Contains(out, "this installation is its own, and does not run now at http://127.0.0.1:1") {
		t.Errorf("it says:\n%s", out)
	}
	d.want(app.ExitFailed, "there is no event nope", "reconcile", "--event", "nope")
}
