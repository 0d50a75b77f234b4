package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/sample"
)

func TestSample(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	args := strings.Fields("sample --channels 3 --hours 1 --messages 120 --amount 5000 --data " + data)
	code, out, errs := run(t, args...)
	if code != 0 || !strings.Contains(out, "event sample: 3 channels, 1 hour, 120 messages") || !strings.Contains(out, "of €5,000.00 in all") {
		t.Fatalf("exit code %d, %s%s", code, out, errs)
	}
	code, _, errs = run(t, args...)
	if code != app.ExitFailed || !strings.Contains(errs, "event sample: the event exists: --replace makes it anew") {
		t.Errorf("a second time: exit code %d, %s", code, errs)
	}
	code, out, errs = run(t, append(args, "--replace", "--json")...)
	var r sample.Result
	if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil || r.Messages != 120 || r.Cents != 500_000 {
		t.Errorf("as JSON: exit code %d, %v, %s%s", code, err, out, errs)
	}
	code, out, errs = run(t, "reconcile", "--event", "sample", "--data", data)
	if code != 0 || !strings.Contains(out, "60 minutes, 1 hour, ") || !strings.Contains(out, "0 fields differ") {
		t.Errorf("reconcile: exit code %d, %s%s", code, out, errs)
	}
	for args, want := range map[string]string{
		"--channels 1": "1 channels: use 2 to 5000", "--hours 0": "must be above 0", "--hours 1000": "1000 hours: use 1 to 96",
		"--event No!": `event "No!"`, "--amount 1": "a euro a channel at least",
	} {
		code, _, errs := run(t, append(strings.Fields("sample --data "+data), strings.Fields(args)...)...)
		if code != app.ExitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %s", args, code, errs)
		}
	}
}
