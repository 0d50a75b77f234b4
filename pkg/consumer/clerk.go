package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

const (
	// lettersHeld is how many dead letters are in hand at once: each may have 12 MiB.
	lettersHeld = 4
	// replayEvery is how often it looks for letters that are to be replayed, countEvery how often the
	// letters are counted, up to maxLetters.
	replayEvery = 2 * time.Second
	countEvery  = 10 * time.Second
	maxLetters  = 10_000
	// A look for letters to be replayed reads no more than this; the next goes on from there.
	lookLetters = 5_000
	lookBytes   = 32 << 20
)

// clerk keeps the dead letters: it takes them out of the queue "dead" and files them in the store,
// and puts those that somebody wants replayed back into the queue "store".
//
//	queue "dead" ──file──► dead ──somebody──► replay ──publish──► queue "store"; gone
//	                        ▲                   │
//	                        └── no batch, or it came back
//
// Any number of clerks may be at it, and die at any moment: a letter's id is a hash of what it is, so
// that filing twice is filing once, and a letter that is replayed twice is a batch that comes twice. A
// letter leaves the collection only in the state replay. One that comes back while it is still there
// is set to dead, and each wish to replay has a name of its own, so that whoever replayed it does not
// delete it.
type clerk struct {
	store   store.Store
	queue   Queue
	gate    *gate
	log     *slog.Logger
	metrics *metrics
	status  *status
	// where the last look for letters to be replayed came to; the zero value: to the end.
	where place
}

// place is a place in the order of a collection: by time, then _id.
type place struct {
	time time.Time
	id   string
}

func newClerk(c *Consumer) *clerk {
	return &clerk{
		store: c.cfg.Store, queue: c.cfg.Queue, gate: c.writer.gate,
		log: c.cfg.Logger, metrics: c.metrics, status: &c.status,
	}
}

// run works until the context ends. What it has begun then is begun anew by the next.
func (c *clerk) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { c.receive(ctx) })
	wg.Go(func() { c.every(ctx, replayEvery, "replay dead letters", c.replayAll) })
	wg.Go(func() { c.every(ctx, countEvery, "count dead letters", c.count) })
	wg.Wait()
}

