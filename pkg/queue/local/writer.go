package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/tungstene/tungstene/pkg/queue"
)

// The bounds of one transaction: what is waiting beyond them goes into the next.
const (
	maxGroup      = 512
	maxGroupBytes = 32 << 20
)

type requestKind int

const (
	publishing requestKind = iota
	removing
	touching // writes nothing that matters, to see that writing works
)

// request is what someone waits for the writer to do.
//
//	offered ──take──► taken ──commit──► done
//	   └──context ends──► abandoned
type request struct {
	kind requestKind
	box  *box
	rows []row // of publishing
	size int64 // of publishing: all rows; of removing: the message
	seq  int64 // of removing

	state atomic.Int32
	done  chan error // holds 1
}

const (
	offered int32 = iota
	taken
	abandoned
)

type row struct {
	seq     int64
	size    int64
	id      string
	headers []byte
	body    []byte
}

// Publish writes the messages in one transaction and returns when it is on the disk. When the
// transaction fails (the disk is full, say) or the limit is reached (ErrFull) nothing of the call
// is kept. On a full disk messages can still be acknowledged: a few MiB are kept free for that (see
// Open), and what was acknowledged is given back to the disk.
func (q *Queue) Publish(ctx context.Context, name string, messages ...queue.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	b, err := q.box(name)
	q.mu.Unlock()
	if err != nil {
		return err
	}
	if len(messages) == 0 {
		return nil
	}
	r := &request{kind: publishing, box: b, rows: make([]row, len(messages)), done: make(chan error, 1)}
	for i := range messages {
		m := &messages[i]
		if err := m.Validate(); err != nil {
			return err
		}
		var headers []byte
		if len(m.Headers) > 0 {
			if headers, err = json.Marshal(m.Headers); err != nil {
				return fmt.Errorf("encode headers of message %q: %w", m.ID, err)
			}
		}
		body := m.Body
		if body == nil {
			body = []byte{} // nil would be NULL
		}
		size := int64(len(m.ID) + len(headers) + len(body))
		r.rows[i] = row{size: size, id: m.ID, headers: headers, body: body}
		r.size += size
	}
	if err := q.submit(ctx, r); err != nil {
		if errors.Is(err, queue.ErrClosed) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return err
		}
		return fmt.Errorf("publish %d messages to queue %q in file %s: %w", len(messages), name, q.path, err)
	}
	return nil
}

// submit hands a request to the writer and waits for its answer. Once the writer has taken it the
// answer is waited for whatever the context says: it is a matter of one flush, and only so does
// the caller know.
func (q *Queue) submit(ctx context.Context, r *request) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return queue.ErrClosed
	}
	q.waiting = append(q.waiting, r)
	q.mu.Unlock()
	q.wake()
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		if r.state.CompareAndSwap(offered, abandoned) {
			return ctx.Err()
		}
		return <-r.done
	}
}

