package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/web"
)

// fixed is a clock that stands still.
type fixed struct{ now time.Time }

func (f fixed) Now() time.Time                             { return f.now }
func (fixed) Until(ctx context.Context, _ time.Time) error { <-ctx.Done(); return ctx.Err() }

// serve runs a status page and a server in front of it; both end with the test.
func serve(t *testing.T, cfg web.Config) (base string, stop func()) {
	t.Helper()
	if cfg.Every == 0 {
		cfg.Every = 5 * time.Millisecond
	}
	s, err := web.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	srv := httptest.NewServer(s.Handler())
	var done bool
	stop = func() {
		if done {
			return
		}
		done = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	}
	t.Cleanup(stop)
	return srv.URL, stop
}

func get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// snapshot waits for one that satisfies ok.
func snapshot(t *testing.T, base string, ok func(*web.Snapshot) bool) *web.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	var last string
	for {
		res, body := get(t, base+"/api/status")
		last = body
		if res.StatusCode == http.StatusOK {
			var s web.Snapshot
			if err := json.Unmarshal([]byte(body), &s); err != nil {
				t.Fatal(err)
			}
			if ok(&s) {
				return &s
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no such snapshot came; the last one: %.3000s", last)
		case <-poll.C:
		}
	}
}

var noon = time.Date(2026, 9, 4, 12, 0, 30, 0, time.UTC)

// scene is a small marathon of four channels with ten closed minutes and an open one. In the fourth
// minute before the last closed one, two channels were half covered; another minute is missing.
func scene(t *testing.T) *marathon {
	t.Helper()
	m := newMarathon(t, noon, 6)
	last := record.Minute(noon).Add(-2 * time.Minute)
	for ago := range 10 {
		at := last.Add(-time.Duration(ago) * time.Minute)
		if ago == 7 {
			continue
		}
		m.minute(t, at, record.StateClosed, func(i int) float64 {
			if ago == 4 && i >= 4 {
				return 0.5
			}
			return 1
		})
	}
	// The total speaks through the last closed minute.
	m.minute(t, last, record.StateClosed, func(int) float64 { return 1 })
	m.minute(t, last.Add(time.Minute), record.StateOpen, func(int) float64 { return 1 })
	m.members(t, time.Now(), last, false)
	return m
}

func TestSnapshot(t *testing.T) {
	m := scene(t)
	m.put(t, store.Channels, record.Channel{
		ID: "marathon/login:nobody", Event: "marathon", Login: "nobody", Status: record.ChannelUnknown,
	})
	depths := map[string]int{"store": 250, "dead": 2}
	base, _ := serve(t, web.Config{
		Store: m, Clock: fixed{noon}, Version: "1.2.3",
		Depth: func(_ context.Context, q string) (int, error) { return depths[q], nil },
	})
	// The hour's channels come little by little.
	s := snapshot(t, base, func(s *web.Snapshot) bool {
		return len(s.Channels) == 7 && len(s.Channels[0].Trend) == 10 && s.Now.Rate.Value != nil
	})

	if s.Event == nil || s.Event.Slug != "marathon" || s.Event.TimeZone != "Europe/Paris" || s.Version != "1.2.3" {
		t.Errorf("event %+v, version %q", s.Event, s.Version)
	}
	n := s.Now
	if n.Read != 4 || n.Channels != 6 || n.NotFound != 1 || n.Up != 3 || n.Collectors != 3 {
		t.Errorf("read %d of %d, %d not found, %d of %d collectors", n.Read, n.Channels, n.NotFound, n.Up, n.Collectors)
	}
	if n.Rate.Quality != record.Partial || !n.Rate.Provisional {
		t.Errorf("rate %+v: two of six channels are not read, so it is partial", n.Rate)
	}
	open := s.Minutes[len(s.Minutes)-1]
	if open.State != record.StateOpen || *n.Messages.Value != float64(n.Closed+open.Messages) || !n.Messages.Provisional {
		t.Errorf("messages %v with %d closed and %+v open", *n.Messages.Value, n.Closed, open)
	}
	if n.Chatters.Error == 0 || n.Peak.Value == nil || *n.Peak.Value != 812404 || *n.Dead != 2 || *n.Live != 5 {
		t.Errorf("numbers %+v", n)
	}
	if len(s.Minutes) != 59 || s.Minutes[50].State != web.StateMissing || s.Minutes[0].State != web.StateMissing {
		t.Errorf("%d minutes, states %v", len(s.Minutes), states(s.Minutes))
	}

	want := []web.Gap{
		{Quality: record.Partial, Channels: 2, Of: 6, Names: []string{"Fougère", "Silex"}, Covered: new(0.5)},
		{Quality: record.Unknown, Channels: 6, Of: 6, Covered: new(0.0)},
		{Quality: record.Unknown, Channels: 6, Of: 6, Covered: new(0.0)},
	}
	if len(s.Gaps) != len(want) {
		t.Fatalf("gaps %+v", s.Gaps)
	}
	for i, w := range want {
		g := s.Gaps[i]
		if g.Quality != w.Quality || g.Channels != w.Channels || g.Of != w.Of || *g.Covered != *w.Covered {
			t.Errorf("gap %d is %+v, want %+v", i, g, w)
		}
	}
	if g := s.Gaps[0]; g.To.Sub(g.From) != time.Minute || strings.Join(g.Names, " ") == "" {
		t.Errorf("gap %+v", g)
	}

	health := map[string]string{}
	for _, st := range s.Stages {
		health[st.Name] = st.Health
	}
	for name, w := range map[string]string{
		web.StageCollectors: web.HealthWarn, web.StageQueue: web.HealthWarn, web.StageConsumers: web.HealthOK,
		web.StageRollup: web.HealthOK,
	} {
		if health[name] != w {
			t.Errorf("stage %s is %q, want %q", name, health[name], w)
		}
	}
	for _, name := range []string{"channels-unread", "queue-deep", "logins-not-found", "dead-letters", "helix-unauthorized"} {
		if !hasCondition(s, name) {
			t.Errorf("no condition %s in %+v", name, s.Conditions)
		}
	}
}

