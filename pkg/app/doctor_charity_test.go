package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/sim"
)

// The doctor reads the file of charity sources and asks each source, and needs no account at Twitch where
// no chat is read.
func TestDoctorAsksCharitySources(t *testing.T) {
	s, err := sim.New(sim.Config{Channels: 3, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	s.Begin()
	const good = `sources:
  - {name: zevent, kind: zevent, url: "%[1]s/api/"}
  - {name: team, kind: streamlabs, url: "%[1]s/api/v1", team: sim}
`
	for _, c := range []struct{ name, file, status, says string }{
		{"all answer", good, app.CheckOK, "these answer: zevent, team"},
		{"one is elsewhere", good + "  - {name: gone, kind: streamlabs, url: \"%[1]s/api/v1\", team: another}\n", app.CheckFailed, "gone: source-"},
		{"a key is wrong", good + "  - {name: odd, kind: zevent, colour: blue}\n", app.CheckFailed, "charity.yaml:4"},
		{"no file", "", app.CheckFailed, "charity.sources: "},
		{"no source", "sources: []\n", app.CheckFailed, "charity.sources: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := app.DefaultConfig()
			if err != nil {
				t.Fatal(err)
			}
			cfg.Data, cfg.Listen, cfg.Collector.Capacity = t.TempDir(), "127.0.0.1:0", 0
			cfg.Charity.Sources = filepath.Join(cfg.Data, "charity.yaml")
			if c.file != "" {
				text := c.file
				if strings.Contains(text, "%") {
					text = fmt.Sprintf(text, s.URL())
				}
				if err := os.WriteFile(cfg.Charity.Sources, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, k := range app.Doctor(t.Context(), cfg, func(err error) error { return err }) {
				switch k.Name {
				case "charity":
					if k.Status != c.status || !strings.Contains(k.Detail, c.says) {
						t.Errorf("%s: %s; want %s, %q", k.Status, k.Detail, c.status, c.says)
					}
				case "chat", "helix", "clock":
					if k.Status != app.CheckOK {
						t.Errorf("%s: %s: %s", k.Name, k.Status, k.Detail)
					}
				}
			}
		})
	}
}
