package faults_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/testmongo"
)

// redelivered is how many batches the broker has given to the running consumers again.
func (s *scenario) redelivered() (sum float64) {
	s.T.Helper()
	for _, p := range s.Consumers {
		n, err := p.Metric("tungstene_queue_rabbit_redelivered_total")
		if err == nil {
			sum += n
		}
	}
	return sum
}

// held is the most batches that the consumers may have in hand together, at the default prefetch.
func (s *scenario) held() float64 { return float64(64 * len(s.Consumers)) }

// The store dies and comes back with its data: queues hold, nothing goes round in circles.
func TestStoreKilled(t *testing.T) {
	s := begin(t, options{})
	before := s.redelivered()
	const times = 3
	for range times {
		if err := s.Mongo.Kill(); errors.Is(err, testmongo.ErrNotOurs) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
		s.faults++
		s.Note("killed %s", s.Mongo)
		s.lasts("there is no store", 15*time.Second)
		if err := s.Mongo.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		s.Note("%s is back", s.Mongo)
		s.Until("the queue is empty", every(time.Second, s.emptied))
		s.takeovers = append(s.takeovers, time.Since(back))
		s.flow(100)
	}
	again := s.redelivered() - before
	if again > times*s.held() {
		t.Errorf("%v batches were delivered again, of at most %v in hand in each of %d outages: they went round in circles", again, s.held(), times)
	}
	s.measure("%v batches delivered again in %d outages", again, times)
	s.nothingLost()
}

// The store is slow for a while: queues hold, and empty when it is itself again.
func TestStoreSlow(t *testing.T) {
	s := begin(t, options{})
	before := s.redelivered()
	s.links.slow("consumer", "store", 200*time.Millisecond, 60)
	s.faults++
	s.lasts("the store is slow", 45*time.Second)
	s.links.clean("consumer", "store")
	back := time.Now()
	s.Until("the queue is empty", every(time.Second, s.emptied))
	s.takeovers = append(s.takeovers, time.Since(back))
	if again := s.redelivered() - before; again > s.held() {
		t.Errorf("%v batches were delivered again: they went round in circles", again)
	}
	s.nothingLost()
}
