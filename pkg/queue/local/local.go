// Package local is the queue in one SQLite file, for one process. It is the broker of `tungstene
// up` and `demo`, and the outbox of every collector.
//
// One goroutine writes. It takes whatever publishes and acknowledgements are waiting, puts them
// into one transaction and answers all when that is on the disk (WAL, synchronous=FULL), so the
// cost of a flush is shared by those who wait for it. Reads go over a connection of their own and
// never wait for a flush. Of each message in the file 8 bytes are kept in memory.
//
// What was delivered and not acknowledged is delivered again when its subscription ends, and when
// the file is opened again. That a message was delivered before the file was closed is not known
// any more: it then comes without Redelivered.
package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/internal/live"
)

// Errors beside those of package queue.
var (
	// ErrFull: the messages in the file have reached Options.MaxBytes. Nothing of the call was
	// kept. There is room again when something was acknowledged.
	ErrFull = errors.New("queue is full")
	// ErrInUse: the file is open already, in another process or in this one.
	ErrInUse = errors.New("another process uses it; stop that one, or use another data folder")
	// ErrDamaged: the file is no queue of ours, or it is broken.
	ErrDamaged = errors.New("damaged, or not a queue of Tungstene")
)

// Options are the settings of a file.
type Options struct {
	// Queues are the queues that are made when they are not in the file yet. What the file has
	// already stays. Default: queue.Store and queue.Dead.
	Queues []string
	// MaxBytes is how many bytes of messages, of all queues together, are held at the most. A
	// Publish that would go past it fails at once with ErrFull and does not wait. The file is a
	// little larger than that, and its log and its reserve take room beside it. Default: 0, no
	// limit but the disk.
	MaxBytes int64
	// Name is the label "file" of the metrics. It must be unique within one Registerer. Default:
	// the file's name without its folder.
	Name string
	// Logger is told what nobody was there to be told of as an error. Default: slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics, until Close. Default: none.
	Registerer prometheus.Registerer
}

// Queue is the queue.Queue in a file.
type Queue struct {
	path    string
	log     *slog.Logger
	metrics *metrics
	file    *file
	max     int64

	done    chan struct{} // closed by Close: subscriptions end
	kick    chan struct{} // something is waiting for the writer
	writing sync.WaitGroup
	running sync.WaitGroup // subscriptions

	closeOnce sync.Once
	closeErr  error

	mu        sync.Mutex
	closed    bool
	waiting   []*request
	boxes     map[string]*box
	bytes     int64 // of all boxes
	failed    error // of the last transaction; nil when it went well
	listeners map[*live.Listener]struct{}
}

// box is one queue of the file. The queue's mutex guards it, except for next and the statements.
type box struct {
	name string
	next int64 // the next message's number; the writer's own

	insert, remove, read, oldest *sql.Stmt

	messages int
	bytes    int64
	// fresh are the numbers of messages that were not delivered yet, ascending; returned are those
	// that came back, all smaller than the fresh ones.
	fresh    fifo
	returned ascending
	again    map[int64]struct{} // of those that came back: delivered before
	subs     map[*subscription]struct{}
}

var _ queue.Queue = (*Queue)(nil)

