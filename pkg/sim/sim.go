// Package sim is a Twitch on loopback: a chat server that speaks its IRC, with its limits and its
// moods, and an HTTP server with Helix and the OAuth host, fed by a model of a big event or by the
// replay of a recorded one. Beside Helix the charity sources answer: ZEvent, Streamlabs, Twitch,
// Tiltify and the list of donation goals, all telling the same donations. Ledgers of all that was sent
// and given make every run checkable.
//
// Event time (Sim.Clock) stamps messages, begins streams and chooses the viewers that Helix tells;
// limits, PINGs and tokens run on the machine's clock.
package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/clock"
)

// Sim is a simulated Twitch. Its methods are safe for concurrent use.
type Sim struct {
	cfg     Config
	log     *slog.Logger
	irc     net.Listener
	http    net.Listener
	corpus  *corpus
	ledger  *ledger
	metrics *metrics
	clients sync.WaitGroup // readers and writers of chat connections

	begin, end, done         chan struct{}
	beginOnce, endOnce, once sync.Once

	// mu guards all below, the model and its channels. It is taken before a conn's own.
	mu       sync.Mutex
	stopped  bool
	start    time.Time // event time of the traffic's start
	model    *model
	chance   *rand.Rand // of the faults, so that they don't change the traffic
	faults   Faults
	byLogin  map[string]*channel
	byID     map[string]*channel
	conns    map[*conn]struct{}
	accounts map[string]*account
	counts   counts
	sent     int64
	unheard  int64 // told to nobody, in the ledger
	withheld int64 // by Mute, from everyone who had joined
	delayed  []delayed
	touched  []*conn
	err      error // of the ledger

	// Reused by the traffic.
	scratch message
	line    line
	fitting []emote

	helix   helixState
	charity *charity
}

// Channel is one of the simulator's channels.
type Channel struct {
	ID    string `json:"id"`
	Login string `json:"login"`
	// Name is the display name.
	Name string `json:"name"`
}

// New listens on both addresses, so that they are known; Run serves. Close it if it is never run.
func New(cfg Config) (*Sim, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	c, err := loadCorpus()
	if err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	if r := cfg.Replay; r != nil {
		// A moment before the first minute, whose first instant is a slot that readers wait for.
		before := r.From.Add(-time.Second)
		scaled := clock.NewScaled(before, r.Speed)
		scaled.Hold(before)
		cfg.Clock = scaled
		cfg.Rate = 1
		for _, row := range r.Rows {
			cfg.Rate = max(cfg.Rate, float64(row.Viewers)/viewersPerMessage)
		}
	}
	s := &Sim{
		cfg: cfg, log: cfg.Logger, corpus: c, ledger: newLedger(cfg.Ledger), faults: cfg.Faults, start: cfg.Clock.Now(),
		chance: rand.New(rand.NewPCG(cfg.Seed, 0x6661756c7473)),
		begin:  make(chan struct{}), end: make(chan struct{}), done: make(chan struct{}),
		byLogin: map[string]*channel{}, byID: map[string]*channel{}, conns: map[*conn]struct{}{}, accounts: map[string]*account{},
	}
	s.model = newModel(&cfg, s.start)
	if cfg.Replay != nil {
		ch := s.model.channels[0]
		ch.Login, ch.Name = cfg.Replay.Login, capital(cfg.Replay.Login)
	}
	for _, ch := range s.model.channels {
		s.byLogin[ch.Login], s.byID[ch.ID] = ch, ch
	}
	s.charity = newCharity(s)
	s.counts.minutes = map[int64]*minuteCounts{}
	s.helix.init(&cfg)
	if s.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	var listen net.ListenConfig
	if s.irc, err = listen.Listen(context.Background(), "tcp", cfg.IRCListen); err != nil {
		return nil, fmt.Errorf("simulator: chat: %w: choose another address", err)
	}
	if cfg.TLS != nil {
		s.irc = tlsListener(s.irc, cfg.TLS)
	}
	if s.http, err = listen.Listen(context.Background(), "tcp", cfg.HTTPListen); err != nil {
		return nil, fmt.Errorf("simulator: HTTP: %w: choose another address", errors.Join(err, s.irc.Close()))
	}
	return s, nil
}

