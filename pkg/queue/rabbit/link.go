package rabbit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tungstene/tungstene/pkg/queue"
)

// link keeps one connection to the broker.
//
//	connecting ──answered──► up ──closed──► waiting ──pause over──► connecting
//	     └──no address answers──► waiting
type link struct {
	cfg     Config
	role    string
	metrics *metrics
	tried   chan struct{} // closed after the first attempts
	next    int           // the address to try first; run's own

	mu      sync.Mutex
	session *session
	err     error         // why there is no session
	changed chan struct{} // closed and replaced when session changes
}

func newLink(cfg Config, role string, m *metrics) *link {
	return &link{
		cfg: cfg, role: role, metrics: m,
		tried:   make(chan struct{}),
		changed: make(chan struct{}),
		err:     errors.New("not tried yet"),
		next:    rand.IntN(len(cfg.Addresses)), // to spread load, not to hide anything
	}
}

// run keeps the connection until the context ends.
func (l *link) run(ctx context.Context) {
	log := l.cfg.Logger.With("broker", l.role)
	tried := sync.OnceFunc(func() { close(l.tried) })
	defer tried()
	for attempt := 0; ; attempt++ {
		s, err := l.connect(ctx)
		if err != nil {
			l.set(nil, err)
			tried()
			if ctx.Err() != nil {
				return
			}
			log.Warn("no connection to RabbitMQ", "attempt", attempt+1, "err", err)
		} else {
			since := time.Now()
			l.set(s, nil)
			l.metrics.connected.WithLabelValues(l.role).Set(1)
			log.Info("connected to RabbitMQ", "address", s.address)
			tried()
			select {
			case <-s.gone:
			case <-ctx.Done():
				s.farewell()
			}
			l.set(nil, s.reason())
			l.metrics.connected.WithLabelValues(l.role).Set(0)
			if ctx.Err() != nil {
				return
			}
			l.metrics.disconnects.WithLabelValues(l.role).Inc()
			log.Warn("the connection to RabbitMQ ended", "address", s.address, "err", s.reason())
			if time.Since(since) > l.cfg.MaxBackoff {
				attempt = -1 // it went well for a while: begin anew
			}
		}
		if sleep(ctx, backoff(l.cfg, attempt)) != nil {
			return
		}
	}
}

// backoff is the pause after a number of failed attempts: full jitter, so that a thousand clients
// of a broker that comes back do not knock together.
func backoff(cfg Config, attempt int) time.Duration {
	ceiling := cfg.MaxBackoff
	if attempt < 32 {
		if c := cfg.MinBackoff << max(attempt, 0); c > 0 {
			ceiling = min(ceiling, c)
		}
	}
	return rand.N(ceiling) + 1 // jitter
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connect tries every address once.
func (l *link) connect(ctx context.Context) (*session, error) {
	var errs []error
	for range l.cfg.Addresses {
		address := l.cfg.Addresses[l.next%len(l.cfg.Addresses)]
		s, err := dial(ctx, l.cfg, address, l.cfg.Name+" "+l.role, l.metrics)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l.next++
		errs = append(errs, fmt.Errorf("%s: %w", address, err))
	}
	return nil, errors.Join(errs...)
}

func (l *link) set(s *session, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil && s == nil {
		l.err = err
		return
	}
	l.session, l.err = s, err
	close(l.changed)
	l.changed = make(chan struct{})
}

// current is the connection, or nil.
func (l *link) current() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

// failure is why there is no connection.
func (l *link) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		return errors.New("it has just been made")
	}
	return l.err
}

