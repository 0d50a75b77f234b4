//go:build linux

package testrabbit_test

import (
	"net"
	"testing"

	"github.com/tungstene/tungstene/internal/testrabbit"
)

func TestBrokerStartsStopsAndComesBack(t *testing.T) {
	b := testrabbit.Start(t)
	answers := func() bool {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.Address)
		if err != nil {
			return false
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if !answers() {
		t.Fatal("no answer after the start")
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if answers() {
		t.Fatal("it answers after Stop")
	}
	if err := b.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !answers() {
		t.Fatal("no answer after Boot")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatalf("second Close: %v", err)
	}
}