func states(all []web.Minute) (out []string) {
	for _, m := range all {
		out = append(out, m.State)
	}
	return out
}

func hasCondition(s *web.Snapshot, name string) bool {
	for _, c := range s.Conditions {
		if c.Name == name {
			return true
		}
	}
	return false
}

// Two collectors on one channel are one stream of messages.
func TestRateCountsReplicasOnce(t *testing.T) {
	m := newMemory()
	m.put(t, store.Events, record.Event{Slug: "e", State: record.EventLive, Start: noon.Add(-time.Hour), End: noon.Add(time.Hour)})
	for _, id := range []string{"1", "2", "3"} {
		m.put(t, store.Channels, record.Channel{ID: "e/" + id, Event: "e", Channel: id, Login: "l" + id, Status: record.ChannelActive})
	}
	for name, rates := range map[string]map[string]float64{"a": {"1": 10, "2": 4}, "b": {"1": 12, "2": 4}} {
		m.put(t, store.Members, control.Member{
			ID: "collector/" + name, Role: control.RoleCollector, Name: name, Seen: time.Now(), Collector: &control.CollectorMember{
				Joined: []string{"1", "2", "3"},
				// Channel 3 has 0.05 messages a second: too few to be listed.
				Status: control.CollectorStatus{Rate: rates["1"] + rates["2"] + 0.05, Rates: rates},
			},
		})
	}
	base, _ := serve(t, web.Config{Store: m, Clock: fixed{noon}})
	s := snapshot(t, base, func(s *web.Snapshot) bool { return s.Now.Up == 2 })
	if got := *s.Now.Rate.Value; got < 16.0499 || got > 16.0501 || s.Now.Rate.Quality != record.Complete {
		t.Errorf("rate %v %s, want 16.05 complete", got, s.Now.Rate.Quality)
	}
}

// What is recounted is read again.
func TestRecountShows(t *testing.T) {
	m := scene(t)
	base, _ := serve(t, web.Config{Store: m, Clock: fixed{noon}})
	snapshot(t, base, func(s *web.Snapshot) bool { return len(s.Gaps) == 3 })
	at := record.Minute(noon).Add(-6 * time.Minute)
	m.recounted = time.Hour
	m.minute(t, at, record.StateClosed, func(int) float64 { return 1 })
	snapshot(t, base, func(s *web.Snapshot) bool { return len(s.Gaps) == 2 })
}

