package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// run runs the tool as a shell would.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program()
	p.Stdout, p.Stderr = &out, &errs
	code = p.Main(args)
	return code, out.String(), errs.String()
}

func TestHealth(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/well", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"store":"ok"}`) })
	mux.HandleFunc("/ill", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"store":"no primary"}`, http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	defer server.Close()

	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--url", server.URL + "/well"}, app.ExitOK, `{"store":"ok"}`},
		{[]string{"--url", server.URL + "/ill"}, app.ExitFailed, `503 Service Unavailable: {"store":"no primary"}`},
		{[]string{"--url", server.URL + "/hangs", "--timeout", "50ms"}, app.ExitFailed, "deadline exceeded"},
		{[]string{"--url", "http://127.0.0.1:1/readyz"}, app.ExitFailed, "refused"},
		{[]string{"--url", "readyz"}, app.ExitUsage, "use http://host:port/path"},
	} {
		code, stdout, stderr := run(t, append([]string{"health"}, c.args...)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("health %v: exit code %d, %q %q; want %d and %q", c.args, code, stdout, stderr, c.code, c.want)
		}
	}
}

// What apply asks of a master is done once, and the second time changes the end at the most.
func TestEventApply(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	list := filepath.Join(dir, "streamers.txt")
	for name, text := range map[string]string{list: "zerator\n", filepath.Join(dir, "operator.token"): "a-token-of-operators\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var (
		calls []string
		event *record.Event
	)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Method+" "+r.URL.Path)
		status := http.StatusOK
		var answer any
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/v1/events":
			var in control.NewEvent
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				t.Error(err)
			}
			event = &record.Event{Slug: in.Slug, Start: in.Start, End: in.End, TimeZone: in.TimeZone, Replicas: in.Replicas, State: record.EventDraft}
			status, answer = http.StatusCreated, event
		case event == nil:
			w.Header().Set("Content-Type", "application/problem+json")
			status, answer = http.StatusNotFound, control.Problem{Status: http.StatusNotFound, Title: "Not Found"}
		case strings.HasSuffix(r.URL.Path, "/channels"):
			answer = control.Imported{}
		case r.Method == http.MethodPatch:
			var in control.EventPatch
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				t.Error(err)
			}
			event.End = *in.End
			answer = event
		case r.Method == http.MethodGet:
			answer = event
		default:
			event.State = record.EventLive
			answer = event
		}
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	apply := func(args ...string) string {
		calls = nil
		code, stdout, stderr := run(t, append([]string{"event", "apply", "trial", list, "--data", dir, "--master-urls", server.URL}, args...)...)
		if code != app.ExitOK {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		return stdout
	}

	apply("--for", "2h", "--replicas", "2")
	made := *event
	if !slices.Contains(calls, "POST /v1/events") || made.State != record.EventLive || made.Replicas != 2 || made.End.Sub(made.Start) != 2*time.Hour {
		t.Errorf("the first time: %v, %+v", calls, made)
	}
	apply("--for", "1h")
	if !event.End.Equal(made.End) {
		t.Errorf("its end has moved from %s to %s", made.End, event.End)
	}
	var shown record.Event
	if out := apply("--for", "3h", "--json"); json.Unmarshal([]byte(out), &shown) != nil || !shown.End.After(made.End) {
		t.Errorf("asked to last longer, it says %s", out)
	}
	if slices.Contains(calls, "POST /v1/events") {
		t.Errorf("it was made again: %v", calls)
	}
}
