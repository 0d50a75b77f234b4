package e2e_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
	"github.com/tungstene/tungstene/internal/testrabbit"
	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/verify"
	"github.com/tungstene/tungstene/pkg/web"
)

const (
	event    = "marathon"
	channels = 40
	// grace is rollup.grace: short, since a test waits for it.
	grace = 2 * time.Second
)

// production is the production shape on one machine.
type production struct {
	*cluster.Cluster
	amqp *cluster.Proxy
}

// newProduction starts all servers that the roles need: RabbitMQ behind a proxy, MongoDB, Twitch.
func newProduction(t *testing.T) *production {
	t.Helper()
	const rate = 30 // twice, and some again: the stand-in for MongoDB takes it on a busy machine too
	broker := testrabbit.Start(t)
	p := &production{amqp: cluster.NewProxy(t, broker.Address)}
	p.Cluster = cluster.New(t, &programs, cluster.Options{
		Channels: channels, Rate: rate, Sim: []string{"--duplicate", "0.01", "--disorder", "0.01"},
		Grace: grace, HeartbeatTimeout: 6 * time.Second, Brokers: []*testrabbit.Broker{broker},
		Via: func(_, service, address string) string {
			if service == "broker-0" {
				return p.amqp.Address()
			}
			return address
		},
	})
	return p
}

// allJoined is met when every collector reads every channel.
func (c *production) allJoined() error {
	list := cluster.Decode[[]control.Collector](c.World, c.Operate(app.ExitOK, "collectors", "--json"))
	if len(list) != len(c.Collectors) {
		return fmt.Errorf("%d collectors", len(list))
	}
	for _, k := range list {
		if k.State != control.CollectorAlive || k.Joined != channels || k.Assigned != channels || !k.Current {
			return fmt.Errorf("%s is %s and has joined %d of %d assigned channels", k.Name, k.State, k.Joined, k.Assigned)
		}
	}
	return nil
}

// emptied is met when nothing waits in an outbox or in a queue, and nothing is dead.
func (c *production) emptied() error {
	for _, p := range c.Collectors {
		if err := p.MetricIs("tungstene_collector_outbox_batches", 0)(); err != nil {
			return err
		}
	}
	depths := cluster.Decode[map[string]int](c.World, c.Operate(app.ExitOK, "queue", "depth", "--json"))
	if depths["store"] != 0 || depths["dead"] != 0 {
		return fmt.Errorf("queues hold %v batches", depths)
	}
	return nil
}

// createEvent makes the event and gives it its channels, one of which does not exist.
func (c *production) createEvent() {
	c.T.Helper()
	now := time.Now().UTC()
	c.Operate(app.ExitOK, "event", "create", event, "--name", "The marathon", "--replicas", "2",
		"--start", record.Minute(now).Format(time.RFC3339), "--end", now.Add(2*time.Hour).Format(time.RFC3339))
	const unknown = "nobody_has_this_login"
	list, all := c.Sim.Logins(unknown)
	if len(all) != channels {
		c.T.Fatalf("the simulator has %d channels, want %d", len(all), channels)
	}
	imported := cluster.Decode[control.Imported](c.World, c.Operate(app.ExitFailed, "channel", "import", event, list, "--json"))
	if len(imported.Added) != channels+1 || !slices.Equal(imported.Unknown, []string{unknown}) || len(imported.Unresolved) > 0 {
		c.T.Fatalf("imported: %+v", imported)
	}
	c.Operate(app.ExitOK, "channel", "remove", event, unknown)
	if left := cluster.Decode[[]record.Channel](c.World, c.Operate(app.ExitOK, "channel", "list", event, "--json")); len(left) != channels {
		c.T.Fatalf("the event has %d channels, want %d", len(left), channels)
	}
	c.Operate(app.ExitOK, "event", "start", event)
	keys, err := filepath.Glob(filepath.Join(c.Keys, "*"))
	if err != nil || len(keys) != 1 {
		c.T.Fatalf("keys: %v, %v; want the event's", keys, err)
	}
	b, err := os.ReadFile(keys[0])
	if err != nil {
		c.T.Fatal(err)
	}
	text := strings.TrimSpace(string(b))
	raw, err := hex.DecodeString(text)
	if err != nil {
		c.T.Fatal(err)
	}
	c.Secrets["pseudonym key"], c.Secrets["pseudonym key in base64"] = text, base64.StdEncoding.EncodeToString(raw)
}

// looksHealthy asks every process what a monitoring system would ask, and the page what a viewer
// would.
func (c *production) looksHealthy() {
	c.T.Helper()
	for role, programs := range map[string][]*cluster.Program{"master": c.Masters, "collector": c.Collectors, "consumer": c.Consumers} {
		for _, p := range programs {
			c.Until(p.Name+" is healthy", p.Answers("/healthz", http.StatusOK))
			c.Until(p.Name+" is still ready", p.Answers("/readyz", http.StatusOK))
			status, body, err := c.Get(p.Address() + "/metrics")
			if err != nil || status != http.StatusOK || !strings.Contains(string(body), "\ntungstene_"+role+"_") {
				c.T.Errorf("/metrics of %s: %d, %v; want metrics of the %s", p.Name, status, err, role)
			}
		}
	}
	for _, p := range c.Masters {
		status, page, err := c.Get(p.Address() + "/")
		if err != nil || status != http.StatusOK || !strings.Contains(string(page), "<html") {
			c.T.Errorf("the status page of %s: %d, %v", p.Name, status, err)
		}
		c.Until("the page of "+p.Name+" shows the event", func() error {
			status, body, err := c.Get(p.Address() + "/api/status")
			if err != nil || status != http.StatusOK {
				return fmt.Errorf("status %d, %w", status, err)
			}
			var s web.Snapshot
			if err := json.Unmarshal(body, &s); err != nil {
				return err
			}
			// It looks for new channels every half a minute only.
			if s.Event == nil || s.Event.Slug != event || s.Now.Up != len(c.Collectors) || s.Now.Read == 0 {
				return fmt.Errorf("event %v, %d of %d channels, %d collectors", s.Event, s.Now.Read, s.Now.Channels, s.Now.Up)
			}
			return nil
		})
	}
	c.Until("the doctor finds nothing to complain of", func() error {
		checks := cluster.Decode[[]app.Check](c.World, c.Operate(app.ExitOK, "doctor", "--json"))
		if len(checks) < 7 {
			return fmt.Errorf("%d checks", len(checks))
		}
		for _, k := range checks {
			if k.Status != app.CheckOK {
				return fmt.Errorf("%s: %s: %s", k.Name, k.Status, k.Detail)
			}
		}
		return nil
	})
}

