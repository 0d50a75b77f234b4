package local_test

import (
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
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, path string, opts local.Options) *local.Queue {
	t.Helper()
	q, err := local.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return q
}

func TestConformance(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Harness {
		path := filepath.Join(t.TempDir(), "folder", "queue.db")
		q := open(t, path, local.Options{})
		return queuetest.Harness{
			Queue: q,
			Restart: func(t *testing.T) queue.Queue {
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				return open(t, path, local.Options{})
			},
		}
	})
}
