package faults_test

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
)

// The leading master dies: collectors go on, the other one leads, and can move channels.
func TestMasterKilled(t *testing.T) {
	s := begin(t, options{replicas: 2, Options: cluster.Options{Collectors: 3}})
	for range 3 {
		leader := s.Masters[s.Leader(s.Masters, cluster.MasterLeads)]
		killed := time.Now()
		s.kill(leader)
		s.takeovers = append(s.takeovers, s.took(killed, "the other master leads", leadsOther(s.Masters, leader, cluster.MasterLeads)))
		s.flow(100)
		s.Revive(leader.Name)
	}
	s.movesWork()
	s.nothingLost()
}

// movesWork kills a collector and wants its channels to be read by others.
func (s *scenario) movesWork() {
	s.T.Helper()
	victim := s.Collectors[0]
	killed := time.Now()
	s.kill(victim)
	s.measure("then a dead collector's channels were read again after %v", s.took(killed, "every channel is read by others", s.allRead).Round(10*time.Millisecond))
	s.Revive(victim.Name)
	s.Until("it is back", s.allRead)
}

// A leading master that stands still for longer than its lease, and wakes, can't write any more.
func TestMasterStopped(t *testing.T) {
	s := begin(t, options{replicas: 1, Options: cluster.Options{Collectors: 2}})
	seen := map[string]int64{}
	if err := s.epochs(seen); err != nil {
		t.Fatal(err)
	}
	before := s.assigned()
	for range 2 {
		leader := s.Masters[s.Leader(s.Masters, cluster.MasterLeads)]
		stopped := time.Now()
		s.signal(leader, syscall.SIGSTOP)
		s.takeovers = append(s.takeovers, s.took(stopped, "the other master leads", leadsOther(s.Masters, leader, cluster.MasterLeads)))
		s.lasts("it stands still", time.Second)
		if err := s.epochs(seen); err != nil {
			t.Error(err)
		}
		s.signal(leader, syscall.SIGCONT)
		end := time.Now().Add(8 * time.Second)
		s.Until("one leads, and no epoch falls, for 8 s after it woke", func() error {
			if err := s.epochs(seen); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(end); left > 0 {
				return fmt.Errorf("%v left", left)
			}
			_, err := cluster.Leading(s.Masters, cluster.MasterLeads)
			return err
		})
	}
	if after := s.assigned(); !slices.Equal(before, after) {
		t.Errorf("channels were moved without need: %v before, %v after", before, after)
	}
	s.nothingLost()
}

// Without any master collection goes on; afterwards channels can be moved again.
func TestNoMaster(t *testing.T) {
	o := cluster.Options{Collectors: 3, Rate: 40}
	away := 30 * time.Second
	if full() {
		away, o.Rate, o.Config = 10*time.Minute, 4, seldom
	}
	s := begin(t, options{replicas: 2, Options: o})
	for _, p := range s.Masters {
		s.kill(p)
	}
	gone := time.Now()
	s.lasts("no master runs", away)
	// A collector that is restarted meanwhile has its assignment on disk.
	s.kill(s.Collectors[2])
	s.Revive(s.Collectors[2].Name)
	restarted := s.Collectors[2]
	s.Until("a collector that was restarted without a master reads again", func() error {
		want, err := restarted.Metric("tungstene_collector_channels_assigned")
		if err == nil && want == 0 {
			err = errors.New("nothing is assigned")
		}
		if err != nil {
			return err
		}
		return restarted.MetricIs("tungstene_collector_channels_joined", want)()
	})
	s.flow(100)
	for _, p := range slices.Clone(s.Masters) {
		s.Revive(p.Name)
	}
	s.measure("no master for %v", time.Since(gone).Round(time.Second))
	s.Leader(s.Masters, cluster.MasterLeads)
	s.Until("every channel is read twice", s.allRead)
	s.movesWork()
	s.nothingLost()
}
