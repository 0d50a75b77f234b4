package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/verify"
)

// single is `tungstene up`: all roles in one process, on files.
type single struct {
	*cluster.World
	sim  *cluster.Twitch
	up   *cluster.Program
	data string
	file string
}

func (s *single) startUp() {
	s.T.Helper()
	s.up = s.Start("up", "tungstene", "up", "--config", s.file)
	s.up.Address()
}

// operate runs the tool as on the machine of `up`: the operator's token is in the data folder.
func (s *single) operate(code int, args ...string) string {
	s.T.Helper()
	return s.Must(code, append(args, "--data", s.data, "--master-urls", s.up.Address())...)
}

func (s *single) allJoined() error {
	list := cluster.Decode[[]control.Collector](s.World, s.operate(app.ExitOK, "collectors", "--json"))
	if len(list) != 1 || list[0].Joined != channels {
		return fmt.Errorf("collectors: %+v", list)
	}
	return s.up.MetricIs("tungstene_collector_channels_joined", channels)()
}

func (s *single) paced() {
	s.T.Helper()
	if strings.Contains(s.sim.Logged(), "too many JOINs") {
		s.T.Error("the simulator closed a connection for joining too fast")
	}
	st, err := s.sim.Status()
	if err != nil || st.Connections != 1 {
		s.T.Errorf("%d chat connections, %v; want the first one still", st.Connections, err)
	}
}

// look opens the store beside the running process, for reading.
func (s *single) look(see func(store.Store) error) error {
	cfg, err := app.DefaultConfig()
	if err != nil {
		return err
	}
	cfg.Data = s.data
	db, err := app.OpenStore(s.T.Context(), cfg, true)
	if err != nil {
		return err
	}
	return errors.Join(see(db), db.Close())
}

// stored is met when the store has as many messages as the simulator has sent.
func (s *single) stored() error {
	st, err := s.sim.Status()
	if err != nil {
		return err
	}
	return s.look(func(db store.Store) error {
		n, err := db.Count(s.T.Context(), store.Query{Collection: store.Records, Event: event, Kind: record.KindMessage})
		if err == nil && int64(n) != st.Sent {
			err = fmt.Errorf("%d messages stored, %d sent", n, st.Sent)
		}
		return err
	})
}

func TestOneProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for Twitch's JOIN limit and for minutes to close")
	}
	t.Parallel()
	s := &single{World: cluster.NewWorld(t, &programs)}
	// 20 JOINs in 10 s, Twitch's own limit, is the simulator's default.
	s.sim = s.StartSim("--channels", strconv.Itoa(channels), "--rate", "100", "--duplicate", "0.01", "--disorder", "0.01")
	s.data = filepath.Join(s.Dir, "data")
	s.file = s.Write("tungstene.yaml", fmt.Sprintf(`data: %s
listen: 127.0.0.1:0
name: single
log: {format: json}
twitch:
  irc: %s
  irc_tls: false
  helix: %s
  auth: %s
  clients: {e2e: %s}
  sweep: "*/15 * * * * *"
rollup: {grace: %s}
`, s.data, s.sim.IRC, s.sim.Helix, s.sim.Auth, s.Secret("twitch.secret", "9c1185a5c5e9fc54612808977ee8f548b2258d31"), grace))
	s.startUp()
	now := time.Now().UTC()
	s.operate(app.ExitOK, "event", "create", event, "--start", record.Minute(now).Format(time.RFC3339), "--end", now.Add(time.Hour).Format(time.RFC3339))
	list, _ := s.sim.Logins()
	s.operate(app.ExitOK, "channel", "import", event, list)
	s.operate(app.ExitOK, "event", "start", event)
	s.Until("all channels are joined", s.allJoined)
	s.paced()
	s.Until("messages flow", s.sim.HasSent(1000))

	// Nobody is sent anything more; what was sent is read before the process stops. So it is no
	// one's loss that chat goes on while it is away.
	s.sim.Fault(`{"do":"freeze"}`)
	s.Until("what was sent is stored", s.stored)
	s.up.Stop()
	before, err := s.sim.Status()
	if err != nil {
		t.Fatal(err)
	}

	s.startUp()
	s.Until("all channels are joined again", s.allJoined)
	s.paced()
	s.Until("messages flow again", s.sim.HasSent(before.Sent+1000))
	s.sim.Stop()
	through := record.Minute(time.Now()).Add(time.Minute)
	s.Within(5*time.Minute, "all minutes are closed", func() error {
		return s.look(func(db store.Store) error { return cluster.Settled(t.Context(), db, event, through) })
	})
	s.operate(app.ExitOK, "event", "stop", event)
	s.up.Stop()
	checkResult(s.World, 1, s.Must(app.ExitOK, "verify", "--ledger", s.sim.Ledger, "--data", s.data, "--json"))
	s.KeepsSecrets()
	s.Sound()
}

func TestReplay(t *testing.T) {
	if testing.Short() {
		t.Skip("plays twelve recorded minutes")
	}
	w := cluster.NewWorld(t, &programs)
	recording, err := filepath.Abs(filepath.Join("..", "..", "testdata", "agdq2020-minutes.csv"))
	if err != nil {
		t.Fatal(err)
	}
	out := w.Must(app.ExitOK, "demo", "--replay", recording, "--from", "2020-01-11T18:00:00Z", "--for", "12s",
		"--listen", "127.0.0.1:0", "--json")
	var r struct {
		verify.Result
		verify.Recording
	}
	if err := json.Unmarshal([]byte(lastLine(out)), &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.Note("replayed: %+v", r)
	if r.Sent == 0 || r.Lost != 0 || r.Duplicates != 0 || r.RollupMessages != r.Sent || r.MinutesDiffering != 0 || r.MinutesOpen != 0 {
		t.Errorf("not what was sent: %+v", r.Result)
	}
	if r.Compared < 12 || r.Differing != 0 {
		t.Errorf("not what was recorded: %+v", r.Recording)
	}
	w.Sound()
}