// every does something at once and then again and again, for no more than a twentieth of the time but
// at least once a minute.
func (c *clerk) every(ctx context.Context, d time.Duration, what string, do func(context.Context) error) {
	var began time.Time
	for {
		start := time.Now()
		c.tell(ctx, &began, what, do(ctx))
		timer := time.NewTimer(max(d, min(20*time.Since(start), time.Minute)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// tell raises and lowers the condition that something can't be done, since began.
func (c *clerk) tell(ctx context.Context, began *time.Time, what string, err error) {
	switch {
	case ctx.Err() != nil:
	case err == nil && !began.IsZero():
		c.log.Info("works again", "what", what, "after", time.Since(*began))
		c.status.recovered(conditionClerk, what)
		*began = time.Time{}
	case err != nil:
		if began.IsZero() {
			*began = time.Now()
			c.log.Error("dead letters wait and are tried again", "what", what, "err", err)
		}
		c.status.failing(conditionClerk, what, *began, fmt.Sprintf(
			"Dead letters wait where they are because it cannot %s (%v); it goes on by itself. Check the store and the queue.", what, err))
	}
}

// again does something until it succeeds or the context ends, whose error it returns then.
func (c *clerk) again(ctx context.Context, what string, do func() error) error {
	var (
		began time.Time
		pause = firstPause
	)
	for {
		err := do()
		c.tell(ctx, &began, what, err)
		if err == nil {
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		pause = min(2*pause, maxPause)
	}
}

// receive files what comes until the context ends.
func (c *clerk) receive(ctx context.Context) {
	for ctx.Err() == nil {
		var deliveries <-chan queue.Delivery
		err := c.again(ctx, "take dead letters", func() (err error) {
			deliveries, err = c.queue.Subscribe(ctx, queue.Dead, lettersHeld)
			return err
		})
		if err != nil {
			return
		}
		for d := range deliveries {
			if err := c.again(ctx, "file dead letters", func() error { return c.file(ctx, &d) }); err != nil {
				break
			}
			if err := c.again(ctx, "acknowledge dead letters", func() error {
				err := d.Ack(ctx)
				if errors.Is(err, queue.ErrStale) || errors.Is(err, queue.ErrClosed) {
					return nil // it comes again, and is filed again
				}
				return err
			}); err != nil {
				break
			}
		}
	}
}

// file stores a dead letter. It can be repeated.
func (c *clerk) file(ctx context.Context, d *queue.Delivery) error {
	for {
		p, seen, err := c.open(ctx, d.Body)
		if err != nil {
			return err
		}
		if p.gone {
			c.log.Info("a dead letter was of people who were forgotten; it is dropped", "message", cutText(d.ID, queue.MaxIDBytes))
			c.metrics.forgotten.Inc()
			return nil
		}
		l := c.letterOf(d, p)
		if err := c.keep(ctx, l, d.Redelivered); err != nil {
			return err
		}
		// Where that took long somebody may have been forgotten meanwhile.
		redo := false
		for i := range p.records {
			r := &p.records[i]
			s, err := c.gate.after(ctx, r.Event, seen[r.Event])
			if err != nil {
				return err
			}
			if _, what := s.clean(*r); what != record.Kept {
				redo = true
				break
			}
			seen[r.Event] = s
		}
		if !redo {
			c.metrics.filed.Inc()
			c.status.filed.Add(1)
			return nil
		}
		if _, err := c.store.DeleteIf(ctx, store.Letters, l.ID, "state", record.LetterDead); err != nil {
			return fmt.Errorf("delete dead letter %s again: %w", l.ID, err)
		}
	}
}

// parcel is a letter's body, without the forgotten.
type parcel struct {
	body []byte
	// records are what it holds; batch says that it is a batch, not a document alone.
	records []record.Record
	batch   bool
	gone    bool // nothing is left of it
}

// open looks into a body. What can't be read is left as it is.
func (c *clerk) open(ctx context.Context, body []byte) (parcel, map[string]standing, error) {
	p, seen := parcel{body: body}, map[string]standing{}
	if records, err := record.DecodeBatch(body); err == nil {
		p.records, p.batch = records, true
	} else if r, err := record.Parse(body); err == nil {
		p.records = []record.Record{r}
	}
	changed, left := false, p.records[:0:0]
	for _, r := range p.records {
		s, ok := seen[r.Event]
		if !ok {
			var err error
			if s, err = c.gate.before(ctx, r.Event); err != nil {
				return p, nil, err
			}
			seen[r.Event] = s
		}
		if s.cleans() {
			out, what := s.clean(r)
			changed = changed || what != record.Kept
			if what == record.Removed {
				continue
			}
			r = out
		}
		left = append(left, r)
	}
	if !changed {
		return p, seen, nil
	}
	if p.records = left; len(left) == 0 {
		p.gone = true
		return p, seen, nil
	}
	p.body = left[0].Doc
	if p.batch {
		var err error
		if p.body, err = record.EncodeBatch(left, record.None); err != nil {
			return p, nil, fmt.Errorf("encode what is left of a dead letter: %w", err) // not larger than before
		}
	}
	return p, seen, nil
}

// letterOf is the letter of a message, whoever published it.
func (c *clerk) letterOf(d *queue.Delivery, p parcel) record.Letter {
	l := record.Letter{
		State: record.LetterDead, Reason: d.Headers[HeaderReason], Code: cutText(d.Headers[HeaderCode], record.MaxSlugBytes),
		Count: 1, Queue: cutText(d.Headers[HeaderQueue], maxHeaderBytes),
		Message: cutText(d.ID, queue.MaxIDBytes), Record: cutText(d.Headers[HeaderRecord], maxHeaderBytes),
		Body: p.body,
	}
	if p.batch {
		l.Records = len(p.records)
	}
	for i := range p.records {
		r := &p.records[i]
		if i == 0 {
			l.Event, l.Channel, l.Kind = r.Event, r.Channel, r.Kind
			continue
		}
		if r.Event != l.Event {
			l.Event = ""
		}
		if r.Channel != l.Channel {
			l.Channel = ""
		}
		if r.Kind != l.Kind {
			l.Kind = ""
		}
	}
	if l.Reason == "" {
		l.Reason = "nothing says why: it lay in the queue of dead letters without a reason"
	}
	if len(l.Body) > queue.MaxBodyBytes {
		c.log.Error("a dead letter is too large for the store and is cut", "message", l.Message, "bytes", len(l.Body))
		c.metrics.cut.Inc()
		l.Reason = fmt.Sprintf("the first %d of %d bytes; %s", queue.MaxBodyBytes, len(l.Body), l.Reason)
		l.Body, l.Records = l.Body[:queue.MaxBodyBytes], 0
	}
	l.Reason = cutText(l.Reason, maxReasonBytes)
	if l.Code == "" {
		l.Code = record.CodeRefused
		if len(p.records) == 0 {
			l.Code = record.CodeUnreadable
		}
	}
	if n, err := strconv.Atoi(d.Headers[HeaderCount]); err == nil && n > 0 {
		l.Count = n
	}
	now := record.Millis(time.Now())
	l.Time, l.First = now, now
	if t, err := time.Parse(time.RFC3339, d.Headers[HeaderFailed]); err == nil && t.Before(now) && t.Year() > 0 {
		if l.First = record.Millis(t); l.Count == 1 {
			l.Time = l.First // it may have lain in the queue since
		}
	}
	l.Headers = otherHeaders(d.Headers)
	l.ID = record.Hash(string(l.Body), l.Reason)
	return l
}

// otherHeaders are those that a letter has no field for, in a form that every store takes.
func otherHeaders(came map[string]string) map[string]string {
	var out map[string]string
	size := 0
	for _, name := range slices.Sorted(maps.Keys(came)) {
		switch name {
		case HeaderReason, HeaderCode, HeaderFailed, HeaderQueue, HeaderRecord, HeaderCount:
			continue
		}
		key := strings.Map(func(r rune) rune {
			if r == 0 || r == '.' || r == '$' {
				return '_'
			}
			return r
		}, cutText(name, queue.MaxIDBytes))
		value := strings.ToValidUTF8(came[name], "\uFFFD")
		if size += len(key) + len(value); key == "" || size > queue.MaxHeaderBytes {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[key] = value
	}
	return out
}

// keep writes a letter, over the one of the same id that is there. That one stays as old as it is,
// and counts once more unless this is a message that we had before.
func (c *clerk) keep(ctx context.Context, l record.Letter, redelivered bool) error {
	for {
		next := l
		switch old, err := c.letter(ctx, l.ID); {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		default:
			if redelivered && old.Count >= l.Count {
				// Filed before, by someone who could not acknowledge it. One that comes back from a
				// replay has a higher count than the letter that was replayed.
				return nil
			}
			next.Rev, next.Count = old.Rev, max(old.Count+1, l.Count)
			if old.First.Before(next.First) {
				next.First = old.First
			}
			if old.Time.After(next.Time) {
				next.Time = old.Time
			}
		}
		err := c.write(ctx, next)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func (c *clerk) letter(ctx context.Context, id string) (record.Letter, error) {
	var l record.Letter
	raw, err := c.store.Get(ctx, store.Letters, id)
	if err != nil {
		return l, fmt.Errorf("read dead letter %s: %w", id, err)
	}
	if err := bson.Unmarshal(raw, &l); err != nil {
		return l, fmt.Errorf("decode dead letter %s: %w", id, err)
	}
	return l, nil
}

// write writes a letter that was read at its Rev; 0: that was not there.
func (c *clerk) write(ctx context.Context, l record.Letter) error {
	rev := l.Rev
	l.Rev++
	raw, err := bson.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode dead letter %s: %w", l.ID, err)
	}
	if err := c.store.CompareAndSet(ctx, store.Letters, rev, store.Doc{ID: l.ID, Raw: raw}); err != nil {
		return fmt.Errorf("write dead letter %s: %w", l.ID, err)
	}
	return nil
}

// replayAll looks for letters that are to be replayed, from where the last look came to.
func (c *clerk) replayAll(ctx context.Context) error {
	var (
		found  []string
		n, sum int
		from   = c.where
	)
	c.where = place{}
	for raw, err := range c.store.Find(ctx, store.Query{Collection: store.Letters, From: from.time}) {
		if err != nil {
			return fmt.Errorf("look for dead letters to be replayed: %w", err)
		}
		id := store.DocID(raw)
		at := time.Time{}
		if ms, ok := raw.Lookup("time").DateTimeOK(); ok {
			at = time.UnixMilli(ms)
		}
		if at.Equal(from.time) && id <= from.id {
			continue // seen
		}
		if state, _ := raw.Lookup("state").StringValueOK(); state == record.LetterReplay {
			found = append(found, id)
		}
		if n, sum = n+1, sum+len(raw); n >= lookLetters || sum >= lookBytes {
			c.where = place{time: at, id: id}
			break
		}
	}
	for _, id := range found {
		if err := c.replay(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// replay puts a letter back into the queue and deletes it.
func (c *clerk) replay(ctx context.Context, id string) error {
	l, err := c.letter(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && l.State != record.LetterReplay {
		return nil // another was faster, or it was taken back
	}
	if err != nil {
		return err
	}
	if _, err := record.DecodeBatch(l.Body); err != nil {
		return c.keepDead(ctx, l, err)
	}
	m := queue.Message{ID: shortID(l.Message), Body: l.Body, Headers: map[string]string{
		HeaderFailed: l.First.UTC().Format(time.RFC3339Nano), HeaderQueue: l.Queue, HeaderCount: strconv.Itoa(l.Count),
	}}
	size := 3 * maxHeaderBytes // more than those
	for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
		if size += len(name) + len(l.Headers[name]); size <= queue.MaxHeaderBytes {
			m.Headers[name] = l.Headers[name]
		}
	}
	if err := c.queue.Publish(ctx, queue.Store, m); err != nil {
		if errors.Is(err, queue.ErrTooLarge) {
			return c.keepDead(ctx, l, err)
		}
		return fmt.Errorf("replay dead letter %s: %w", l.ID, err)
	}
	c.log.Info("a dead letter is replayed", "letter", l.ID, "event", l.Event, "records", l.Records)
	c.metrics.replayed.Inc()
	c.status.replayed.Add(1)
	// Only as it was asked for when it was published: it may have come back and be asked for again.
	field, value := "replay", l.Replay
	if value == "" { // asked for by a version that gave no name
		field, value = "state", record.LetterReplay
	}
	if _, err := c.store.DeleteIf(ctx, store.Letters, l.ID, field, value); err != nil {
		return fmt.Errorf("delete dead letter %s, which is replayed: %w", l.ID, err)
	}
	return nil
}

// The words around the reason why a letter could not be replayed.
const (
	cantReplay = "it can't be replayed: "
	itWas      = "; it is here because: "
)

// keepDead sets a letter that can't be replayed back to dead, with the reason.
func (c *clerk) keepDead(ctx context.Context, l record.Letter, why error) error {
	c.log.Error("a dead letter can't be replayed", "letter", l.ID, "err", why)
	before := l.Reason
	if rest, ok := strings.CutPrefix(before, cantReplay); ok {
		if _, first, ok := strings.Cut(rest, itWas); ok {
			before = first
		}
	}
	l.State, l.Replay = record.LetterDead, ""
	before = strings.TrimPrefix(before, cantReplay)
	l.Reason = cutText(cantReplay+cutText(why.Error(), maxHeaderBytes)+itWas+before, maxReasonBytes+2*maxHeaderBytes)
	if strings.Contains(before, why.Error()) { // the same twice
		l.Reason = cutText(cantReplay+before, maxReasonBytes+2*maxHeaderBytes)
	}
	err := c.write(ctx, l)
	if errors.Is(err, store.ErrConflict) {
		return nil // somebody has changed it; it is looked at again
	}
	return err
}

// count counts the letters, for everyone to see that there are some.
func (c *clerk) count(ctx context.Context) error {
	n, err := c.store.Count(ctx, store.Query{Collection: store.Letters, Limit: maxLetters})
	if err != nil {
		return fmt.Errorf("count dead letters: %w", err)
	}
	c.status.letters.Store(int64(n))
	c.metrics.letters.Set(float64(n))
	if n == 0 {
		c.status.recovered(conditionLetters, "")
		return nil
	}
	some := strconv.Itoa(n)
	if n >= maxLetters {
		some += " or more"
	}
	c.status.failing(conditionLetters, "", time.Now(), some+" dead letters wait for someone to look at them: tungstene deadletter list.")
	return nil
}
