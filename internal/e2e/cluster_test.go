package e2e_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
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

	"github.com/tungstene/tungstene/internal/testmongo"
	"github.com/tungstene/tungstene/internal/testrabbit"
	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
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

// cluster is the production shape on one machine.
type cluster struct {
	*world
	broker   *testrabbit.Broker
	amqp     *proxy
	sim      *twitch
	database string
	mongo    string // connection string
	keys     string
	operator string // the operator's configuration file

	// The passwords and tokens, as files.
	declarerPassword, rolePassword, operatorToken, collectorToken, clientSecret string

	masters, collectors, consumers []*program
	configs                        map[string]string // by program
}

// newCluster starts all servers that the roles need: RabbitMQ behind a proxy, MongoDB, Twitch.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	broker := testrabbit.Start(t)
	mongo := testmongo.Run(t)
	database := mongo.Database()
	t.Cleanup(func() { // after the programs have ended
		if err := mongo.Drop(context.WithoutCancel(t.Context()), database); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{
		world: newWorld(t), broker: broker, amqp: newProxy(t, broker.Address),
		database: database, mongo: mongo.URI(), configs: map[string]string{},
	}
	if !mongo.Real() {
		address := strings.TrimSuffix(strings.TrimPrefix(c.mongo, "mongodb://"), "/")
		c.mongo = "mongodb://" + newGate(t, address).address() + "/"
	}
	c.declarerPassword = c.secret("declarer.password", rand.Text())
	c.rolePassword = c.secret("role.password", rand.Text())
	c.operatorToken = c.secret("operator.token", rand.Text())
	c.collectorToken = c.secret("collector.token", rand.Text())
	c.clientSecret = c.secret("twitch.secret", rand.Text())
	c.addUsers()
	rate := 300
	if raceEnabled {
		rate = 150 // everything is several times slower
	}
	c.sim = c.startSim("--channels", strconv.Itoa(channels), "--rate", strconv.Itoa(rate), "--joins=-1", "--duplicate", "0.01", "--disorder", "0.01")
	c.keys = filepath.Join(c.dir, "keys")
	if err := os.Mkdir(c.keys, 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

// addUsers gives the broker one user who may declare, and one for the roles who may not: it has
// the queues of its own for the live feed, and no more.
func (c *cluster) addUsers() {
	c.t.Helper()
	var script strings.Builder
	for _, u := range []struct{ name, password, configure, write, read string }{
		{"declarer", c.secrets["declarer.password"], ".*", ".*", ".*"},
		{"role", c.secrets["role.password"], `^amq\\.gen`, `^(amq\\.default|amq\\.gen.*|live|store|dead)$`, `^(amq\\.gen.*|live|store|dead)$`},
	} {
		fmt.Fprintf(&script, `ok = rabbit_auth_backend_internal:add_user(<<"%s">>, <<"%s">>, <<"test">>), `+
			`ok = rabbit_auth_backend_internal:set_permissions(<<"%s">>, <<"/">>, <<"%s">>, <<"%s">>, <<"%s">>, <<"test">>), `,
			u.name, u.password, u.name, u.configure, u.write, u.read)
	}
	if out, err := c.broker.Ctl(c.t.Context(), "eval", script.String()+"ok."); err != nil {
		c.t.Fatalf("add users: %v %s", err, out)
	}
}

// config writes the configuration of one program.
func (c *cluster) config(name, user, password, own string) string {
	c.t.Helper()
	var urls []string
	for _, m := range c.masters {
		urls = append(urls, m.address())
	}
	path := c.write(name+".yaml", fmt.Sprintf(`# %[1]s
data: %[2]s
listen: 127.0.0.1:0
name: %[1]s
node: node-of-%[1]s
log:
  format: json
queue:
  kind: rabbit
  addresses: [%[3]q]
  user: %[4]s
  password_file: %[5]s
store:
  kind: mongo
  uri: %[6]q
  database: %[7]s
twitch:
  irc: %[8]s
  irc_tls: false
  helix: %[9]s
  auth: %[10]s
  clients:
    e2e: %[11]s
  sweep: "*/15 * * * * *"
  joins: 1000
  join_window: 1s
rollup:
  grace: %[12]s
consumer:
  skew: 1s
master:
  urls: [%[13]s]
  heartbeat_timeout: 6s
%[14]s`, name, filepath.Join(c.dir, name), c.amqp.address(), user, password, c.mongo, c.database,
		c.sim.irc, c.sim.helix, c.sim.auth, c.clientSecret, grace, strings.Join(urls, ", "), own))
	c.configs[name] = path
	return path
}

func (c *cluster) startMaster(name string) {
	c.t.Helper()
	file := c.config(name, "role", c.rolePassword, fmt.Sprintf("  operator_token_file: %s\n  collector_token_file: %s\n  keys_dir: %s\n",
		c.operatorToken, c.collectorToken, c.keys))
	c.masters = append(c.masters, c.start(name, "master", "--config", file))
}

// startRoles starts everything, two of each.
func (c *cluster) startRoles() {
	c.t.Helper()
	declarer := c.config("declarer", "declarer", c.declarerPassword, "")
	c.must(app.ExitOK, "queue", "declare", "--config", declarer)
	c.must(app.ExitOK, "queue", "declare", "--config", declarer) // changes nothing

	c.startMaster("master-1")
	c.masters[0].address()
	c.startMaster("master-2")
	c.masters[1].address()
	c.operator = c.config("operator", "role", c.rolePassword, "  operator_token_file: "+c.operatorToken+"\n")
	for _, name := range []string{"collector-1", "collector-2"} {
		file := c.config(name, "role", c.rolePassword, "  collector_token_file: "+c.collectorToken+"\n")
		c.collectors = append(c.collectors, c.start(name, "collector", "--config", file))
	}
	for _, name := range []string{"consumer-1", "consumer-2"} {
		file := c.config(name, "role", c.rolePassword, "")
		c.consumers = append(c.consumers, c.start(name, "consumer", "--config", file))
	}
	for _, p := range slices.Concat(c.masters, c.collectors, c.consumers) {
		c.until(p.name+" is ready", p.answers("/readyz", http.StatusOK))
	}
	c.leader(c.masters, "tungstene_master_leader")
	c.leader(c.consumers, "tungstene_rollup_leading")
}

// leader waits until one of the programs leads, and gives its index.
func (c *cluster) leader(programs []*program, metric string) (i int) {
	c.t.Helper()
	c.until(metric+" is 1 at one of "+strconv.Itoa(len(programs)), func() (err error) {
		i, err = leading(programs, metric)
		return err
	})
	return i
}

// leading finds the one program that leads.
func leading(programs []*program, metric string) (int, error) {
	leader := -1
	for i, p := range programs {
		v, err := p.metric(metric)
		if err != nil {
			return -1, err
		}
		if v == 1 {
			if leader >= 0 {
				return -1, fmt.Errorf("%s and %s both lead", programs[leader].name, p.name)
			}
			leader = i
		}
	}
	if leader < 0 {
		return -1, errors.New("none leads")
	}
	return leader, nil
}

// operate runs the tool with the operator's configuration.
func (c *cluster) operate(code int, args ...string) string {
	c.t.Helper()
	return c.must(code, append(args, "--config", c.operator)...)
}

// allJoined is met when every collector reads every channel.
func (c *cluster) allJoined() error {
	list := decode[[]control.Collector](c.world, c.operate(app.ExitOK, "collectors", "--json"))
	if len(list) != len(c.collectors) {
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
func (c *cluster) emptied() error {
	for _, p := range c.collectors {
		if err := p.metricIs("tungstene_collector_outbox_batches", 0)(); err != nil {
			return err
		}
	}
	depths := decode[map[string]int](c.world, c.operate(app.ExitOK, "queue", "depth", "--json"))
	if depths["store"] != 0 || depths["dead"] != 0 {
		return fmt.Errorf("queues hold %v batches", depths)
	}
	return nil
}

// look opens the store beside the running processes, for reading.
func (c *cluster) look(see func(store.Store) error) error {
	cfg, err := app.DefaultConfig()
	if err != nil {
		return err
	}
	cfg.Store.Kind, cfg.Store.URI, cfg.Store.Database = "mongo", c.mongo, c.database
	db, err := app.OpenStore(c.t.Context(), cfg, true)
	if err != nil {
		return err
	}
	return errors.Join(see(db), db.Close())
}

// closed is nil when a minute was closed, whether it must be counted again or not.
func closed(w *world, s store.Store, minute time.Time) error {
	raw, err := s.Get(w.t.Context(), store.Progress, event)
	if err != nil {
		return err
	}
	var p record.Progress
	if err := record.Decode(raw, &p); err != nil {
		return err
	}
	if p.ClosedThrough.Before(minute) {
		return fmt.Errorf("closed through %s, not %s", p.ClosedThrough, minute)
	}
	return nil
}

// settled is nil when all minutes before a time are closed for good.
func settled(w *world, s store.Store, through time.Time) error {
	ok, err := rollup.Settled(w.t.Context(), s, event, through)
	if ok || err != nil {
		return err
	}
	marks, err := s.Count(w.t.Context(), store.Query{Collection: store.Marks, Event: event})
	if err != nil {
		return err
	}
	raw, err := s.Get(w.t.Context(), store.Progress, event)
	if err != nil {
		return err
	}
	return fmt.Errorf("%d minutes wait for a recount; progress: %s", marks, raw)
}

// createEvent makes the event and gives it its channels, one of which does not exist.
func (c *cluster) createEvent() {
	c.t.Helper()
	now := time.Now().UTC()
	c.operate(app.ExitOK, "event", "create", event, "--name", "The marathon", "--replicas", "2",
		"--start", record.Minute(now).Format(time.RFC3339), "--end", now.Add(2*time.Hour).Format(time.RFC3339))
	const unknown = "nobody_has_this_login"
	list, all := c.sim.logins(unknown)
	if len(all) != channels {
		c.t.Fatalf("the simulator has %d channels, want %d", len(all), channels)
	}
	imported := decode[control.Imported](c.world, c.operate(app.ExitFailed, "channel", "import", event, list, "--json"))
	if len(imported.Added) != channels+1 || !slices.Equal(imported.Unknown, []string{unknown}) || len(imported.Unresolved) > 0 {
		c.t.Fatalf("imported: %+v", imported)
	}
	c.operate(app.ExitOK, "channel", "remove", event, unknown)
	if left := decode[[]record.Channel](c.world, c.operate(app.ExitOK, "channel", "list", event, "--json")); len(left) != channels {
		c.t.Fatalf("the event has %d channels, want %d", len(left), channels)
	}
	c.operate(app.ExitOK, "event", "start", event)
	keys, err := filepath.Glob(filepath.Join(c.keys, "*"))
	if err != nil || len(keys) != 1 {
		c.t.Fatalf("keys: %v, %v; want the event's", keys, err)
	}
	b, err := os.ReadFile(keys[0])
	if err != nil {
		c.t.Fatal(err)
	}
	text := strings.TrimSpace(string(b))
	raw, err := hex.DecodeString(text)
	if err != nil {
		c.t.Fatal(err)
	}
	c.secrets["pseudonym key"], c.secrets["pseudonym key in base64"] = text, base64.StdEncoding.EncodeToString(raw)
}

// looksHealthy asks every process what a monitoring system would ask, and the page what a viewer
// would.
func (c *cluster) looksHealthy() {
	c.t.Helper()
	for role, programs := range map[string][]*program{"master": c.masters, "collector": c.collectors, "consumer": c.consumers} {
		for _, p := range programs {
			c.until(p.name+" is healthy", p.answers("/healthz", http.StatusOK))
			c.until(p.name+" is still ready", p.answers("/readyz", http.StatusOK))
			status, body, err := c.get(p.address() + "/metrics")
			if err != nil || status != http.StatusOK || !strings.Contains(string(body), "\ntungstene_"+role+"_") {
				c.t.Errorf("/metrics of %s: %d, %v; want metrics of the %s", p.name, status, err, role)
			}
		}
	}
	for _, p := range c.masters {
		status, page, err := c.get(p.address() + "/")
		if err != nil || status != http.StatusOK || !strings.Contains(string(page), "<html") {
			c.t.Errorf("the status page of %s: %d, %v", p.name, status, err)
		}
		c.until("the page of "+p.name+" shows the event", func() error {
			status, body, err := c.get(p.address() + "/api/status")
			if err != nil || status != http.StatusOK {
				return fmt.Errorf("status %d, %w", status, err)
			}
			var s web.Snapshot
			if err := json.Unmarshal(body, &s); err != nil {
				return err
			}
			// It looks for new channels every half a minute only.
			if s.Event == nil || s.Event.Slug != event || s.Now.Up != len(c.collectors) || s.Now.Read == 0 {
				return fmt.Errorf("event %v, %d of %d channels, %d collectors", s.Event, s.Now.Read, s.Now.Channels, s.Now.Up)
			}
			return nil
		})
	}
	c.until("the doctor finds nothing to complain of", func() error {
		checks := decode[[]app.Check](c.world, c.operate(app.ExitOK, "doctor", "--json"))
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
func (c *cluster) killRollup() {
	c.t.Helper()
	i := c.leader(c.consumers, "tungstene_rollup_leading")
	c.consumers[i].kill()
	c.note("killed %s, whose rollup led", c.consumers[i].name)
	c.consumers = slices.Delete(c.consumers, i, i+1)
}

// killMaster kills the leading master; the other one takes over.
func (c *cluster) killMaster() {
	c.t.Helper()
	i := c.leader(c.masters, "tungstene_master_leader")
	c.masters[i].kill()
	c.note("killed %s, which led", c.masters[i].name)
	c.masters = slices.Delete(c.masters, i, i+1)
}

// killCollector cuts the broker off until the first collector has something in its outbox, kills
// it, and starts it again on the same folder.
func (c *cluster) killCollector() {
	c.t.Helper()
	c.amqp.cut()
	c.note("cut the connections to RabbitMQ")
	waiting := 0.0 // in the outbox of the first
	holds := func(p *program, least float64) func() error {
		return func() (err error) {
			if waiting, err = p.metric("tungstene_collector_outbox_batches"); err == nil && waiting < least {
				err = fmt.Errorf("%v batches", waiting)
			}
			return err
		}
	}
	for _, p := range slices.Backward(c.collectors) {
		c.until(p.name+" fills its outbox", holds(p, 10))
	}
	name := c.collectors[0].name
	c.collectors[0].kill()
	c.note("killed %s", name)
	c.collectors[0] = c.start(name, "collector", "--config", c.configs[name])
	c.collectors[0].address()
	c.until("the outbox is that of the last run", holds(c.collectors[0], waiting))
	c.amqp.heal()
	c.note("RabbitMQ can be reached again")
	c.until("the restarted collector has joined", c.collectors[0].metricIs("tungstene_collector_channels_joined", channels))
	c.until("both collectors read all channels again", c.allJoined)
}

func TestEachRoleItsOwnProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("runs servers and ten processes for two minutes")
	}
	t.Parallel()
	c := newCluster(t)
	c.startRoles()
	c.createEvent()
	c.until("both collectors read all channels", c.allJoined)
	first := record.Minute(time.Now())
	c.looksHealthy()

	c.until("messages flow", c.sim.hasSent(1000))
	c.killRollup()
	c.killMaster()
	c.leader(c.consumers, "tungstene_rollup_leading")
	c.leader(c.masters, "tungstene_master_leader")
	c.killCollector()
	if err := c.broker.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.note("restarted RabbitMQ")
	c.until("outboxes and queues were emptied", c.emptied)
	c.within(2*time.Minute, "a minute was closed while messages flow", func() error {
		return c.look(func(db store.Store) error { return closed(c.world, db, first) })
	})

	c.sim.stop()
	c.until("all that was sent is out of outboxes and queues", c.emptied)
	through := record.Minute(time.Now()).Add(time.Minute)
	c.operate(app.ExitOK, "event", "stop", event)
	c.within(2*time.Minute, "all minutes are closed", func() error {
		return c.look(func(db store.Store) error { return settled(c.world, db, through) })
	})
	c.verify()

	c.keepsSecrets()
	for _, p := range slices.Concat(c.collectors, c.consumers, c.masters) {
		p.stop()
	}
	for _, p := range c.collectors {
		if strings.Contains(p.logged(), "stopping with records in the outbox") {
			t.Errorf("%s stopped with records in its outbox", p.name)
		}
	}
	c.keepsSecrets()
	c.sound()
}

// verify compares ledger and store as an operator does.
func (c *cluster) verify() {
	c.t.Helper()
	checkResult(c.world, 2, c.operate(app.ExitOK, "verify", "--ledger", c.sim.ledger, "--json"))
}

// checkResult wants a run without any fault.
func checkResult(w *world, collectors int, text string) verify.Result {
	w.t.Helper()
	r := decode[verify.Result](w, lastLine(text))
	w.note("verified: %+v", r)
	if r.Lost != 0 || r.Duplicates != 0 || r.Stored != r.Sent || r.RollupMessages != r.Sent ||
		r.MinutesDiffering != 0 || r.MinutesOpen != 0 || r.MinutesCompared == 0 || r.Outside != 0 || r.Unexpected != 0 {
		w.t.Errorf("not what was sent: %+v", r)
	}
	if r.Sent < 1000 || r.Collectors != collectors {
		w.t.Errorf("%d messages, %d collectors: too little was tried", r.Sent, r.Collectors)
	}
	return r
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