func (q *Queue) wake() {
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// write is the one goroutine that writes. It ends when the queue is closed and nothing waits.
func (q *Queue) write() {
	for {
		group, closed := q.group()
		switch {
		case len(group) > 0:
			q.commit(group)
		case closed:
			return
		case q.file.slack():
			// Nothing else to do: give pages of what was acknowledged back to the disk.
			if err := q.file.shrink(); err != nil {
				q.log.Warn("a queue file could not be made smaller", "err", err)
			}
		default:
			<-q.kick
		}
	}
}

// group takes what is waiting, up to the bounds of a transaction.
func (q *Queue) group() (group []*request, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	size, n := int64(0), 0
	for _, r := range q.waiting {
		if len(group) >= maxGroup || len(group) > 0 && size+r.size > maxGroupBytes {
			break
		}
		n++
		if !r.state.CompareAndSwap(offered, taken) {
			continue
		}
		if r.kind == publishing {
			size += r.size
		}
		group = append(group, r)
	}
	clear(q.waiting[:n])
	q.waiting = q.waiting[n:]
	return group, q.closed && len(q.waiting) == 0
}

// growth is how many bytes, at the most, the file gets larger by what is asked for.
func (r *request) growth() (bytes int64) {
	switch r.kind {
	case publishing:
		for i := range r.rows {
			// A large row fills its last page in part; small ones share theirs, and leave up to
			// half of it empty. The rest is the index and what SQLite keeps of each.
			size := r.rows[i].size
			bytes += size + size/256 + min(size, 2*4096) + 128
		}
		return bytes + 4*4096
	case touching:
		return 2 * touchBytes
	case removing:
	}
	return 0
}

// commit writes a group in one transaction and answers everyone in it. When that fails removals
// are tried without the rest, and in the end each request alone, so that one that can't be written
// does not take the others with it.
func (q *Queue) commit(group []*request) {
	group = q.admit(group)
	if len(group) == 0 {
		return
	}
	err := q.transact(group)
	if err == nil || len(group) == 1 {
		q.settle(group, err)
		return
	}
	var removals, others []*request
	for _, r := range group {
		if r.kind == removing {
			removals = append(removals, r)
		} else {
			others = append(others, r)
		}
	}
	if len(others) > 0 && len(removals) > 1 {
		if err := q.transact(removals); err == nil {
			q.settle(removals, nil)
			removals = nil
		}
	}
	for _, r := range removals {
		alone := []*request{r}
		q.settle(alone, q.transact(alone))
	}
	var tooLarge error // of the smallest publish that there was no room for
	tight := int64(math.MaxInt64)
	for _, r := range others {
		alone, err := []*request{r}, tooLarge
		if r.growth() < tight {
			if err = q.transact(alone); noRoom(err) {
				tight, tooLarge = r.growth(), err
			}
		}
		q.settle(alone, err)
	}
}

// admit refuses publishes that go past the limit.
func (q *Queue) admit(group []*request) []*request {
	if q.max == 0 {
		return group
	}
	q.mu.Lock()
	size := q.bytes
	q.mu.Unlock()
	admitted := group[:0]
	for _, r := range group {
		if r.kind == publishing {
			if size+r.size > q.max {
				q.metrics.full.Inc()
				r.done <- fmt.Errorf("%w: %d of %d bytes are taken, %d more do not fit", ErrFull, size, q.max, r.size)
				continue
			}
			size += r.size
		}
		admitted = append(admitted, r)
	}
	return admitted
}

func (q *Queue) transact(group []*request) error {
	start := time.Now()
	err := q.file.transact(group, start)
	q.metrics.commit.Observe(time.Since(start).Seconds())
	if err != nil {
		q.metrics.failures.Inc()
		return err
	}
	if err := q.file.probe(); err != nil {
		q.log.Warn("the log of a queue file could not be copied into it, what was published stays in the log", "err", err)
	}
	return nil
}

// settle takes a finished transaction into the books and answers those who wait for it.
func (q *Queue) settle(group []*request, err error) {
	q.mu.Lock()
	if err != nil && q.failed == nil {
		q.log.Error("a queue file can't be written", "err", err)
	}
	// Removals go on without room for anything else.
	over := err == nil && !q.file.starved
	if over && q.failed != nil {
		q.log.Info("the queue file can be written again")
	}
	if err != nil || over {
		q.failed = err
	}
	if err == nil {
		for _, r := range group {
			switch r.kind {
			case publishing:
				for i := range r.rows {
					r.box.fresh.push(r.rows[i].seq)
				}
				r.box.messages += len(r.rows)
				r.box.bytes += r.size
				q.bytes += r.size
				for s := range r.box.subs {
					s.poke()
				}
				q.metrics.published.WithLabelValues(r.box.name).Add(float64(len(r.rows)))
			case removing:
				r.box.messages--
				r.box.bytes -= r.size
				q.bytes -= r.size
				delete(r.box.again, r.seq)
				q.metrics.acknowledged.WithLabelValues(r.box.name).Inc()
			case touching:
			}
		}
	}
	q.mu.Unlock()
	for _, r := range group {
		r.done <- err
	}
}

// acknowledge removes one message for good.
func (q *Queue) acknowledge(ctx context.Context, b *box, seq, size int64) error {
	r := &request{kind: removing, box: b, seq: seq, size: size, done: make(chan error, 1)}
	if err := q.submit(ctx, r); err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return err
		}
		return fmt.Errorf("acknowledge a message of queue %q in file %s: %w", b.name, q.path, err)
	}
	return nil
}
