package live_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/internal/live"
)

func TestTheOldestIsLost(t *testing.T) {
	l := live.NewListener(0) // at least 1
	for i := range 3 {
		if lost := l.Put(queue.Message{ID: strconv.Itoa(i)}); lost != min(i, 1) {
			t.Errorf("message %d: %d lost", i, lost)
		}
	}
	l.Close()
	l.Close()
	if lost := l.Put(queue.Message{ID: "late"}); lost != 0 {
		t.Errorf("after Close: %d lost", lost)
	}
	m, ok := <-l.C()
	if _, more := <-l.C(); m.ID != "2" || !ok || more {
		t.Errorf("received %q %v, and more: %v", m.ID, ok, more)
	}
}

func TestWhatIsNotLostIsReceived(t *testing.T) {
	l := live.NewListener(4)
	const n = 10_000
	lost := 0
	var sending sync.WaitGroup
	sending.Go(func() {
		defer l.Close()
		for i := range n {
			lost += l.Put(queue.Message{ID: strconv.Itoa(i)})
		}
	})
	received, last := 0, -1
	for m := range l.C() {
		i, err := strconv.Atoi(m.ID)
		if err != nil || i <= last {
			t.Fatalf("%q after %d", m.ID, last)
		}
		received, last = received+1, i
	}
	sending.Wait()
	if received+lost != n || last != n-1 {
		t.Errorf("%d received, %d lost, the last is %d", received, lost, last)
	}
}
