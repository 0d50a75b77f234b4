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

//nolint:gochecknoglobals // a boot takes seconds: one broker for all tests
var broker testrabbit.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(broker.Main(m)) }

// config is for the shared broker, with names that no other test uses.
func config(t testing.TB) rabbit.Config {
	t.Helper()
	b := broker.Get(t)
	return rabbit.Config{
		Addresses: []string{b.Address}, User: b.User, Password: b.Password,
		Prefix: "t" + rand.Text()[:8] + ".", MinBackoff: 20 * time.Millisecond, MaxBackoff: 500 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func open(t testing.TB, cfg rabbit.Config) *rabbit.Queue {
	t.Helper()
	q, err := rabbit.Open(t.Context(), cfg)
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

func declare(t testing.TB, cfg rabbit.Config) {
	t.Helper()
	if err := rabbit.Declare(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Harness {
		cfg := config(t)
		declare(t, cfg)
		p := newProxy(t, cfg.Addresses[0])
		cfg.Addresses = []string{p.address()}
		q := open(t, cfg)
		return queuetest.Harness{
			Queue: q,
			Restart: func(t *testing.T) queue.Queue {
				if err := broker.Get(t).Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				return q
			},
			Cut: func(*testing.T) { p.cut() },
		}
	})
}
