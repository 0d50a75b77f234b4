package local_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/local"
)

const fullEnv = "TUNGSTENE_TEST_QUEUE_FULL"

// A disk that is full is played by a limit on the size of files, in a process of its own: a process
// that may not write on gets an error as from a full disk.
func TestFullDisk(t *testing.T) {
	if os.Getenv(fullEnv) != "" {
		playFullDisk(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullDisk$", "-test.v") // this test
	cmd.Env = append(os.Environ(), fullEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func limit(t *testing.T, bytes uint64) {
	t.Helper()
	var l syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l))
	l.Cur = min(bytes, l.Max)
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l))
}

func playFullDisk(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, path, local.Options{Logger: slog.New(slog.DiscardHandler)})
	ctx := context.Background()
	limit(t, 1<<20)
	body := make([]byte, 50_000)
	confirmed := 0
	var failure error
	for ; failure == nil; confirmed++ {
		failure = q.Publish(ctx, queue.Store, queue.Message{ID: strconv.Itoa(confirmed), Body: body})
	}
	confirmed--
	if confirmed < 3 || errors.Is(failure, queue.ErrClosed) {
		t.Fatalf("%d were taken, then %v", confirmed, failure)
	}
	if err := q.Check(ctx); err == nil {
		t.Error("Check finds nothing wrong")
	}
	if n, err := q.Depth(ctx, queue.Store); n != confirmed || err != nil {
		t.Errorf("%d messages (%v), %d were confirmed", n, err, confirmed)
	}
	limit(t, 1<<40) // there is room
	if err := q.Check(ctx); err != nil {
		t.Errorf("Check with room: %v", err)
	}
	if err := q.Publish(ctx, queue.Store, queue.Message{ID: strconv.Itoa(confirmed), Body: body}); err != nil {
		t.Fatalf("publish with room: %v", err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, path, local.Options{})
	deliveries, err := q.Subscribe(ctx, queue.Store, confirmed+1)
	must(t, err)
	for i := range confirmed + 1 {
		d := <-deliveries
		if d.ID != strconv.Itoa(i) || len(d.Body) != len(body) {
			t.Fatalf("message %d is %q with %d bytes", i, d.ID, len(d.Body))
		}
		must(t, d.Ack(ctx))
	}
}
