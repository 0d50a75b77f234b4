package cluster

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/tungstene/tungstene/pkg/sim"
)

// Twitch is a simulator that runs as a process.
type Twitch struct {
	*Program
	// Ledger is the file that it tells in what it has sent, Donations that of what was given.
	Ledger, Donations string
	// IRC is the address of its chat, Helix and Auth are the URLs of its API, Web that of its own.
	IRC, Helix, Auth, Web string
}

// StartSim runs `tungstene sim` with a ledger.
func (w *World) StartSim(args ...string) *Twitch {
	w.T.Helper()
	s := &Twitch{Ledger: filepath.Join(w.Dir, "ledger.jsonl"), Donations: filepath.Join(w.Dir, "donations.jsonl")}
	s.Program = w.Start("sim", "tungstene", append([]string{
		"sim", "--listen-irc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--ledger", s.Ledger, "--donations-ledger", s.Donations,
	}, args...)...)
	w.Until("the simulator listens", func() error {
		b, err := os.ReadFile(s.out)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 2 && strings.HasSuffix(line, "\n") {
				switch f[0] {
				case "irc":
					s.IRC = f[1]
				case "helix":
					s.Helix, s.Web = f[1], strings.TrimSuffix(f[1], "/helix")
				case "auth":
					s.Auth = f[1]
				}
			}
		}
		if s.IRC == "" || s.Web == "" || s.Auth == "" {
			return errors.New("it has not printed its addresses")
		}
		return nil
	})
	return s
}

// Status is what the simulator tells of itself.
func (s *Twitch) Status() (sim.Status, error) {
	status, body, err := s.w.Get(s.Web + "/sim/status")
	if err != nil {
		return sim.Status{}, err
	}
	if status != http.StatusOK {
		return sim.Status{}, fmt.Errorf("/sim/status: %d: %s", status, body)
	}
	return Decode[sim.Status](s.w, string(body)), nil
}

// HasSent is met when so many messages were sent to somebody.
func (s *Twitch) HasSent(n int64) func() error {
	return func() error {
		st, err := s.Status()
		if err == nil && st.Sent < n {
			err = fmt.Errorf("%d messages sent, want %d", st.Sent, n)
		}
		return err
	}
}

// Fault asks the simulator to do something.
func (s *Twitch) Fault(body string) {
	s.w.T.Helper()
	s.post("/sim/fault", body)
}

// EndTraffic has nothing sent and nothing given any more; Helix and the charity sources go on.
func (s *Twitch) EndTraffic() {
	s.w.T.Helper()
	s.post("/sim/end", "")
}

func (s *Twitch) post(path, body string) {
	s.w.T.Helper()
	req, err := http.NewRequestWithContext(s.w.T.Context(), http.MethodPost, s.Web+path, strings.NewReader(body))
	if err != nil {
		s.w.T.Fatal(err)
	}
	if status, answer, err := s.w.Do(req); err != nil || status != http.StatusOK {
		s.w.T.Fatalf("%s %s: %d %s %v", path, body, status, answer, err)
	}
}

// Logins writes a list of the simulator's channels, with further lines at its end.
func (s *Twitch) Logins(more ...string) (list string, channels []sim.Channel) {
	s.w.T.Helper()
	status, body, err := s.w.Get(s.Web + "/sim/channels")
	if err != nil || status != http.StatusOK {
		s.w.T.Fatalf("/sim/channels: %d %v", status, err)
	}
	channels = Decode[[]sim.Channel](s.w, string(body))
	var b strings.Builder
	b.WriteString("# the channels of the event\n")
	for _, c := range channels {
		fmt.Fprintln(&b, c.Login)
	}
	for _, login := range more {
		fmt.Fprintln(&b, login)
	}
	return s.w.Write("channels.txt", b.String()), channels
}
