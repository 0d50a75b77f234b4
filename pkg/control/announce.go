package control

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/store"
)

// BeatEvery is how often a consumer, a rollup and a custody write their member documents.
const BeatEvery = 2 * time.Second

// Members is the part of a store that member documents are written to.
type Members interface {
	Put(ctx context.Context, c store.Collection, docs []store.Doc) error
}

// Announce writes a member's document at once and then every BeatEvery until the context ends, and
// once more then, to say that it has left. The member is asked for each time; its role, name and what
// it tells of itself are the caller's, ID, Started, Seen, Beat and Left are set here.
func Announce(ctx context.Context, members Members, logger *slog.Logger, member func(now time.Time) Member) {
	var (
		started = time.Now()
		ticker  = time.NewTicker(BeatEvery)
		failed  bool
	)
	defer ticker.Stop()
	write := func(ctx context.Context, beat int64, left bool) error {
		now := time.Now()
		m := member(now)
		m.ID = m.Role + "/" + m.Name
		m.Started, m.Seen, m.Beat, m.Left = started.UTC(), now.UTC(), beat, left
		raw, err := bson.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode member %s: %w", m.ID, err)
		}
		ctx, cancel := context.WithTimeout(ctx, BeatEvery)
		defer cancel()
		return members.Put(ctx, store.Members, []store.Doc{{ID: m.ID, Raw: raw}}) //nolint:wrapcheck // it names the collection
	}
	for beat := int64(1); ; beat++ {
		err := write(ctx, beat, false)
		if err != nil && !failed && ctx.Err() == nil {
			logger.Warn("cannot write the member document; trying again", "err", err)
		}
		failed = err != nil
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if err := write(context.WithoutCancel(ctx), beat+1, true); err != nil {
				logger.Warn("cannot write that this member has stopped; it will be told as silent", "err", err)
			}
			return
		}
	}
}