func TestEventIsChosen(t *testing.T) {
	ev := func(slug, state string, start time.Duration) record.Event {
		return record.Event{Slug: slug, State: state, Start: noon.Add(start), End: noon.Add(start + 10*time.Hour)}
	}
	all := []record.Event{
		ev("draft", record.EventDraft, 0), ev("frozen", record.EventFrozen, -9000*time.Hour),
		ev("ended", record.EventEnded, -100*time.Hour), ev("later", record.EventScheduled, 90*time.Hour),
		ev("next", record.EventScheduled, 9*time.Hour), ev("live", record.EventLive, -time.Hour),
	}
	for _, c := range []struct {
		name, pinned, want string
		events             []record.Event
	}{
		{"none", "", "", nil},
		{"live first", "", "live", all},
		{"then the next", "", "next", all[:5]},
		{"then the last", "", "ended", all[:3]},
		{"then the frozen", "", "frozen", all[:2]},
		{"then any", "", "draft", all[:1]},
		{"pinned", "frozen", "frozen", all},
		{"pinned and absent", "other", "", all},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory()
			for _, e := range c.events {
				m.put(t, store.Events, e)
			}
			base, _ := serve(t, web.Config{Store: m, Clock: fixed{noon}, Event: c.pinned})
			s := snapshot(t, base, func(*web.Snapshot) bool { return true })
			got := ""
			if s.Event != nil {
				got = s.Event.Slug
			}
			if got != c.want {
				t.Errorf("event %q, want %q", got, c.want)
			}
			if c.want == "" && !hasCondition(s, "no-event") {
				t.Error("nobody says that there is no event")
			}
		})
	}
}

// A member is judged by its heartbeat's change, and shown silent when that stays away.
func TestSilentMember(t *testing.T) {
	m := scene(t)
	base, _ := serve(t, web.Config{Store: m, Clock: fixed{noon}, Silent: 50 * time.Millisecond})
	s := snapshot(t, base, func(s *web.Snapshot) bool { return s.Now.Up == 0 && s.Now.Collectors == 3 })
	if !hasCondition(s, "member-silent") || !hasCondition(s, "no-collectors") || !s.Collectors[0].Silent {
		t.Errorf("conditions %+v", s.Conditions)
	}
	if s.Now.Read != 0 || s.Now.Rate.Value != nil || s.Now.Rate.Quality != record.Unknown {
		t.Errorf("nobody reads, yet %+v", s.Now)
	}
}

// An outbox that can't be asked is not an empty one.
func TestOutboxThatCantBeAsked(t *testing.T) {
	m := scene(t)
	m.put(t, store.Members, control.Member{
		ID: "collector/collector-1", Role: control.RoleCollector, Name: "collector-1", Seen: time.Now(), Beat: 1,
		Collector: &control.CollectorMember{Status: control.CollectorStatus{OutboxBatches: -1}},
	})
	base, _ := serve(t, web.Config{Store: m, Clock: fixed{noon}})
	s := snapshot(t, base, func(s *web.Snapshot) bool { return len(s.Collectors) == 3 })
	if c := s.Collectors[0]; c.OutboxBatches != -1 || c.Health != web.HealthWarn {
		t.Errorf("%+v", c)
	}
	if _, body := get(t, base+"/"); !strings.Contains(body, `<td class="n">?</td>`) {
		t.Error("the page does not say that it is not known")
	}
}

// A store that does not answer leaves the last numbers, and says so; afterwards all is as before.
func TestStoreAway(t *testing.T) {
	m := scene(t)
	reg := prometheus.NewRegistry()
	base, _ := serve(t, web.Config{Store: m, Clock: fixed{noon}, Registerer: reg})
	before := snapshot(t, base, func(s *web.Snapshot) bool { return s.Store.OK })
	m.fail(errors.New("connection refused to mongodb://user:secret@db"))
	away := snapshot(t, base, func(s *web.Snapshot) bool { return !s.Store.OK })
	if !hasCondition(away, "store-unreachable") || away.Store.Good == nil || away.Now.Closed != before.Now.Closed {
		t.Errorf("while the store is away: %+v", away)
	}
	if _, body := get(t, base+"/api/status"); strings.Contains(body, "mongodb://") {
		t.Error("the store's error is shown to everyone")
	}
	m.fail(nil)
	back := snapshot(t, base, func(s *web.Snapshot) bool { return s.Store.OK })
	if hasCondition(back, "store-unreachable") {
		t.Error("the store answers again and the page does not say so")
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	if len(got) != 4 || got["tungstene_web_snapshot_failures_total"] < 1 {
		t.Errorf("metrics %v", got)
	}
}

// events reads a stream and hands out its events.
func events(t *testing.T, base string) (*http.Response, func() (name, data string)) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/api/status/stream", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	lines := bufio.NewReaderSize(res.Body, 1<<20)
	return res, func() (name, data string) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return "end", ""
			}
			line = strings.TrimSuffix(line, "\n")
			switch {
			case strings.HasPrefix(line, "event: "):
				name = line[7:]
			case strings.HasPrefix(line, "data: "):
				data = line[6:]
			case line == "" && name != "":
				return name, data
			}
		}
	}
}

