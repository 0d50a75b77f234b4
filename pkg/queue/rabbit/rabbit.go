// Package rabbit is the queue on RabbitMQ 3.10 or newer.
//
// # Topology
//
// Declare makes it; everything else only looks whether it is there, so that a client with an old
// idea of it can do no harm. Names have Config.Prefix before them:
//
//	store, dead   quorum queues, durable, reached through the default exchange
//	live          fanout exchange, durable; each listener binds an exclusive queue of its own,
//	              bounded by x-max-length with drop-head, gone with its connection
//
// The queues are declared without limits. Limits are policies, which can be changed while it runs:
//
//	rabbitmqctl set_policy --apply-to queues tungstene '^(store|dead)$' \
//	    '{"max-length-bytes": 50000000000, "overflow": "reject-publish", "delivery-limit": -1}'
//
// overflow must be reject-publish: then publishers keep what does not fit in their outbox. Never
// drop-head. Since 4.0 RabbitMQ has a delivery limit of 20 where none is set, and throws a
// message away (or dead-letters it) that was returned more often: with consumers that restart
// often in a store outage these are good batches, hence the -1. On 3.x leave it out: there is no
// limit, and -1 is refused. Nothing here returns messages by itself: one comes back only when its
// subscription or connection ends.
//
// # Connections
//
// There are two, one to publish and one to consume: a broker that is short of memory or disk stops
// reading from publishers, and must still hear acknowledgements, which free it. Each reconnects by
// itself, with an exponential pause and full jitter, and tries all addresses in turn.
package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tungstene/tungstene/pkg/queue"
)

// closeTimeout bounds the farewells to a broker that may not answer any more.
const closeTimeout = 2 * time.Second

// Queue is the queue.Queue on a broker.
type Queue struct {
	cfg     Config
	metrics *metrics

	publishing, consuming *link
	publisher             *publisher
	feed                  *feed

	// Those who use connections end before the connections do.
	users    sync.WaitGroup
	stop     context.CancelFunc
	done     <-chan struct{} // closed by stop
	ctx      context.Context //nolint:containedctx // the life of everything that Close ends
	links    sync.WaitGroup
	stopLink context.CancelFunc

	mu     sync.Mutex // guards closed, and users against Add after Wait
	closed bool
	close  sync.Once
}

var _ queue.Queue = (*Queue)(nil)

// Open starts to connect and returns after the first attempts, or when the context ends. A broker
// that can't be reached is no error: it may come, publishers wait for it, and Check tells why it is
// not there. Only a wrong configuration is.
func Open(ctx context.Context, cfg Config) (*Queue, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	q := &Queue{cfg: cfg}
	q.metrics = newMetrics(cfg.Name)
	if err := q.metrics.register(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("rabbitmq: %w", err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	q.ctx, q.done, q.stop = life, life.Done(), stop
	linkLife, stopLink := context.WithCancel(context.WithoutCancel(ctx))
	q.stopLink = stopLink
	q.publishing = newLink(cfg, "publish", q.metrics)
	q.consuming = newLink(cfg, "consume", q.metrics)
	q.publisher = &publisher{cfg: cfg, metrics: q.metrics, ops: make(chan op)}
	q.feed = &feed{cfg: cfg, metrics: q.metrics, outgoing: make(chan queue.Message, feedBuffer), tried: make(chan struct{})}
	for _, l := range []*link{q.publishing, q.consuming} {
		q.links.Go(func() { l.run(linkLife) })
	}
	q.users.Go(func() { q.publisher.run(life, q.publishing) })
	q.users.Go(func() { q.feed.run(life, q.publishing) })
	for _, l := range []*link{q.publishing, q.consuming} {
		select {
		case <-l.tried:
		case <-ctx.Done():
			return q, nil
		}
	}
	// What Send needs is a step further than the connection.
	if s := q.publishing.current(); s != nil {
		select {
		case <-q.feed.tried:
		case <-s.gone:
		case <-ctx.Done():
		}
	}
	return q, nil
}

// Close ends subscriptions, listeners and connections. Publish fails with ErrClosed from then on;
// what waits for a confirmation may or may not be in the queue.
func (q *Queue) Close() error {
	q.close.Do(func() {
		q.mu.Lock()
		q.closed = true
		q.mu.Unlock()
		q.stop()
		// A publisher may hang in a write to a broker that has stopped reading.
		unblock := time.AfterFunc(closeTimeout, func() {
			q.publishing.sever()
			q.consuming.sever()
		})
		q.users.Wait()
		unblock.Stop()
		q.stopLink()
		q.links.Wait()
		q.metrics.unregister()
	})
	return nil
}

// use runs f as one of those who use connections, or returns ErrClosed.
func (q *Queue) use(f func()) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return queue.ErrClosed
	}
	q.users.Go(f)
	return nil
}

