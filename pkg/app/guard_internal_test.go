package app

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counter counts beside Prometheus.
type counter struct {
	prometheus.Counter
	n int
}

func (c *counter) Inc() { c.n++ }

func newCounter() *counter { return &counter{} }

// More requests at once than there is room for are asked to come again; the others are served.
func TestCeiling(t *testing.T) {
	busy, refused := make(chan struct{}), newCounter()
	var begun sync.WaitGroup
	begun.Add(3)
	h := ceiling(3, refused, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		begun.Done()
		<-busy
		w.WriteHeader(http.StatusNoContent)
	}))
	serve := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/events", http.NoBody))
		return w
	}
	var running sync.WaitGroup
	for range 3 {
		running.Go(func() {
			if w := serve(); w.Code != http.StatusNoContent {
				t.Errorf("one within the ceiling: %d", w.Code)
			}
		})
	}
	begun.Wait()
	if w := serve(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("one too many: %d %v", w.Code, w.Header())
	}
	close(busy)
	running.Wait()
	begun.Add(1)
	if w := serve(); w.Code != http.StatusNoContent {
		t.Errorf("after the others: %d", w.Code)
	}
	if refused.n != 1 {
		t.Errorf("%d refused", refused.n)
	}
}

// The limiter forgets after its window, gives the same wrong token a chance every few seconds, and
// its memory is bounded.
func TestLimiterForgets(t *testing.T) {
	now := time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)
	l := newLimiter(slog.New(slog.DiscardHandler), newCounter())
	l.now = func() time.Time { return now }
	token := func(i int) tokenHash { return tokenHash{byte(i), byte(i >> 8)} }
	for i := range maxFailures {
		if w := l.wait("a", token(i)); w != 0 {
			t.Fatalf("guess %d waits %v", i, w)
		}
		l.note("a", token(i), http.StatusUnauthorized)
	}
	if w := l.wait("a", token(99)); w != failureWindow {
		t.Errorf("the next guess waits %v", w)
	}
	now = now.Add(failureWindow)
	if w := l.wait("a", token(99)); w != 0 {
		t.Errorf("after the window it waits %v", w)
	}

	for range maxFailures {
		l.note("b", token(1), http.StatusUnauthorized)
	}
	if w := l.wait("b", token(1)); w != retryWrong {
		t.Errorf("the same token waits %v", w)
	}
	now = now.Add(retryWrong)
	if w := l.wait("b", token(1)); w != 0 {
		t.Errorf("after a while it waits %v", w)
	}
	if w := l.wait("b", token(1)); w != retryWrong {
		t.Errorf("the second at that moment waits %v", w)
	}
	l.note("b", token(1), http.StatusOK) // the masters know it now
	if w := l.wait("b", token(1)); w != 0 {
		t.Errorf("the right token waits %v", w)
	}
	// What was found without a token says nothing of it.
	l.note("c", token(1), http.StatusNotFound)
	if len(l.addresses["c"].goodOrNil()) != 0 {
		t.Error("a token counts as right that nobody has looked at")
	}

	for i := range 2 * maxAddresses {
		l.note(string(rune('A'+i)), token(1), http.StatusUnauthorized)
	}
	if len(l.addresses) > maxAddresses {
		t.Errorf("%d addresses are remembered", len(l.addresses))
	}
}

func (p *presented) goodOrNil() map[tokenHash]time.Time {
	if p == nil {
		return nil
	}
	return p.good
}

// One IPv6 customer has 2^64 addresses.
func TestRemoteOf(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.1:5000": "192.0.2.1", "[::ffff:192.0.2.1]:5000": "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64", "pipe": "pipe",
	} {
		if got := remoteOf(&http.Request{RemoteAddr: from}); got != want {
			t.Errorf("%s is %s, want %s", from, got, want)
		}
	}
}