func TestStream(t *testing.T) {
	m := scene(t)
	base, stop := serve(t, web.Config{Store: m, Clock: fixed{noon}})
	snapshot(t, base, func(s *web.Snapshot) bool { return len(s.Channels[0].Trend) == 10 })
	res, next := events(t, base)
	if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Fatalf("content type %q", ct)
	}
	var seen []string
	for len(seen) < 8 {
		name, data := next()
		if name == "end" {
			t.Fatal("the stream ended by itself")
		}
		if !json.Valid([]byte(data)) {
			t.Fatalf("%s is no JSON: %.200s", name, data)
		}
		if name == "status" && strings.Contains(data, `"channels":[`) {
			t.Error("a status has channels in it")
		}
		seen = append(seen, name)
	}
	if got := strings.Join(seen, " "); got != "hello status channels status status status status status" {
		t.Errorf("events: %s", got)
	}
	// A channel that changes is sent again.
	m.minute(t, record.Minute(noon).Add(-time.Minute), record.StateClosed, func(int) float64 { return 1 })
	for {
		name, _ := next()
		if name == "channels" {
			break
		}
		if name == "end" {
			t.Fatal("the stream ended by itself")
		}
	}
	stop()
	for {
		if name, _ := next(); name == "end" {
			return
		}
	}
}

// pipes is a listener without sockets, so that a server runs in a bubble of synctest.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// A stream outlives the timeouts that its server has for ordinary requests: that of reading is over
// when the handler begins, that of writing is the stream's own.
func TestStreamOutlivesTheServersTimeouts(t *testing.T) {
	for name, every := range map[string]time.Duration{"busy": time.Second, "idle": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := web.New(web.Config{Store: scene(t), Clock: fixed{noon}, Every: every})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				lis := newPipes()
				srv := &http.Server{
					Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
					WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					if err := s.Run(ctx); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
						t.Error(err)
					}
				})
				client := &http.Client{Transport: &http.Transport{DialContext: lis.dial}}
				defer func() {
					cancel()
					client.CloseIdleConnections()
					if err := srv.Close(); err != nil {
						t.Error(err)
					}
					wg.Wait()
				}()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://page/api/status/stream", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				began := time.Now()
				for lines := bufio.NewReaderSize(res.Body, 1<<20); time.Since(began) < 5*time.Minute; {
					if _, err := lines.ReadString('\n'); err != nil {
						t.Fatalf("the stream ended after %s: %v", time.Since(began), err)
					}
				}
			})
		})
	}
}

func TestStreamsAreLimited(t *testing.T) {
	m := scene(t)
	base, _ := serve(t, web.Config{Store: m, Clock: fixed{noon}, MaxClients: 1})
	_, next := events(t, base)
	if name, _ := next(); name != "hello" {
		t.Fatalf("first event %q", name)
	}
	res, body := get(t, base+"/api/status/stream")
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" ||
		res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: %s", res.Status, body)
	}
}

