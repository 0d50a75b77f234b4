package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/internal/live"
)

// ErrDropped says that a message of the live feed was not sent, because the broker is away, asks to wait,
// or is too slow.
var ErrDropped = errors.New("dropped from the live feed")

// feedBuffer is how many messages wait for the connection before Send drops.
const feedBuffer = 256

// feed sends to the live exchange, without confirmations.
type feed struct {
	cfg      Config
	metrics  *metrics
	outgoing chan queue.Message

	tried chan struct{} // closed when the first channel was tried
	first sync.Once

	mu sync.Mutex
	up bool
}

func (f *feed) setUp(up bool) {
	f.mu.Lock()
	f.up = up
	f.mu.Unlock()
	f.first.Do(func() { close(f.tried) })
}

// Send hands a message to the connection. It does not wait for the broker.
func (q *Queue) Send(ctx context.Context, m queue.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := m.Validate(); err != nil {
		return err
	}
	if q.ctx.Err() != nil {
		return queue.ErrClosed
	}
	if reason, blocked := q.Blocked(); blocked {
		q.metrics.dropped.Inc()
		return fmt.Errorf("%w: the broker has blocked publishers: %s", ErrDropped, reason)
	}
	return q.feed.send(m)
}

func (f *feed) send(m queue.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock() // so that nothing is put behind what down throws away
	if !f.up {
		f.metrics.dropped.Inc()
		return fmt.Errorf("%w: no connection", ErrDropped)
	}
	select {
	case f.outgoing <- m:
		return nil
	default:
		f.metrics.dropped.Inc()
		return fmt.Errorf("%w: %d messages wait for the broker", ErrDropped, feedBuffer)
	}
}

// down drops what waits: it is old when the broker comes back.
func (f *feed) down() {
	f.setUp(false)
	for {
		select {
		case <-f.outgoing:
			f.metrics.dropped.Inc()
		default:
			return
		}
	}
}

func (f *feed) run(ctx context.Context, l *link) {
	for attempt := 0; ; attempt++ {
		s, err := l.wait(ctx)
		if err != nil {
			return
		}
		since := time.Now()
		err = f.serve(ctx, s)
		f.down()
		if ctx.Err() != nil {
			return
		}
		if time.Since(since) > f.cfg.MaxBackoff {
			attempt = 0
		}
		if !s.lost() {
			f.cfg.Logger.Warn("the live feed was interrupted, trying again", "err", err)
			if sleep(ctx, backoff(f.cfg, attempt)) != nil {
				return
			}
		}
	}
}

func (f *feed) serve(ctx context.Context, s *session) error {
	ch, err := s.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := ch.ExchangeDeclarePassive(f.cfg.Prefix+liveExchange, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
		return fmt.Errorf("exchange %q: %w", f.cfg.Prefix+liveExchange, err)
	}
	f.setUp(true)
	for {
		select {
		case m := <-f.outgoing:
			if _, blocked := s.isBlocked(); blocked {
				f.metrics.dropped.Inc()
				continue
			}
			if err := ch.PublishWithContext(ctx, f.cfg.Prefix+liveExchange, "", false, false, publishing(&m, amqp.Transient, 0)); err != nil {
				f.metrics.dropped.Inc()
				return fmt.Errorf("send: %w", err)
			}
			f.metrics.sent.Inc()
		case e := <-closes:
			return orClosed(e)
		case <-ctx.Done():
			_ = ch.Close() // goes with the connection otherwise
			return ctx.Err()
		}
	}
}

// Listen receives what is sent from now on, or from when the broker is back. The broker holds as
// many messages as buffer for a process that does not read at all, and drops the oldest beyond.
func (q *Queue) Listen(ctx context.Context, buffer int) (<-chan queue.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	buffer = max(buffer, 1)
	l := &listening{q: q, buffer: buffer, to: live.NewListener(buffer), tried: make(chan struct{})}
	life, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(q.ctx, cancel) //nolint:contextcheck // it ends with whichever of the two is first
	if err := q.use(func() {
		defer stop()
		defer cancel()
		l.run(life)
	}); err != nil {
		stop()
		cancel()
		return nil, err
	}
	select {
	case <-l.tried:
	case <-ctx.Done():
	}
	return l.to.C(), nil
}

// listening is one listener, through all connections.
type listening struct {
	q      *Queue
	buffer int
	to     *live.Listener
	tried  chan struct{}
	first  sync.Once
}

func (l *listening) run(ctx context.Context) {
	defer l.to.Close()
	tried := func() { l.first.Do(func() { close(l.tried) }) }
	defer tried()
	for attempt := 0; ; attempt++ {
		if l.q.consuming.current() == nil {
			tried() // nobody knows for how long
		}
		s, err := l.q.consuming.wait(ctx)
		if err != nil {
			return
		}
		since := time.Now()
		err = l.serve(ctx, s, tried)
		tried()
		if ctx.Err() != nil {
			return
		}
		if time.Since(since) > l.q.cfg.MaxBackoff {
			attempt = 0
		}
		if !s.lost() {
			l.q.cfg.Logger.Warn("listening to the live feed was interrupted, trying again", "err", err)
			if sleep(ctx, backoff(l.q.cfg, attempt)) != nil {
				return
			}
		}
	}
}

func (l *listening) serve(ctx context.Context, session *session, tried func()) error {
	ch, err := l.q.open(ctx, session)
	if err != nil {
		return err
	}
	defer l.q.hangUp(ctx, ch)
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	var deliveries <-chan amqp.Delivery
	if err := l.q.call(ctx, func() error {
		own, err := ch.QueueDeclare("", false, true, true, false, amqp.Table{
			amqp.QueueMaxLenArg:   int64(l.buffer),
			amqp.QueueOverflowArg: "drop-head",
		})
		if err != nil {
			return fmt.Errorf("declare a queue: %w", err)
		}
		if err := ch.QueueBind(own.Name, "", l.q.cfg.Prefix+liveExchange, false, nil); err != nil {
			return fmt.Errorf("bind to exchange %q: %w", l.q.cfg.Prefix+liveExchange, err)
		}
		// Without acknowledgements: what is lost is lost.
		deliveries, err = ch.Consume(own.Name, "", true, true, false, false, nil)
		return err
	}); err != nil {
		return err
	}
	tried()
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return closeReason(closes)
			}
			// Taken at once and lost here if need be: the library would keep all without a bound.
			l.q.metrics.lost.Add(float64(l.to.Put(message(&d))))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
