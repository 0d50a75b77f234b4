package faults_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
	"github.com/tungstene/tungstene/internal/testrabbit"
)

// outboxes waits until every collector has at least so many batches in its outbox.
func (s *scenario) outboxes(least float64) {
	s.T.Helper()
	for _, p := range s.Collectors {
		s.Until(p.Name+" fills its outbox", func() error {
			n, err := p.Metric("tungstene_collector_outbox_batches")
			if err == nil && n < least {
				err = fmt.Errorf("%v batches", n)
			}
			return err
		})
	}
}

// drained waits until the outboxes are empty.
func (s *scenario) drained() {
	s.T.Helper()
	for _, p := range s.Collectors {
		s.Until(p.Name+" has sent what was in its outbox", func() error {
			n, err := p.Metric("tungstene_collector_outbox_batches")
			if err == nil && n > 3 { // there is always something on its way
				err = fmt.Errorf("%v batches", n)
			}
			return err
		})
	}
}

// The only node of the broker is killed, and comes back with what it had confirmed.
func TestBrokerKilled(t *testing.T) {
	schedule(t, false)
	node := testrabbit.Start(t)
	s := begin(t, options{scheduled: true, Options: cluster.Options{Brokers: []*testrabbit.Broker{node}}})
	for range 2 {
		if err := node.Kill(); err != nil {
			t.Fatal(err)
		}
		s.faults++
		s.Note("killed RabbitMQ")
		s.outboxes(20)
		if err := node.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		s.drained()
		s.takeovers = append(s.takeovers, time.Since(back))
		s.flow(100)
	}
	s.nothingLost()
}

// Of three nodes the one with the queue's leader is killed, then all three.
func TestBrokerCluster(t *testing.T) {
	schedule(t, false)
	nodes := testrabbit.StartCluster(t, 3)
	s := begin(t, options{scheduled: true, Options: cluster.Options{Brokers: nodes}})
	for range 2 {
		leader := s.queueLeader()
		if err := leader.Kill(); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		s.faults++
		s.Note("killed the node with the leader of the queue, %s", leader.Node())
		s.stores(killed)
		s.drained()
		s.takeovers = append(s.takeovers, time.Since(killed))
		s.flow(200)
		if err := leader.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
		s.faults++
	}
	s.Note("killed all three nodes")
	s.outboxes(20)
	if err := testrabbit.BootAll(t.Context(), nodes); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	s.drained()
	s.measure("outboxes empty %v after all nodes were back", time.Since(back).Round(100*time.Millisecond))
	s.flow(200)
	s.nothingLost()
}

// queueLeader is the node that leads the queue "store".
func (s *scenario) queueLeader() *testrabbit.Broker {
	s.T.Helper()
	out, err := s.node().Ctl(s.T.Context(), "list_queues", "name", "leader", "members")
	if err != nil {
		s.T.Fatal(err)
	}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) < 3 || f[0] != s.Prefix+"store" {
			continue
		}
		if n := strings.Count(f[2], "@"); n != len(s.Brokers) {
			s.T.Errorf("the queue has %d members, want %d: %s", n, len(s.Brokers), line)
		}
		for _, b := range s.Brokers {
			if b.Node() == f[1] {
				return b
			}
		}
	}
	s.T.Fatalf("no leader of the queue: %s", out)
	return nil
}

// stores waits until a consumer has acknowledged something again.
func (s *scenario) stores(since time.Time) {
	s.T.Helper()
	acknowledged := func() (sum float64) {
		for _, p := range s.Consumers {
			if n, err := p.Metric("tungstene_consumer_batches_total"); err == nil {
				sum += n
			}
		}
		return sum
	}
	// What was on its way when the fault came may still be acknowledged; then it goes on.
	before := acknowledged()
	s.measure("batches stored again after %v", s.took(since, "batches are stored again", func() error {
		if n := acknowledged(); n < before+10 {
			return fmt.Errorf("%v batches, %v before", n, before)
		}
		return nil
	}).Round(10*time.Millisecond))
}

// The broker blocks who publishes, for lack of disk space, and of memory.
func TestBrokerBlocks(t *testing.T) {
	schedule(t, false)
	node := testrabbit.Start(t)
	s := begin(t, options{scheduled: true, Options: cluster.Options{Brokers: []*testrabbit.Broker{node}}})
	for what, ctl := range map[string][2][]string{
		"disk":   {{"set_disk_free_limit", "1000000GB"}, {"set_disk_free_limit", "1MB"}},
		"memory": {{"set_vm_memory_high_watermark", "0"}, {"set_vm_memory_high_watermark", "absolute", "1GB"}},
	} {
		if _, err := node.Ctl(t.Context(), ctl[0]...); err != nil {
			t.Fatal(err)
		}
		s.faults++
		s.Note("RabbitMQ has run out of %s", what)
		for _, p := range s.Collectors {
			s.Until(p.Name+" is blocked", func() error {
				v, err := p.Metric("tungstene_queue_rabbit_blocked")
				if err == nil && v == 0 {
					err = errors.New("it is not")
				}
				return err
			})
		}
		s.outboxes(20)
		s.collectorSays("queue-blocked", "queue-unavailable")
		if _, err := node.Ctl(t.Context(), ctl[1]...); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		s.drained()
		s.takeovers = append(s.takeovers, time.Since(back))
		s.flow(100)
	}
	s.nothingLost()
}

// collectorSays waits until a collector raises one of some conditions.
func (s *scenario) collectorSays(names ...string) {
	s.T.Helper()
	s.Until("a condition is raised: "+strings.Join(names, " or "), func() error { return s.saying(names...) })
}

// saying is nil when a collector raises one of some conditions.
func (s *scenario) saying(names ...string) error {
	list, err := s.api.Collectors(s.T.Context())
	if err != nil {
		return err
	}
	var have []string
	for _, c := range list {
		for _, k := range c.Conditions {
			if have = append(have, k.Name); slices.Contains(names, k.Name) {
				return nil
			}
		}
	}
	return fmt.Errorf("conditions: %v", have)
}