// Close lets go of a simulator that Run was never called on. After Run it does nothing.
func (s *Sim) Close() error {
	var err error
	s.once.Do(func() { err = errors.Join(s.irc.Close(), s.http.Close()) })
	return err
}

// Run serves until the context ends. Then it stops the traffic, delivers what was sent, flushes the
// ledger, closes all connections, and returns nil, or the ledger's error, or that of a server that
// failed. It is called once.
func (s *Sim) Run(ctx context.Context) error {
	first := false
	s.once.Do(func() { first = true })
	if !first {
		return errors.New("simulator: it was run or closed before")
	}
	g, ctx := errgroup.WithContext(ctx)
	web := &http.Server{
		Handler: s.handler(ctx), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	g.Go(func() error {
		if err := s.accept(ctx); err != nil {
			return fmt.Errorf("simulator: chat: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		if err := web.Serve(s.http); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("simulator: HTTP: %w", err)
		}
		return nil
	})
	g.Go(func() error { s.tend(ctx); return nil })
	g.Go(func() error { s.traffic(ctx); return nil })
	g.Go(func() error {
		<-ctx.Done()
		<-s.done
		s.closeConnections()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), lingerAfter)
		defer cancel()
		err := web.Shutdown(closing)
		if errors.Is(err, context.DeadlineExceeded) {
			err = web.Close()
		}
		if err != nil {
			return fmt.Errorf("simulator: HTTP: %w", err)
		}
		return nil
	})
	err := g.Wait()
	return errors.Join(err, s.ledgerError())
}

// closeConnections ends all chat connections and waits for them.
func (s *Sim) closeConnections() {
	if err := s.irc.Close(); err != nil {
		s.log.Debug("closing the chat listener", "err", err)
	}
	s.mu.Lock()
	s.stopped = true
	conns := s.connections("")
	for _, c := range conns {
		s.leaveLocked(c)
		c.finish("stop")
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.clients.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(2 * lingerAfter):
		for _, c := range conns {
			c.hardClose()
		}
		<-ended
	}
}

// traffic waits for Begin, plays until the end, and leaves everything delivered and flushed.
func (s *Sim) traffic(ctx context.Context) {
	defer close(s.done)
	defer s.flush()
	defer s.charity.end()
	select {
	case <-s.begin:
	case <-s.end:
		return
	case <-ctx.Done():
		return
	}
	playing, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.end:
			cancel()
		case <-playing.Done():
		}
	}()
	if clk, ok := s.cfg.Clock.(*clock.Scaled); ok && s.cfg.Replay != nil {
		s.replay(playing, clk)
	} else {
		s.play(playing)
	}
	s.mu.Lock()
	s.release(time.Now(), true)
	s.kick()
	s.mu.Unlock()
	if err := s.drain(context.WithoutCancel(ctx)); err != nil {
		s.log.Warn("the traffic ended before all was written", "err", err)
	}
}

// flush writes the ledgers out. The first error is logged, and told by End and Run.
func (s *Sim) flush() {
	err := errors.Join(s.ledger.flush(), s.charity.flush())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("simulator: %w", err)
		s.log.Error("the ledger can't be written: this run can't be checked", "err", err)
	}
}

func (s *Sim) ledgerError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// drain waits until all connections' sockets have taken what was queued, at most drainWithin.
func (s *Sim) drain(ctx context.Context) error {
	s.mu.Lock()
	conns := s.connections("")
	s.mu.Unlock()
	until := time.Now().Add(drainWithin)
	for {
		conns = slices.DeleteFunc(conns, (*conn).drained)
		if len(conns) == 0 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d chat clients have not taken what was sent to them within %v", len(conns), drainWithin)
		}
		if !sleep(ctx, time.Millisecond) {
			return fmt.Errorf("wait for chat clients: %w", ctx.Err())
		}
	}
}

