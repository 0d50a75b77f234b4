// Package app builds each role from the configuration, composes several in one process, and holds
// what the programs of cmd/ do.
package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promcollectors "github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/charity"
	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/collector"
	"github.com/tungstene/tungstene/pkg/consumer"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/custody"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
	"github.com/tungstene/tungstene/pkg/twitch/helix"
	"github.com/tungstene/tungstene/pkg/web"
)

// Roles says what a process runs.
type Roles struct {
	// Master is the control plane with its API and the status page.
	Master bool
	// Collectors is how many collectors run in the process. One has the process's name; several are
	// numbered, and each counts as a node of its own. Charity sources are polled by the first; beside a
	// master by one more, that reads no chat.
	Collectors int
	// Consumer is the store writer with the rollup.
	Consumer bool
}

// Options are what a program adds to the configuration. The zero value is right for production.
type Options struct {
	Version string
	Logger  *slog.Logger
	// Clock is event time. Default clock.System.
	Clock clock.Clock
	// Demo has the status page tell how far a demonstration is. Default: this is none.
	Demo func() web.Demo
	// Stored is told of new records when they can be read in the store. It must not block.
	Stored func([]record.Record)
	// Event is the one that the status page shows. Default: the live one.
	Event string
}

// Process is one running program: its roles with what they share. Make it with New, run it once.
type Process struct {
	cfg      Config
	roles    Roles
	opts     Options
	logger   *slog.Logger
	registry *prometheus.Registry

	listener   net.Listener
	tls        *tls.Config // of the listener; nil is plain HTTP
	queue      queue.Queue
	store      store.Store
	master     *master.Master
	resolver   *helix.Client
	page       *web.Status
	collectors []*collector.Collector
	charity    *collector.Collector // that of collectors which only polls charity sources, beside a master
	consumer   *consumer.Consumer
	rollup     *rollup.Rollup
	custody    *custody.Custody
	closers    []func() error
}

// NewLogger makes the logger that a configuration asks for.
func NewLogger(w io.Writer, cfg LogConfig) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, &FieldError{Field: "log.level", Err: err}
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}

