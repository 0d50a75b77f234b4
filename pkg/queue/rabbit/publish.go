package rabbit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tungstene/tungstene/pkg/queue"
)

// ErrRefused says that the broker took a message and then refused it (basic.nack): the queue has reached
// its limit, or lost the majority of its nodes. Keep it and try again later.
var ErrRefused = errors.New("the broker refused the message: its queue is full or has no majority of its nodes")

// errLost is the outcome of what was sent over a connection that ended before the confirmation.
var errLost = errors.New("connection lost before the confirmation")

// errRefusing says that the channel's last answer was a refusal.
var errRefusing = errors.New("the channel refuses")

// op is one message to send.
type op struct {
	message  *queue.Message
	queue    string
	index    int
	attempt  *attempt
	outcomes chan<- outcome
}

// attempt ties the messages of one call to one connection, so that none overtakes one that was
// lost with an earlier connection. It is the publisher's own.
type attempt struct{ session *session }

type outcome struct {
	index int
	err   error // nil: confirmed
}

// publisher sends over one channel and takes the confirmations.
type publisher struct {
	cfg     Config
	metrics *metrics
	ops     chan op
}

// Publish sends the messages and waits for the broker to confirm each. What is lost with a
// connection is sent again over the next. Beside the errors of package queue it returns ErrRefused.
func (q *Queue) Publish(ctx context.Context, name string, messages ...queue.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if q.ctx.Err() != nil {
		return queue.ErrClosed
	}
	for i := range messages {
		if err := messages[i].Validate(); err != nil {
			return err
		}
	}
	for first := 0; first < len(messages); {
		lost, err := q.attempt(ctx, name, messages, first)
		if err != nil {
			if errors.Is(err, queue.ErrClosed) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return err
			}
			return fmt.Errorf("publish to queue %q: %w", q.cfg.Prefix+name, err)
		}
		if lost < len(messages) {
			q.metrics.resent.Add(float64(len(messages) - lost))
		}
		first = lost
	}
	return nil
}

// attempt sends the messages from first on and returns the index of the first that was lost.
func (q *Queue) attempt(ctx context.Context, name string, messages []queue.Message, first int) (lost int, err error) {
	n := len(messages) - first
	outcomes := make(chan outcome, n)
	a := &attempt{}
	lost = len(messages)
	answered := 0
	take := func(o outcome) error {
		answered++
		if errors.Is(o.err, errLost) {
			lost = min(lost, o.index)
			return nil
		}
		return o.err
	}
	for i := first; i < len(messages); {
		select {
		case q.publisher.ops <- op{message: &messages[i], queue: name, index: i, attempt: a, outcomes: outcomes}:
			i++
		case o := <-outcomes:
			if err := take(o); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-q.done:
			return 0, queue.ErrClosed
		}
	}
	for answered < n {
		select {
		case o := <-outcomes:
			if err := take(o); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-q.done:
			return 0, queue.ErrClosed
		}
	}
	return lost, nil
}

// run serves one connection after the other.
func (p *publisher) run(ctx context.Context, l *link) {
	for {
		s, err := l.wait(ctx)
		if err != nil {
			return
		}
		err = p.serve(ctx, s)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRefusing) {
			continue // with another channel
		}
		if !s.lost() { // else the link says so
			p.cfg.Logger.Warn("publishing over RabbitMQ was interrupted", "err", err)
		}
		// Whatever closes this channel leaves doubt about the connection: start it afresh, with the
		// link's pause.
		s.farewell()
	}
}

type pending struct {
	op   op
	sent time.Time
	err  error
}

