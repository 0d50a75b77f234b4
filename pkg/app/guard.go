package app

import (
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/control"
)

const (
	// maxRequests is how many requests to the API are served at once. A heartbeat takes
	// milliseconds, so this is room for thousands of collectors.
	maxRequests = 256
	// maxViews is how many requests to page and metrics are served at once, streams among them (the
	// page itself takes fewer of those).
	maxViews = 1000
	// maxFailures is how many wrong tokens an address may present within failureWindow, and how
	// often the same one.
	maxFailures   = 10
	failureWindow = time.Minute
	// retryWrong is how often a token that was wrong too often may be tried again: one that is being
	// rotated is taken up by the masters within seconds, and its collectors must not wait long.
	retryWrong = 2 * time.Second
	// maxAddresses bounds the memory for addresses that failed, or were let in.
	maxAddresses = 10_000
	// maxGood is how many tokens that were right are remembered of one address.
	maxGood = 16
)

// ceiling serves at most so many requests at once, and asks the others to come again.
func ceiling(most int, refused prometheus.Counter, next http.Handler) http.Handler {
	slots := make(chan struct{}, most)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			refused.Inc()
			w.Header().Set("Retry-After", "1")
			writeProblem(w, http.StatusServiceUnavailable, "too many requests at once: try again in a second")
		}
	})
}

// limiter slows down whoever guesses tokens. Its memory is of addresses (IPv6: of networks of 64
// bits) and of hashes of tokens, over one window.
//
// An address may present ten different wrong tokens a minute, then only tokens that were right there
// before are looked at: what one does can't lock out others behind the same address. The same wrong
// token is no guess; it is looked at ten times a minute, and then every two seconds.
type limiter struct {
	logger  *slog.Logger
	limited prometheus.Counter
	now     func() time.Time

	mu        sync.Mutex
	addresses map[string]*presented
}

type tokenHash [sha256.Size]byte

// presented are the tokens of one address.
type presented struct {
	since time.Time // the window's begin
	wrong map[tokenHash]*wrong
	good  map[tokenHash]time.Time // when it was right last
}

type wrong struct {
	times int
	last  time.Time
}

func newLimiter(logger *slog.Logger, limited prometheus.Counter) *limiter {
	return &limiter{logger: logger, limited: limited, now: time.Now, addresses: map[string]*presented{}}
}

// limit is a handler that is asked only as often as the limiter allows. What it answers with 401 was
// a wrong token, with 2xx a right one.
func (l *limiter) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address, token := remoteOf(r), sha256.Sum256([]byte(r.Header.Get("Authorization")))
		if wait := l.wait(address, token); wait > 0 {
			l.limited.Inc()
			w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
			writeProblem(w, http.StatusTooManyRequests, "too many wrong tokens from this address: try again later, with the right one")
			return
		}
		rec := &statusRecorder{ResponseWriter: w}
		next.ServeHTTP(rec, r)
		l.note(address, token, rec.status)
	})
}

// wait is how long this address must not present this token; 0 is not at all.
func (l *limiter) wait(address string, token tokenHash) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.addresses[address]
	if !ok {
		return 0
	}
	if _, good := p.good[token]; good {
		return 0
	}
	now := l.now()
	left := failureWindow - now.Sub(p.since)
	if left <= 0 {
		return 0
	}
	before, known := p.wrong[token]
	switch {
	case known && before.times >= maxFailures:
		if rest := retryWrong - now.Sub(before.last); rest > 0 {
			return rest
		}
		before.last = now // others wait while this one is looked at
	case !known && len(p.wrong) >= maxFailures:
		return left
	}
	return 0
}

func (l *limiter) note(address string, token tokenHash, status int) {
	denied := status == http.StatusUnauthorized
	if !denied && (status < 200 || status > 299) {
		return // it says nothing about the token
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	p, ok := l.addresses[address]
	if !ok {
		if len(l.addresses) >= maxAddresses {
			l.forget(now)
		}
		p = &presented{since: now, wrong: map[tokenHash]*wrong{}, good: map[tokenHash]time.Time{}}
		l.addresses[address] = p
	}
	if now.Sub(p.since) >= failureWindow {
		p.since = now
		clear(p.wrong)
	}
	if !denied {
		delete(p.wrong, token)
		if _, known := p.good[token]; known || len(p.good) < maxGood {
			p.good[token] = now
		}
		return
	}
	delete(p.good, token)
	w, known := p.wrong[token]
	if !known {
		if len(p.wrong) >= maxFailures {
			return // several at once: the bound holds all the same
		}
		w = &wrong{}
		p.wrong[token] = w
		if len(p.wrong) == maxFailures {
			l.logger.Warn("wrong tokens from an address: others of it are refused for a while", slog.String("remote", address))
		}
	}
	w.times++
	w.last = now
}

// forget makes room: addresses that have nothing against them go first, then any. An attacker with
// many addresses is not slowed by this in any case.
func (l *limiter) forget(now time.Time) {
	for a, p := range l.addresses {
		if now.Sub(p.since) >= failureWindow {
			delete(l.addresses, a)
		}
	}
	for a := range l.addresses {
		if len(l.addresses) < maxAddresses {
			return
		}
		delete(l.addresses, a)
	}
}

// remoteOf is whom a request came from: an address, or an IPv6 network of 64 bits, which is what one
// customer gets.
func remoteOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return network.String()
}

// statusRecorder remembers what was answered.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	if s.status == 0 && status >= http.StatusOK {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusRecorder) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b) //nolint:wrapcheck // a writer's own errors
}

// Unwrap gives http.ResponseController what is below.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// writeProblem answers as the master's API does (RFC 9457).
func writeProblem(w http.ResponseWriter, status int, detail string) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	b, err := json.Marshal(control.Problem{Status: status, Title: http.StatusText(status), Detail: detail})
	if err == nil {
		_, err = w.Write(b)
	}
	_ = err // the client is gone; there is nobody to tell
}

// limits are the counters of what was refused.
type limits struct {
	busy, guessing prometheus.Counter
}

func newLimits(reg prometheus.Registerer) limits {
	l := limits{
		busy: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tungstene_app_requests_refused_total", Help: "Requests refused because too many were served already.",
		}),
		guessing: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tungstene_app_requests_limited_total", Help: "Requests refused because their address had presented too many wrong tokens.",
		}),
	}
	reg.MustRegister(l.busy, l.guessing)
	return l
}
