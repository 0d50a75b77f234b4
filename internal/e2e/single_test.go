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

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/verify"
)

// single is `tungstene up`: all roles in one process, on files.
type single struct {
	*world
	sim  *twitch
	up   *program
	data string
	file string
}

func (s *single) startUp() {
	s.t.Helper()
	s.up = s.start("up", "tungstene", "up", "--config", s.file)
	s.up.address()
}

// operate runs the tool as on the machine of `up`: the operator's token is in the data folder.
func (s *single) operate(code int, args ...string) string {
	s.t.Helper()
	return s.must(code, append(args, "--data", s.data, "--master-urls", s.up.address())...)
}

func (s *single) allJoined() error {
	list := decode[[]control.Collector](s.world, s.operate(app.ExitOK, "collectors", "--json"))
	if len(list) != 1 || list[0].Joined != channels {
		return fmt.Errorf("collectors: %+v", list)
	}
	return s.up.metricIs("tungstene_collector_channels_joined", channels)()
}

func (s *single) paced() {
	s.t.Helper()
	if strings.Contains(s.sim.logged(), "too many JOINs") {
		s.t.Error("the simulator closed a connection for joining too fast")
	}
	st, err := s.sim.status()
	if err != nil || st.Connections != 1 {
		s.t.Errorf("%d chat connections, %v; want the first one still", st.Connections, err)
	}
}

// look opens the store beside the running process, for reading.
func (s *single) look(see func(store.Store) error) error {
	cfg, err := app.DefaultConfig()
	if err != nil {
		return err
	}
	cfg.Data = s.data
	db, err := app.OpenStore(s.t.Context(), cfg, true)
	if err != nil {
		return err
	}
	return errors.Join(see(db), db.Close())
}

// stored is met when the store has as many messages as the simulator has sent.
func (s *single) stored() error {
	st, err := s.sim.status()
	if err != nil {
		return err
	}
	return s.look(func(db store.Store) error {
		n, err := db.Count(s.t.Context(), store.Query{Collection: store.Records, Event: event, Kind: record.KindMessage})
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
	s := &single{world: newWorld(t)}
	// 20 JOINs in 10 s, Twitch's own limit, is the simulator's default.
	s.sim = s.startSim("--channels", strconv.Itoa(channels), "--rate", "100", "--duplicate", "0.01", "--disorder", "0.01")
	s.data = filepath.Join(s.dir, "data")
	s.file = s.write("tungstene.yaml", fmt.Sprintf(`data: %s
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
`, s.data, s.sim.irc, s.sim.helix, s.sim.auth, s.secret("twitch.secret", "9c1185a5c5e9fc54612808977ee8f548b2258d31"), grace))
	s.startUp()
	now := time.Now().UTC()
	s.operate(app.ExitOK, "event", "create", event, "--start", record.Minute(now).Format(time.RFC3339), "--end", now.Add(time.Hour).Format(time.RFC3339))
	list, _ := s.sim.logins()
	s.operate(app.ExitOK, "channel", "import", event, list)
	s.operate(app.ExitOK, "event", "start", event)
	s.until("all channels are joined", s.allJoined)
	s.paced()
	s.until("messages flow", s.sim.hasSent(1000))

	// Nobody is sent anything more; what was sent is read before the process stops. So it is no
	// one's loss that chat goes on while it is away.
	s.sim.fault(`{"do":"freeze"}`)
	s.until("what was sent is stored", s.stored)
	s.up.stop()
	before, err := s.sim.status()
	if err != nil {
		t.Fatal(err)
	}

	s.startUp()
	s.until("all channels are joined again", s.allJoined)
	s.paced()
	s.until("messages flow again", s.sim.hasSent(before.Sent+1000))
	s.sim.stop()
	through := record.Minute(time.Now()).Add(time.Minute)
	s.within(2*time.Minute, "all minutes are closed", func() error {
		return s.look(func(db store.Store) error { return settled(s.world, db, through) })
	})
	s.operate(app.ExitOK, "event", "stop", event)
	s.up.stop()
	checkResult(s.world, 1, s.must(app.ExitOK, "verify", "--ledger", s.sim.ledger, "--data", s.data, "--json"))
	s.keepsSecrets()
	s.sound()
}

func TestReplay(t *testing.T) {
	if testing.Short() {
		t.Skip("plays twelve recorded minutes")
	}
	w := newWorld(t)
	recording, err := filepath.Abs(filepath.Join("..", "..", "testdata", "agdq2020-minutes.csv"))
	if err != nil {
		t.Fatal(err)
	}
	out := w.must(app.ExitOK, "demo", "--replay", recording, "--from", "2020-01-11T18:00:00Z", "--for", "12s",
		"--listen", "127.0.0.1:0", "--json")
	var r struct {
		verify.Result
		verify.Recording
	}
	if err := json.Unmarshal([]byte(lastLine(out)), &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.note("replayed: %+v", r)
	if r.Sent == 0 || r.Lost != 0 || r.Duplicates != 0 || r.RollupMessages != r.Sent || r.MinutesDiffering != 0 || r.MinutesOpen != 0 {
		t.Errorf("not what was sent: %+v", r.Result)
	}
	if r.Compared < 12 || r.Differing != 0 {
		t.Errorf("not what was recorded: %+v", r.Recording)
	}
	w.sound()
}
