package app_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/store/local"
	"github.com/tungstene/tungstene/pkg/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const recording = "../../testdata/agdq2020-minutes.csv"

// A slice of the recording, with one of its busiest minutes, ends with every closed minute equal to
// its row, while messages come twice and out of order, on two collectors.
func TestReplayEqualsTheRecording(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	dir := t.TempDir()
	var progress bytes.Buffer
	res, err := app.Demo(t.Context(), t.Context(), app.DemoOptions{
		Collectors: 2, Replicas: 2, Replay: recording, Speed: 120, For: 5 * time.Second,
		From:   time.Date(2020, 1, 12, 5, 2, 0, 0, time.UTC),
		Listen: "127.0.0.1:0", Data: dir, Duplicate: 0.02, Disorder: 0.02,
	}, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	if res.MinutesCompared != 10 {
		t.Errorf("%d minutes of the channel are closed, 10 were played", res.MinutesCompared)
	}
	if !res.OK() || res.Recording == nil || res.Recording.Compared != 10 || res.Sent == 0 || res.MinutesOpen != 0 {
		t.Errorf("got %+v %+v", res.Result, res.Recording)
	}

	if g := res.Gifts; g == nil || g.Counted == 0 || g.Counted != g.Donations.Donations || g.CountedCents != g.RaisedCents || g.ShownCents <= g.RaisedCents {
		t.Errorf("given: %+v", g)
	}
	if r := res.RecordedTotals; r == nil || r.Compared != 10 || r.Differing != 0 || r.LastCents != res.ShownCents {
		t.Errorf("recorded totals: %+v", r)
	}

	// What is on disk says the same to someone who comes later.
	s, err := local.Open(app.StorePath(dir), local.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	f, err := os.Open(filepath.Join(dir, "ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	again, err := verify.Run(t.Context(), s, "", sim.ReadLedger(f))
	if err != nil {
		t.Fatal(err)
	}
	if again.Sent != res.Sent || again.Stored != res.Stored || !again.OK() {
		t.Errorf("later: %+v, then: %+v", again, res.Result)
	}
}

// A demonstration that is stopped lets go of everything.
func TestDemoStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var progress bytes.Buffer
	_, err := app.Demo(ctx, ctx, app.DemoOptions{
		Channels: 5, Rate: 20, Collectors: 1, Replicas: 1, Listen: "127.0.0.1:0", Data: t.TempDir(),
		Running: func(string) { cancel() },
	}, &progress)
	if err == nil {
		t.Error("it was stopped and says that all is counted")
	}
}

func TestDemoRefusesUsedData(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(app.StorePath(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := app.Demo(t.Context(), t.Context(), app.DemoOptions{Collectors: 1, Replicas: 1, Data: dir}, &bytes.Buffer{}); err == nil {
		t.Error("it would have written into another run's data")
	}
}