func (p *publisher) serve(ctx context.Context, s *session) error {
	ch, err := s.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := ch.Confirm(false); err != nil {
		return fmt.Errorf("ask for confirmations: %w", err)
	}
	// The library hands these over from the goroutine that reads the connection, and throws a notice
	// away that is not taken for 5 s. There is room for all that can be outstanding.
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	returns := ch.NotifyReturn(make(chan amqp.Return, p.cfg.ConfirmWindow))
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, p.cfg.ConfirmWindow))

	waiting := make(map[uint64]*pending, p.cfg.ConfirmWindow)
	defer func() {
		for _, w := range waiting {
			w.op.outcomes <- outcome{w.op.index, errLost}
		}
		p.metrics.unconfirmed.Set(0)
	}()
	// A broker may forget a confirmation while its connections stand: a node that loses the leader of
	// a quorum queue does. Nothing tells then but time.
	watch := time.NewTicker(max(p.cfg.ConfirmTimeout/4, time.Millisecond))
	defer watch.Stop()
	progress := time.Now() // when a confirmation last came, or waiting for one began
	for tag := uint64(0); ; {
		blocked, change := s.blockedChange()
		ops := p.ops
		if blocked || len(waiting) >= p.cfg.ConfirmWindow {
			ops = nil
		}
		select {
		case o := <-ops:
			if o.attempt.session == nil {
				o.attempt.session = s
			}
			if o.attempt.session != s {
				o.outcomes <- outcome{o.index, errLost}
				continue
			}
			if len(waiting) == 0 {
				progress = time.Now()
			}
			tag++
			waiting[tag] = &pending{op: o, sent: time.Now()}
			p.metrics.unconfirmed.Set(float64(len(waiting)))
			if err := ch.PublishWithContext(ctx, "", p.cfg.Prefix+o.queue, true, false, publishing(o.message, amqp.Persistent, tag)); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		case c, ok := <-confirms:
			if !ok {
				select {
				case e := <-closes:
					if e != nil {
						return e
					}
				default:
				}
				return errLost
			}
			// A message that goes nowhere is returned before it is confirmed, so its return is here
			// by now.
			p.takeReturns(returns, waiting)
			p.settle(c, waiting)
			progress = time.Now()
			if !c.Ack && len(waiting) == 0 {
				// A channel that was opened while a quorum queue had no leader may look for the one
				// that died for ever, and refuse everything (RabbitMQ 3.10). A new one finds the new
				// leader.
				return errors.Join(errRefusing, ch.Close())
			}
		case <-watch.C:
			if blocked {
				progress = time.Now() // it waits as it was asked to
			}
			if err := p.forgotten(progress, waiting); err != nil {
				return err
			}
		case <-change:
			if reason, blocked := s.isBlocked(); blocked {
				p.cfg.Logger.Warn("RabbitMQ has blocked publishers", "reason", reason)
			} else {
				p.cfg.Logger.Info("RabbitMQ takes publishes again")
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// forgotten is an error when no confirmation has come for the time that one may take, or a single one
// has not for ten times as long while others have.
func (p *publisher) forgotten(progress time.Time, waiting map[uint64]*pending) error {
	const single = 10
	for _, w := range waiting {
		if time.Since(progress) > p.cfg.ConfirmTimeout || time.Since(w.sent) > single*p.cfg.ConfirmTimeout {
			p.metrics.forgotten.Inc()
			return fmt.Errorf("%d messages were not confirmed, the last confirmation came %v ago: they are sent again over a new connection",
				len(waiting), time.Since(progress).Round(time.Millisecond))
		}
	}
	return nil
}

func (p *publisher) takeReturns(returns <-chan amqp.Return, waiting map[uint64]*pending) {
	for {
		select {
		case r, ok := <-returns:
			if !ok {
				return
			}
			tag, err := strconv.ParseUint(r.CorrelationId, 10, 64)
			if w := waiting[tag]; err == nil && w != nil {
				w.err = fmt.Errorf("%w (%s)", queue.ErrUnroutable, r.ReplyText)
			}
		default:
			return
		}
	}
}

func (p *publisher) settle(c amqp.Confirmation, waiting map[uint64]*pending) {
	w := waiting[c.DeliveryTag]
	if w == nil {
		return
	}
	delete(waiting, c.DeliveryTag)
	p.metrics.unconfirmed.Set(float64(len(waiting)))
	p.metrics.confirm.Observe(time.Since(w.sent).Seconds())
	switch {
	case w.err != nil:
		p.metrics.unroutable.Inc()
	case !c.Ack:
		p.metrics.refused.Inc()
		w.err = ErrRefused
	default:
		p.metrics.published.WithLabelValues(w.op.queue).Inc()
	}
	w.op.outcomes <- outcome{w.op.index, w.err}
}

// publishing is a message on the wire. Its tag comes back with it when it can't be routed.
func publishing(m *queue.Message, mode uint8, tag uint64) amqp.Publishing {
	p := amqp.Publishing{
		ContentType:  "application/octet-stream",
		DeliveryMode: mode,
		MessageId:    m.ID,
		Body:         m.Body,
	}
	if tag > 0 {
		p.CorrelationId = strconv.FormatUint(tag, 10)
	}
	if len(m.Headers) > 0 {
		p.Headers = make(amqp.Table, len(m.Headers))
		for k, v := range m.Headers {
			p.Headers[k] = v
		}
	}
	return p
}

// message is a delivery's message.
func message(d *amqp.Delivery) queue.Message {
	m := queue.Message{ID: d.MessageId, Body: d.Body}
	for k, v := range d.Headers {
		text, ok := v.(string)
		if !ok {
			if _, own := v.(int64); own && k == "x-delivery-count" {
				continue // the broker's own mark of a redelivery
			}
			text = fmt.Sprint(v)
		}
		if m.Headers == nil {
			m.Headers = make(map[string]string, len(d.Headers))
		}
		m.Headers[k] = text
	}
	return m
}
