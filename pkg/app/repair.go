package app

import (
	"context"
	"time"

	"github.com/tungstene/tungstene/pkg/consumer"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
)

// repairs adds to a master's configuration what it repairs stored data with.
func (p *Process) repairs(cfg *master.Config) error {
	in, err := consumer.NewIntake(consumer.IntakeConfig{
		Store: p.store, Clock: p.opts.Clock, Grace: p.cfg.Rollup.Grace, Skew: p.cfg.Consumer.Skew, Logger: p.logger,
	})
	if err != nil {
		return err
	}
	cfg.Intake = intake{in}
	cfg.CloseGrace = p.cfg.Rollup.Grace
	cfg.Rebuild = func(ctx context.Context, event string, from, to time.Time, channel string) (int, error) {
		return rollup.Rebuild(ctx, p.store, event, from, to, channel)
	}
	return nil
}

// intake is the consumer's intake as the master asks for it.
type intake struct{ in *consumer.Intake }

func (i intake) Write(ctx context.Context, records []record.Record) (master.Taken, error) {
	r, err := i.in.Write(ctx, records)
	return master.Taken{
		Inserted: r.Inserted, Existed: r.Existed, Refused: r.Refused, Reasons: r.Reasons,
		Frozen: r.Frozen, Forgotten: r.Forgotten,
	}, err
}