// Open opens the file, and makes it (mode 0600) and its folder (0700) when they are not there. A
// file that is open elsewhere gives ErrInUse, one that is broken ErrDamaged.
//
// Beside the file lies its reserve, of 8 MiB and more: room that is there for acknowledgements when
// the disk is full. It stays after Close. It may be deleted while the queue is closed. A disk that
// has no room for the reserve is no error: what is in the file can be read and acknowledged, and
// nothing is published until there is room.
func Open(path string, opts Options) (*Queue, error) {
	if len(opts.Queues) == 0 {
		opts.Queues = []string{queue.Store, queue.Dead}
	}
	if opts.Name == "" {
		opts.Name = filepath.Base(path)
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.MaxBytes < 0 {
		return nil, fmt.Errorf("open queue file %s: a limit of %d bytes: use 0 for none", path, opts.MaxBytes)
	}
	if slices.Contains(opts.Queues, "") {
		return nil, fmt.Errorf("open queue file %s: a queue needs a name", path)
	}
	f, boxes, err := openFile(path, opts.Queues)
	if err != nil {
		return nil, fmt.Errorf("open queue file %s: %w", path, err)
	}
	q := &Queue{
		path:      path,
		log:       opts.Logger.With("file", opts.Name),
		file:      f,
		max:       opts.MaxBytes,
		done:      make(chan struct{}),
		kick:      make(chan struct{}, 1),
		boxes:     boxes,
		listeners: make(map[*live.Listener]struct{}),
	}
	for _, b := range boxes {
		q.bytes += b.bytes
	}
	q.metrics = newMetrics(q, opts.Name)
	if err := q.metrics.register(opts.Registerer); err != nil {
		return nil, errors.Join(fmt.Errorf("open queue file %s: %w", path, err), f.close())
	}
	q.writing.Go(q.write)
	return q, nil
}

// Close ends the subscriptions and listeners, lets the writer finish what it was given, and closes
// the file. Publish and Ack fail from then on.
func (q *Queue) Close() error {
	q.closeOnce.Do(func() {
		q.mu.Lock()
		q.closed = true
		for l := range q.listeners {
			l.Close()
		}
		clear(q.listeners)
		q.mu.Unlock()
		close(q.done)
		q.running.Wait()
		q.wake()
		q.writing.Wait()
		q.metrics.unregister()
		if err := q.file.close(); err != nil {
			q.closeErr = fmt.Errorf("close queue file %s: %w", q.path, err)
		}
	})
	return q.closeErr
}

// Check returns nil when the file can be read and written.
func (q *Queue) Check(ctx context.Context) error {
	q.mu.Lock()
	closed, failed := q.closed, q.failed
	q.mu.Unlock()
	if closed {
		return queue.ErrClosed
	}
	if failed != nil {
		// Only a transaction can tell whether it is over.
		r := &request{kind: touching, done: make(chan error, 1)}
		if err := q.submit(ctx, r); err != nil {
			return fmt.Errorf("write queue file %s: %w", q.path, err)
		}
	}
	if err := q.file.ping(ctx); err != nil {
		return fmt.Errorf("read queue file %s: %w", q.path, err)
	}
	return nil
}

// Depth is the number of messages that were not acknowledged, delivered ones among them.
func (q *Queue) Depth(_ context.Context, name string) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b, err := q.box(name)
	if err != nil {
		return 0, err
	}
	return b.messages, nil
}

// Stats tells how many messages the file holds in all its queues, their size in bytes, and when
// the oldest was published; the zero time when there is none.
func (q *Queue) Stats(ctx context.Context) (messages int, bytes int64, oldest time.Time, err error) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return 0, 0, time.Time{}, queue.ErrClosed
	}
	filled := make([]*box, 0, len(q.boxes))
	for _, b := range q.boxes {
		messages += b.messages
		bytes += b.bytes
		if b.messages > 0 {
			filled = append(filled, b)
		}
	}
	q.mu.Unlock()
	for _, b := range filled {
		at, err := q.file.oldest(ctx, b)
		if err != nil {
			return 0, 0, time.Time{}, fmt.Errorf("read queue file %s: %w", q.path, err)
		}
		if !at.IsZero() && (oldest.IsZero() || at.Before(oldest)) {
			oldest = at
		}
	}
	return messages, bytes, oldest, nil
}

// box finds a queue. The caller holds the mutex.
func (q *Queue) box(name string) (*box, error) {
	if q.closed {
		return nil, queue.ErrClosed
	}
	b, ok := q.boxes[name]
	if !ok {
		return nil, fmt.Errorf("queue %q in file %s: %w", name, q.path, queue.ErrUnroutable)
	}
	return b, nil
}

// Send gives a message to everyone who listens in this process. Nobody listening is no error.
func (q *Queue) Send(ctx context.Context, m queue.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := m.Validate(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return queue.ErrClosed
	}
	q.metrics.sent.Inc()
	for l := range q.listeners {
		q.metrics.lost.Add(float64(l.Put(m)))
	}
	return nil
}

// Listen receives what is sent from now on.
func (q *Queue) Listen(ctx context.Context, buffer int) (<-chan queue.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := live.NewListener(buffer)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, queue.ErrClosed
	}
	q.listeners[l] = struct{}{}
	context.AfterFunc(ctx, func() {
		q.mu.Lock()
		delete(q.listeners, l)
		q.mu.Unlock()
		l.Close()
	})
	return l.C(), nil
}
