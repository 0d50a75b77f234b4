package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
)

// Options of a cluster.
type Options struct {
	// Masters, Collectors and Consumers are how many of each there are at first. Default 2 each.
	Masters, Collectors, Consumers int
	// Channels is how many the simulated Twitch has. Default 40.
	Channels int
	// Rate is messages per second over all channels. Default 100.
	Rate int
	// Sim are further arguments of the simulator.
	Sim []string
	// Joins is twitch.joins, the JOINs of one connection in a second. Default 1000.
	Joins int
	// Grace is rollup.grace: short, since tests wait for it. Default 2 s.
	Grace time.Duration
	// Skew is consumer.skew. Default 1 s.
	Skew time.Duration
	// HeartbeatTimeout is master.heartbeat_timeout. Default 3 s.
	HeartbeatTimeout time.Duration
	// Brokers are the RabbitMQ nodes to use. Default: one that lives as long as the test.
	Brokers []*testrabbit.Broker
	// Prefix is queue.prefix, for tests that share a broker. Default none.
	Prefix string
	// Mongo is the database server. Default: one that lives as long as the test.
	Mongo *testmongo.Server
	// Via gives the address that a program reaches a service at: a test may put something between
	// the two. Services are "broker-0" and on, "store", "chat", "helix", and the masters by name.
	// Default: straight.
	Via func(program, service, address string) string
	// Data is the data folder of a program. Default: one in the test's folder.
	Data func(program string) string
	// Config are further lines of a program's configuration. Default none.
	Config func(program string) string
}

// Cluster is the production shape on one machine.
type Cluster struct {
	*World
	Options

	Sim *Twitch
	// Database is the test's own in the database server, URI reaches the server.
	Database, URI string
	// Keys is the folder of the pseudonym keys.
	Keys string
	// Operator is the operator's configuration file, OperatorToken the file with their token.
	Operator, OperatorToken string

	// What runs, in the order of starting.
	Masters, Collectors, Consumers []*Program
	// Charity is the collector that only polls charity sources; none before AddCharity.
	Charity []*Program

	gate    *Proxy
	addrs   map[string]string // of the masters: they outlast a restart
	order   []string          // of the masters
	configs map[string]string // by program

	declarerPassword, rolePassword, collectorToken, clientSecret string
}

// New starts the servers that the roles need. StartRoles starts the roles.
func New(t *testing.T, programs *Programs, o Options) *Cluster {
	t.Helper()
	for n, v := range map[*int]int{&o.Masters: 2, &o.Collectors: 2, &o.Consumers: 2, &o.Channels: 40, &o.Rate: 100, &o.Joins: 1000} {
		if *n == 0 {
			*n = v
		}
	}
	if o.Grace == 0 {
		o.Grace = 2 * time.Second
	}
	if o.Skew == 0 {
		o.Skew = time.Second
	}
	if o.HeartbeatTimeout == 0 {
		o.HeartbeatTimeout = 3 * time.Second
	}
	if o.Brokers == nil {
		o.Brokers = []*testrabbit.Broker{testrabbit.Start(t)}
	}
	if o.Mongo == nil {
		o.Mongo = testmongo.Run(t)
	}
	if o.Via == nil {
		o.Via = func(_, _, address string) string { return address }
	}
	c := &Cluster{Options: o, Database: o.Mongo.Database(), URI: o.Mongo.URI(), addrs: map[string]string{}, configs: map[string]string{}}
	t.Cleanup(func() { // after the programs have ended
		if err := o.Mongo.Drop(context.WithoutCancel(t.Context()), c.Database); err != nil {
			t.Error(err)
		}
	})
	c.World = NewWorld(t, programs)
	if !o.Mongo.Real() {
		c.gate = NewGate(t, hostOf(c.URI))
		c.URI = "mongodb://" + c.gate.Address() + "/"
	}
	c.declarerPassword = c.Secret("declarer.password", rand.Text())
	c.rolePassword = c.Secret("role.password", rand.Text())
	c.OperatorToken = c.Secret("operator.token", rand.Text())
	c.collectorToken = c.Secret("collector.token", rand.Text())
	c.clientSecret = c.Secret("twitch.secret", rand.Text())
	c.addUsers()
	c.Sim = c.StartSim(append([]string{"--channels", strconv.Itoa(o.Channels), "--rate", strconv.Itoa(o.Rate), "--joins=-1"}, o.Sim...)...)
	c.Keys = filepath.Join(c.Dir, "keys")
	if err := os.Mkdir(c.Keys, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range o.Masters {
		name := "master-" + strconv.Itoa(i+1)
		c.addrs[name] = Reserve(t)
		c.order = append(c.order, name)
	}
	return c
}

// hostOf is the host:port of a connection string.
func hostOf(uri string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(uri, "mongodb://"), "/")
	return host
}

