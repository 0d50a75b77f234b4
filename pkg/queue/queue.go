// Package queue is the seam between those who collect and those who store. queue/rabbit implements
// it on RabbitMQ, queue/local in one SQLite file; queuetest is the suite that both pass.
package queue

import (
	"context"
	"errors"
	"fmt"
)

// The queues.
const (
	// Store holds batches of records on their way to the store. It must not lose anything.
	Store = "store"
	// Dead holds what the store or a consumer refused, each with its reason.
	Dead = "dead"
)

// Message is what a queue carries. Its body is never looked at, and never copied where that can be
// helped: change neither body nor headers once they were handed over or received.
type Message struct {
	// ID names the message in logs and dead letters. Two messages may have the same: a publisher
	// that had no confirmation sends again. At most MaxIDBytes.
	ID   string
	Body []byte
	// Headers are short texts that travel with the body, together at most MaxHeaderBytes.
	Headers map[string]string
}

// Validate returns an error that wraps ErrTooLarge when some part of m is larger than every
// implementation takes.
func (m *Message) Validate() error {
	if len(m.Body) > MaxBodyBytes {
		return fmt.Errorf("%w: the body of message %.64q has %d bytes, the most is %d", ErrTooLarge, m.ID, len(m.Body), MaxBodyBytes)
	}
	if len(m.ID) > MaxIDBytes {
		return fmt.Errorf("%w: the id %.64q… has %d bytes, the most is %d", ErrTooLarge, m.ID, len(m.ID), MaxIDBytes)
	}
	size := 0
	for key, value := range m.Headers {
		if len(key) > MaxIDBytes {
			return fmt.Errorf("%w: the header %.64q… of message %.64q has a name of %d bytes, the most is %d", ErrTooLarge, key, m.ID, len(key), MaxIDBytes)
		}
		size += len(key) + len(value)
	}
	if size > MaxHeaderBytes {
		return fmt.Errorf("%w: the headers of message %.64q have %d bytes, the most is %d", ErrTooLarge, m.ID, size, MaxHeaderBytes)
	}
	return nil
}

// Delivery is a message that a consumer holds. It stays the consumer's until it is acknowledged;
// one that is not goes to some consumer again when its subscription ends or its consumer dies.
type Delivery struct {
	Message
	// Redelivered says that it was delivered before, as far as the queue knows. A publisher's
	// resend is not marked.
	Redelivered bool
	// Ack says that the message is dealt with for good. It returns nil when the queue has taken
	// note (RabbitMQ does not answer acknowledgements: there it returns when it was told, and one
	// that is lost on the way comes again), or ErrStale when the delivery is no longer ours: then it
	// comes again, to someone. After any other error it is still ours and may be tried again. A
	// second Ack after one that succeeded does nothing.
	Ack func(context.Context) error
}

// Errors that callers tell apart.
var (
	// ErrUnroutable: there is no queue of that name. Declare the topology.
	ErrUnroutable = errors.New("no such queue")
	// ErrStale: the delivery came over a connection that is gone.
	ErrStale = errors.New("delivery is no longer ours")
	// ErrClosed: the queue was closed.
	ErrClosed = errors.New("queue is closed")
	// ErrTooLarge: a message is larger than the bounds below. Sending it again is useless.
	ErrTooLarge = errors.New("message too large")
)

// The largest message that every implementation takes.
const (
	MaxBodyBytes   = 12 << 20
	MaxHeaderBytes = 32 << 10 // names and values of all headers
	MaxIDBytes     = 255      // an id, or the name of one header
)

// Publisher puts messages into queues.
type Publisher interface {
	// Publish returns nil when every message is durable: it survives the death of the process and,
	// on a cluster, of one node. On an error any of them may or may not be in the queue, so send
	// all again. It keeps the order of one call, blocks while the broker is away or asks to wait,
	// until the context ends, and is safe for concurrent use. Messages of one call travel together:
	// one call with many is far faster than many calls.
	Publish(ctx context.Context, queue string, messages ...Message) error
}

// Subscriber takes messages out of queues.
type Subscriber interface {
	// Subscribe delivers the messages of a queue in their order, at most prefetch at once that are
	// not acknowledged. Several subscribers of a queue compete. The channel lives through
	// reconnections (what was delivered before one is then stale) and is closed when the context
	// ends; what it held and was not acknowledged is delivered again, to someone. It fails at once
	// with ErrUnroutable when the queue does not exist.
	Subscribe(ctx context.Context, queue string, prefetch int) (<-chan Delivery, error)
}

// Feed is the live feed: each message to every listener that is there, now, or lost. It is for
// provisional numbers only.
type Feed interface {
	// Send never blocks on listeners: a slow one loses its oldest messages, and a send while the
	// broker is away is dropped. The error says only that it was dropped.
	Send(ctx context.Context, m Message) error
	// Listen receives what is sent from now on, keeping at most buffer messages that were not
	// taken yet. The channel is closed when the context ends.
	Listen(ctx context.Context, buffer int) (<-chan Message, error)
}

// Queue is all of it, as the implementations give it. Roles ask for the part that they use.
type Queue interface {
	Publisher
	Subscriber
	Feed
	// Depth is the number of messages in a queue, delivered but not acknowledged ones among them
	// as far as the broker tells: RabbitMQ leaves those out. ErrUnroutable when there is none of
	// that name.
	Depth(ctx context.Context, queue string) (int, error)
	// Check returns nil when the queue can be used: it is reachable and its topology is there.
	Check(ctx context.Context) error
	// Close lets go of everything. Subscriptions end. It is safe to call twice.
	Close() error
}