// call runs f, which talks to the broker and can't be interrupted, and stops waiting for it when
// the context ends. f ends at the latest when its connection does.
func (q *Queue) call(ctx context.Context, f func() error) error {
	answer := make(chan error, 1)
	if err := q.use(func() { answer <- f() }); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-q.done:
		return queue.ErrClosed
	}
}

// Blocked says whether the broker has asked publishers to wait, and its reason ("low on memory",
// "low on disk"). Publish waits until it is over.
func (q *Queue) Blocked() (reason string, blocked bool) {
	if s := q.publishing.current(); s != nil {
		return s.isBlocked()
	}
	return "", false
}

// Depth is the number of messages that wait to be delivered. Those that were delivered and not
// acknowledged are not among them: the protocol does not tell.
func (q *Queue) Depth(ctx context.Context, name string) (int, error) {
	for {
		s, err := q.session(ctx, q.consuming)
		if err != nil {
			return 0, fmt.Errorf("depth of queue %q: %w", name, err)
		}
		depth := 0
		err = q.call(ctx, func() error {
			d, err := s.inspect(q.cfg.Prefix + name)
			depth = d
			return err
		})
		if err == nil {
			return depth, nil
		}
		if !s.lost() || ctx.Err() != nil || q.ctx.Err() != nil {
			return 0, fmt.Errorf("depth of queue %q: %w", name, err)
		}
	}
}

// session waits for a connection.
func (q *Queue) session(ctx context.Context, l *link) (*session, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(q.ctx, cancel)() //nolint:contextcheck // it ends with whichever of the two is first
	s, err := l.wait(ctx)
	if err != nil && q.ctx.Err() != nil {
		return nil, queue.ErrClosed
	}
	return s, err
}

// Check returns nil when both connections stand, the broker takes publishes, and the topology is
// there. It does not wait for a broker that is away.
func (q *Queue) Check(ctx context.Context) error {
	if q.ctx.Err() != nil {
		return queue.ErrClosed
	}
	for _, l := range []*link{q.publishing, q.consuming} {
		if l.current() == nil {
			return fmt.Errorf("rabbitmq: no connection to %s: %w", q.cfg, l.failure())
		}
	}
	if reason, blocked := q.Blocked(); blocked {
		return fmt.Errorf("rabbitmq: the broker has blocked publishers: %s: give it memory or disk, or raise its watermarks", reason)
	}
	s := q.consuming.current()
	if s == nil {
		return fmt.Errorf("rabbitmq: no connection to %s: %w", q.cfg, q.consuming.failure())
	}
	err := q.call(ctx, func() error {
		for _, name := range []string{queue.Store, queue.Dead} {
			if _, err := s.inspect(q.cfg.Prefix + name); err != nil {
				return fmt.Errorf("queue %q: %w", q.cfg.Prefix+name, err)
			}
		}
		return s.within(func(ch *amqp.Channel) error {
			err := ch.ExchangeDeclarePassive(q.cfg.Prefix+liveExchange, amqp.ExchangeFanout, true, false, false, false, nil)
			if isCode(err, amqp.NotFound) {
				return fmt.Errorf("exchange %q: %w", q.cfg.Prefix+liveExchange, queue.ErrUnroutable)
			}
			return err
		})
	})
	if errors.Is(err, queue.ErrUnroutable) {
		return fmt.Errorf("rabbitmq: the topology is not declared: %w", err)
	}
	if err != nil {
		return fmt.Errorf("rabbitmq: %w", err)
	}
	return nil
}

// Declare makes the topology. What is there already stays, whatever it holds; a queue or exchange
// of that name and another kind is an error. It tries each address once.
func Declare(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	l := newLink(cfg, "declare", newMetrics(cfg.Name))
	s, err := l.connect(ctx)
	if err != nil {
		return fmt.Errorf("rabbitmq: declare the topology: %w", err)
	}
	stop := context.AfterFunc(ctx, s.sever)
	err = declare(s, cfg.Prefix)
	stop()
	s.farewell()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("rabbitmq: declare the topology: %w", err)
	}
	return nil
}

func declare(s *session, prefix string) error {
	for _, name := range []string{queue.Store, queue.Dead} {
		err := s.within(func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(prefix+name, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
			return err
		})
		if isCode(err, amqp.PreconditionFailed) {
			return fmt.Errorf("queue %q is there and is not a plain quorum queue: empty and delete it, and set limits as policies: %w", prefix+name, err)
		}
		if err != nil {
			return fmt.Errorf("queue %q: %w", prefix+name, err)
		}
	}
	err := s.within(func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(prefix+liveExchange, amqp.ExchangeFanout, true, false, false, false, nil)
	})
	if isCode(err, amqp.PreconditionFailed) {
		return fmt.Errorf("exchange %q is there and is not a durable fanout exchange: delete it: %w", prefix+liveExchange, err)
	}
	if err != nil {
		return fmt.Errorf("exchange %q: %w", prefix+liveExchange, err)
	}
	return nil
}

// isCode says whether the broker answered with this reply code.
func isCode(err error, code int) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == code
}