// addUsers gives the broker one user who may declare, and one for the roles who may not: it has
// the queues of its own for the live feed, and no more.
func (c *Cluster) addUsers() {
	c.T.Helper()
	name := `(live|store|dead)`
	if c.Prefix != "" {
		name = strings.ReplaceAll(c.Prefix, ".", `\\.`) + name
	}
	var script strings.Builder
	for _, u := range []struct{ name, password, configure, write, read string }{
		{"declarer", c.Secrets["declarer.password"], ".*", ".*", ".*"},
		{"role", c.Secrets["role.password"], `^amq\\.gen`, `^(amq\\.default|amq\\.gen.*|` + name + `)$`, `^(amq\\.gen.*|` + name + `)$`},
	} {
		fmt.Fprintf(&script, `ok = rabbit_auth_backend_internal:add_user(<<"%[1]s">>, <<"%[2]s">>, <<"test">>), `+
			`ok = rabbit_auth_backend_internal:set_permissions(<<"%[1]s">>, <<"/">>, <<"%[3]s">>, <<"%[4]s">>, <<"%[5]s">>, <<"test">>), `,
			c.Prefix+u.name, u.password, u.configure, u.write, u.read)
	}
	if out, err := c.Brokers[0].Ctl(c.T.Context(), "eval", script.String()+"ok."); err != nil {
		c.T.Fatalf("add users: %v %s", err, out)
	}
}

// Roles is what runs.
func (c *Cluster) Roles() []*Program {
	return slices.Concat(c.Masters, c.Collectors, c.Charity, c.Consumers)
}

// MasterURLs are where the masters are reached, whichever of them runs.
func (c *Cluster) MasterURLs(program string) (urls []string) {
	for _, name := range c.order {
		urls = append(urls, "http://"+c.Via(program, name, c.addrs[name]))
	}
	return urls
}

// config writes the configuration of one program.
func (c *Cluster) config(name, user, password, own string) string {
	c.T.Helper()
	var brokers []string
	for i, b := range c.Brokers {
		brokers = append(brokers, strconv.Quote(c.Via(name, "broker-"+strconv.Itoa(i), b.Address)))
	}
	uri := c.URI
	if c.gate != nil {
		uri = "mongodb://" + c.Via(name, "store", c.gate.Address()) + "/"
	}
	rare := ""
	if c.gate != nil {
		rare = "custody:\n  reconcile: 0 0 1 1 *\n" // it reads much, without an index
	}
	data := filepath.Join(c.Dir, name)
	if c.Data != nil {
		data = c.Data(name)
	}
	web := strings.TrimPrefix(c.Sim.Web, "http://")
	api := c.Via(name, "helix", web)
	path := c.Write(name+".yaml", fmt.Sprintf(`# %[1]s
data: %[2]s
listen: %[17]s
name: %[1]s
node: node-of-%[1]s
log:
  format: json
queue:
  kind: rabbit
  prefix: %[15]q
  addresses: [%[3]s]
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
  joins: %[18]d
  join_window: 1s
rollup:
  grace: %[12]s
consumer:
  skew: %[19]s
master:
  urls: [%[13]s]
  heartbeat_timeout: %[16]s
%[14]s`, name, data, strings.Join(brokers, ", "), c.Prefix+user, password, uri, c.Database,
		c.Via(name, "chat", c.Sim.IRC), strings.Replace(c.Sim.Helix, web, api, 1), strings.Replace(c.Sim.Auth, web, api, 1),
		c.clientSecret, c.Grace, strings.Join(c.MasterURLs(name), ", "), own+rare, c.Prefix, c.HeartbeatTimeout,
		cmp.Or(c.addrs[name], "127.0.0.1:0"), c.Joins, c.Skew))
	if c.Config != nil {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			c.T.Fatal(err)
		}
		_, err = f.WriteString(c.Config(name))
		if err = errors.Join(err, f.Close()); err != nil {
			c.T.Fatal(err)
		}
	}
	c.configs[name] = path
	return path
}

// Declare makes the queues, as an operator does.
func (c *Cluster) Declare() {
	c.T.Helper()
	declarer := c.config("declarer", "declarer", c.declarerPassword, "")
	c.Must(app.ExitOK, "queue", "declare", "--config", declarer)
	c.Must(app.ExitOK, "queue", "declare", "--config", declarer) // changes nothing
}

// StartRoles makes the queues and starts everything; it returns when all are ready and two lead.
func (c *Cluster) StartRoles() {
	c.T.Helper()
	c.Declare()
	for _, name := range c.order {
		c.Masters = append(c.Masters, c.launch(name))
	}
	for _, p := range c.Masters {
		p.Address() // it serves
	}
	c.Operator = c.config("operator", "role", c.rolePassword, "  operator_token_file: "+c.OperatorToken+"\n")
	for range c.Options.Collectors {
		c.AddCollector()
	}
	for i := range c.Options.Consumers {
		c.Consumers = append(c.Consumers, c.launch("consumer-"+strconv.Itoa(i+1)))
	}
	for _, p := range c.Roles() {
		c.Until(p.Name+" is ready", p.Answers("/readyz", 200))
	}
	c.Leader(c.Masters, MasterLeads)
	c.Leader(c.Consumers, RollupLeads)
}

