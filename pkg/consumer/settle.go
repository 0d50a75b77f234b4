package consumer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"strconv"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// settle does what must be durable before a written group may be acknowledged, and acknowledges it.
func (c *Consumer) settle(ctx, work context.Context, g *group) error {
	if err := c.bury(ctx, work, g); err != nil {
		return err
	}
	if err := c.mark(ctx, work, g); err != nil {
		return err
	}
	c.acknowledge(work, g)
	return nil
}

// bury publishes as dead letters the batches that could not be read and the records that the store
// refused. It returns when the queue has confirmed them.
func (c *Consumer) bury(ctx, work context.Context, g *group) error {
	var letters []queue.Message
	for _, p := range g.poison {
		d := g.deliveries[p.delivery].Message
		c.cfg.Logger.Error("a batch can't be read; it goes to the dead letters", "message", d.ID, "err", p.err)
		d.Headers = letterHeaders(d.Headers, p.err, "")
		letters = append(letters, d)
	}
	for i, r := range g.results {
		if r.Outcome != store.Refused {
			continue
		}
		rec, why := g.records[i], r.Err
		if why == nil {
			why = errors.New("the store refused the document")
		}
		c.cfg.Logger.Error("the store refuses a record; it goes to the dead letters",
			"event", rec.Event, "channel", rec.Channel, "record", rec.ID, "err", why)
		body, err := record.EncodeBatch([]record.Record{rec}, record.None)
		if err != nil {
			return fmt.Errorf("encode dead letter %s: %w", rec.ID, err)
		}
		letters = append(letters, queue.Message{
			ID: rec.ID, Body: body, Headers: letterHeaders(g.deliveries[g.origin[i]].Headers, why, rec.ID),
		})
	}
	if len(letters) == 0 {
		return nil
	}
	err := c.retry(ctx, work, "publish dead letters", func() error {
		return c.cfg.Queue.Publish(work, queue.Dead, letters...)
	})
	if err != nil {
		return fmt.Errorf("publish %d dead letters: %w", len(letters), err)
	}
	c.metrics.dead.Add(float64(len(letters)))
	c.status.dead.Add(int64(len(letters)))
	return nil
}

// letterHeaders keeps the headers that a message came with: of one that was replayed from the dead
// letters, when it failed first, and where.
func letterHeaders(came map[string]string, reason error, id string) map[string]string {
	h := maps.Clone(came)
	if h == nil {
		h = map[string]string{}
	}
	h[HeaderReason] = reason.Error()
	if h[HeaderFailed] == "" {
		h[HeaderFailed] = time.Now().UTC().Format(time.RFC3339Nano)
	}
	if h[HeaderQueue] == "" {
		h[HeaderQueue] = queue.Store
	}
	delete(h, HeaderRecord)
	if id != "" {
		h[HeaderRecord] = id
	}
	times, err := strconv.Atoi(h[HeaderCount])
	if err != nil || times < 0 {
		times = 0 // never dead-lettered, or by something else
	}
	h[HeaderCount] = strconv.Itoa(times + 1)
	return h
}

// mark writes a fresh dirty mark for every minute of the group's records, new ones or not, that is
// closed or about to be. The time is judged here, after the insert: a record that was stored while
// its minute was surely open is seen by the scan that closes it. Records that were there before
// count as well: whoever stored them may have died before it could mark.
func (c *Consumer) mark(ctx, work context.Context, g *group) error {
	type key struct {
		event  string
		minute int64
	}
	var (
		now   = c.cfg.Clock.Now()
		dirty = map[key]struct{}{}
		last  key
		docs  []store.Doc
	)
	for i, r := range g.results {
		if r.Outcome == store.Refused {
			continue
		}
		rec := &g.records[i]
		k := key{event: rec.Event, minute: record.Minute(rec.Time).Unix()}
		if k == last {
			continue // batches are mostly of one minute
		}
		last = k
		if _, ok := dirty[k]; ok || !due(record.Minute(rec.Time), now, c.cfg.Grace, c.cfg.Skew) {
			continue
		}
		dirty[k] = struct{}{}
		m := record.NewMark(rec.Event, rec.Time, rand.Text())
		raw, err := bson.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode mark %s: %w", m.ID, err)
		}
		docs = append(docs, store.Doc{ID: m.ID, Raw: raw})
	}
	if len(docs) == 0 {
		return nil
	}
	err := c.retry(ctx, work, "write dirty marks", func() error {
		return c.cfg.Store.Put(work, store.Marks, docs)
	})
	if err != nil {
		return fmt.Errorf("write %d dirty marks: %w", len(docs), err)
	}
	c.metrics.marks.Add(float64(len(docs)))
	c.status.marks.Add(int64(len(docs)))
	return nil
}

// due reports whether a minute's closing time has passed or is nearer than skew.
func due(minute, now time.Time, grace, skew time.Duration) bool {
	return !now.Add(skew).Before(minute.Add(time.Minute + grace))
}

// ackers is how many acknowledgements of a group wait for the queue at once.
const ackers = 16

// acknowledge tells the queue that a group is dealt with. An acknowledgement that fails means that
// the batch comes again, which does no harm.
func (c *Consumer) acknowledge(work context.Context, g *group) {
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, ackers)
	)
	for i := range g.deliveries {
		d := &g.deliveries[i]
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			switch err := d.Ack(work); {
			case err == nil:
				c.metrics.batches.Inc()
				c.status.batches.Add(1)
			case errors.Is(err, queue.ErrStale):
				c.metrics.stale.Inc()
			default:
				c.metrics.stale.Inc()
				c.cfg.Logger.Warn("cannot acknowledge a batch; it is delivered again", "message", d.ID, "err", err)
			}
		})
	}
	wg.Wait()
}

// The pauses between attempts.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// retry calls f until it succeeds, with growing pauses. It gives up when it has failed after the end
// of ctx, or when work has ended.
func (c *Consumer) retry(ctx, work context.Context, what string, f func() error) error {
	var (
		began time.Time
		pause = firstPause
	)
	for {
		err := f()
		if err == nil {
			if !began.IsZero() {
				c.status.recovered()
				c.cfg.Logger.Info("works again", "what", what, "after", time.Since(began))
			}
			return nil
		}
		if ctx.Err() != nil || work.Err() != nil {
			return err
		}
		c.metrics.retries.Inc()
		if began.IsZero() {
			began = time.Now()
			c.cfg.Logger.Error("consuming waits and tries again", "what", what, "err", err)
		}
		c.status.failing(began, what, err)
		timer := time.NewTimer(pause/2 + mathrand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-work.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}