// wait gives the connection once there is one that is not known to be lost.
func (l *link) wait(ctx context.Context) (*session, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l.mu.Lock()
		s, changed := l.session, l.changed
		l.mu.Unlock()
		if s != nil && !s.lost() {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// sever cuts the connection off without a word.
func (l *link) sever() {
	if s := l.current(); s != nil {
		s.sever()
	}
}

// session is one connection, from its handshake to its end.
type session struct {
	conn    *amqp.Connection
	socket  net.Conn
	address string
	metrics *metrics
	gone    chan struct{} // closed when the connection has ended

	mu        sync.Mutex
	err       error
	blockedBy string
	blocked   bool
	unblocked chan struct{} // closed and replaced when blocked changes
}

func dial(ctx context.Context, cfg Config, address, name string, m *metrics) (*session, error) {
	password, err := cfg.Credential()
	if err != nil {
		return nil, fmt.Errorf("password of user %q: %w", cfg.User, err)
	}
	var (
		socket net.Conn
		asked  atomic.Bool // for a client certificate
	)
	scheme := "amqp://"
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(name)
	config := amqp.Config{
		SASL:       []amqp.Authentication{&amqp.PlainAuth{Username: cfg.User, Password: password}},
		Vhost:      cfg.VHost,
		Heartbeat:  cfg.Heartbeat,
		Properties: properties,
		Dial: func(network, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: cfg.DialTimeout}
			c, err := d.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// For the handshakes; the library lifts it after them.
			if err := c.SetDeadline(time.Now().Add(cfg.DialTimeout)); err != nil {
				return nil, errors.Join(err, c.Close())
			}
			socket = c
			return c, nil
		},
	}
	if cfg.TLS != nil {
		scheme = "amqps://"
		config.TLSClientConfig = cfg.TLS.Clone() // the library writes the server's name into it
		noteRequest(config.TLSClientConfig, &asked)
	}
	var conn *amqp.Connection
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err = amqp.DialConfig(scheme+address, config)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		// The dialer has noticed by itself; a handshake ends at its deadline at the latest.
		<-done
		if err == nil {
			err = errors.Join(ctx.Err(), conn.CloseDeadline(time.Now().Add(closeTimeout)))
		}
	}
	if err != nil {
		if socket != nil {
			_ = socket.Close() // the library has given up on it
		}
		if isCode(err, amqp.AccessRefused) {
			err = fmt.Errorf("user %q: check name, password and the rights on virtual host %q: %w", cfg.User, cfg.VHost, err)
		}
		if asked.Load() && cut(err) {
			err = fmt.Errorf("the server asked for a client certificate and then ended the connection: %w", err)
		}
		return nil, cfg.Explain(err)
	}
	s := &session{
		conn: conn, socket: socket, address: address, metrics: m,
		gone: make(chan struct{}), unblocked: make(chan struct{}),
	}
	go s.watch(conn.NotifyClose(make(chan *amqp.Error, 1)), conn.NotifyBlocked(make(chan amqp.Blocking, 16)))
	return s, nil
}

// noteRequest has asked tell whether the server wants a client certificate. With TLS 1.3 a client's
// handshake is over before the server has judged its certificate, and of the refusal that follows there
// may be nothing left to read once the client has written.
func noteRequest(c *tls.Config, asked *atomic.Bool) {
	choose, certificates := c.GetClientCertificate, c.Certificates
	c.GetClientCertificate = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked.Store(true)
		if choose != nil {
			return choose(request)
		}
		for i := range certificates {
			if request.SupportsCertificate(&certificates[i]) == nil {
				return &certificates[i], nil
			}
		}
		return &tls.Certificate{}, nil
	}
}

// cut reports whether an error is that of a connection which the other side has ended.
func cut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// watch takes the connection's notices until its end. They must be taken: the library waits for
// that.
func (s *session) watch(closes <-chan *amqp.Error, blocks <-chan amqp.Blocking) {
	defer close(s.gone)
	defer s.setBlocked("", false)
	for closes != nil || blocks != nil {
		select {
		case e, ok := <-closes:
			if !ok {
				closes = nil
				continue
			}
			s.mu.Lock()
			s.err = e
			s.mu.Unlock()
		case b, ok := <-blocks:
			if !ok {
				blocks = nil
				continue
			}
			s.setBlocked(b.Reason, b.Active)
		}
	}
}

func (s *session) setBlocked(reason string, blocked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocked == blocked {
		return
	}
	s.blocked, s.blockedBy = blocked, reason
	if blocked {
		s.metrics.blocked.Inc()
	} else {
		s.metrics.blocked.Dec()
	}
	close(s.unblocked)
	s.unblocked = make(chan struct{})
}

func (s *session) isBlocked() (reason string, blocked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blockedBy, s.blocked
}

// blockedChange is closed when isBlocked answers otherwise.
func (s *session) blockedChange() (blocked bool, change <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blocked, s.unblocked
}

func (s *session) lost() bool { return s.conn.IsClosed() }

// reason is why it ended.
func (s *session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return errors.New("closed by us")
	}
	return s.err
}

// farewell closes it politely if the broker listens, and in any case.
func (s *session) farewell() {
	// An error says that it was gone already, or did not answer: both are the end of it.
	_ = s.conn.CloseDeadline(time.Now().Add(closeTimeout))
	_ = s.socket.Close()
	<-s.gone
}

func (s *session) sever() { _ = s.socket.Close() }

// within runs f on a channel of its own, since any refusal closes the channel it came over.
func (s *session) within(f func(*amqp.Channel) error) error {
	ch, err := s.conn.Channel()
	if err != nil {
		return err
	}
	if err := f(ch); err != nil {
		_ = ch.Close() // closed already by most refusals
		return err
	}
	return ch.Close()
}

// inspect looks whether a queue is there, and how many messages wait in it.
func (s *session) inspect(name string) (depth int, err error) {
	err = s.within(func(ch *amqp.Channel) error {
		// Passive: of the arguments only the name counts.
		q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		depth = q.Messages
		return err
	})
	if isCode(err, amqp.NotFound) {
		return 0, fmt.Errorf("%w (%w)", queue.ErrUnroutable, err)
	}
	return depth, err
}
