package main

import (
	"context"
	"encoding/json"
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
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
)

// accounts is a Twitch that knows one account.
type accounts struct{}

func (accounts) Users(_ context.Context, ids, logins []string) ([]master.User, error) {
	for _, s := range append(ids, logins...) {
		if s == "44322889" || s == "somebody" {
			return []master.User{{ID: "44322889", Login: "somebody", Name: "Somebody"}}, nil
		}
	}
	return nil, nil
}

// Opting out, forgetting, freezing and destroying a key, as an operator types it.
func TestPrivacyCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := local.Open(filepath.Join(dir, "store.db"), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	keys, err := master.NewFileKeys(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	const token = "abcdefghijklmnopqrstuvwxyz"
	m, err := master.New(master.Config{
		Store: s, Keys: keys, Name: "m1", Resolver: accounts{}, Logger: slog.New(slog.DiscardHandler),
		OperatorTokens: master.StaticTokens(token), CollectorTokens: master.StaticTokens(token + "2"),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	if err := os.WriteFile(filepath.Join(dir, "operator.token"), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(wantCode int, wants string, args ...string) string {
		t.Helper()
		code, out, errs := run(t, append(args, "--data", dir, "--master-urls", server.URL)...)
		if code != wantCode || !strings.Contains(out+errs, wants) {
			t.Errorf("%v: exit code %d, want %d and %q, got: %s%s", args, code, wantCode, wants, out, errs)
		}
		return out
	}
	put := func(c store.Collection, id string, v any) {
		t.Helper()
		raw, err := bson.Marshal(v)
		if err == nil {
			err = s.Put(t.Context(), c, []store.Doc{{ID: id, Raw: raw}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	do(app.ExitOK, "texts      30 days after the end", "event", "create", "one", "--keep-text", "--text-days", "30", "--record-days", "365")
	do(app.ExitOK, "texts      30 days after the end (none are stored: --keep-text)", "event", "set", "one", "--no-keep-text")
	do(app.ExitOK, "keep text  true", "event", "set", "one", "--keep-text")
	do(app.ExitUsage, "--text-days: 400: the records go 365 days after the end", "event", "set", "one", "--text-days", "400")
	do(app.ExitOK, "answers    as long as the records", "event", "set", "one", "--donations", "zevent")
	do(app.ExitOK, "donations  of zevent", "event", "set", "one", "--answer-days", "90")
	do(app.ExitOK, "answers    90 days after the end", "event", "set", "one", "--donations", "")
	do(app.ExitUsage, "--answer-days: 400: the records go 365 days after the end", "event", "set", "one", "--answer-days", "400")
	do(app.ExitUsage, "the event's slug: use lower-case letters, digits and dashes", "event", "create", "Not_A_Slug")
	do(app.ExitUsage, "--currency: use three capital letters", "event", "set", "one", "--currency", "dollars")
	do(app.ExitUsage, "--name: too long, the most characters are 200", "event", "set", "one", "--name", strings.Repeat("x", 201))
	do(app.ExitFailed, "name the masters' file with --master-operator-token-file", "event", "list", "--master-operator-token-file", write(t, "wrong", "wrong-token-of-tests-0123456789\n"))
	do(app.ExitOK, "records    for ever", "event", "set", "one", "--record-days", "0")
	do(app.ExitOK, "2 added, 0 there already", "optout", "add", "somebody", "1234:else", "--forget")
	do(app.ExitOK, "gone: kept by the login only", "optout", "add", "gone")
	do(app.ExitOK, "44322889  somebody", "optout", "list")
	do(app.ExitFailed, "nobody: is not on the list", "optout", "remove", "else", "nobody")
	var people []control.Person
	if err := json.Unmarshal([]byte(do(app.ExitOK, "", "optout", "list", "--json")), &people); err != nil || len(people) != 2 {
		t.Errorf("the list is %v, %v", people, err)
	}

	do(app.ExitOK, "tungstene optout add somebody", "forget", "--event", "one", "--chatter", "somebody")
	do(app.ExitFailed, "there is no event two", "forget", "--event", "two", "--chatter", "somebody")
	do(app.ExitOK, "donor Jean, D", "forget", "--event", "one", "--donor", "Jean, D", "--donor", "streamlabs:12")
	do(app.ExitUsage, "name somebody with --chatter or --donor", "forget", "--event", "one")
	for raw, err := range s.Find(t.Context(), store.Query{Collection: store.Tombstones}) {
		var stone record.Tombstone
		if err == nil {
			err = bson.Unmarshal(raw, &stone)
		}
		if err != nil {
			t.Fatal(err)
		}
		stone.State, stone.Records, stone.Remains = record.TombstoneDone, 7, "a sketch."
		stone.Rev++
		put(store.Tombstones, stone.ID, stone)
	}
	out := do(app.ExitOK, record.TombstoneDone, "forget", "list", "--event", "one")
	if strings.Contains(out, "somebody") {
		t.Errorf("the list of tombstones names a person: %s", out)
	}

	do(app.ExitOK, "tombstones are pending", "forget", "again", "--event", "one")
	if out := do(app.ExitOK, record.TombstonePending, "forget", "list", "--event", "one"); strings.Contains(out, record.TombstoneDone) {
		t.Errorf("not everybody is forgotten again: %s", out)
	}
	do(app.ExitFailed, "there is no event two", "forget", "again", "--event", "two")

	do(app.ExitFailed, "event one is draft: only an ended event can be frozen", "event", "freeze", "one")
	do(app.ExitFailed, "event one is draft: only the key of an ended or frozen event", "event", "destroy-key", "one", "--yes")
	put(store.Events, "one", record.Event{
		Slug: "one", Rev: 9, Name: "one", State: record.EventEnded, TimeZone: "UTC", Currency: "EUR", Replicas: 1,
		Start: record.Millis(time.Now().Add(-2 * time.Hour)), End: record.Millis(time.Now().Add(-time.Hour)),
	})
	do(app.ExitOK, "state       waiting", "event", "freeze", "one")
	do(app.ExitFailed, "it is not signed", "event", "manifest", "one")
	do(app.ExitOK, "will not be frozen", "event", "freeze", "one", "--cancel")
	do(app.ExitFailed, "event one has no manifest", "event", "manifest", "one")

	key, err := keys.Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := record.Manifest{
		Event: "one", Rev: 1, Revision: 1, Cause: "freeze", Sum: strings.Repeat("ab", 32),
		Parts: []record.ManifestPart{{Collection: "records", Day: "2026-09-04", Documents: 3, SHA256: strings.Repeat("cd", 32)}},
	}
	if err := f.Sign(key, time.Now()); err != nil {
		t.Fatal(err)
	}
	put(store.Manifests, "one", f)
	do(app.ExitOK, f.Sum, "event", "freeze", "one", "--wait")
	do(app.ExitOK, f.PublicKey, "event", "manifest", "one", "--public-key", f.PublicKey)
	do(app.ExitFailed, "is signed with another key", "event", "manifest", "one", "--public-key", strings.Repeat("A", 43)+"=")

	do(app.ExitOK, "the pseudonym key of event one is destroyed", "event", "destroy-key", "one", "--yes")
	do(app.ExitOK, "the pseudonym key of event one was already destroyed on 2", "event", "destroy-key", "one", "--yes")
	do(app.ExitFailed, "nobody can be found in it any more", "forget", "--event", "one", "--chatter", "somebody")
	do(app.ExitOK, "one: its key was destroyed", "forget", "--all-events", "--chatter", "somebody", "--wait")
	do(app.ExitOK, "key        destroyed", "event", "show", "one")
}