// IRCAddress is host:port of the chat server.
func (s *Sim) IRCAddress() string { return s.irc.Addr().String() }

// HelixURL is the base address of Helix: http://host:port/helix.
func (s *Sim) HelixURL() string { return "http://" + s.http.Addr().String() + "/helix" }

// AuthURL is the base address of the OAuth host: http://host:port/oauth2.
func (s *Sim) AuthURL() string { return "http://" + s.http.Addr().String() + "/oauth2" }

// URL is the base address of the HTTP server: http://host:port. The charity sources are below it.
func (s *Sim) URL() string { return "http://" + s.http.Addr().String() }

// Team is the id of the Streamlabs team.
func (s *Sim) Team() string { return s.cfg.Charity.Team }

// Clock is event time. That of a replay stands one second before the slice's start until Begin.
func (s *Sim) Clock() clock.Clock { return s.cfg.Clock }

// Channels are all channels, live or not, as they are called now.
func (s *Sim) Channels() []Channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Channel, len(s.model.channels))
	for i, ch := range s.model.channels {
		out[i] = ch.Channel
	}
	return out
}

// Logins are the logins of all channels.
func (s *Sim) Logins() []string {
	var out []string
	for _, ch := range s.Channels() {
		out = append(out, ch.Login)
	}
	return out
}

// Begin starts the traffic, from this moment of event time on, once; servers answer before.
func (s *Sim) Begin() {
	s.beginOnce.Do(func() {
		now := s.cfg.Clock.Now()
		s.mu.Lock()
		s.start = now
		s.mu.Unlock()
		s.charity.begin(now)
		close(s.begin)
	})
}

// End stops the traffic and waits until all that was sent is written to the sockets and the
// ledger. It returns the ledger's error, or the context's. Run must be running.
func (s *Sim) End(ctx context.Context) error {
	s.endOnce.Do(func() { close(s.end) })
	select {
	case <-s.done:
		return s.ledgerError()
	case <-ctx.Done():
		return fmt.Errorf("simulator: end the traffic: %w", ctx.Err())
	}
}

// Done is closed when the traffic has ended and is flushed: after End, or when a replay is over.
func (s *Sim) Done() <-chan struct{} { return s.done }

// Sent is how many messages the ledger has, shared-chat copies among them.
func (s *Sim) Sent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// Sweeps is how many answers to Get Streams were given in the minute of event time, of those not
// too long ago.
func (s *Sim) Sweeps(minute time.Time) int {
	s.helix.mu.Lock()
	defer s.helix.mu.Unlock()
	return s.helix.sweeps[minute.Unix()/60]
}

// SetFaults changes what goes wrong from now on.
func (s *Sim) SetFaults(f Faults) error {
	if err := f.validate(); err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	return nil
}

// DropConnections closes the connections whose nick starts with the prefix ("" is all) and returns
// how many. What was queued for them is delivered first.
func (s *Sim) DropConnections(nick string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := s.connections(nick)
	for _, c := range conns {
		s.leaveLocked(c)
		c.finish("dropped")
	}
	return len(conns)
}

// SendReconnect sends RECONNECT to the connections whose nick starts with the prefix, closes them
// Limits.ReconnectGrace later, and returns how many.
func (s *Sim) SendReconnect(nick string) int {
	s.mu.Lock()
	conns := s.connections(nick)
	s.mu.Unlock()
	for _, c := range conns {
		s.reconnect(c)
	}
	return len(conns)
}

