package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/tungstene/tungstene/pkg/sim"
)

// twitch is a simulator that runs as a process.
type twitch struct {
	*program
	ledger          string
	irc, helix, web string
	auth            string
}

// startSim runs `tungstene sim` with a ledger.
func (w *world) startSim(args ...string) *twitch {
	w.t.Helper()
	s := &twitch{ledger: filepath.Join(w.dir, "ledger.jsonl")}
	s.program = w.start("sim", "tungstene", append([]string{
		"sim", "--listen-irc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--ledger", s.ledger,
	}, args...)...)
	w.until("the simulator listens", func() error {
		b, err := os.ReadFile(s.out)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 2 && strings.HasSuffix(line, "\n") {
				switch f[0] {
				case "irc":
					s.irc = f[1]
				case "helix":
					s.helix, s.web = f[1], strings.TrimSuffix(f[1], "/helix")
				case "auth":
					s.auth = f[1]
				}
			}
		}
		if s.irc == "" || s.web == "" || s.auth == "" {
			return errors.New("it has not printed its addresses")
		}
		return nil
	})
	return s
}

func (s *twitch) status() (sim.Status, error) {
	status, body, err := s.w.get(s.web + "/sim/status")
	if err != nil {
		return sim.Status{}, err
	}
	if status != http.StatusOK {
		return sim.Status{}, fmt.Errorf("/sim/status: %d: %s", status, body)
	}
	return decode[sim.Status](s.w, string(body)), nil
}

// hasSent is met when so many messages were sent to somebody.
func (s *twitch) hasSent(n int64) func() error {
	return func() error {
		st, err := s.status()
		if err == nil && st.Sent < n {
			err = fmt.Errorf("%d messages sent, want %d", st.Sent, n)
		}
		return err
	}
}

// fault asks the simulator to do something.
func (s *twitch) fault(body string) {
	s.w.t.Helper()
	req, err := http.NewRequestWithContext(s.w.t.Context(), http.MethodPost, s.web+"/sim/fault", strings.NewReader(body))
	if err != nil {
		s.w.t.Fatal(err)
	}
	if status, answer, err := s.w.do(req); err != nil || status != http.StatusOK {
		s.w.t.Fatalf("/sim/fault %s: %d %s %v", body, status, answer, err)
	}
}

// logins writes a list of the simulator's channels, with further lines at its end.
func (s *twitch) logins(more ...string) (list string, channels []sim.Channel) {
	s.w.t.Helper()
	status, body, err := s.w.get(s.web + "/sim/channels")
	if err != nil || status != http.StatusOK {
		s.w.t.Fatalf("/sim/channels: %d %v", status, err)
	}
	channels = decode[[]sim.Channel](s.w, string(body))
	var b strings.Builder
	b.WriteString("# the channels of the event\n")
	for _, c := range channels {
		fmt.Fprintln(&b, c.Login)
	}
	for _, login := range more {
		fmt.Fprintln(&b, login)
	}
	return s.w.write("channels.txt", b.String()), channels
}
