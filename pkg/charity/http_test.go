package charity_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tungstene/tungstene/pkg/charity"
	"github.com/tungstene/tungstene/pkg/record"
)

// What goes wrong with a request is told by a condition of its own, is asked for again later and later, and
// goes away by itself.
func TestRequestsThatFail(t *testing.T) {
	t.Parallel()
	status := func(n int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(n)
			fmt.Fprint(w, "<html>Jeanne Durand</html>")
		}
	}
	for name, c := range map[string]struct {
		h         http.HandlerFunc
		condition string
		detail    string
		most      int // requests in five minutes
		kept      bool
	}{
		"refused connection": {status(599), "source-unreachable", "connection refused; asked again", 40, false},
		"500":                {status(500), "source-unreachable", "500 Internal Server Error; asked again", 40, true},
		"503":                {status(503, "Retry-After", "120"), "source-unreachable", "503 Service Unavailable", 4, true},
		"401":                {status(401), "source-refused", "401 Unauthorized; check that the source may be read", 15, true},
		"403":                {status(403), "source-refused", "403 Forbidden", 15, true},
		"404":                {status(404), "source-refused", "404 Not Found: check the address, the team", 15, true},
		"204":                {status(204), "source-shape", "an answer without content (204)", 15, true},
		"301":                {status(301, "Location", "https://elsewhere.example/x?token=s3cret"), "source-refused", "301 Moved Permanently to https://elsewhere.example, which is not followed", 15, true},
		"304 out of the blue": {
			status(304), "", "", 40, false,
		},
		"429":                    {status(429, "Retry-After", "100"), "source-limited", "429 Too Many Requests: left alone until", 5, true},
		"429 with a date":        {status(429, "Retry-After", "Fri, 04 Sep 2099 18:00:00 GMT"), "source-limited", "429 Too Many Requests", 2, true},
		"429 without an end":     {status(429), "source-limited", "429 Too Many Requests", 15, true},
		"429 with a strange end": {status(429, "Retry-After", "soon"), "source-limited", "429 Too Many Requests", 15, true},
		"slow":                   {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "source-unreachable", "no answer in 10s", 30, false},
		"large": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(bytes.Repeat([]byte(" "), 9<<20))
		}, "source-shape", "the answer has more than 8 MiB", 15, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var mended atomic.Bool
				good := answer(t, "answers/zevent.json")
				w := open(t, 10*time.Second, sourcesAt(t, zeventSource), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if mended.Load() {
						fmt.Fprint(rw, good)
						return
					}
					c.h(rw, r)
					if r.Context().Err() != nil {
						rw.WriteHeader(599)
					}
				}))
				w.events[0].End = begin.Add(3 * time.Hour)
				time.AfterFunc(5*time.Minute, func() {
					want := strings.TrimPrefix(c.condition+" zevent/totals, source-stale zevent/totals", " zevent/totals, ")
					if c.condition > "source-stale" {
						want = "source-stale zevent/totals, " + c.condition + " zevent/totals"
					}
					if got := w.conditions(); got != want || c.condition != "" && !strings.Contains(w.detail(c.condition), c.detail) {
						t.Errorf("conditions %q, want %q: %s", got, want, w.detail(c.condition))
					}
					if strings.Contains(w.detail(c.condition), "s3cret") || strings.Contains(w.detail(c.condition), "Jeanne") {
						t.Error(w.detail(c.condition))
					}
					if n := len(w.requests()); n > c.most || n == 0 {
						t.Errorf("%d requests in five minutes", n)
					}
					answers := of[*record.Answer](w)
					if (len(answers) > 0) != c.kept {
						t.Errorf("%d answers were kept", len(answers))
					}
					for _, a := range answers {
						if strings.Contains(a.Body, "Jeanne") || a.Problem == "" || a.Bytes > 8<<20 {
							t.Errorf("answer of %d bytes, problem %q", a.Bytes, a.Problem)
						}
					}
					mended.Store(true)
				})
				w.run(80 * time.Minute)
				if got := w.conditions(); got != "" {
					t.Errorf("conditions %s", got)
				}
				if len(of[*record.Amount](w)) == 0 {
					t.Error("no samples")
				}
			})
		})
	}
}

// One request of a source at a time, whatever is asked of it, where it has one broadcaster.
func TestOneRequestAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		validation := validated
		under := make(chan struct{}, 1)
		w := open(t, 10*time.Second, sourcesAt(t, twitchSource), twitch(t, &validation))
		w.before = func(*http.Request) {
			select {
			case under <- struct{}{}:
			default:
				t.Error("two requests at a time")
			}
			time.Sleep(2 * time.Second)
			<-under
		}
		w.run(5 * time.Minute)
	})
}

