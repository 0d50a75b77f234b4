package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tungstene/tungstene/pkg/charity"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// charity reads the file of charity sources and asks each of them once.
func (d *doctor) charity(ctx context.Context) (status, detail string) {
	if d.cfg.Charity.Sources == "" {
		return CheckOK, "charity.sources is empty: no donations are read"
	}
	sources, err := LoadSources(d.cfg)
	if err != nil {
		return d.failed(err, "")
	}
	// Each is given some time for its answer, whatever the others take.
	said := make([]string, len(sources))
	var wg sync.WaitGroup
	for i, s := range sources {
		wg.Go(func() { said[i] = d.ask(ctx, s) })
	}
	wg.Wait()
	var good, bad []string
	for i, s := range sources {
		if said[i] == "" {
			good = append(good, s.Name)
		} else {
			bad = append(bad, s.Name+": "+said[i])
		}
	}
	switch {
	case len(bad) == 0:
		return CheckOK, "these answer: " + strings.Join(good, ", ")
	case len(good) > 0:
		return CheckFailed, strings.Join(bad, "; ") + "; the others answer"
	}
	return CheckFailed, strings.Join(bad, "; ")
}

// ask has a source polled once, as a collector would, for an event that is not there. It says what is
// wrong; nothing when it answered usably.
func (d *doctor) ask(ctx context.Context, s charity.Source) string {
	pseudonyms, err := record.NewPseudonyms(record.NewKey(), nil)
	if err != nil {
		return err.Error()
	}
	slug := "doctor"
	if len(s.Events) > 0 {
		slug = s.Events[0]
	}
	now := time.Now()
	event := charity.Event{Slug: slug, Start: now.Add(-time.Hour), End: now.Add(24 * time.Hour), Pseudonyms: pseudonyms}
	p, err := charity.NewPoller(charity.Config{
		Sources: []charity.Source{s}, Collector: "doctor", Clock: &once{}, Logger: slog.New(slog.DiscardHandler),
		Emit:   func(context.Context, []record.Document) error { return nil },
		Events: func() []charity.Event { return []charity.Event{event} },
	})
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.Run(ctx) }) // it returns nil
	defer wg.Wait()
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st := p.Status()[0]
		if !st.LastSuccess.IsZero() {
			return ""
		}
		// Channels are none, and one answer proves nothing about the donations before it.
		wrong := slices.DeleteFunc(st.Conditions, func(c control.Condition) bool {
			return c.Name == charity.ConditionUnmatched || c.Name == charity.ConditionStale || c.Name == charity.ConditionIncomplete
		})
		if len(wrong) > 0 {
			return ConditionText(wrong[0])
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Sprintf("no answer within %s", doctorTimeout)
		}
	}
}

// once is a clock whose first wait is over at once, and no other ever.
type once struct{ waited atomic.Bool }

func (*once) Now() time.Time { return time.Now() }

func (c *once) Until(ctx context.Context, _ time.Time) error {
	if c.waited.CompareAndSwap(false, true) {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}
