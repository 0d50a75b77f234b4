package faults_test

import (
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
)

// Every link of the pipeline is slow, cut and silent for a while, one after the other. Chat is read
// twice, so that one reader's bad link costs nothing.
func TestLinks(t *testing.T) {
	for _, l := range []struct{ program, service string }{
		{"collector", "broker"},
		{"consumer", "broker"},
		{"consumer", "store"},
		{"collector", "master"},
		{"collector-1", "chat"},
	} {
		t.Run(l.program+" to "+l.service, func(t *testing.T) {
			s := begin(t, options{replicas: 2, Options: cluster.Options{Collectors: 3}})
			for _, f := range []struct {
				what       string
				begin, end func(program, service string)
			}{
				{"slow", func(p, v string) { s.links.slow(p, v, 300*time.Millisecond, 40) }, s.links.clean},
				{"cut", s.links.cut, s.links.mend},
				{"silent", s.links.swallow, s.links.clean},
			} {
				f.begin(l.program, l.service)
				s.faults++
				s.lasts("the link is "+f.what, 15*time.Second)
				f.end(l.program, l.service)
				healed := time.Now()
				s.Until("every channel is read twice", s.allRead)
				s.Until("outboxes and queue are empty", every(time.Second, s.emptied))
				s.takeovers = append(s.takeovers, time.Since(healed))
				s.flow(100)
			}
			s.nothingLost()
		})
	}
}
