package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/sim"
)

// SimOptions are what `tungstene sim` is asked for.
type SimOptions struct {
	Config sim.Config
	Replay string
	Speed  float64
	From   time.Time
	For    time.Duration
	Ledger string
	// Donations is the ledger of donations; empty for none.
	Donations string
	// Listening is called when both addresses are known.
	Listening func(*sim.Sim)
}

// Simulate serves a simulated Twitch until the context ends, or its traffic does. The ledger is
// whole when it returns without an error.
func Simulate(ctx context.Context, o SimOptions) (err error) {
	cfg := o.Config
	if o.Ledger != "" {
		f, err := os.OpenFile(o.Ledger, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("make the ledger: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		cfg.Ledger = f
	}
	if o.Donations != "" {
		f, err := os.OpenFile(o.Donations, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("make the ledger of donations: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		cfg.Charity.Ledger = f
	}
	if o.Replay != "" {
		f, err := os.Open(o.Replay)
		if err != nil {
			return fmt.Errorf("open the recording: %w", err)
		}
		rows, err := sim.ReadMinutes(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", o.Replay, err)
		}
		cfg.Channels, cfg.Rate = 0, 0
		cfg.Replay = &sim.Replay{Rows: rows, From: o.From, Speed: o.Speed}
	}
	s, err := sim.New(cfg)
	if err != nil {
		return err
	}
	if o.Listening != nil {
		o.Listening(s)
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error { return s.Run(serving) })
	group.Go(func() error {
		defer stop()
		if err := begin(ctx, s, cfg.Replay != nil); err != nil {
			return nil
		}
		s.Begin()
		var over <-chan time.Time
		if o.For > 0 && cfg.Replay == nil {
			timer := time.NewTimer(o.For)
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-ctx.Done():
			return s.End(serving)
		case <-serving.Done():
			return nil
		case <-over:
		case <-s.Done():
		}
		if err := s.End(serving); err != nil {
			return err
		}
		// Helix and chat stay up for those who still count, until someone ends it.
		select {
		case <-ctx.Done():
		case <-serving.Done():
		}
		return nil
	})
	return group.Wait()
}

// begin waits for the first reader where there would be nobody to hear a recording.
func begin(ctx context.Context, s *sim.Sim, wait bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for wait && s.Status().Joined == 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
