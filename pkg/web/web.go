// Package web serves the status page: what runs, what it reads, how far each stage of the pipeline
// is, and what is missing, live in a browser. One goroutine reads the store once a second and every
// viewer gets the same snapshot, so a full wall of screens costs the store no more than one.
//
// The page makes no request to anywhere else, needs no framework, and shows the last snapshot
// without JavaScript too.
package web

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
	_ "time/tzdata" // times are shown in the event's zone, on images without a zone database too

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/store"
)

// Store is the part of store.Store that the page reads.
type Store interface {
	Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error]
	Get(ctx context.Context, c store.Collection, id string) (bson.Raw, error)
}

// The phases of a demonstration.
const (
	PhaseJoining     = "joining"     // channels are being joined, nothing is sent yet
	PhaseRunning     = "running"     // the simulator sends
	PhaseClosing     = "closing"     // sending is over, the last minutes close
	PhaseReconciling = "reconciling" // what was sent is compared with what is stored
	PhaseDone        = "done"        // all is counted
)

// Demo is how far a demonstration is.
type Demo struct {
	// Phase is one of the Phase constants.
	Phase string
	// Sent is how many chat messages the simulator has sent.
	Sent int64
	// Elapsed is how long it has been sending.
	Elapsed time.Duration
	// Remaining is how long it still will; 0 when it goes on until it is stopped.
	Remaining time.Duration
}

// Config is what a Status needs.
type Config struct {
	// Store is read once a second. Required.
	Store Store
	// Depth tells how many batches wait in a queue (queue.Store, queue.Dead). Default nil: the page
	// says that depths are unknown.
	Depth func(ctx context.Context, queue string) (int, error)
	// Clock is event time: the present minute, lags. Default clock.System.
	Clock clock.Clock
	// Event is the slug of the event to show. Default "": the live one, else the next one, else the
	// last one.
	Event string
	// Demo tells how far the demonstration is; it is called once a second and must not block.
	// Default nil: this is no demonstration.
	Demo func() Demo
	// Version is shown at the foot of the page. Default "".
	Version string
	// Every is the time between two snapshots. Default 1 s.
	Every time.Duration
	// Silent is how long a member may go without a heartbeat before it is shown as silent.
	// Default 15 s.
	Silent time.Duration
	// MaxClients is the most open streams; who comes later is refused and polls. Default 500.
	MaxClients int
	// Logger gets what the page can't show. Default slog.Default().
	Logger *slog.Logger
	// Registerer gets the metrics. Default nil: none.
	Registerer prometheus.Registerer
}

// Status is the status page. Make it with New, serve Handler, and keep Run running.
type Status struct {
	cfg     Config
	log     *slog.Logger
	builder *builder
	hub     *hub
	site    *site
	latest  atomic.Pointer[published]
	metrics metrics
	started sync.Once
}

// New makes a status page. It reads nothing yet.
func New(cfg Config) (*Status, error) {
	if cfg.Store == nil {
		return nil, errors.New("status page: no store is configured")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	if cfg.Silent <= 0 {
		cfg.Silent = 15 * time.Second
	}
	if cfg.MaxClients <= 0 {
		cfg.MaxClients = 500
	}
	site, err := newSite()
	if err != nil {
		return nil, err
	}
	s := &Status{cfg: cfg, log: cfg.Logger, site: site, hub: newHub(cfg.MaxClients), builder: newBuilder(cfg)}
	if s.metrics, err = newMetrics(cfg.Registerer, s.hub); err != nil {
		return nil, fmt.Errorf("status page: register metrics: %w", err)
	}
	return s, nil
}

// Handler serves the page and its data:
//
//	GET /                   the page, rendered with the last snapshot
//	GET /assets/…           its style and scripts
//	GET /api/status         the last snapshot as JSON (Snapshot)
//	GET /api/status/stream  server-sent events: "status" with every snapshot, without its channels,
//	                        and "channels" whenever those have changed
//
// Streams end when Run does.
func (s *Status) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /assets/{name}", s.site.asset)
	mux.HandleFunc("GET /api/status", s.snapshot)
	mux.HandleFunc("GET /api/status/stream", s.stream)
	return secure(mux)
}

// Run builds a snapshot every Config.Every and hands it to all viewers until the context ends; then
// it ends their streams and returns nil. A store that does not answer is shown, not returned. It can
// run only once.
func (s *Status) Run(ctx context.Context) error {
	err := errors.New("status page: Run was called twice")
	s.started.Do(func() {
		defer s.hub.close()
		err = s.run(ctx)
	})
	return err
}

func (s *Status) run(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.Every)
	defer tick.Stop()
	for {
		if err := s.refresh(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// refresh builds one snapshot and publishes it.
func (s *Status) refresh(ctx context.Context) error {
	began := time.Now()
	// A store that hangs must not hang the page: it goes on with what it has and says so.
	bounded, cancel := context.WithTimeout(ctx, max(5*time.Second, s.cfg.Every))
	snap := s.builder.next(bounded)
	cancel()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the context has ended: what could not be read is no news
	}
	s.metrics.snapshot(time.Since(began), snap.Store.OK)
	p, err := publish(snap, s.latest.Load())
	if err != nil {
		return err
	}
	s.latest.Store(p)
	s.hub.broadcast(p)
	return nil
}