// killRollup kills the consumer whose rollup leads; the other one takes over.
func (c *production) killRollup() {
	c.T.Helper()
	i := c.Leader(c.Consumers, cluster.RollupLeads)
	c.Consumers[i].Kill()
	c.Note("killed %s, whose rollup led", c.Consumers[i].Name)
	c.Consumers = slices.Delete(c.Consumers, i, i+1)
}

// killMaster kills the leading master; the other one takes over.
func (c *production) killMaster() {
	c.T.Helper()
	i := c.Leader(c.Masters, cluster.MasterLeads)
	c.Masters[i].Kill()
	c.Note("killed %s, which led", c.Masters[i].Name)
	c.Masters = slices.Delete(c.Masters, i, i+1)
}

// killCollector cuts the broker off until the first collector has something in its outbox, kills
// it, and starts it again on the same folder.
func (c *production) killCollector() {
	c.T.Helper()
	c.amqp.Cut()
	c.Note("cut the connections to RabbitMQ")
	waiting := 0.0 // in the outbox of the first
	holds := func(p *cluster.Program, least float64) func() error {
		return func() (err error) {
			if waiting, err = p.Metric("tungstene_collector_outbox_batches"); err == nil && waiting < least {
				err = fmt.Errorf("%v batches", waiting)
			}
			return err
		}
	}
	for _, p := range slices.Backward(c.Collectors) {
		c.Until(p.Name+" fills its outbox", holds(p, 10))
	}
	name := c.Collectors[0].Name
	c.Collectors[0].Kill()
	c.Note("killed %s", name)
	c.Revive(name)
	c.Until("the outbox is that of the last run", holds(c.Collectors[0], waiting))
	c.amqp.Heal()
	c.Note("RabbitMQ can be reached again")
	c.Until("the restarted collector has joined", c.Collectors[0].MetricIs("tungstene_collector_channels_joined", channels))
	c.Until("both collectors read all channels again", c.allJoined)
}

func TestEachRoleItsOwnProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("runs servers and ten processes for two minutes")
	}
	t.Parallel()
	c := newProduction(t)
	c.StartRoles()
	c.createEvent()
	c.Until("both collectors read all channels", c.allJoined)
	first := record.Minute(time.Now())
	c.looksHealthy()

	c.Until("messages flow", c.Sim.HasSent(1000))
	c.killRollup()
	c.killMaster()
	c.Leader(c.Consumers, cluster.RollupLeads)
	c.Leader(c.Masters, cluster.MasterLeads)
	c.killCollector()
	if err := c.Brokers[0].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Note("restarted RabbitMQ")
	c.Until("outboxes and queues were emptied", c.emptied)
	c.Within(5*time.Minute, "a minute was closed while messages flow", func() error {
		return c.Look(func(db store.Store) error { return cluster.Closed(t.Context(), db, event, first) })
	})

	c.Sim.Stop()
	c.Until("all that was sent is out of outboxes and queues", c.emptied)
	through := record.Minute(time.Now()).Add(time.Minute)
	c.Operate(app.ExitOK, "event", "stop", event)
	c.Within(5*time.Minute, "all minutes are closed", func() error {
		return c.Look(func(db store.Store) error { return cluster.Settled(t.Context(), db, event, through) })
	})
	c.verify()

	c.KeepsSecrets()
	for _, p := range slices.Concat(c.Collectors, c.Consumers, c.Masters) {
		p.Stop()
	}
	for _, p := range c.Collectors {
		if strings.Contains(p.Logged(), "stopping with records in the outbox") {
			t.Errorf("%s stopped with records in its outbox", p.Name)
		}
	}
	c.KeepsSecrets()
	c.Sound()
}

// verify compares ledger and store as an operator does.
func (c *production) verify() {
	c.T.Helper()
	checkResult(c.World, 2, c.Operate(app.ExitOK, "verify", "--ledger", c.Sim.Ledger, "--json"))
}

// checkResult wants a run without any fault.
func checkResult(w *cluster.World, collectors int, text string) verify.Result {
	w.T.Helper()
	r := cluster.Decode[verify.Result](w, lastLine(text))
	w.Note("verified: %+v", r)
	if r.Lost != 0 || r.Duplicates != 0 || r.Stored != r.Sent || r.RollupMessages != r.Sent ||
		r.MinutesDiffering != 0 || r.MinutesOpen != 0 || r.MinutesCompared == 0 || r.Outside != 0 || r.Unexpected != 0 {
		w.T.Errorf("not what was sent: %+v", r)
	}
	if r.Sent < 1000 || r.Collectors != collectors {
		w.T.Errorf("%d messages, %d collectors: too little was tried", r.Sent, r.Collectors)
	}
	return r
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
