package local_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/queue/queuetest"
)

// The environment variable that makes the test program the process which is killed.
const childEnv = "TUNGSTENE_TEST_QUEUE_CHILD"

// child publishes to the file that the environment names, one message after the other, and prints
// the number of each that was confirmed.
func child() bool {
	path := os.Getenv(childEnv)
	if path == "" {
		return false
	}
	q, err := local.Open(path, local.Options{})
	if err != nil {
		fmt.Println("error", err)
		return true
	}
	for _, m := range queuetest.Numbered("", 1_000_000) {
		m.Body = make([]byte, 20_000)
		if err := q.Publish(context.Background(), queue.Store, m); err != nil {
			fmt.Println("error", err)
			return true
		}
		fmt.Println(m.ID)
	}
	return true
}

func TestNothingConfirmedIsLostWhenTheProcessIsKilled(t *testing.T) {
	path := t.TempDir() + "/queue.db"
	cmd := exec.Command(os.Args[0]) // this test, as another process; killed below
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	last := -1
	next := func() bool {
		if !lines.Scan() {
			return false
		}
		n, err := strconv.Atoi(lines.Text())
		if err != nil || n != last+1 {
			t.Errorf("line %q after %d", lines.Text(), last)
			return false
		}
		last = n
		return true
	}
	for last < 100 && next() {
		continue
	}
	_, inUse := local.Open(path, local.Options{})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for next() { // what it had confirmed before it died
		continue
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // killed
	if inUse == nil || !strings.Contains(inUse.Error(), "another process uses it") || !strings.Contains(inUse.Error(), path) {
		t.Errorf("open while the other runs: %v", inUse)
	}
	q := open(t, path, local.Options{})
	n, err := q.Depth(t.Context(), queue.Store)
	if err != nil {
		t.Fatal(err)
	}
	if n != last+1 && n != last+2 { // one may be in the file and not printed yet
		t.Fatalf("%d messages are there, %d were confirmed", n, last+1)
	}
	deliveries, err := q.Subscribe(t.Context(), queue.Store, n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if d := queuetest.Receive(t, deliveries); d.ID != strconv.Itoa(i) || len(d.Body) != 20_000 {
			t.Fatalf("message %d is %q with %d bytes", i, d.ID, len(d.Body))
		}
	}
}