// Freeze silences the connections whose nick starts with the prefix: they stay open but get no line
// and no answer until Thaw. It returns how many; connections made later are not frozen. Messages
// that nobody else gets are not in the ledger.
func (s *Sim) Freeze(nick string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := s.connections(nick)
	for _, c := range conns {
		c.setFrozen(true)
	}
	return len(conns)
}

// Thaw ends every Freeze.
func (s *Sim) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.connections("") {
		c.setFrozen(false)
	}
}

func (c *conn) setFrozen(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = on && !c.closing
}

// Mute stops sending a channel to connections that are in it, without a word to them: they stay
// joined, and all else goes on. It takes those whose nick starts with the prefix, at most so many of
// them (0: all), and returns how many. It lasts until they part, or Unmute; connections that join later
// are not muted. Messages that nobody else gets are not in the ledger: Status.Withheld counts them.
func (s *Sim) Mute(login, nick string, most int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch, err := s.find(login)
	if err != nil {
		return 0, err
	}
	if most < 0 {
		return 0, fmt.Errorf("simulator: mute %s for at most %d connections: use 0 (all) or more", login, most)
	}
	n := 0
	for _, c := range ch.members {
		if !strings.HasPrefix(c.nick, nick) || most > 0 && n == most {
			continue
		}
		c.muted[ch] = struct{}{}
		n++
	}
	return n, nil
}

// Unmute ends every Mute of a channel.
func (s *Sim) Unmute(login string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch, err := s.find(login)
	if err != nil {
		return err
	}
	for _, c := range ch.members {
		delete(c.muted, ch)
	}
	return nil
}

func (s *Sim) find(login string) (*channel, error) {
	if ch := s.byLogin[login]; ch != nil {
		return ch, nil
	}
	return nil, fmt.Errorf("simulator: there is no channel %q", login)
}

// RenameChannel gives a channel a new login. As on Twitch its id stays, and whoever was in the old
// one is in it no more, without being told.
func (s *Sim) RenameChannel(login, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch, err := s.find(login)
	if err != nil {
		return err
	}
	if !validLogin(to) {
		return fmt.Errorf("simulator: rename %s to %q: use 1 to 25 of a-z, 0-9 and _", login, to)
	}
	if s.byLogin[to] != nil {
		return fmt.Errorf("simulator: rename %s to %q: that is another channel's", login, to)
	}
	for _, c := range slices.Clone(ch.members) {
		s.partLocked(c, ch)
	}
	delete(s.byLogin, login)
	s.byLogin[to] = ch
	ch.Login, ch.Name = to, capital(to)
	return nil
}

// SetLive begins a new stream of a channel, or ends it.
func (s *Sim) SetLive(login string, live bool) error {
	now := s.cfg.Clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	ch, err := s.find(login)
	if err != nil {
		return err
	}
	if live && !ch.live {
		s.model.goLive(ch, now)
	}
	ch.live = live
	s.model.weigh()
	return nil
}

// metrics are the simulator's own.
type metrics struct {
	messages, duplicates prometheus.Counter
	donations            prometheus.Counter
	connections          prometheus.Gauge
	closed, joins, helix *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		messages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tungstene_sim_messages_total", Help: "Chat messages sent to at least one connection.",
		}),
		duplicates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tungstene_sim_duplicates_total", Help: "Chat messages delivered twice on purpose.",
		}),
		donations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tungstene_sim_donations_total", Help: "Donations that the charity sources list.",
		}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tungstene_sim_connections", Help: "Open chat connections.",
		}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tungstene_sim_connections_closed_total", Help: "Chat connections that the simulator closed, by reason.",
		}, []string{"reason"}),
		joins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tungstene_sim_joins_total", Help: "JOINs by outcome.",
		}, []string{"outcome"}),
		helix: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tungstene_sim_http_requests_total", Help: "Requests to Helix, the OAuth host and the charity sources by endpoint and status.",
		}, []string{"endpoint", "status"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.messages, m.duplicates, m.donations, m.connections, m.closed, m.joins, m.helix} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return m, nil
}
