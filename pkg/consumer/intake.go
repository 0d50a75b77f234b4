package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// IntakeConfig configures an Intake.
type IntakeConfig struct {
	// Store takes the records. Required.
	Store store.Store
	// Clock is the event's time. Default the system's.
	Clock clock.Clock
	// Grace is how long after its end a minute is closed; the rollup's must be the same. Default 20 s.
	Grace time.Duration
	// Skew is how far the clocks of the machines may be apart. Default 5 s.
	Skew time.Duration
	// Logger gets what happens. Default slog.Default().
	Logger *slog.Logger
}

// Intake is the way into the store without a queue, for records that somebody holds and can give
// again (a backfill). It does what a Consumer does: nothing of a frozen event or of the forgotten is
// stored, and late minutes are marked. It is safe for concurrent use.
type Intake struct {
	writer *writer
	log    *slog.Logger
}

// IntakeResult is what became of the records of a Write. Each is counted in one of Inserted, Existed,
// Refused, Frozen and Forgotten.
type IntakeResult struct {
	// Inserted are new, Existed were stored before and left alone.
	Inserted int
	Existed  int
	// Refused are those that the store won't take; Reasons says why, by the record's id, of the first
	// MaxReasons.
	Refused int
	Reasons map[string]string
	// Frozen are those of frozen events: nothing of them was stored, and nothing was dead-lettered.
	Frozen int
	// Forgotten are those of people whom their event has forgotten: dropped. Redacted counts those
	// among the others that mention such a person, or have a text that is not kept any more, and lost that.
	Forgotten int
	Redacted  int
	// Marks is how many minutes were marked to be counted again.
	Marks int
}

// MaxReasons is how many reasons an IntakeResult holds.
const MaxReasons = 100

// intakeRecords is how many records an Intake inserts at once.
const intakeRecords = 2000

// NewIntake checks the configuration.
func NewIntake(cfg IntakeConfig) (*Intake, error) {
	if cfg.Store == nil {
		return nil, errors.New("intake: a store is required")
	}
	if cfg.Grace < 0 || cfg.Skew < 0 {
		return nil, errors.New("intake: grace and skew must be above 0")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Grace == 0 {
		cfg.Grace = defaultGrace
	}
	if cfg.Skew == 0 {
		cfg.Skew = defaultSkew
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Intake{writer: newWriter(cfg.Store, cfg.Clock, cfg.Grace, cfg.Skew), log: cfg.Logger}, nil
}

// Write stores records, any number, and returns when they are durable and what they call for is
// marked. After an error (the store can't be reached, the context ended) any of them may be stored
// and the result says what is known to be done: give all of them again.
func (in *Intake) Write(ctx context.Context, records []record.Record) (IntakeResult, error) {
	var sum IntakeResult
	for chunk := range slices.Chunk(records, intakeRecords) {
		l := newLoad(slices.Clone(chunk)) // redacting changes them
		l.tried = true                    // perhaps they are given again after an error
		if err := in.writer.write(ctx, l); err != nil {
			return sum, fmt.Errorf("store %d records: %w", len(chunk), err)
		}
		marks, err := in.writer.marks(l)
		if err != nil {
			return sum, err
		}
		if len(marks) > 0 {
			if err := in.writer.store.Put(ctx, store.Marks, marks); err != nil {
				return sum, fmt.Errorf("write %d dirty marks: %w", len(marks), err)
			}
		}
		sum.add(l, len(marks))
	}
	if sum.Refused > 0 {
		in.log.Warn("the store refuses records", "records", sum.Refused)
	}
	return sum, nil
}

func (r *IntakeResult) add(l *load, marks int) {
	n := l.counts()
	r.Inserted += n[inserted]
	r.Existed += n[existed] + n[known]
	r.Refused += n[refused]
	r.Frozen += n[frozen]
	r.Forgotten += n[forgotten]
	r.Redacted += len(l.redacted)
	r.Marks += marks
	for i, f := range l.fates {
		if f != refused || len(r.Reasons) >= MaxReasons {
			continue
		}
		if r.Reasons == nil {
			r.Reasons = map[string]string{}
		}
		r.Reasons[l.records[i].ID] = cutText(l.reasons[i].Error(), maxReasonBytes)
	}
}
