package main

import (
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
)

// Goals and corrections, as an operator types it.
func TestMoneyCommands(t *testing.T) {
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
	do(app.ExitOK, "one", "event", "create", "one")
	if err := os.WriteFile(filepath.Join(dir, "goals.csv"), []byte("\ufeffamount,text\n\"1 000,50 €\",A song\n2000,Shave\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "goals.csv")
	do(app.ExitOK, "2 added, 0 changed, 0 unchanged, 0 deleted (dry run", "goal", "import", "--event", "one", "--global", list, "--dry-run")
	do(app.ExitOK, "2 added, 0 changed, 0 unchanged, 0 deleted\n", "goal", "import", "--event", "one", "--global", list)
	do(app.ExitOK, "0 added, 0 changed, 2 unchanged, 0 deleted\n", "goal", "import", "--event", "one", "--global", list)
	do(app.ExitFailed, "line 1: \"A song\": whose goal is it?", "goal", "import", "--event", "one", write(t, "other.csv", "5;A song\n"))
	do(app.ExitUsage, "no such file", "goal", "import", "--event", "one", "--global", filepath.Join(dir, "nothing.csv"))
	do(app.ExitUsage, "name the channel with --channel", "goal", "add", "--event", "one", "A dance")
	do(app.ExitUsage, "--channel: \"nobody\" is no channel of event one", "goal", "add", "--event", "one", "--channel", "nobody", "--amount", "5", "A dance")
	do(app.ExitUsage, "--amount: its amount must be more than 0", "goal", "add", "--event", "one", "--global", "A dance")
	do(app.ExitUsage, "--amount: invalid amount", "goal", "add", "--event", "one", "--global", "--amount", "five", "A dance")
	added := do(app.ExitOK, "donation  €1,500.00: A dance", "goal", "add", "--event", "one", "--global", "--amount", "1 500 €", "--author", "ada", "A dance")
	id := added[:8]
	do(app.ExitUsage, "nothing to change", "goal", "edit", "--event", "one", id)
	do(app.ExitOK, "€1,600.00: A long dance", "goal", "edit", "--event", "one", id, "--amount", "1600", "--text", "A long dance", "--link", "https://a.example/x,y", "--author", "ada")
	do(app.ExitOK, "accomplished", "goal", "accomplish", "--event", "one", id)
	do(app.ExitOK, "A long dance", "goal", "accomplish", "--event", "one", id, "--undo")
	do(app.ExitOK, "link          https://a.example/x,y", "goal", "show", "--event", "one", id)
	if h := do(app.ExitOK, "A dance", "goal", "history", "--event", "one", id); strings.Count(h, "\n") != 7 || strings.Count(h, "ada") != 4 {
		t.Errorf("%s", h)
	}
	do(app.ExitOK, "unknown", "goal", "list", "--event", "one", "--global")
	do(app.ExitOK, id, "goal", "list", "--event", "one", "--json")
	do(app.ExitOK, "deleted", "goal", "delete", "--event", "one", id)
	if l := do(app.ExitOK, "Shave", "goal", "list", "--event", "one"); strings.Contains(l, id) {
		t.Errorf("%s", l)
	}

	// Something was given, and a running total is wrong.
	now := record.Minute(time.Now().UTC())
	doc := record.Statistics{
		ID: record.StatisticsID("one", record.AllChannels, time.Time{}), Event: "one", Channel: record.AllChannels, Time: now, State: record.StateClosed, Through: now,
		Donations: []record.Donations{{Source: "zevent", Currency: "EUR", Samples: 1, First: 150_000, FirstAt: now, Total: 150_000, TotalAt: now}},
	}
	raw, err := bson.Marshal(doc)
	if err == nil {
		err = s.Put(t.Context(), store.Totals, []store.Doc{{ID: doc.ID, Raw: raw}})
	}
	if err != nil {
		t.Fatal(err)
	}
	do(app.ExitOK, "reached", "goal", "list", "--event", "one")
	do(app.ExitOK, "75.0%", "goal", "list", "--event", "one", "--next")
	at := now.Add(-time.Minute).Format(time.RFC3339)
	do(app.ExitUsage, "--reason", "correction", "add", "--event", "one", "--global", "--kind", "amount", "--time", at, "--amount", "5")
	do(app.ExitUsage, "--amount: an amount of 0", "correction", "add", "--event", "one", "--global", "--kind", "amount", "--time", at, "--reason", "cash")
	do(app.ExitUsage, "--kind", "correction", "add", "--event", "one", "--global", "--kind", "haircut", "--time", at, "--reason", "cash")
	do(app.ExitOK, "corrected   €1,500.00 → €900.00", "correction", "add", "--event", "one", "--global", "--kind", "amount", "--time", at, "--amount=-600", "--reason", "cash", "--dry-run")
	added = do(app.ExitOK, "corrected   €1,500.00 → €900.00", "correction", "add", "--event", "one", "--global", "--kind", "double", "--time", at, "--amount", "600", "--reason", "cash")
	if l := do(app.ExitOK, "89.9%", "goal", "list", "--event", "one"); strings.Contains(l, "reached") {
		t.Errorf("%s", l)
	}
	if l := do(app.ExitOK, "-€600.00", "correction", "list", "--event", "one"); !strings.Contains(l, "\nthe event  €1,500.00") || !strings.Contains(l, ": cash\n") {
		t.Errorf("%s", l)
	}
	do(app.ExitOK, "corrected   €900.00 → €1,500.00", "correction", "withdraw", "--event", "one", added[:8], "--reason", "it was not")
	do(app.ExitOK, "withdrawal", "correction", "list", "--event", "one")
	do(app.ExitOK, "nothing looks wrong", "correction", "suspects", "--event", "one")
	do(app.ExitFailed, "there is no event two", "correction", "suspects", "--event", "two")
}
