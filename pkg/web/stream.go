package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// keepAlive is how often an idle stream gets a comment, so that proxies leave it open.
	keepAlive = 15 * time.Second
	// writeTimeout is how long a viewer may take to accept what is written to it before it is
	// dropped. It comes back by itself.
	writeTimeout = 10 * time.Second
)

// published is a snapshot, encoded once for all viewers.
type published struct {
	snap *Snapshot
	// status is the snapshot without its channels, channels are those; version grows when they
	// change.
	status, channels []byte
	version          int64
	// whole encodes all of it, when first asked for.
	whole func() ([]byte, error)
}

func publish(snap *Snapshot, last *published) (*published, error) {
	slim := *snap
	slim.Channels = nil
	p := &published{snap: snap, version: 1, whole: sync.OnceValues(func() ([]byte, error) { return json.Marshal(snap) })}
	var err error
	if p.status, err = json.Marshal(slim); err != nil {
		return nil, fmt.Errorf("status page: encode a snapshot: %w", err)
	}
	if p.channels, err = json.Marshal(snap.Channels); err != nil {
		return nil, fmt.Errorf("status page: encode the channels: %w", err)
	}
	if last != nil {
		p.version = last.version
		if !bytes.Equal(p.channels, last.channels) {
			p.version++
		}
	}
	return p, nil
}

// hub hands the newest snapshot to every viewer. A viewer that is slow misses snapshots in between;
// nothing piles up for it.
type hub struct {
	limit int

	mu      sync.Mutex
	viewers map[chan *published]struct{}
	closed  bool
	done    chan struct{}
}

func newHub(limit int) *hub {
	return &hub{limit: limit, viewers: map[chan *published]struct{}{}, done: make(chan struct{})}
}

// join returns a viewer's mailbox, or false when there are too many or the hub is closed.
func (h *hub) join() (chan *published, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.viewers) >= h.limit {
		return nil, false
	}
	box := make(chan *published, 1)
	h.viewers[box] = struct{}{}
	return box, true
}

func (h *hub) leave(box chan *published) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.viewers, box)
}

func (h *hub) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.viewers)
}

// broadcast puts p into every mailbox in place of what was not taken.
func (h *hub) broadcast(p *published) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for box := range h.viewers {
		select {
		case <-box:
		default:
		}
		box <- p // only broadcast sends, so there is room
	}
}

// close ends all streams.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.done)
	}
}

// snapshot serves GET /api/status.
func (s *Status) snapshot(w http.ResponseWriter, _ *http.Request) {
	p := s.latest.Load()
	if p == nil {
		problem(w, http.StatusServiceUnavailable, "no snapshot yet", "The first one is being built; ask again in a second.", time.Second)
		return
	}
	body, err := p.whole()
	if err != nil {
		s.log.Error("status page: encode the snapshot", "err", err)
		problem(w, http.StatusInternalServerError, "the snapshot can't be encoded", "The log says why.", 0)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body) // a viewer that has gone is no error of ours
}

// stream serves GET /api/status/stream.
func (s *Status) stream(w http.ResponseWriter, r *http.Request) {
	box, ok := s.hub.join()
	if !ok {
		s.metrics.refused()
		problem(w, http.StatusServiceUnavailable, "no stream is to be had",
			"There are too many viewers or the server is stopping; poll /api/status instead.", 10*time.Second)
		return
	}
	defer s.hub.leave(box)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	control := http.NewResponseController(w)
	write := func(b []byte) bool {
		// A server's own write timeout would end the stream; where there are no deadlines, as behind
		// some middlewares, the server's are all there is.
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := w.Write(b); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	if !write(fmt.Appendf(nil, "retry: 2000\nevent: hello\ndata: {\"assets\":%q}\n\n", s.site.version)) {
		return
	}
	var seen int64
	send := func(p *published) bool {
		var b bytes.Buffer
		frame(&b, "status", p.status)
		if p.version != seen {
			seen = p.version
			frame(&b, "channels", p.channels)
		}
		return write(b.Bytes())
	}
	if p := s.latest.Load(); p != nil && !send(p) {
		return
	}
	idle := time.NewTicker(keepAlive)
	defer idle.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.hub.done:
			return
		case p := <-box:
			if !send(p) {
				return
			}
			idle.Reset(keepAlive)
		case <-idle.C:
			if !write([]byte(": still here\n\n")) {
				return
			}
		}
	}
}

// frame writes one event; JSON has no line breaks.
func frame(b *bytes.Buffer, event string, data []byte) {
	b.WriteString("event: ")
	b.WriteString(event)
	b.WriteString("\ndata: ")
	b.Write(data)
	b.WriteString("\n\n")
}

// problem answers with RFC 9457's application/problem+json.
func problem(w http.ResponseWriter, status int, title, detail string, retry time.Duration) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(retry.Seconds())))
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": title, "status": status, "detail": detail})
}

// metrics of the page; all may be nil.
type metrics struct {
	seconds  prometheus.Histogram
	failures prometheus.Counter
	rejected prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, h *hub) (metrics, error) {
	if reg == nil {
		return metrics{}, nil
	}
	m := metrics{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tungstene_web_snapshot_seconds", Help: "Time to build one snapshot of the status page.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tungstene_web_snapshot_failures_total", Help: "Snapshots that the store did not answer for.",
		}),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tungstene_web_streams_refused_total", Help: "Streams refused because there were too many.",
		}),
	}
	viewers := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tungstene_web_streams", Help: "Open streams of the status page.",
	}, func() float64 { return float64(h.len()) })
	for _, c := range []prometheus.Collector{m.seconds, m.failures, m.rejected, viewers} {
		if err := reg.Register(c); err != nil {
			return metrics{}, err
		}
	}
	return m, nil
}

func (m metrics) snapshot(d time.Duration, ok bool) {
	if m.seconds == nil {
		return
	}
	m.seconds.Observe(d.Seconds())
	if !ok {
		m.failures.Inc()
	}
}

func (m metrics) refused() {
	if m.rejected != nil {
		m.rejected.Inc()
	}
}
