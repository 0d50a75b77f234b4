package faults_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tungstene/tungstene/internal/cluster"
	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// shifted is a machine's clock that is wrong.
type shifted struct{ by time.Duration }

func (s shifted) Now() time.Time { return time.Now().Add(s.by) }

func (s shifted) Until(ctx context.Context, t time.Time) error {
	return clock.System{}.Until(ctx, t.Add(-s.by))
}

// inside runs a role in this process, with a clock that is wrong; end ends it in order.
func (s *scenario) inside(name string, roles app.Roles, by time.Duration) (url string, end func()) {
	s.T.Helper()
	var c app.Configured
	parser, err := kong.New(&c)
	if err != nil {
		s.T.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--config", s.File(name)}); err != nil {
		s.T.Fatal(err)
	}
	cfg, err := c.Checked()
	if err != nil {
		s.T.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(s.T.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	p, err := app.New(s.T.Context(), cfg, roles, app.Options{Version: "test", Clock: shifted{by}, Logger: logger.With("program", name)})
	if err != nil {
		s.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(background(s.T))
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			s.T.Errorf("%s: %v", name, err)
		}
	}
	s.T.Cleanup(end)
	s.faults++
	s.Note("%s runs with a clock that is %v off", name, by)
	return p.URL(), end
}

// The clocks of machines are apart by almost as much as consumer.skew allows: whoever leads the
// rollup closes minutes too early or too late, and every minute is exact in the end.
func TestClocksApart(t *testing.T) {
	s := begin(t, options{replicas: 2, Options: cluster.Options{
		Collectors: 2, Consumers: 1, Skew: 5 * time.Second, Sim: []string{"--disorder", "0.02"},
	}})
	_, endFast := s.inside("consumer-8", app.Roles{Consumer: true}, 2200*time.Millisecond)
	_, endSlow := s.inside("consumer-9", app.Roles{Consumer: true}, -2200*time.Millisecond)
	collector, endCollector := s.inside("collector-9", app.Roles{Collectors: 1}, 2200*time.Millisecond)
	s.kill(s.Consumers[0]) // one of the two leads now
	s.Consumers = nil
	s.Until("the collector with the wrong clock reads its share", func() error {
		_, body, err := s.Get(collector + "/metrics")
		if err == nil && strings.Contains(string(body), "\ntungstene_collector_channels_joined 0\n") {
			err = errors.New("it reads nothing")
		}
		return err
	})
	closedTwo := func() {
		minute := record.Minute(time.Now()).Add(time.Minute)
		s.Within(4*time.Minute, "two minutes were closed", every(2*time.Second, func() error {
			return s.Look(func(db store.Store) error { return cluster.Closed(t.Context(), db, event, minute) })
		}))
	}
	closedTwo()
	if s.epochHolder() == "consumer-8" {
		endFast()
	} else {
		endSlow()
	}
	s.Note("the rollup that led has ended")
	closedTwo()

	s.Sim.Stop()
	s.Until("the collector with the wrong clock has sent everything", func() error {
		_, body, err := s.Get(collector + "/metrics")
		if err == nil && !strings.Contains(string(body), "\ntungstene_collector_outbox_batches 0\n") {
			err = errors.New("its outbox is not empty")
		}
		return err
	})
	endCollector()
	s.nothingLost()
}

// epochHolder is the name of who holds the rollup's lease.
func (s *scenario) epochHolder() string {
	s.T.Helper()
	holder := ""
	if err := s.Look(func(db store.Store) error {
		raw, err := db.Get(s.T.Context(), store.Leases, "rollup")
		if err != nil {
			return fmt.Errorf("read the lease: %w", err)
		}
		holder, _ = raw.Lookup("holder").StringValueOK()
		return nil
	}); err != nil {
		s.T.Fatal(err)
	}
	return filepath.Dir(holder)
}
