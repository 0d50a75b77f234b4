package faults_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
)

// dead is a program that was killed and is to come back.
type dead struct {
	name string
	due  time.Time
}

// waiting is a role that nobody leads since a kill.
type waiting struct {
	role   string
	killed time.Time
	over   func() error
}

// Programs of every role are killed at random, and come back after a moment or later. Chat is read
// twice, and a collector is killed only when the death of one is survived: when everything is read
// twice.
func TestChaos(t *testing.T) {
	kills, rate := 15, 40
	if full() {
		kills, rate = 220, 12 // the stand-in for MongoDB reads everything for each minute that it counts
	}
	s := begin(t, options{replicas: 2, inShort: true, Options: cluster.Options{
		Collectors: 3, Rate: rate, Sim: []string{"--duplicate", "0.01", "--disorder", "0.01"},
	}})
	r := random(t)
	var gone []dead
	var open []waiting
	times := map[string][]time.Duration{}
	roles := []struct {
		name   string
		weight int
	}{{"master", 2}, {"collector", 4}, {"consumer", 4}}
	count := map[string]int{}
	next := time.Now()
	end := time.Now().Add(40 * time.Minute)
	step := func() error {
		now := time.Now()
		if now.After(end) {
			t.Fatalf("only %d of %d kills within 40 min", s.faults, kills)
		}
		gone = slices.DeleteFunc(gone, func(d dead) bool {
			if now.Before(d.due) {
				return false
			}
			s.Revive(d.name)
			return true
		})
		open = slices.DeleteFunc(open, func(w waiting) bool {
			if w.over() != nil {
				return false
			}
			times[w.role] = append(times[w.role], time.Since(w.killed))
			return true
		})
		if s.faults == kills && len(gone) == 0 && len(open) == 0 {
			return nil
		}
		if s.faults == kills || now.Before(next) {
			return fmt.Errorf("%d of %d kills, %d programs are dead", s.faults, kills, len(gone))
		}
		pick := r.IntN(10)
		role := ""
		for _, k := range roles {
			if pick -= k.weight; pick < 0 {
				role = k.name
				break
			}
		}
		list := map[string][]*cluster.Program{"master": s.Masters, "collector": s.Collectors, "consumer": s.Consumers}[role]
		p := list[r.IntN(len(list))]
		if p.Ended() {
			return fmt.Errorf("%s is dead already", p.Name)
		}
		if role == "collector" && s.allRead() != nil {
			return fmt.Errorf("%s can't be spared", p.Name)
		}
		leads := ""
		switch role {
		case "master":
			leads = cluster.MasterLeads
		case "consumer":
			leads = cluster.RollupLeads
		}
		led := 0.0
		if leads != "" {
			led, _ = p.Metric(leads) // one that does not answer yet does not lead
		}
		killed := time.Now()
		s.kill(p)
		count[role]++
		switch {
		case role == "collector":
			open = append(open, waiting{role, killed, s.allRead})
		case led == 1:
			open = append(open, waiting{strings.Replace(role, "consumer", "rollup", 1), killed, s.leads(leads)})
		}
		pause := time.Duration(r.IntN(2000)) * time.Millisecond
		if r.IntN(5) == 0 {
			pause += 4 * time.Second // longer than the heartbeat timeout: others take over
		}
		gone = append(gone, dead{p.Name, killed.Add(pause)})
		next = killed.Add(500*time.Millisecond + time.Duration(r.IntN(3000))*time.Millisecond)
		return fmt.Errorf("%d of %d kills", s.faults, kills)
	}
	s.Within(41*time.Minute, "chaos is over", step)
	s.Until("every channel is read twice", s.allRead)
	for _, role := range []string{"master", "collector", "rollup"} {
		s.measure("%s %s", role, spread(times[role]))
		s.takeovers = append(s.takeovers, times[role]...)
	}
	s.measure("killed %v", count)
	s.nothingLost()
}

// leads is met when one of those that run leads by a metric.
func (s *scenario) leads(metric string) func() error {
	return func() error {
		list := s.Masters
		if metric == cluster.RollupLeads {
			list = s.Consumers
		}
		var last error
		for _, p := range list {
			if p.Ended() {
				continue
			}
			v, err := p.Metric(metric)
			if err == nil && v == 1 {
				return nil
			}
			last = cmp.Or(err, last)
		}
		return fmt.Errorf("none leads: %w", last)
	}
}
