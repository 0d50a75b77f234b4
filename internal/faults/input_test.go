package faults_test

import (
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
)

// Twitch sends messages twice, out of order, as shared-chat copies, and asks for reconnects.
func TestInputTwiceAndOutOfOrder(t *testing.T) {
	s := begin(t, options{replicas: 2, Options: cluster.Options{
		Collectors: 2, Sim: []string{"--duplicate", "0.2", "--disorder", "0.2"},
	}})
	for range 3 {
		s.flow(500)
		s.Sim.Fault(`{"do":"reconnect"}`)
		s.faults++
		s.lasts("connections are replaced", 3*time.Second)
		s.Until("every channel is read twice", s.allRead)
	}
	s.nothingLost()
}
