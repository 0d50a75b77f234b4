package charity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/control"
)

// Poller polls charity sources. Its methods may be called at the same time.
type Poller struct {
	cfg     Config
	client  *http.Client
	sources []*poller
}

// NewPoller makes a poller. It makes no request.
func NewPoller(cfg Config) (*Poller, error) {
	if cfg.Emit == nil || cfg.Events == nil || cfg.Collector == "" {
		return nil, errors.New("charity: a poller needs Emit, Events and the collector's name")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	p := &Poller{cfg: cfg, client: newHTTPClient(cfg.HTTP)}
	seen := map[string]bool{}
	for _, s := range cfg.Sources {
		if s.Name == "" || seen[s.Name] {
			return nil, fmt.Errorf("charity: the name of source %q is not its own", s.Name)
		}
		seen[s.Name] = true
		p.sources = append(p.sources, newPoller(s, &p.cfg, p.client, m))
	}
	return p, nil
}

// Run polls until ctx ends, and returns nil. What is under way then is given up.
func (p *Poller) Run(ctx context.Context) error {
	defer p.client.CloseIdleConnections()
	var wg sync.WaitGroup
	for _, s := range p.sources {
		wg.Go(func() { s.run(ctx) })
	}
	<-ctx.Done()
	wg.Wait()
	return nil
}

// Status returns how each source is doing, in the order of the file.
func (p *Poller) Status() []SourceStatus {
	out := make([]SourceStatus, 0, len(p.sources))
	for _, s := range p.sources {
		out = append(out, s.snapshot())
	}
	return out
}

// Conditions are what is wrong with any source now.
func (p *Poller) Conditions() []control.Condition {
	var out []control.Condition
	for _, s := range p.Status() {
		out = append(out, s.Conditions...)
	}
	return out
}