// New builds the roles. It opens what they need and listens, so that a port that is taken or a
// file that is in use stops the start. On an error everything is let go again.
func New(ctx context.Context, cfg Config, roles Roles, opts Options) (_ *Process, err error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if err := placeable(cfg, roles); err != nil {
		return nil, err
	}
	if cfg.Name == "" {
		cfg.Name = hostName()
	}
	if cfg.Node == "" {
		cfg.Node = hostName()
	}
	if opts.Clock == nil {
		opts.Clock = clock.System{}
	}
	if opts.Logger == nil {
		if opts.Logger, err = NewLogger(os.Stderr, cfg.Log); err != nil {
			return nil, err
		}
	}
	p := &Process{cfg: cfg, roles: roles, opts: opts, logger: opts.Logger, registry: prometheus.NewRegistry()}
	p.registry.MustRegister(promcollectors.NewGoCollector(),
		promcollectors.NewProcessCollector(promcollectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, &FieldError{Field: "data", Err: err, Environment: true}
	}
	for _, step := range []func(context.Context) error{
		p.listen, p.openQueue, p.openStore, p.buildMaster, p.buildCollectors, p.buildConsumer, p.buildPage,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// placeable refuses roles apart from each other on what only one process can use.
func placeable(cfg Config, roles Roles) error {
	whole := roles.Master && roles.Collectors > 0 && roles.Consumer
	if !whole && cfg.Queue.Kind == kindLocal && (roles.Collectors > 0 || roles.Consumer) {
		return &FieldError{Field: "queue.kind", Err: errors.New(
			"the local queue works within one process; use rabbit, or run all roles together with 'tungstene up'")}
	}
	if !whole && cfg.Store.Kind == kindLocal && (roles.Master || roles.Consumer) {
		return &FieldError{Field: "store.kind", Err: errors.New(
			"the local store works within one process; use mongo, or run all roles together with 'tungstene up'")}
	}
	return nil
}

func (p *Process) listen(ctx context.Context) (err error) {
	if p.tls, err = p.cfg.ListenTLS.server(p.logger); err != nil {
		return err
	}
	var lc net.ListenConfig
	if p.listener, err = lc.Listen(ctx, "tcp", p.cfg.Listen); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: another program listens there, or this installation runs already: stop it, or choose another port", err)
		}
		return &FieldError{Field: "listen", Err: err, Environment: true}
	}
	p.closers = append(p.closers, func() error {
		if err := p.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return nil
}

// URL is where this process serves.
func (p *Process) URL() string {
	if p.tls != nil {
		return "https://" + p.listener.Addr().String()
	}
	return "http://" + p.listener.Addr().String()
}

func (p *Process) openQueue(ctx context.Context) (err error) {
	if p.roles.Collectors == 0 && !p.roles.Consumer && p.cfg.Queue.Kind == kindLocal {
		return nil
	}
	if p.queue, err = OpenQueue(ctx, p.cfg, p.logger, p.registry); err != nil {
		return err
	}
	p.closers = append(p.closers, p.queue.Close)
	return nil
}

func (p *Process) openStore(ctx context.Context) (err error) {
	if !p.roles.Master && !p.roles.Consumer {
		return nil
	}
	if p.store, err = openStore(ctx, p.cfg, false, p.logger); err != nil {
		return err
	}
	p.closers = append(p.closers, p.store.Close)
	return nil
}

func (p *Process) buildMaster(context.Context) error {
	if !p.roles.Master {
		return nil
	}
	keys, err := master.NewFileKeys(p.keysDir())
	if err != nil {
		return &FieldError{Field: "master.keys_dir", Err: err, Environment: true}
	}
	operators, err := p.tokens("master.operator_token_file", p.cfg.Master.OperatorTokenFile, envOperatorToken, "operator.token")
	if err != nil {
		return err
	}
	collectors, err := p.tokens("master.collector_token_file", p.cfg.Master.CollectorTokenFile, envCollectorToken, "collector.token")
	if err != nil {
		return err
	}
	if p.resolver, err = newHelix(p.cfg, p.logger, label(p.registry, "master")); err != nil {
		return err
	}
	// A sixth of the points is kept for the masters' own look-ups.
	points := max(p.cfg.Twitch.HelixPoints*5/6, 1)
	p.resolver.SetBudget(max(p.cfg.Twitch.HelixPoints-points, 1))
	cfg := master.Config{
		Store: p.store, Keys: keys, Name: p.cfg.Name, Node: p.cfg.Node, Version: p.opts.Version,
		OperatorTokens: operators, CollectorTokens: collectors,
		Resolver: resolver{p.resolver}, Clock: p.opts.Clock,
		HeartbeatTimeout: p.cfg.Master.HeartbeatTimeout, LeadTime: p.cfg.Master.LeadTime,
		Budget: control.Budget{
			Joins: p.cfg.Twitch.Joins, JoinWindow: p.cfg.Twitch.JoinWindow,
			PerConnection: p.cfg.Twitch.PerConnection, HelixPoints: points,
		},
		Logger: p.logger, Registerer: p.registry,
	}
	if err := p.repairs(&cfg); err != nil {
		return err
	}
	p.master, err = master.New(cfg)
	return err
}

// resolver is the Helix client as the master asks it.
type resolver struct{ client *helix.Client }

func (r resolver) Users(ctx context.Context, ids, logins []string) ([]master.User, error) {
	users, err := r.client.Users(ctx, ids, logins)
	out := make([]master.User, len(users))
	for i, u := range users {
		out[i] = master.User{ID: u.ID, Login: u.Login, Name: u.Name, Picture: u.Picture}
	}
	return out, err
}

func (p *Process) buildCollectors(context.Context) error {
	urls := MasterURLs(p.cfg)
	if len(p.cfg.Master.URLs) == 0 && p.roles.Master {
		urls = []string{p.URL()} // the port may have been chosen a moment ago
	}
	compression, err := record.ParseCompression(p.cfg.Collector.Compression)
	if err != nil {
		return &FieldError{Field: "collector.compression", Err: err}
	}
	handover := p.cfg.Collector.Handover
	if p.roles.Master {
		handover = 0 // the process stops as a whole: there is nobody to hand over to
	}
	kinds, err := p.collectorKinds()
	if err != nil {
		return err
	}
	for _, k := range kinds {
		token, err := p.clientToken("master.collector_token_file", p.cfg.Master.CollectorTokenFile, envCollectorToken, "collector.token")
		if err != nil {
			return err
		}
		client, err := newMasterClient(p.cfg, urls, token, p.logger)
		if err != nil {
			return err
		}
		p.closers = append(p.closers, func() error { client.Close(); return nil })
		metrics := label(p.registry, k.name)
		var api *helix.Client
		if k.capacity > 0 {
			if api, err = newHelix(p.cfg, p.logger.With(slog.String("collector", k.name)), metrics); err != nil {
				return err
			}
		}
		c, err := collector.New(collector.Config{
			Name: k.name, Node: k.node, Version: p.opts.Version,
			Dir:      filepath.Join(p.cfg.Data, "collector-"+k.name),
			Capacity: cmp.Or(k.capacity, collector.NoChannels), Heartbeat: p.cfg.Collector.Heartbeat,
			Tick: p.cfg.Collector.Tick, TickRecords: p.cfg.Collector.TickRecords,
			Handover: handover, Compression: compression, OutboxBytes: p.cfg.Collector.OutboxBytes,
			OutboxAge: cmp.Or(p.cfg.Collector.OutboxAge, collector.NoAge), OutboxFull: collector.Policy(p.cfg.Collector.OutboxFull),
			WaitingRecords: p.cfg.Collector.Waiting,
			DrainRate:      cmp.Or(p.cfg.Collector.DrainRate, collector.NoRate),
			Master:         client, Queue: p.queue,
			Chat: chat.Config{
				Address: p.cfg.Twitch.IRC, TLS: p.cfg.Twitch.IRCTLS, KeepAlive: p.cfg.Twitch.KeepAlive,
			},
			Helix: api, Sweeps: helix.SweeperConfig{Schedule: p.cfg.Twitch.Sweep, UsersSchedule: p.cfg.Twitch.Users},
			Charity: charity.Config{Sources: k.sources},
			Clock:   p.opts.Clock, Logger: p.logger, Registerer: metrics,
		})
		if err != nil {
			return fmt.Errorf("collector %s: %w", k.name, err)
		}
		p.closers = append(p.closers, c.Close)
		p.collectors = append(p.collectors, c)
		if p.roles.Master && len(k.sources) > 0 {
			p.charity = c
		}
	}
	return nil
}

// collectorKind is what tells the collectors of a process apart.
type collectorKind struct {
	name, node string
	capacity   int
	sources    []charity.Source
}

// collectorKinds are the collectors of this process. Where all roles run together, one of its own polls
// the charity sources.
func (p *Process) collectorKinds() ([]collectorKind, error) {
	var (
		kinds   []collectorKind
		sources []charity.Source
		err     error
	)
	if p.cfg.Charity.Sources != "" && p.roles.Collectors > 0 {
		if sources, err = LoadSources(p.cfg); err != nil {
			return nil, err
		}
	}
	for i := range p.roles.Collectors {
		k := collectorKind{name: p.cfg.Name, node: p.cfg.Node, capacity: p.cfg.Collector.Capacity}
		if p.roles.Collectors > 1 {
			k.name = fmt.Sprintf("%s-%d", k.name, i+1)
			k.node = fmt.Sprintf("%s-%d", k.node, i+1)
		}
		if !p.roles.Master && i == 0 {
			k.sources = sources
		}
		kinds = append(kinds, k)
	}
	if p.roles.Master && len(sources) > 0 {
		kinds = append(kinds, collectorKind{name: p.cfg.Name + "-charity", node: p.cfg.Node, sources: sources})
	}
	return kinds, nil
}

// LoadSources reads the file of charity sources that a configuration names.
func LoadSources(cfg Config) ([]charity.Source, error) {
	sources, err := charity.LoadSources(cfg.Charity.Sources)
	if err == nil && len(sources) == 0 {
		err = fmt.Errorf("%s names no source", cfg.Charity.Sources)
	}
	if err != nil {
		return nil, &FieldError{Field: "charity.sources", Err: err, Environment: errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)}
	}
	return sources, nil
}

func (p *Process) buildConsumer(context.Context) (err error) {
	if !p.roles.Consumer {
		return nil
	}
	p.consumer, err = consumer.New(consumer.Config{
		Store: p.store, Queue: p.queue, Clock: p.opts.Clock,
		Grace: p.cfg.Rollup.Grace, Skew: p.cfg.Consumer.Skew,
		Prefetch: p.cfg.Consumer.Prefetch, MaxRecords: p.cfg.Consumer.MaxRecords,
		Name: p.cfg.Name, Node: p.cfg.Node, Version: p.opts.Version, Stored: p.opts.Stored,
		Logger: p.logger, Registerer: p.registry,
	})
	if err != nil {
		return err
	}
	p.rollup, err = rollup.New(rollup.Config{
		Store: p.store, Queue: p.queue, Clock: p.opts.Clock,
		Grace: p.cfg.Rollup.Grace, LiveEvery: p.cfg.Rollup.LiveEvery,
		Name: p.cfg.Name, Node: p.cfg.Node, Version: p.opts.Version,
		Logger: p.logger, Registerer: p.registry,
	})
	if err != nil {
		return err
	}
	retention, err := clock.ParseSchedule(p.cfg.Custody.Retention)
	if err != nil {
		return &FieldError{Field: "custody.retention", Err: err}
	}
	reconcile, err := clock.ParseSchedule(p.cfg.Custody.Reconcile)
	if err != nil {
		return &FieldError{Field: "custody.reconcile", Err: err}
	}
	p.custody, err = custody.New(custody.Config{
		Store: p.store, Queue: p.queue, Clock: p.opts.Clock, Retention: retention, Reconcile: reconcile,
		Name: p.cfg.Name, Node: p.cfg.Node, Version: p.opts.Version,
		Logger: p.logger, Registerer: p.registry,
	})
	return err
}

func (p *Process) buildPage(context.Context) (err error) {
	if !p.roles.Master {
		return nil
	}
	cfg := web.Config{
		Store: p.store, Clock: p.opts.Clock, Demo: p.opts.Demo, Event: p.opts.Event, Version: p.opts.Version,
		Logger: p.logger, Registerer: p.registry,
	}
	if p.queue != nil {
		cfg.Depth = p.queue.Depth
	}
	p.page, err = web.New(cfg)
	return err
}

// Run runs the roles until the context ends or one of them fails. They stop in the order of the
// data, each after it has flushed: collectors, then consumer and rollup, then master and page.
func (p *Process) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, p.close()) }()

	var (
		stages [3]context.Context
		ends   [3]context.CancelFunc
		groups [3]errgroup.Group
	)
	for i := range stages {
		stages[i], ends[i] = context.WithCancel(context.WithoutCancel(ctx))
	}
	// The first failure stops everything, as the end of the context does.
	stop, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	start := func(stage int, name string, run func(context.Context) error) {
		groups[stage].Go(func() error {
			err := run(stages[stage])
			if err != nil && !errors.Is(err, context.Canceled) {
				err = fmt.Errorf("%s: %w", name, err)
				failed(err)
				return err
			}
			if stages[stage].Err() == nil {
				err = fmt.Errorf("%s ended by itself", name)
				failed(err)
				return err
			}
			return nil
		})
	}
	start(2, "http server", p.serve)
	if p.master != nil {
		start(2, "master", p.master.Run)
		start(2, "helix", p.resolver.Run)
	}
	if p.page != nil {
		start(2, "status page", p.page.Run)
	}
	if p.consumer != nil {
		start(1, "consumer", p.consumer.Run)
		start(1, "rollup", p.rollup.Run)
		start(1, "custody", p.custody.Run)
	}
	for _, c := range p.collectors {
		start(0, "collector", c.Run)
	}
	p.logger.Info("running", slog.String("address", p.URL()), slog.Bool("master", p.master != nil),
		slog.Int("collectors", len(p.collectors)), slog.Bool("consumer", p.consumer != nil))
	<-stop.Done()
	p.logger.Info("stopping")
	var errs []error
	for i := range groups {
		ends[i]()
		errs = append(errs, groups[i].Wait())
	}
	return errors.Join(errs...)
}

// Close lets go of what New opened, when Run is not called.
func (p *Process) Close() error { return p.close() }

func (p *Process) close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

// label marks all metrics of one of several like roles in a process.
func label(reg prometheus.Registerer, name string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"member": name}, reg)
}

func (p *Process) keysDir() string {
	if p.cfg.Master.KeysDir != "" {
		return p.cfg.Master.KeysDir
	}
	return filepath.Join(p.cfg.Data, "keys")
}

// stopTimeout bounds the end of the HTTP server.
const stopTimeout = 5 * time.Second

func (p *Process) serve(ctx context.Context) error {
	server := master.HTTPServer(p.handler())
	server.ErrorLog = slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug)
	done := make(chan error, 1)
	go func() {
		if p.tls != nil {
			server.TLSConfig = p.tls
			done <- server.ServeTLS(p.listener, "", "")
			return
		}
		done <- server.Serve(p.listener)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // someone still reads a stream
	}
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
