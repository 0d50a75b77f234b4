package local_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
	"github.com/tungstene/tungstene/pkg/store/storetest"
)

func open(tb testing.TB, path string, opts local.Options) *local.Store {
	tb.Helper()
	s, err := local.Open(path, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, filepath.Join(t.TempDir(), "store.db"), local.Options{})
	})
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func Benchmark(b *testing.B) {
	for _, batch := range []int{500, 1000} {
		storetest.Bench(b, func(b *testing.B) store.Store {
			return open(b, filepath.Join(b.TempDir(), "store.db"), local.Options{})
		}, batch, 210_000)
	}
}
