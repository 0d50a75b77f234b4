package mongo_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/internal/testmongo"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/mongo"
	"github.com/tungstene/tungstene/pkg/store/storetest"
)

// server is one for all tests of the package.
var (
	server    *testmongo.Server
	serverErr error
)

func TestMain(m *testing.M) {
	server, serverErr = testmongo.Start(context.Background())
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if server != nil {
			if err := server.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = max(code, 1)
			}
		}
		os.Exit(code)
	}), goleak.IgnoreCurrent())
}

func config(tb testing.TB) mongo.Config {
	tb.Helper()
	if serverErr != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatal(serverErr)
		}
		tb.Skip(serverErr)
	}
	return mongo.Config{URI: server.URI(), Database: server.Database(), MaxPoolSize: server.MaxPoolSize()}
}

func open(tb testing.TB, cfg mongo.Config) *mongo.Store {
	tb.Helper()
	s, err := mongo.Open(context.Background(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Declare(context.Background()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
		if err := server.Drop(context.Background(), cfg.Database); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	cfg := config(t)
	t.Logf("the suite runs on %s", server)
	storetest.Run(t, func(t *testing.T) store.Store {
		cfg := cfg
		cfg.Database = server.Database()
		return open(t, cfg)
	})
}
