package rabbit_test

import (
	"crypto/rand"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/internal/testrabbit"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/queuetest"
	"github.com/tungstene/tungstene/pkg/queue/rabbit"
)

// a boot takes seconds: one broker for all tests
var broker testrabbit.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(broker.Main(m)) }

// config is for the shared broker, with names that no other test uses.
func config(tb testing.TB) rabbit.Config {
	tb.Helper()
	b := broker.Get(tb)
	return rabbit.Config{
		Addresses: []string{b.Address}, User: b.User, Password: b.Password,
		Prefix: "t" + rand.Text()[:8] + ".", MinBackoff: 20 * time.Millisecond, MaxBackoff: 500 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(tb.Output(), nil)),
	}
}

func open(tb testing.TB, cfg rabbit.Config) *rabbit.Queue {
	tb.Helper()
	q, err := rabbit.Open(tb.Context(), cfg)
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

func declare(tb testing.TB, cfg rabbit.Config) {
	tb.Helper()
	if err := rabbit.Declare(tb.Context(), cfg); err != nil {
		tb.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Harness {
		t.Helper()
		cfg := config(t)
		declare(t, cfg)
		p := newProxy(t, cfg.Addresses[0])
		cfg.Addresses = []string{p.address()}
		q := open(t, cfg)
		return queuetest.Harness{
			Queue: q,
			Restart: func(t *testing.T) queue.Queue {
				t.Helper()
				if err := broker.Get(t).Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				return q
			},
			Cut: func(*testing.T) { p.cut() },
		}
	})
}
