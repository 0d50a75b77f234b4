package charity_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/charity"
	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// begin is when the tests' event starts.
var begin = time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)

// world is a poller in a synctest bubble, with sources that are handlers in the same process.
type world struct {
	t       testing.TB
	clock   *clock.Scaled
	poller  *charity.Poller
	sources http.Handler
	dir     string // of what is remembered from one run to the next

	mu     sync.Mutex
	events []charity.Event
	docs   []record.Document
	calls  int
	refuse func(call int) error // of Emit
	asked  []string
	before func(*http.Request) // of each request
}

// sourcesAt is a sources file with these sources, whose secrets are in testdata/right.
func sourcesAt(t testing.TB, yaml string) []charity.Source {
	t.Helper()
	s, err := charity.ParseSources("testdata/right/sources.yaml", []byte("sources:\n"+yaml))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func key(b byte) []byte { return bytes.Repeat([]byte{b}, record.KeyBytes) }

// people are the channels of the tests' event.
func people() map[string]charity.Channel {
	return map[string]charity.Channel{
		"44842076": {Login: "aducine", Name: "Aducine"},
		"52130765": {Login: "elodie", Name: "Élodie"},
	}
}

func event(t testing.TB, slug string) charity.Event {
	t.Helper()
	logins := map[string]string{}
	for id, c := range people() {
		logins[id] = c.Login
	}
	p, err := record.NewPseudonyms(key(1), logins)
	if err != nil {
		t.Fatal(err)
	}
	return charity.Event{Slug: slug, Start: begin, End: begin.Add(time.Hour), Pseudonyms: p, Channels: people()}
}

// open makes a world whose clock stands at a time after begin.
func open(t testing.TB, after time.Duration, sources []charity.Source, h http.Handler) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewScaled(begin.Add(after), 1), sources: h, events: []charity.Event{event(t, "zevent")}}
	w.restart(sources)
	return w
}

func (w *world) restart(sources []charity.Source) {
	var err error
	w.poller, err = charity.NewPoller(charity.Config{
		Sources: sources, Collector: "one", Dir: w.dir, Clock: w.clock, HTTP: w, Logger: slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(), Emit: w.emit, Events: func() []charity.Event {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.events)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) emit(_ context.Context, docs []record.Document) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	if w.refuse != nil {
		if err := w.refuse(w.calls); err != nil {
			return err
		}
	}
	for _, d := range docs {
		if _, err := record.Encode(d); err != nil {
			w.t.Errorf("%T is no record: %v", d, err)
		}
	}
	w.docs = append(w.docs, docs...)
	return nil
}

// RoundTrip answers by the handler.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.asked = append(w.asked, r.URL.RequestURI())
	before := w.before
	w.mu.Unlock()
	if before != nil {
		before(r)
	}
	rec := httptest.NewRecorder()
	w.sources.ServeHTTP(rec, r)
	resp := rec.Result()
	resp.Request = r
	if resp.StatusCode == 599 {
		return nil, errors.New("connection refused")
	}
	return resp, nil
}

// run lets the poller run for a while of the bubble's time.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.poller.Run(ctx) }()
	time.Sleep(d)
	synctest.Wait()
	cancel()
	if err := <-done; err != nil {
		w.t.Errorf("Run: %v", err)
	}
}

// of are the documents of one type, each fact once, the last one of it.
func of[T record.Document](w *world) []T {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[string]int{}
	var out []T
	for _, d := range w.docs {
		v, ok := d.(T)
		if !ok {
			continue
		}
		r, err := record.Encode(d)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, twice := seen[r.ID]; !twice {
			seen[r.ID] = len(out)
			out = append(out, v)
		}
	}
	return out
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.docs)
}

func (w *world) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

// conditions are the names and subjects of what is wrong now.
func (w *world) conditions() string {
	var out []string
	for _, c := range w.poller.Conditions() {
		if c.Detail == "" || c.Since.IsZero() {
			w.t.Errorf("condition %+v", c)
		}
		out = append(out, c.Name+" "+c.Subject)
	}
	return strings.Join(out, ", ")
}

func (w *world) detail(name string) string {
	for _, c := range w.poller.Conditions() {
		if c.Name == name {
			return c.Detail
		}
	}
	return ""
}

// covered are the spans that coverage claims, joined.
func (w *world) covered() string {
	type span struct{ from, to time.Time }
	var spans []span
	for _, c := range of[*record.Coverage](w) {
		spans = append(spans, span{c.Time, c.To})
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	var joined []span
	for _, s := range spans {
		if n := len(joined); n > 0 && !joined[n-1].to.Before(s.from) {
			joined[n-1].to = s.to
			continue
		}
		joined = append(joined, s)
	}
	var b strings.Builder
	for _, s := range joined {
		fmt.Fprintf(&b, "%s-%s ", s.from.Format("15:04:05"), s.to.Format("15:04:05"))
	}
	return strings.TrimSpace(b.String())
}

// total sums up the donations that count, by channel.
func (w *world) total() map[string]int64 {
	last := map[string]*record.Donation{}
	for _, d := range of[*record.Donation](w) {
		last[d.Source+"/"+d.Donation] = d
	}
	out := map[string]int64{}
	for d := range maps.Values(last) {
		out[d.Channel] += d.Money.Cents
	}
	return out
}

// body answers with a text.
func body(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, s)
	})
}
