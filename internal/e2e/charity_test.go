package e2e_test

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
	"github.com/tungstene/tungstene/internal/testrabbit"
	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/verify"
)

// giving is an event whose donations are collected.
type giving struct {
	*cluster.Cluster
	amqp *cluster.Proxy
}

// sources is what the charity collector tells of its sources, by name.
func (g *giving) sources() (map[string]control.Source, error) {
	out := map[string]control.Source{}
	for _, k := range cluster.Decode[[]control.Collector](g.World, g.Operate(app.ExitOK, "collectors", "--json")) {
		for _, s := range k.Sources {
			out[s.Name] = s
		}
	}
	if len(out) != 2 {
		return nil, fmt.Errorf("sources: %v", out)
	}
	return out, nil
}

// knows is met when the charity collector knows of so many single donations, of this run.
func (g *giving) knows(n int64) func() error {
	return func() error {
		all, err := g.sources()
		if err == nil && all["team"].Donations < n {
			err = fmt.Errorf("%+v, want %d donations", all["team"], n)
		}
		return err
	}
}

// kill kills the charity collector and starts it again on its folder.
func (g *giving) kill() {
	g.T.Helper()
	p := g.Charity[0]
	p.Kill()
	g.Note("killed %s", p.Name)
	g.Revive(p.Name)
}

// batches is how many batches the charity collector holds.
func (g *giving) batches(least, most float64) func() error {
	return func() error {
		n, err := g.Charity[0].Metric("tungstene_collector_outbox_batches")
		if err == nil && (n < least || n > most) {
			err = fmt.Errorf("%v batches in the outbox", n)
		}
		return err
	}
}

// The collector that polls charity sources is killed twice, once with an outbox that nobody takes, while
// sources fail now and then; what is stored and counted in the end is what was given.
func TestDonationsSurviveKills(t *testing.T) {
	if testing.Short() {
		t.Skip("runs servers and six processes for two minutes")
	}
	t.Parallel()
	broker := testrabbit.Start(t)
	g := &giving{amqp: cluster.NewProxy(t, broker.Address)}
	g.Cluster = cluster.New(t, &programs, cluster.Options{
		Masters: 1, Collectors: 1, Consumers: 1, Channels: 10, Rate: 5, Sim: []string{"--donations", "3"},
		Grace: grace, HeartbeatTimeout: 6 * time.Second, Brokers: []*testrabbit.Broker{broker},
		Via: func(_, service, address string) string {
			if service == "broker-0" {
				return g.amqp.Address()
			}
			return address
		},
	})
	g.StartRoles()
	g.AddCharity(fmt.Sprintf(`sources:
  - {name: zevent, kind: zevent, url: "%[1]s/api/", totals: "*/5 * * * * *"}
  - {name: team, kind: streamlabs, url: "%[1]s/api/v1", team: sim, donations: "*/3 * * * * *"}
`, g.Sim.Web))
	now := time.Now().UTC()
	g.Operate(app.ExitOK, "event", "create", event, "--name", "The marathon",
		"--start", record.Minute(now).Format(time.RFC3339), "--end", now.Add(2*time.Hour).Format(time.RFC3339))
	list, _ := g.Sim.Logins()
	g.Operate(app.ExitOK, "channel", "import", event, list)
	g.Operate(app.ExitOK, "event", "start", event)
	g.Until("donations are read", g.knows(50))

	g.Sim.Fault(`{"faults":{"charity_5xx":0.1,"charity_odd":0.1}}`)
	g.amqp.Cut()
	g.Note("cut the connections to RabbitMQ")
	g.Until("the outbox fills", g.batches(3, math.MaxInt))
	g.kill()
	g.Until("the outbox is that of the last run", g.batches(3, math.MaxInt))
	g.Until("donations are read again", g.knows(50))
	g.amqp.Heal()
	g.Note("RabbitMQ can be reached again")
	g.Until("the outbox is emptied", g.batches(0, 2))
	before, err := g.Sim.Status()
	if err != nil {
		t.Fatal(err)
	}
	g.Until("giving goes on", func() error {
		st, err := g.Sim.Status()
		if err == nil && st.Raised.Donations < before.Raised.Donations+50 {
			err = fmt.Errorf("%d donations", st.Raised.Donations)
		}
		return err
	})
	g.kill()

	g.Sim.Fault(`{"faults":{}}`)
	g.Sim.EndTraffic()
	ended := time.Now()
	g.Within(5*time.Minute, "the sources were asked after the last donation", func() error {
		all, err := g.sources()
		for _, s := range all {
			if s.LastSuccess.Before(ended) || s.Kind == "streamlabs" && s.CompleteUntil.Before(ended) {
				err = fmt.Errorf("%s: %+v", s.Name, s)
			}
		}
		return err
	})
	// The clerk's job: nothing waits anywhere.
	g.Until("outboxes and queues are empty", func() error {
		if err := g.batches(0, 0)(); err != nil {
			return err
		}
		depths := cluster.Decode[map[string]int](g.World, g.Operate(app.ExitOK, "queue", "depth", "--json"))
		if depths["store"] != 0 || depths["dead"] != 0 {
			return fmt.Errorf("queues hold %v batches", depths)
		}
		return nil
	})
	through := record.Minute(time.Now()).Add(time.Minute)
	g.Operate(app.ExitOK, "event", "stop", event)
	g.Within(5*time.Minute, "all minutes are closed", func() error {
		return g.Look(func(db store.Store) error { return cluster.Settled(t.Context(), db, event, through) })
	})
	g.checkDonations()
	g.KeepsSecrets()
	g.Sim.Stop()
	for _, p := range slices.Concat(g.Charity, g.Collectors, g.Consumers, g.Masters) {
		p.Stop()
	}
	g.Sound()
}

