//go:build unix

package testrabbit_test

import (
	"strings"
	"testing"

	"github.com/tungstene/tungstene/internal/testrabbit"
)

func TestClusterLosesANodeAndAllOfThem(t *testing.T) {
	if testing.Short() {
		t.Skip("boots three nodes")
	}
	nodes := testrabbit.StartCluster(t, 3)
	running := func(at *testrabbit.Broker, want int) {
		t.Helper()
		out, err := at.Ctl(t.Context(), "eval", "length([node() | nodes()]).")
		if err != nil || strings.TrimSpace(out) != string(rune('0'+want)) {
			t.Fatalf("%s nodes run, %v; want %d", strings.TrimSpace(out), err, want)
		}
	}
	running(nodes[0], 3)
	if err := nodes[1].Kill(); err != nil {
		t.Fatal(err)
	}
	running(nodes[0], 2)
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := testrabbit.BootAll(t.Context(), nodes); err != nil {
		t.Fatal(err)
	}
	running(nodes[2], 3)
}
