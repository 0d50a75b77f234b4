//go:build linux

package testrabbit_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/internal/testrabbit"
)

const orphanEnv = "TESTRABBIT_ORPHAN"

// TestMain is also the process that dies in TestNothingOutlivesAKilledProcess.
func TestMain(m *testing.M) {
	if os.Getenv(orphanEnv) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	b, err := testrabbit.Launch(context.Background())
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("up", b.Address)
	select {}
}

func TestNothingOutlivesAKilledProcess(t *testing.T) {
	if os.Getenv("CI") == "" {
		if _, err := os.Stat("/usr/lib/rabbitmq/bin/rabbitmq-server"); err != nil {
			t.Skip(testrabbit.ErrAbsent)
		}
	}
	folder := t.TempDir()
	cmd := exec.Command(os.Args[0]) // this test, as another process; killed below
	cmd.Env = append(os.Environ(), orphanEnv+"=1", "TMPDIR="+folder)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	killErr := cmd.Process.Kill()
	_ = cmd.Wait() // killed
	if err != nil || killErr != nil {
		t.Fatal(err, killErr)
	}
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "up ")
	if !ok {
		t.Fatal(line)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		left, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = c.Close() // it only shows that somebody is there
		}
		if err != nil && len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker at %s is left (%v), or its folder (%d entries)", address, err, len(left))
		}
	}
}
