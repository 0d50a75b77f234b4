package faults_test

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
)

// With two replicas the death of a collector costs nothing.
func TestCollectorKilledTwoReplicas(t *testing.T) {
	s := begin(t, options{replicas: 2, Options: cluster.Options{Collectors: 3}})
	victim := s.Collectors[0]
	killed := time.Now()
	s.kill(victim)
	s.takeovers = append(s.takeovers, s.took(killed, "every channel is read twice again", s.allRead))
	s.flow(200)
	s.Revive(victim.Name)
	s.Until("the collector that was killed is back", s.allRead)
	s.flow(200)
	s.nothingLost()
}

// With one replica it costs a gap, which is recorded to the second.
func TestCollectorKilledOneReplica(t *testing.T) {
	// Few JOINs a second, so that an order can be seen.
	s := begin(t, options{inShort: true, Options: cluster.Options{Joins: 5, Channels: 30, Rate: 60}})
	victim := s.Collectors[0]
	// It stops reading before it dies, so that more is lost than a tick.
	s.signal(victim, syscall.SIGSTOP)
	s.lasts("it reads nothing", 2*time.Second)
	killed := time.Now()
	s.kill(victim)
	s.takeovers = append(s.takeovers, s.took(killed, "every channel is read again", s.allRead))
	s.flow(200)
	s.onlyGapsLost()
	if s.result.Lost == 0 {
		t.Error("nothing was lost: nothing was tried")
	}

	gaps, weights := s.handovers(victim.Name, killed), s.weights()
	var list []time.Duration
	for _, d := range gaps {
		list = append(list, d)
	}
	s.measure("a channel's gap: %s", spread(list))
	channels := make([]string, 0, len(gaps))
	for ch := range gaps {
		channels = append(channels, ch)
	}
	slices.SortFunc(channels, func(a, b string) int { return weights[b] - weights[a] })
	var large, small time.Duration // of each half
	half := len(channels) / 2
	for i, ch := range channels {
		switch {
		case i < half:
			large += gaps[ch] / time.Duration(half)
		case i >= len(channels)-half:
			small += gaps[ch] / time.Duration(half)
		}
	}
	if half == 0 || large >= small {
		t.Errorf("the larger half of %d channels waited %v in the mean, the smaller %v: want the largest first", len(channels), large, small)
	}
	s.measure("larger half %v, smaller half %v in the mean", large.Round(10*time.Millisecond), small.Round(10*time.Millisecond))
}

// A collector that is cut off from everything loses its channels, and takes part again later.
func TestCollectorCutOff(t *testing.T) {
	for name, how := range map[string]struct {
		begin, end func(l *links, program string)
	}{
		"Refused": {
			func(l *links, p string) { l.cut(p, "") }, func(l *links, p string) { l.mend(p, "") },
		},
		"Silent": { // packets vanish
			func(l *links, p string) { l.swallow(p, "") }, func(l *links, p string) { l.clean(p, "") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, options{replicas: 2, Options: cluster.Options{Collectors: 3}})
			victim := s.Collectors[0].Name
			cut := time.Now()
			how.begin(s.links, victim)
			s.faults++
			s.Note("%s is cut off from chat, Helix, masters and broker", victim)
			s.Until("it is judged silent", func() error { return s.state(victim, control.CollectorSilent) })
			s.takeovers = append(s.takeovers, s.took(cut, "every channel is read twice by others", s.allRead))
			s.flow(300)
			how.end(s.links, victim)
			s.Note("%s is back", victim)
			s.Until("it takes part again", func() error { return s.state(victim, control.CollectorAlive) })
			s.Until("every channel is read twice", s.allRead)
			s.flow(200)
			s.nothingLost()
		})
	}
}

// state is nil when the master calls a collector so.
func (s *scenario) state(name, want string) error {
	list, err := s.api.Collectors(s.T.Context())
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Name == name {
			if c.State == want {
				return nil
			}
			return fmt.Errorf("%s is %s", name, c.State)
		}
	}
	return fmt.Errorf("no collector %s", name)
}

// Channels that are moved on purpose lose nothing, with one replica too.
func TestPlannedMoves(t *testing.T) {
	s := begin(t, options{})
	added := s.AddCollector()
	s.Until(added.Name+" has its share", func() error {
		if added.MetricIs("tungstene_collector_channels_joined", 0)() == nil {
			return errors.New("it has none")
		}
		return s.allRead()
	})
	s.faults++
	s.flow(200)

	left := s.Collectors[0]
	stopped := time.Now()
	left.Stop() // SIGTERM: it hands over
	s.faults++
	s.measure("scale in took %v", time.Since(stopped).Round(100*time.Millisecond))
	s.Until("the others read every channel", s.allRead)
	s.flow(200)
	s.Revive(left.Name)
	s.Until("it is back", s.allRead)

	for _, p := range slices.Clone(s.Collectors) { // a rolling restart
		p.Stop()
		s.Revive(p.Name)
		s.faults++
		s.Until("every channel is read after the restart of "+p.Name, s.allRead)
		s.flow(100)
	}
	s.nothingLost()
}

// More than half of the collectors fall silent together: the fault is not theirs, nothing is moved.
func TestMassSilence(t *testing.T) {
	s := begin(t, options{replicas: 1, Options: cluster.Options{Collectors: 3, Masters: 2}})
	s.flow(100)
	before := s.assigned()
	stopped := s.Collectors[:2]
	for _, p := range stopped {
		s.signal(p, syscall.SIGSTOP)
	}
	since := time.Now()
	s.measure("raised after %v", s.took(since, "mass-silence is raised", s.condition("mass-silence", true)).Round(10*time.Millisecond))
	s.lasts("they stay silent", 10*time.Second)
	if after := s.assigned(); !slices.Equal(before, after) {
		t.Errorf("channels were moved: %v before, %v after", before, after)
	}
	for _, p := range stopped {
		s.signal(p, syscall.SIGCONT)
	}
	s.Until("mass-silence is over", s.condition("mass-silence", false))
	s.Until("every channel is read", s.allRead)
	s.flow(200)
	s.nothingLost() // the simulator kept what was sent meanwhile; so does Twitch, for a while
}

// assigned lists who has which channel.
func (s *scenario) assigned() (list []string) {
	s.T.Helper()
	all, err := s.api.Assignments(s.T.Context())
	if err != nil {
		s.T.Fatal(err)
	}
	for _, a := range all {
		for _, c := range a.Channels {
			list = append(list, a.Collector+" "+c.Login)
		}
	}
	slices.Sort(list)
	return list
}

// A drained collector is left without channels, stays so over a restart, and gets its share back.
func TestDrain(t *testing.T) {
	s := begin(t, options{Options: cluster.Options{Collectors: 3}})
	drained := s.Collectors[0]
	started := time.Now()
	s.Operate(app.ExitOK, "drain", drained.Name)
	s.faults++
	s.takeovers = append(s.takeovers, time.Since(started))
	s.Until("the others read every channel", s.allRead)
	without := drained.MetricIs("tungstene_collector_channels_joined", 0)
	if err := without(); err != nil {
		t.Error(err)
	}
	s.flow(200)
	drained.Stop()
	drained = s.Revive(drained.Name)
	s.Until("every channel is read", s.allRead)
	if err := drained.MetricIs("tungstene_collector_channels_joined", 0)(); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	s.Operate(app.ExitOK, "drain", drained.Name, "--undo")
	s.Until("it has its share again", func() error {
		if drained.MetricIs("tungstene_collector_channels_joined", 0)() == nil {
			return errors.New("it has none")
		}
		return s.allRead()
	})
	s.flow(200)
	s.nothingLost()
}