// AddCollector starts one more, and returns when it serves.
func (c *Cluster) AddCollector() *Program {
	c.T.Helper()
	p := c.launch("collector-" + strconv.Itoa(len(c.Collectors)+1))
	c.Collectors = append(c.Collectors, p)
	p.Address() // it serves
	return p
}

// charityName is the collector that only polls charity sources.
const charityName = "collector-charity"

// AddCharity starts a collector that polls the charity sources of a file and reads no chat, and returns
// when it serves.
func (c *Cluster) AddCharity(sources string) *Program {
	c.T.Helper()
	path := c.Write("charity.yaml", sources)
	more := c.Config
	c.Config = func(program string) (lines string) {
		if more != nil {
			lines = more(program)
		}
		if program == charityName {
			lines += fmt.Sprintf("charity:\n  sources: %s\ncollector:\n  capacity: 0\n", path)
		}
		return lines
	}
	p := c.launch(charityName)
	c.Charity = append(c.Charity, p)
	p.Address() // it serves
	return p
}

// launch runs a role by its name.
func (c *Cluster) launch(name string) *Program {
	c.T.Helper()
	role, _, _ := strings.Cut(name, "-")
	return c.Start(name, role, "--config", c.File(name))
}

// File is the configuration of a role by its name ("collector-3"), made the first time.
func (c *Cluster) File(name string) string {
	c.T.Helper()
	role, _, _ := strings.Cut(name, "-")
	file := c.configs[name]
	if file == "" {
		own := ""
		switch role {
		case "master":
			own = fmt.Sprintf("  operator_token_file: %s\n  collector_token_file: %s\n  keys_dir: %s\n", c.OperatorToken, c.collectorToken, c.Keys)
		case "collector":
			own = "  collector_token_file: " + c.collectorToken + "\n"
		}
		file = c.config(name, "role", c.rolePassword, own)
	}
	return file
}

// Revive starts a program that was ended, on the folder that it had, and returns when it serves.
func (c *Cluster) Revive(name string) *Program {
	c.T.Helper()
	p := c.launch(name)
	for _, list := range [][]*Program{c.Masters, c.Collectors, c.Charity, c.Consumers} {
		for i, old := range list {
			if old.Name == name {
				list[i] = p
			}
		}
	}
	p.Address() // it serves
	return p
}

// The metrics that are 1 at a leader.
const (
	MasterLeads = "tungstene_master_leader"
	RollupLeads = "tungstene_rollup_leading"
)

// Leader waits until one of the programs leads, and gives its index.
func (c *Cluster) Leader(programs []*Program, metric string) (i int) {
	c.T.Helper()
	c.Until(metric+" is 1 at one of "+strconv.Itoa(len(programs)), func() (err error) {
		i, err = Leading(programs, metric)
		return err
	})
	return i
}

// Leading finds the one program that leads.
func Leading(programs []*Program, metric string) (int, error) {
	leader := -1
	for i, p := range programs {
		v, err := p.Metric(metric)
		if err != nil {
			return -1, err
		}
		if v == 1 {
			if leader >= 0 {
				return -1, fmt.Errorf("%s and %s both lead", programs[leader].Name, p.Name)
			}
			leader = i
		}
	}
	if leader < 0 {
		return -1, errors.New("none leads")
	}
	return leader, nil
}

// Operate runs the tool with the operator's configuration.
func (c *Cluster) Operate(code int, args ...string) string {
	c.T.Helper()
	return c.Must(code, append(args, "--config", c.Operator)...)
}

// Look opens the store beside the running processes, for reading.
func (c *Cluster) Look(see func(store.Store) error) error {
	cfg, err := app.DefaultConfig()
	if err != nil {
		return err
	}
	cfg.Store.Kind, cfg.Store.URI, cfg.Store.Database = "mongo", c.URI, c.Database
	db, err := app.OpenStore(c.T.Context(), cfg, true)
	if err != nil {
		return err
	}
	return errors.Join(see(db), db.Close())
}

// Closed is nil when a minute was closed, whether it must be counted again or not.
func Closed(ctx context.Context, s store.Store, event string, minute time.Time) error {
	raw, err := s.Get(ctx, store.Progress, event)
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

// Settled is nil when all minutes before a time are closed for good.
func Settled(ctx context.Context, s store.Store, event string, through time.Time) error {
	ok, err := rollup.Settled(ctx, s, event, through)
	if ok || err != nil {
		return err
	}
	marks, err := s.Count(ctx, store.Query{Collection: store.Marks, Event: event})
	if err != nil {
		return err
	}
	raw, err := s.Get(ctx, store.Progress, event)
	if err != nil {
		return err
	}
	return fmt.Errorf("%d minutes wait for a recount; progress: %s", marks, raw)
}
