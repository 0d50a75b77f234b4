// Package e2e runs the programs as an operator does: each role its own process, over a real
// RabbitMQ and a MongoDB (or what stands in for it), against the simulator, with faults. It looks
// at what a person can see: exit codes, output, logs, HTTP.
package e2e_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/internal/cluster"
)

var programs = cluster.Programs{Race: raceEnabled}

func TestMain(m *testing.M) { goleak.VerifyTestMain(programs.Main(m)) }