// served polls a real server once, and returns the poller's world.
func served(t *testing.T, source string, h http.Handler, done func(w *world) bool) *world {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	w := &world{t: t, events: []charity.Event{event(t, "zevent")}}
	w.events[0].Start, w.events[0].End = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	sources := sourcesAt(t, strings.ReplaceAll(source, "https://zevent.example", server.URL)+"    totals: '@every 1s'\n")
	var err error
	w.poller, err = charity.NewPoller(charity.Config{
		Sources: sources, Collector: "one", Emit: w.emit, Events: func() []charity.Event { return w.events },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.poller.Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done(w) && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Error("it did not come to that")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return w
}

func TestPackedAnswers(t *testing.T) {
	t.Parallel()
	pack := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, err := z.Write(b)
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	handler := func(b []byte) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				t.Error("it does not take packed answers")
			}
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(b)
		})
	}
	t.Run("sound", func(t *testing.T) {
		t.Parallel()
		served(t, zeventSource, handler(pack([]byte(answer(t, "answers/zevent.json")))), func(w *world) bool { return len(of[*record.Amount](w)) >= 3 })
	})
	t.Run("bomb", func(t *testing.T) {
		t.Parallel()
		w := served(t, zeventSource, handler(pack(bytes.Repeat([]byte(" "), 32<<20))), func(w *world) bool { return w.detail("source-shape") != "" })
		if d := w.detail("source-shape"); !strings.Contains(d, "the answer has more than 8 MiB") {
			t.Error(d)
		}
	})
	t.Run("cut", func(t *testing.T) {
		t.Parallel()
		b := pack([]byte(answer(t, "answers/zevent.json")))
		w := served(t, zeventSource, handler(b[:len(b)/2]), func(w *world) bool { return w.detail("source-shape") != "" })
		if d := w.detail("source-shape"); !strings.Contains(d, "broke off") {
			t.Error(d)
		}
	})
	t.Run("no packing at all", func(t *testing.T) {
		t.Parallel()
		served(t, zeventSource, handler([]byte("{}")), func(w *world) bool { return len(w.poller.Conditions()) > 0 })
	})
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it went elsewhere") }))
	t.Cleanup(elsewhere.Close)
	text := answer(t, "answers/zevent.json")
	t.Run("within", func(t *testing.T) {
		t.Parallel()
		served(t, zeventSource, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/" {
				http.Redirect(w, r, "/api/v2", http.StatusFound)
				return
			}
			fmt.Fprint(w, text)
		}), func(w *world) bool { return len(of[*record.Amount](w)) >= 3 })
	})
	t.Run("elsewhere", func(t *testing.T) {
		t.Parallel()
		w := served(t, zeventSource, http.RedirectHandler(elsewhere.URL, http.StatusMovedPermanently), func(w *world) bool { return w.detail("source-refused") != "" })
		if d := w.detail("source-refused"); !strings.Contains(d, "which is not followed") {
			t.Error(d)
		}
	})
	t.Run("round and round", func(t *testing.T) {
		t.Parallel()
		served(t, zeventSource, http.RedirectHandler("/api/", http.StatusFound), func(w *world) bool { return w.detail("source-refused") != "" })
	})
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	source := strings.ReplaceAll(zeventSource, "https://zevent.example", "http://"+address)
	served(t, source, http.NotFoundHandler(), func(w *world) bool { return w.detail("source-unreachable") != "" })
}

// Money is never a float.
func TestNoFloats(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	float := regexp.MustCompile(`float(32|64)\b|ParseFloat|\.Float\(`)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(b), "\n") {
			if float.MatchString(line) && !regexp.MustCompile(`\.(Add|Set)\(float64\((len\(|slot\.Unix|until)|seconds = float64\(until`).MatchString(line) {
				t.Errorf("%s:%d: %s", file, i+1, line)
			}
		}
	}
}

func TestNewPoller(t *testing.T) {
	t.Parallel()
	emit := func(context.Context, []record.Document) error { return nil }
	events := func() []charity.Event { return nil }
	for _, cfg := range []charity.Config{
		{},
		{Emit: emit, Events: events},
		{Emit: emit, Collector: "x"},
		{Events: events, Collector: "x"},
		{Emit: emit, Events: events, Collector: "x", Sources: append(sourcesAt(t, zeventSource), sourcesAt(t, zeventSource)...)},
	} {
		if _, err := charity.NewPoller(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
	p, err := charity.NewPoller(charity.Config{Emit: emit, Events: events, Collector: "x"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Run(ctx); err != nil || len(p.Status()) != 0 {
		t.Error(err)
	}
}
