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
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/queue/queuetest"
)

const fullEnv = "TUNGSTENE_TEST_QUEUE_FULL"

// A disk that is full is played by a limit on the size of files, in a process of its own: a process
// that may not write on gets an error as from a full disk.
func TestFullDisk(t *testing.T) {
	if os.Getenv(fullEnv) != "" {
		playFullDisk(t)
		return
	}
	inAnotherProcess(t)
}

// inAnotherProcess runs the test that calls it once more, where limits do no harm.
func inAnotherProcess(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v") // this test
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

// No file may get larger: neither may the one that acknowledgements are written to.
func TestAcknowledgementsUnderALimit(t *testing.T) {
	if os.Getenv(fullEnv) == "" {
		inAnotherProcess(t)
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	q := open(t, filepath.Join(t.TempDir(), "queue.db"), local.Options{Logger: slog.New(slog.DiscardHandler)})
	ctx := context.Background()
	limit(t, 2<<20)
	confirmed := publishUntilFull(t, q, 1, 50_000)
	deliveries, err := q.Subscribe(ctx, queue.Store, confirmed)
	must(t, err)
	first := queuetest.Receive(t, deliveries)
	limit(t, 1)
	for range 3 {
		if err := first.Ack(ctx); err == nil || !strings.Contains(err.Error(), "make room") {
			t.Fatalf("an acknowledgement that can't be written: %v", err)
		}
	}
	if n, err := q.Depth(ctx, queue.Store); n != confirmed || err != nil {
		t.Fatalf("%d messages (%v), %d were confirmed", n, err, confirmed)
	}
	limit(t, 2<<20)
	must(t, first.Ack(ctx)) // it is still ours
	for i := 1; i < confirmed; i++ {
		d := queuetest.Receive(t, deliveries)
		if d.ID != strconv.Itoa(i) {
			t.Fatalf("%s where %d is due", d.ID, i)
		}
		must(t, d.Ack(ctx))
	}
	limit(t, 1<<40)
	must(t, q.Publish(ctx, queue.Store, queue.Message{ID: "on"}))
	must(t, q.Check(ctx))
}

// publishUntilFull publishes calls of so many messages until one is refused for want of room, and
// returns how many messages were confirmed. Their ids are their numbers.
func publishUntilFull(t *testing.T, q *local.Queue, perCall, size int) (confirmed int) {
	t.Helper()
	for {
		if err := q.Publish(context.Background(), queue.Store, numbered(confirmed, perCall, size)...); err != nil {
			if !strings.Contains(err.Error(), "the disk is full, make room") {
				t.Fatal(err)
			}
			if confirmed == 0 {
				t.Fatalf("nothing was taken: %v", err)
			}
			return confirmed
		}
		confirmed += perCall
	}
}

func numbered(from, n, size int) []queue.Message {
	messages := make([]queue.Message, n)
	for i := range messages {
		messages[i] = queue.Message{ID: strconv.Itoa(from + i), Body: make([]byte, size)}
	}
	return messages
}

// A real disk, full to its last byte.
func TestFullDiskCanBeEmptied(t *testing.T) {
	for name, c := range map[string]struct {
		perCall, size int
		reopen        bool
	}{
		"small messages":               {100, 2000, false},
		"one at a time":                {1, 50_000, false},
		"large calls":                  {9, 1 << 20, false},
		"opened again":                 {1, 50_000, true},
		"large calls, opened again":    {9, 1 << 20, true},
		"the largest message there is": {1, queue.MaxBodyBytes, false},
	} {
		t.Run(name, func(t *testing.T) {
			disk := mount(t, "48m")
			path := filepath.Join(disk, "queue.db")
			opts := local.Options{Logger: slog.New(slog.DiscardHandler)}
			q := open(t, path, opts)
			ctx := t.Context()
			confirmed := publishUntilFull(t, q, c.perCall, c.size)
			plug := filepath.Join(disk, "plug")
			fill(t, plug)
			if c.reopen {
				must(t, q.Close())
				fill(t, plug)
				q = open(t, path, opts)
				fill(t, plug)
			}
			for range 3 {
				if err := q.Publish(ctx, queue.Store, queue.Message{Body: make([]byte, c.size)}); err == nil {
					t.Fatal("a message was taken where there is no room")
				}
			}
			if err := q.Check(ctx); err == nil {
				t.Error("Check finds nothing wrong")
			}
			if n, err := q.Depth(ctx, queue.Store); n != confirmed || err != nil {
				t.Fatalf("%d messages (%v), %d were confirmed", n, err, confirmed)
			}

			emptyCtx, cancel := context.WithCancel(ctx)
			defer cancel()
			deliveries, err := q.Subscribe(emptyCtx, queue.Store, 64)
			must(t, err)
			var acks errgroup.Group
			for i := range confirmed {
				d := queuetest.Receive(t, deliveries)
				if d.ID != strconv.Itoa(i) || len(d.Body) != c.size {
					t.Fatalf("message %d is %q with %d bytes", i, d.ID, len(d.Body))
				}
				acks.Go(func() error { return d.Ack(ctx) })
			}
			must(t, acks.Wait())
			if n, err := q.Depth(ctx, queue.Store); n != 0 || err != nil {
				t.Fatalf("%d messages are left (%v)", n, err)
			}
			// What they took belongs to the disk again, and to us.
			queuetest.Eventually(t, "a message is taken", func() bool {
				return q.Publish(ctx, queue.Store, queue.Message{ID: "on", Body: make([]byte, 1000)}) == nil
			})
			must(t, os.Remove(plug))
			queuetest.Eventually(t, "a call is taken", func() bool {
				return q.Publish(ctx, queue.Store, numbered(0, c.perCall, c.size)...) == nil
			})
			must(t, q.Check(ctx))
			must(t, q.Close())
			q = open(t, path, opts)
			if n, err := q.Depth(ctx, queue.Store); n != 1+c.perCall || err != nil {
				t.Errorf("%d messages after opening again (%v), %d were confirmed", n, err, 1+c.perCall)
			}
		})
	}
}

// Room that is made while messages are waiting is used at once, and the reserve comes back.
func TestRoomIsMadeOnAFullDisk(t *testing.T) {
	disk := mount(t, "32m")
	path := filepath.Join(disk, "queue.db")
	plug := filepath.Join(disk, "plug")
	must(t, os.WriteFile(plug, make([]byte, 8<<20), 0o600))
	q := open(t, path, local.Options{Logger: slog.New(slog.DiscardHandler)})
	confirmed := publishUntilFull(t, q, 1, 50_000)
	must(t, os.Remove(plug))
	must(t, q.Publish(t.Context(), queue.Store, queue.Message{ID: strconv.Itoa(confirmed)}))
	must(t, q.Check(t.Context()))
	if info, err := os.Stat(path + ".reserve"); err != nil || info.Size() < 8<<20 || info.Mode().Perm() != 0o600 {
		t.Errorf("the reserve: %v, %v", info, err)
	}
	if n, err := q.Depth(t.Context(), queue.Store); n != confirmed+1 || err != nil {
		t.Errorf("%d messages (%v), want %d", n, err, confirmed+1)
	}
}

// mount makes a disk of its own in memory.
func mount(t *testing.T, size string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no small disk can be made here (that takes root): %v", err)
	}
	t.Cleanup(func() { // after the queue is closed
		if err := syscall.Unmount(folder, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return folder
}

// fill makes a file larger until not one byte is left on its disk.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	must(t, err)
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else {
			must(t, err)
		}
	}
	must(t, f.Close())
}
