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

// Subscribe delivers the messages of a queue over a channel of its own. It waits for the broker
// until the context ends. A queue that is deleted later is waited for too.
func (q *Queue) Subscribe(ctx context.Context, name string, prefetch int) (<-chan queue.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if prefetch < 1 || prefetch > 65535 {
		return nil, fmt.Errorf("subscribe to queue %q: a prefetch of %d: use 1 to 65535", name, prefetch)
	}
	if _, err := q.Depth(ctx, name); err != nil { // fails when it is not there
		if errors.Is(err, queue.ErrClosed) || ctx.Err() != nil {
			return nil, err
		}
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	s := &subscription{q: q, name: name, prefetch: prefetch, out: make(chan queue.Delivery)}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(q.ctx, cancel) //nolint:contextcheck // it ends with whichever of the two is first
	if err := q.use(func() {
		defer stop()
		defer cancel()
		s.run(ctx)
	}); err != nil {
		stop()
		cancel()
		return nil, err
	}
	return s.out, nil
}

// subscription is one subscriber, through all connections.
type subscription struct {
	q        *Queue
	name     string
	prefetch int
	out      chan queue.Delivery
}

func (s *subscription) run(ctx context.Context) {
	defer close(s.out)
	for attempt := 0; ; attempt++ {
		session, err := s.q.consuming.wait(ctx)
		if err != nil {
			return
		}
		since := time.Now()
		err = s.consume(ctx, session)
		if ctx.Err() != nil {
			return
		}
		if time.Since(since) > s.q.cfg.MaxBackoff {
			attempt = 0
		}
		if !session.lost() { // else the link says so, and pauses
			s.q.cfg.Logger.Warn("a subscription was interrupted, trying again", "queue", s.q.cfg.Prefix+s.name, "err", err)
			if sleep(ctx, backoff(s.q.cfg, attempt)) != nil {
				return
			}
		}
	}
}

// consume delivers over one channel until that or the context ends.
func (s *subscription) consume(ctx context.Context, session *session) error {
	ch, err := s.q.open(ctx, session)
	if err != nil {
		return err
	}
	defer s.q.hangUp(ctx, ch)
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	var deliveries <-chan amqp.Delivery
	if err := s.q.call(ctx, func() error {
		err := ch.Qos(s.prefetch, 0, false)
		if err != nil {
			return err
		}
		deliveries, err = ch.Consume(s.q.cfg.Prefix+s.name, "", false, false, false, false, nil)
		return err
	}); err != nil {
		return err
	}
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return closeReason(closes)
			}
			select {
			case s.out <- queue.Delivery{Message: message(&d), Redelivered: d.Redelivered, Ack: s.ack(ch, d.DeliveryTag)}:
				s.q.metrics.delivered.WithLabelValues(s.name).Inc()
				if d.Redelivered {
					s.q.metrics.redelivered.WithLabelValues(s.name).Inc()
				}
			case e := <-closes: // it is not ours any more
				return orClosed(e)
			case <-ctx.Done():
				return ctx.Err()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// open opens a channel.
func (q *Queue) open(ctx context.Context, session *session) (*amqp.Channel, error) {
	opened := make(chan *amqp.Channel, 1)
	err := q.call(ctx, func() error {
		ch, err := session.conn.Channel()
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), ch.Close()) // nobody waits for it any more
		}
		opened <- ch
		return nil
	})
	if err != nil {
		select {
		case ch := <-opened:
			q.hangUp(ctx, ch)
		default:
		}
		return nil, err
	}
	return <-opened, nil
}

// hangUp closes the channel and returns when the broker has put back what was not acknowledged, if
// it answers in time. If it does not, the channel ends with the connection.
func (q *Queue) hangUp(ctx context.Context, ch *amqp.Channel) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	closed := make(chan struct{})
	q.users.Go(func() { // we are one of the users, so they are not all gone
		defer close(closed)
		_ = ch.Close() // gone already, then
	})
	select {
	case <-closed:
	case <-ctx.Done():
	}
}

func (s *subscription) ack(ch *amqp.Channel, tag uint64) func(context.Context) error {
	var mu sync.Mutex
	acknowledged := false
	return func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if acknowledged {
			return nil // a second one would make the broker close the channel
		}
		if ch.IsClosed() {
			return fmt.Errorf("acknowledge a message of queue %q: %w", s.name, queue.ErrStale)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := ch.Ack(tag, false); err != nil {
			return fmt.Errorf("acknowledge a message of queue %q: %w: %w", s.name, queue.ErrStale, err)
		}
		acknowledged = true
		s.q.metrics.acknowledged.WithLabelValues(s.name).Inc()
		return nil
	}
}

// closeReason is why the deliveries ended.
func closeReason(closes <-chan *amqp.Error) error {
	select {
	case e := <-closes:
		return orClosed(e)
	default:
		return errors.New("the broker cancelled it: the queue was deleted, or its node left")
	}
}

func orClosed(e *amqp.Error) error {
	if e == nil {
		return errors.New("the channel was closed")
	}
	return e
}
