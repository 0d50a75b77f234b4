package local_test

import (
	"flag"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/queue/queuetest"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	// Opening files is slow under the race detector; -rapid.checks on the command line comes later
	// and counts.
	if err := flag.Set("rapid.checks", "25"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func open(tb testing.TB, path string, opts local.Options) *local.Queue {
	tb.Helper()
	q, err := local.Open(path, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := q.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return q
}

func TestConformance(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Harness {
		t.Helper()
		path := filepath.Join(t.TempDir(), "folder", "queue.db")
		q := open(t, path, local.Options{})
		return queuetest.Harness{
			Queue: q,
			Restart: func(t *testing.T) queue.Queue {
				t.Helper()
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				return open(t, path, local.Options{})
			},
		}
	})
}
