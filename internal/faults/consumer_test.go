package faults_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// random is a source whose seed is FAULTS_SEED, or drawn; it is told, so that a run can be repeated.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("FAULTS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("FAULTS_SEED: %v", err)
		}
	}
	t.Logf("FAULTS_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// Consumers, and with them the rollup, are killed in every moment between delivery, insert, mark,
// scan, write and acknowledgement that chance finds.
func TestConsumersKilled(t *testing.T) {
	s := begin(t, options{Options: cluster.Options{Rate: 60, Sim: []string{"--disorder", "0.02"}}})
	r := random(t)
	for range 25 {
		p := s.Consumers[r.IntN(len(s.Consumers))]
		led, err := p.Metric(cluster.RollupLeads)
		killed := time.Now()
		s.kill(p)
		if err == nil && led == 1 {
			s.takeovers = append(s.takeovers, s.took(killed, "the other rollup leads", leadsOther(s.Consumers, p, cluster.RollupLeads)))
		}
		s.Revive(p.Name)
		s.lasts("both run", time.Duration(r.IntN(2000))*time.Millisecond)
	}
	s.nothingLost()
}

// The consumer whose rollup leads stands still for longer than its lease, around the closing of a
// minute, and wakes: what it holds in hand must not overwrite what the other has written.
func TestRollupStopped(t *testing.T) {
	s := begin(t, options{Options: cluster.Options{Rate: 12, Sim: []string{"--disorder", "0.02"}}})
	times := 2
	if full() {
		times = 4
	}
	epoch := int64(0)
	for range times {
		leader := s.Consumers[s.Leader(s.Consumers, cluster.RollupLeads)]
		// In the middle of closing a minute, if it can be met.
		next := record.Minute(time.Now()).Add(time.Minute + s.Grace)
		s.Within(70*time.Second, "a minute is about to be closed", func() error {
			if left := time.Until(next); left > 0 {
				return fmt.Errorf("%v left", left)
			}
			return nil
		})
		stopped := time.Now()
		s.signal(leader, syscall.SIGSTOP)
		s.takeovers = append(s.takeovers, s.took(stopped, "the other rollup leads", leadsOther(s.Consumers, leader, cluster.RollupLeads)))
		s.lasts("it stands still", 2*time.Second)
		s.signal(leader, syscall.SIGCONT)
		end := time.Now().Add(5 * time.Second)
		s.Until("no epoch falls for 5 s after it woke", every(time.Second, func() error {
			if err := s.Look(func(db store.Store) error {
				raw, err := db.Get(t.Context(), store.Progress, event)
				if err != nil {
					return err
				}
				var p record.Progress
				if err := record.Decode(raw, &p); err != nil {
					return err
				}
				if p.Epoch < epoch {
					t.Fatalf("the epoch of the progress fell from %d to %d", epoch, p.Epoch)
				}
				epoch = p.Epoch
				return nil
			}); err != nil {
				return err
			}
			if left := time.Until(end); left > 0 {
				return fmt.Errorf("%v left", left)
			}
			return nil
		}))
	}
	s.nothingLost()
}

// A consumer stands still for longer than the broker waits for its heartbeat, and wakes with batches
// in hand that others have stored meanwhile. A master tells of it as long as it stands still.
func TestConsumerStopped(t *testing.T) {
	s := begin(t, options{})
	var told, over []time.Duration
	for _, p := range s.Consumers {
		subject := control.RoleConsumer + "/" + p.Name
		s.signal(p, syscall.SIGSTOP)
		stopped := time.Now()
		s.Within(detected, "it is told", raised(t, s.api, "member-silent", subject, true))
		told = append(told, time.Since(stopped))
		if left := 35*time.Second - time.Since(stopped); left > 0 {
			s.lasts("it stands still", left)
		}
		s.signal(p, syscall.SIGCONT)
		over = append(over, s.took(time.Now(), "it is told no more", raised(t, s.api, "member-silent", subject, false)))
		s.flow(200)
	}
	s.measure("told after %s, over after %s", spread(told), spread(over))
	s.nothingLost()
}
