// Package live holds what one listener of the live feed has not taken yet.
package live

import (
	"sync"

	"github.com/tungstene/tungstene/pkg/queue"
)

// Listener is a bounded buffer that loses its oldest message when a new one finds it full.
type Listener struct {
	mu     sync.Mutex
	c      chan queue.Message
	closed bool
}

// NewListener makes one that holds at most buffer messages, at least 1.
func NewListener(buffer int) *Listener {
	return &Listener{c: make(chan queue.Message, max(buffer, 1))}
}

// C gives the messages in their order and is closed by Close.
func (l *Listener) C() <-chan queue.Message { return l.c }

// Put adds a message without waiting and returns how many were lost for it. After Close it does
// nothing.
func (l *Listener) Put(m queue.Message) (lost int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0
	}
	for {
		select {
		case l.c <- m:
			return lost
		default:
		}
		// Full. Whoever listens may empty it just now, so this must not wait either.
		select {
		case <-l.c:
			lost++
		default:
		}
	}
}

// Close ends it. What it still holds can be received.
func (l *Listener) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.c)
	}
}