// A viewer that never reads holds nobody up, and the page ends all the same.
func TestSlowViewer(t *testing.T) {
	m := newMarathon(t, noon, 200)
	m.minute(t, record.Minute(noon).Add(-2*time.Minute), record.StateClosed, func(int) float64 { return 1 })
	m.members(t, time.Now(), noon, false)
	base, stop := serve(t, web.Config{Store: m, Clock: fixed{noon}, Every: time.Millisecond})
	events(t, base) // and never reads on
	_, next := events(t, base)
	for range 100 {
		if name, _ := next(); name == "end" {
			t.Fatal("the stream ended by itself")
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stop2 := make(chan struct{})
	go func() { defer close(stop2); stop() }()
	for {
		if name, _ := next(); name == "end" {
			break
		}
	}
	_ = stop2
}

func TestPage(t *testing.T) {
	m := scene(t)
	hostile := record.Event{
		Slug: "marathon", Name: `</script><script>alert("x")</script>`, State: record.EventLive, Start: m.start,
		End: m.start.Add(55 * time.Hour), TimeZone: "Europe/Paris",
	}
	m.put(t, store.Events, hostile)
	base, _ := serve(t, web.Config{
		Store: m, Clock: fixed{noon}, Demo: func() web.Demo { return web.Demo{Phase: web.PhaseRunning, Sent: 12345} },
	})
	snapshot(t, base, func(s *web.Snapshot) bool { return s.Now.Read == 4 })
	for _, c := range []struct {
		name, query, accept string
		want                []string
	}{
		{"english", "", "en-GB,en;q=0.9", []string{`<html lang="en"`, "messages per second", "12,345 messages sent", "3 Sep"}},
		{"french", "", "fr-FR,fr;q=0.9,en;q=0.8", []string{`<html lang="fr"`, "messages par seconde", "12\u00a0345 messages envoyés"}},
		{"chosen", "?lang=fr", "en", []string{`<html lang="fr"`}},
		{"neither", "", "de, ja;q=0.5", []string{`<html lang="en"`}},
		{"french before", "", "en;q=0.3, fr;q=0.7", []string{`<html lang="fr"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := get(t, base+"/"+c.query, "Accept-Language", c.accept)
			for _, w := range c.want {
				if !strings.Contains(body, w) {
					t.Errorf("no %q on the page", w)
				}
			}
			if strings.Contains(body, "<img") || strings.Contains(body, `<script>alert`) {
				t.Error("a name became markup")
			}
			if !strings.Contains(body, "&lt;img src=x") {
				t.Error("the channel with a hostile name is not on the page")
			}
			csp := res.Header.Get("Content-Security-Policy")
			for _, w := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} {
				if !strings.Contains(csp, w) {
					t.Errorf("policy %q lacks %q", csp, w)
				}
			}
			if strings.Contains(csp, "unsafe") || strings.Contains(body, " style=") || strings.Contains(body, "http://") || strings.Contains(body, "https://") {
				t.Error("the page needs more than the policy allows")
			}
		})
	}
}

// Before the first snapshot the page says so, and its data are not there yet.
func TestBeforeTheFirst(t *testing.T) {
	s, err := web.New(web.Config{Store: newMemory()})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/": 200, "/api/status": 503, "/nothing": 404, "/assets/page.html": 404, "/assets/texts.json": 404} {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		if w.Code != want {
			t.Errorf("GET %s: %d, want %d", path, w.Code, want)
		}
	}
	if _, err := web.New(web.Config{}); err == nil {
		t.Error("a page without a store was made")
	}
}

func TestAssets(t *testing.T) {
	base, _ := serve(t, web.Config{Store: newMemory()})
	for name, kind := range map[string]string{
		"app.js": "text/javascript", "style.css": "text/css", "archivo.woff2": "font/woff2", "icon.svg": "image/svg+xml",
		"archivo-LICENSE.txt": "text/plain",
	} {
		res, _ := get(t, base+"/assets/"+name)
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), kind) {
			t.Errorf("%s: %s %s", name, res.Status, res.Header.Get("Content-Type"))
		}
		again, _ := get(t, base+"/assets/"+name, "If-None-Match", res.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("%s is sent again: %s", name, again.Status)
		}
	}
}

// counted closes done after so many writes.
type counted struct {
	http.ResponseWriter
	left int
	done chan struct{}
}

func (c *counted) Write(b []byte) (int, error) {
	if c.left--; c.left == 0 {
		close(c.done)
	}
	return c.ResponseWriter.Write(b)
}

func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// In a browser, without a reload, the numbers of the stream arrive and nothing is refused by the
// policy.
func TestBrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium on the PATH")
	}
	base, _ := serve(t, web.Config{Store: scene(t), Clock: fixed{noon}, Every: 100 * time.Millisecond})
	snapshot(t, base, func(s *web.Snapshot) bool { return s.Now.Read == 4 })
	target, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	// The browser tells what the page looks like once it has loaded; the preloaded font, and with it
	// the load, is held back until the stream has brought some snapshots.
	proxy := httputil.NewSingleHostReverseProxy(target)
	streamed := make(chan struct{})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/assets/archivo.woff2":
			select {
			case <-streamed:
			case <-r.Context().Done():
			}
		case "/api/status/stream":
			w = &counted{ResponseWriter: w, left: 8, done: streamed}
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
		"--user-data-dir="+t.TempDir(), "--timeout=15000", "--dump-dom", front.URL+"/?lang=fr")
	cmd.WaitDelay = time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("chromium does not start here: %v", err)
	}
	dom := string(out)
	for _, want := range []string{`class="js`, `data-link="live"`, "En direct", `class="b-closed"`, `class="b-open"`, `class="spark"`, "&lt;img src=x onerror=alert(1)&gt;", `aria-sort="descending"`} {
		if !strings.Contains(dom, want) {
			t.Errorf("no %s in the page", want)
		}
	}
	if strings.Contains(dom, "<img") {
		t.Error("a channel's name became markup")
	}
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, "CONSOLE") && (strings.Contains(line, "rror") || strings.Contains(line, "Refused") || strings.Contains(line, "violates")) {
			t.Error(line)
		}
	}
}

// What the page finds by itself and a member tells too stands there once.
func TestConditionsOnce(t *testing.T) {
	m := scene(t)
	m.put(t, store.Channels, record.Channel{
		ID: "marathon/login:nobody", Event: "marathon", Login: "nobody", Status: record.ChannelUnknown,
	})
	m.put(t, store.Members, control.Member{
		ID: "master/master-1", Role: control.RoleMaster, Name: "master-1", Seen: time.Now(), Run: "r1", Beat: 99,
		Master: &control.MasterStatus{Leader: true, Epoch: 7, Unassigned: []string{"1", "2"}},
		Conditions: []control.Condition{
			{Name: "channels-unassigned", Detail: "2 of 6 channels found no collector with room."},
			{Name: "channels-unknown", Subject: "marathon", Detail: "Twitch knows no such login: nobody."},
			{Name: "channels-unknown", Subject: "another", Detail: "Twitch knows no such login: nobody."},
			{Name: "drain-waiting", Subject: "collector-1", Detail: "It is to be drained."},
		},
	})
	base, _ := serve(t, web.Config{Store: m, Clock: fixed{noon}})
	s := snapshot(t, base, func(s *web.Snapshot) bool { return hasCondition(s, "drain-waiting") })
	count := map[string]int{}
	for _, c := range s.Conditions {
		count[c.Name+" "+c.Subject]++
	}
	for name, want := range map[string]int{
		"channels-unassigned ": 1, "logins-not-found nobody": 1, "channels-unknown marathon": 0, "channels-unknown another": 1, "drain-waiting collector-1": 1,
	} {
		if count[name] != want {
			t.Errorf("%s stands there %d times, want %d: %+v", name, count[name], want, s.Conditions)
		}
	}
}

// No text of the page is a key of the catalogue.
func TestNoRawKeys(t *testing.T) {
	m := scene(t)
	for _, role := range []string{control.RoleCustody, "someone"} {
		m.put(t, store.Members, control.Member{ID: role + "/x", Role: role, Name: "x", Seen: time.Now()})
	}
	base, _ := serve(t, web.Config{Store: m, Clock: fixed{noon}})
	snapshot(t, base, func(s *web.Snapshot) bool { return len(s.Members) > 4 })
	_, list := get(t, base+"/")
	_, list, _ = strings.Cut(list, `id="texts">`)
	list, _, _ = strings.Cut(list, "</script>")
	var texts map[string]string
	if err := json.Unmarshal([]byte(list), &texts); err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for key := range texts {
		if section, _, ok := strings.Cut(key, "."); ok {
			sections[section] = true
		}
	}
	if len(sections) < 15 {
		t.Fatalf("the catalogue has the sections %v", sections)
	}
	hidden := regexp.MustCompile(`(?s)<script.*?</script>|<[^>]*>`)
	for lang, custody := range map[string]string{"en": "custody", "fr": "conservation"} {
		_, page := get(t, base+"/?lang="+lang)
		page = hidden.ReplaceAllString(page, " ")
		for _, found := range regexp.MustCompile(`\b([a-z]+)\.[a-z][a-z.-]*`).FindAllStringSubmatch(page, -1) {
			if sections[found[1]] {
				t.Errorf("%s: the page says %s", lang, found[0])
			}
		}
		if !strings.Contains(page, custody) || !strings.Contains(page, "someone") {
			t.Errorf("%s: a role has no name", lang)
		}
	}
}
