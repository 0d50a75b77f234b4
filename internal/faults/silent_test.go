package faults_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/internal/cluster"
	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/verify"
)

// detected is within what time a silent stall must be told.
const detected = time.Minute

// single is `tungstene up`, all roles in one process on files, in front of a simulated Twitch.
type single struct {
	*cluster.World
	sim      *cluster.Twitch
	up       *cluster.Program
	api      *control.Client
	data     string
	channels []sim.Channel
	begun    time.Time
	measured []string
	result   verify.Result
}

// beginSingle runs it until all channels are read and messages flow.
func beginSingle(t *testing.T, inShort bool, channels, rate int, sweep string) *single {
	t.Helper()
	schedule(t, inShort)
	s := &single{World: cluster.NewWorld(t, &programs), begun: time.Now()}
	t.Cleanup(s.report)
	s.sim = s.StartSim("--channels", strconv.Itoa(channels), "--rate", strconv.Itoa(rate), "--joins=-1")
	s.data = filepath.Join(s.Dir, "data")
	file := s.Write("tungstene.yaml", fmt.Sprintf(`data: %s
listen: 127.0.0.1:0
name: single
log: {format: json}
twitch:
  irc: %s
  irc_tls: false
  helix: %s
  auth: %s
  clients: {faults: %s}
  sweep: %q
  joins: 1000
  join_window: 1s
rollup: {grace: 2s}
consumer: {skew: 1s}
`, s.data, s.sim.IRC, s.sim.Helix, s.sim.Auth, s.Secret("twitch.secret", "9c1185a5c5e9fc54612808977ee8f548b2258d31"), sweep))
	s.up = s.Start("up", "tungstene", "up", "--config", file)
	url := s.up.Address()
	token, err := os.ReadFile(filepath.Join(s.data, "operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	s.api, err = control.New([]string{url}, func() (string, error) { return strings.TrimSpace(string(token)), nil },
		&http.Client{Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.api.Close)
	now := time.Now().UTC()
	s.operate(app.ExitOK, "event", "create", event, "--start", record.Minute(now).Format(time.RFC3339), "--end", now.Add(time.Hour).Format(time.RFC3339))
	list, all := s.sim.Logins()
	s.channels = all
	s.operate(app.ExitOK, "channel", "import", event, list)
	s.operate(app.ExitOK, "event", "start", event)
	s.Until("all channels are joined", s.up.MetricIs("tungstene_collector_channels_joined", float64(channels)))
	return s
}

// operate runs the tool as on the machine of `up`: the operator's token is in the data folder.
func (s *single) operate(code int, args ...string) string {
	s.T.Helper()
	return s.Must(code, append(args, "--data", s.data, "--master-urls", s.up.Address())...)
}

func (s *single) measure(format string, args ...any) {
	s.T.Helper()
	s.measured = append(s.measured, fmt.Sprintf(format, args...))
	s.Note("measured: "+format, args...)
}

func (s *single) report() {
	if s.api == nil {
		return
	}
	r := row{
		scenario: strings.TrimPrefix(s.T.Name(), "Test"), kills: 1, sent: s.result.Sent, lost: s.result.Lost,
		duplicates: s.result.Duplicates, takeover: "-", took: time.Since(s.begun), result: "ok",
	}
	if len(s.measured) > 0 {
		r.result += ": " + strings.Join(s.measured, "; ")
	}
	if s.T.Failed() {
		r.result = "FAILED"
	}
	results.add(r)
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

// records reads the stored records of a kind.
func (s *single) records(kind record.Kind, each func(bson.Raw) error) error {
	return s.look(func(db store.Store) error {
		for raw, err := range db.Find(s.T.Context(), store.Query{Collection: store.Records, Event: event, Kind: kind}) {
			if err == nil {
				err = each(raw)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// raised is met when /v1/health tells of a condition, or does not.
func raised(t *testing.T, api *control.Client, name, subject string, want bool) func() error {
	return func() error {
		h, err := api.Health(t.Context())
		if err != nil {
			return err
		}
		is := slices.ContainsFunc(h.Conditions, func(c control.Condition) bool { return c.Name == name && c.Subject == subject })
		if is != want {
			return fmt.Errorf("conditions: %+v", h.Conditions)
		}
		return nil
	}
}

// nothingLost ends it, and wants every message of the ledger stored once, and every minute exact.
func (s *single) nothingLost() {
	s.T.Helper()
	s.sim.Stop()
	through := record.Minute(time.Now()).Add(time.Minute)
	s.Within(2*time.Minute, "all minutes are closed", func() error {
		return s.look(func(db store.Store) error { return cluster.Settled(s.T.Context(), db, event, through) })
	})
	s.operate(app.ExitOK, "event", "stop", event)
	s.up.Stop()
	s.result = cluster.Decode[verify.Result](s.World, s.Must(app.ExitOK, "verify", "--ledger", s.sim.Ledger, "--data", s.data, "--json"))
	r := s.result
	if r.Sent < 100 || r.Lost != 0 || r.Duplicates != 0 || r.RollupMessages != r.Sent || r.MinutesDiffering != 0 || r.MinutesOpen != 0 {
		s.T.Errorf("not what was sent: %+v", r)
	}
}

// Twitch stops sending one channel to the connection that has joined it, and answers everything else.
func TestChannelWithheld(t *testing.T) {
	s := beginSingle(t, false, 5, 20, "*/15 * * * * *")
	muted := s.channels[0] // the largest: it is always live
	lasting := time.Now().Add(135 * time.Second)
	s.Within(3*time.Minute, "its rate is known", func() error {
		if left := time.Until(lasting); left > 0 {
			return fmt.Errorf("%v left", left)
		}
		return nil
	})
	s.sim.Fault(`{"do":"mute","login":"` + muted.Login + `"}`)
	began := time.Now()
	s.Note("%s is withheld", muted.Login)
	s.Within(detected, "it is told", raised(t, s.api, "channel-silent", muted.Login, true))
	s.measure("told after %v", time.Since(began).Round(100*time.Millisecond))
	s.Until("it is told no more", raised(t, s.api, "channel-silent", muted.Login, false))
	s.measure("heard again after %v", time.Since(began).Round(100*time.Millisecond))
	st, err := s.sim.Status()
	if err != nil {
		t.Fatal(err)
	}
	if st.Connections != 2 || st.Joins != len(s.channels) || st.Withheld == 0 {
		t.Errorf("%d connections are in %d channels, %d messages were withheld; want the muted channel alone on a second one",
			st.Connections, st.Joins, st.Withheld)
	}
	s.Until("messages flow", s.sim.HasSent(st.Sent+300))
	if now, err := s.sim.Status(); err != nil || now.Withheld != st.Withheld {
		t.Errorf("%d messages were withheld after it was joined anew, %v", now.Withheld-st.Withheld, err)
	}
	s.nothingLost() // the ledger has what was sent to somebody
	s.measure("%d messages withheld, %.1f s of coverage claimed meanwhile", st.Withheld, s.claimed(muted.ID, began, began.Add(silentLeast)).Seconds())
	s.Sound()
}

// silentLeast is for how long a channel is silent, at the least, before the collector thinks about it.
const silentLeast = 15 * time.Second

// claimed is how much of a time the coverage says that a channel was read.
func (s *single) claimed(channel string, from, to time.Time) (sum time.Duration) {
	s.T.Helper()
	var documents []record.Coverage
	sets := map[string][]string{}
	if err := s.records(record.KindCoverage, func(raw bson.Raw) error {
		var c record.Coverage
		if err := record.Decode(raw, &c); err != nil {
			return err
		}
		if c.Source == record.SourceChat {
			documents = append(documents, c)
			if len(c.Channels) > 0 {
				sets[c.Set] = c.Channels
			}
		}
		return nil
	}); err != nil {
		s.T.Fatal(err)
	}
	slices.SortFunc(documents, func(a, b record.Coverage) int { return a.Time.Compare(b.Time) })
	for _, c := range documents {
		if !slices.Contains(sets[c.Set], channel) {
			continue
		}
		if c.Time.After(from) {
			from = c.Time
		}
		end := c.To
		if end.After(to) {
			end = to
		}
		if end.After(from) {
			sum += end.Sub(from)
			from = end
		}
	}
	return sum
}

// Get Streams answers 200 and lists nobody, while chat goes on.
func TestHelixEmpty(t *testing.T) {
	const every = 5 * time.Second
	s := beginSingle(t, true, 8, 30, "*/5 * * * * *")
	samples := func() (list []record.Viewers, err error) {
		return list, s.records(record.KindViewers, func(raw bson.Raw) error {
			var v record.Viewers
			err := record.Decode(raw, &v)
			list = append(list, v)
			return err
		})
	}
	sampledAfter := func(at time.Time) func() error {
		return func() error {
			list, err := samples()
			if err == nil && !slices.ContainsFunc(list, func(v record.Viewers) bool { return v.Time.After(at) && v.Live }) {
				err = fmt.Errorf("none of %d samples", len(list))
			}
			return err
		}
	}
	s.Until("channels are sampled", sampledAfter(time.Now().Add(every)))
	s.sim.Fault(`{"faults":{"helix_empty":1}}`)
	began := time.Now()
	s.Within(detected, "it is told", raised(t, s.api, "helix-empty", "", true))
	s.measure("told after %v", time.Since(began).Round(100*time.Millisecond))
	slots := began.Add(4 * every)
	s.Until("some sweeps pass", func() error {
		if left := time.Until(slots); left > 0 {
			return fmt.Errorf("%v left", left)
		}
		return raised(t, s.api, "helix-empty", "", true)()
	})
	ended := time.Now()
	s.sim.Fault(`{"faults":{}}`)
	s.Until("it is told no more", raised(t, s.api, "helix-empty", "", false))
	s.measure("over %v after the end", time.Since(ended).Round(100*time.Millisecond))
	s.Until("channels are sampled again", sampledAfter(ended))
	list, err := samples()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		// The slot that the fault fell into, and the one that it ended in, may have seen both.
		if v.Time.After(began) && v.Time.Before(ended.Add(-every)) {
			t.Errorf("the channel %s is sampled at %s as live: %t, %d viewers", v.Channel, v.Time.Format(time.TimeOnly), v.Live, v.Viewers)
		}
	}
	if full() { // it waits for minutes to close, and chat is not what this is about
		s.nothingLost()
	}
	s.Sound()
}