// checkDonations compares ledger and store as an operator does.
func (g *giving) checkDonations() {
	t := g.T
	t.Helper()
	d := cluster.Decode[verify.Donations](g.World, lastLine(g.Operate(app.ExitOK, "verify", "--ledger", g.Sim.Ledger,
		"--donations", g.Sim.Donations, "--donations-source", "team", "--json")))
	g.Note("verified: %+v", d)
	if !d.OK() || d.MinutesOpen != 0 || d.Donations < 150 || d.Stored != d.Donations || d.Counted != d.Donations || d.CountedCents != d.RaisedCents {
		t.Errorf("not what was given: %+v", d)
	}
	st, err := g.Sim.Status()
	if err != nil {
		t.Fatal(err)
	}
	var shown int64
	err = g.Look(func(db store.Store) error {
		var last time.Time
		for raw, err := range db.Find(t.Context(), store.Query{Collection: store.Minutes, Event: event}) {
			if err != nil {
				return err
			}
			var m record.Statistics
			if err := record.Decode(raw, &m); err != nil {
				return err
			}
			for _, k := range m.Donations {
				if m.Channel == record.AllChannels && k.Source == "zevent" && k.Samples > 0 && m.Time.After(last) {
					last, shown = m.Time, k.Total
				}
			}
		}
		return nil
	})
	if err != nil || shown != st.Raised.Shown || shown == 0 {
		t.Errorf("the last total is %d, %v; the source shows %d", shown, err, st.Raised.Shown)
	}
	g.keepsDonors()
}

// keepsDonors looks for names of donors in everything that is stored.
func (g *giving) keepsDonors() {
	t := g.T
	t.Helper()
	f, err := os.Open(g.Sim.Donations)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for d, err := range sim.ReadDonations(f) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Donor != "" && len(names) < 20 {
			names = append(names, d.Donor)
		}
	}
	err = g.Look(func(db store.Store) error {
		for _, kind := range []record.Kind{record.KindDonation, record.KindAmount, record.KindAnswer} {
			n := 0
			for raw, err := range db.Find(t.Context(), store.Query{Collection: store.Records, Event: event, Kind: kind}) {
				if err != nil {
					return err
				}
				n++
				text := raw.String()
				for _, name := range names {
					if strings.Contains(text, name) {
						return fmt.Errorf("a donor's name is in a record: %s", text)
					}
				}
			}
			if n == 0 {
				return fmt.Errorf("there is no record of kind %s", kind)
			}
		}
		return nil
	})
	if err != nil || len(names) == 0 {
		t.Errorf("%d names looked for: %v", len(names), err)
	}
}
