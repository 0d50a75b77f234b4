package app_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/testcerts"
	"github.com/tungstene/tungstene/internal/testmongo"
	"github.com/tungstene/tungstene/internal/testrabbit"
	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/sim"
)

// installation is everything in one process, beside a Twitch of its own.
type installation struct {
	cfg app.Config
	url string
	log *logBuffer
}

// logBuffer is a log that is written and read at once.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const clientSecret = "hunter2-client-secret"

func install(t *testing.T, change func(*app.Config)) *installation {
	t.Helper()
	s, err := sim.New(sim.Config{Channels: 2, Rate: 10, Limits: sim.Limits{Joins: -1}})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := app.DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg.Data, cfg.Listen, cfg.Name = filepath.Join(dir, "data"), "127.0.0.1:0", "one"
	cfg.Twitch.IRC, cfg.Twitch.IRCTLS = s.IRCAddress(), false
	cfg.Twitch.Helix, cfg.Twitch.Auth = s.HelixURL(), s.AuthURL()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(clientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Twitch.Clients = map[string]string{"test": secret}
	if change != nil {
		change(&cfg)
	}
	in := &installation{cfg: cfg, log: &logBuffer{}}
	logger := slog.New(slog.NewTextHandler(in.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := app.New(t.Context(), cfg, app.Roles{Master: true, Collectors: 1, Consumer: true}, app.Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	in.url = p.URL()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) }) // it ends with the context
	running.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Errorf("run: %v\n%s", err, in.log)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return in
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// client is an HTTP client that trusts an authority and may have a certificate.
func client(t *testing.T, caFile string, pair *testcerts.Pair) *http.Client {
	t.Helper()
	var p testcerts.Pair
	if pair != nil {
		p = *pair
	}
	cfg, err := app.ClientTLS("test", caFile, p.CertFile, p.KeyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
}

func status(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// The API wants a client certificate of its authority, everything else does without; collectors and
// the tool present theirs; certificates and authorities are taken up when their files change.
func TestMasterAPIOverTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for changed files")
	}
	ca, clients, stranger := testcerts.New(t, "servers"), testcerts.New(t, "clients"), testcerts.New(t, "strangers")
	server, mine, other := ca.Issue("master", "127.0.0.1"), clients.Issue("collector"), stranger.Issue("stranger")
	in := install(t, func(c *app.Config) {
		c.ListenTLS = app.ListenTLSConfig{CertFile: server.CertFile, KeyFile: server.KeyFile, ClientCAFile: clients.File}
		c.Master.CAFile, c.Master.CertFile, c.Master.KeyFile = ca.File, mine.CertFile, mine.KeyFile
	})
	if !strings.HasPrefix(in.url, "https://") {
		t.Fatalf("it serves at %s", in.url)
	}
	token, err := app.OperatorToken(in.cfg)
	if err != nil {
		t.Fatal(err)
	}
	health := func(cfg app.Config) (collectors int, err error) {
		c, err := app.NewMasterClient(cfg, []string{in.url}, token)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		h, err := c.Health(t.Context())
		return h.Collectors, err
	}
	eventually(t, "the collector's heartbeat arrives", func() bool {
		n, err := health(in.cfg)
		return err == nil && n == 1
	})

	anonymous := client(t, ca.File, nil)
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/metrics": 200, "/": 200, "/openapi.json": 200, "/v1/health": 403, "/v1/nothing": 403,
	} {
		if code, body := status(t, anonymous, in.url+path); code != want || want == 403 && !strings.Contains(body, "master.cert_file") {
			t.Errorf("%s without a certificate: %d, want %d: %s", path, code, want, body)
		}
	}
	if code, _ := status(t, client(t, ca.File, &mine), in.url+"/v1/health"); code != http.StatusUnauthorized {
		t.Errorf("a certificate does instead of a token: %d", code)
	}

	// What is wrong names its field.
	expired := clients.Issue("late")
	clients.IssueTo(expired, "late", time.Hour)
	for name, c := range map[string]struct {
		change func(*app.MasterConfig)
		want   string
	}{
		"no certificate":  {func(m *app.MasterConfig) { m.CertFile, m.KeyFile = "", "" }, "master.cert_file"},
		"another's":       {func(m *app.MasterConfig) { m.CertFile, m.KeyFile = other.CertFile, other.KeyFile }, "master.cert_file: "},
		"expired":         {func(m *app.MasterConfig) { m.CertFile, m.KeyFile = expired.CertFile, expired.KeyFile }, "master.cert_file: "},
		"wrong authority": {func(m *app.MasterConfig) { m.CAFile = stranger.File }, "master.ca_file: "},
		"no authority":    {func(m *app.MasterConfig) { m.CAFile = "" }, "master.ca_file: "},
		"no such file":    {func(m *app.MasterConfig) { m.CAFile = filepath.Join(in.cfg.Data, "none") }, "master.ca_file: "},
		"not its key":     {func(m *app.MasterConfig) { m.KeyFile = other.KeyFile }, "master.cert_file: "},
	} {
		cfg := in.cfg
		c.change(&cfg.Master)
		if _, err := health(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	plain := in.cfg
	plain.Master.CAFile, plain.Master.CertFile, plain.Master.KeyFile = "", "", ""
	c, err := app.NewMasterClient(plain, []string{strings.Replace(in.url, "https", "http", 1)}, token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Health(t.Context()); err == nil {
		t.Error("it speaks plain HTTP too")
	}
	c.Close()

	// A half of a new pair leaves the old one in use.
	if err := os.WriteFile(server.CertFile, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log tells of the broken certificate", func() bool {
		if code, _ := status(t, anonymous, in.url+"/healthz"); code != http.StatusOK {
			t.Fatal("a broken file stopped the server")
		}
		return strings.Contains(in.log.String(), "changed certificate not taken up")
	})
	ca.IssueTo(server, "renewed", 0, "127.0.0.1")
	eventually(t, "the new certificate is served", func() bool {
		conn, err := (&tls.Dialer{Config: anonymous.Transport.(*http.Transport).TLSClientConfig}).DialContext(t.Context(), "tcp", strings.TrimPrefix(in.url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName == "renewed"
	})
	// The clients' authority is replaced: whom it signed is let in, with the same process.
	pem, err := os.ReadFile(stranger.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(clients.File, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	moved := in.cfg
	moved.Master.CertFile, moved.Master.KeyFile = other.CertFile, other.KeyFile
	eventually(t, "the other authority's certificate is let in", func() bool {
		_, err := health(moved)
		return err == nil
	})
	// So is the collector, when its certificate is one of the new authority.
	stranger.IssueTo(mine, "collector", 0)
	eventually(t, "the collector's new certificate is let in", func() bool {
		_, err := health(in.cfg)
		return err == nil
	})
	if oldest := (&tls.Config{MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true}); !refusesTLS(t, in.url, oldest) {
		t.Error("TLS 1.1 is accepted")
	}
}

func refusesTLS(t *testing.T, url string, cfg *tls.Config) bool {
	t.Helper()
	cfg.MinVersion = tls.VersionTLS10
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "https://"))
	if err != nil {
		return true
	}
	_ = conn.Close()
	return false
}

func TestTLSOfAServerThatIsNotAsNamed(t *testing.T) {
	ca := testcerts.New(t, "authority")
	mismatched, expired := ca.Issue("elsewhere", "elsewhere.example"), ca.Issue("old")
	ca.IssueTo(expired, "old", time.Hour, "127.0.0.1")
	for name, c := range map[string]struct {
		pair *testcerts.Pair
		want string
	}{
		"another name": {&mismatched, "names"},
		"expired":      {&expired, "expired"},
		"plain":        {nil, "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{ReadHeaderTimeout: time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
			done := make(chan error, 1)
			go func() {
				if c.pair == nil {
					done <- server.Serve(l)
				} else {
					done <- server.ServeTLS(l, c.pair.CertFile, c.pair.KeyFile)
				}
			}()
			defer func() {
				if err := errors.Join(server.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
			}()
			cfg := app.Config{Master: app.MasterConfig{CAFile: ca.File}}
			m, err := app.NewMasterClient(cfg, []string{"https://" + l.Addr().String()}, func() (string, error) { return "a-token-that-is-long", nil })
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if _, err := m.Health(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), ": master") {
				t.Errorf("it says %v, want %s", err, c.want)
			}
		})
	}
}

// The broker is reached over TLS with a client certificate and a password, both; a new password is
// taken up at the next connection.
func TestQueueOverTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker")
	}
	ca, stranger := testcerts.New(t, "authority"), testcerts.New(t, "stranger")
	server, mine, other := ca.Issue("rabbitmq", "127.0.0.1"), ca.Issue("collector"), stranger.Issue("collector")
	b := testrabbit.Start(t)
	address, err := b.Secure(t.Context(), ca.File, server.CertFile, server.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(t.TempDir(), "password")
	write := func(s string) {
		if err := os.WriteFile(password, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(b.Password)
	cfg, err := app.DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Queue = app.QueueConfig{
		Kind: "rabbit", Addresses: []string{address}, VHost: "/", User: b.User, PasswordFile: password, Declare: true,
		TLS: app.TLSConfig{Enabled: true, CAFile: ca.File, CertFile: mine.CertFile, KeyFile: mine.KeyFile},
	}
	logger := slog.New(slog.DiscardHandler)
	open := func(cfg app.Config) (queue.Queue, error) {
		q, err := app.OpenQueue(t.Context(), cfg, logger, nil)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { _ = q.Close() })
		return q, q.Check(t.Context())
	}
	q, err := open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Publish(t.Context(), queue.Store, queue.Message{ID: "one", Body: []byte("over TLS")}); err != nil {
		t.Fatal(err)
	}

	cfg.Queue.Declare = false
	for name, c := range map[string]struct {
		change func(*app.QueueConfig)
		want   string
	}{
		"no certificate":  {func(q *app.QueueConfig) { q.TLS.CertFile, q.TLS.KeyFile = "", "" }, "queue.tls.cert_file: "},
		"another's":       {func(q *app.QueueConfig) { q.TLS.CertFile, q.TLS.KeyFile = other.CertFile, other.KeyFile }, "queue.tls.cert_file: "},
		"wrong authority": {func(q *app.QueueConfig) { q.TLS.CAFile = stranger.File }, "queue.tls.ca_file: "},
		"plain port":      {func(q *app.QueueConfig) { q.Addresses = []string{b.Address} }, "queue.tls: "},
		"wrong password":  {func(q *app.QueueConfig) { q.PasswordFile = mine.CertFile }, `user "guest": check name, password`},
	} {
		wrong := cfg
		c.change(&wrong.Queue)
		if _, err := open(wrong); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}

	if _, err := b.Ctl(t.Context(), "change_password", "guest", "rotated"); err != nil {
		t.Fatal(err)
	}
	write("rotated")
	if _, err := b.Ctl(t.Context(), "close_all_connections", "rotation"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new password is taken up", func() bool {
		n, err := q.Depth(t.Context(), queue.Store)
		return err == nil && n == 1
	})
}

// The database is reached over TLS with a client certificate. The stand-in for MongoDB knows no
// TLS: something before it does.
func TestStoreOverTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for time-outs")
	}
	ca, stranger := testcerts.New(t, "authority"), testcerts.New(t, "stranger")
	server, mine, other := ca.Issue("mongodb", "127.0.0.1"), ca.Issue("consumer"), stranger.Issue("consumer")
	m := testmongo.Run(t)
	if m.Real() {
		t.Skip("a MongoDB of its own may want TLS itself")
	}
	address := terminate(t, strings.Trim(strings.TrimPrefix(m.URI(), "mongodb://"), "/"), ca.File, server)
	cfg, err := app.DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Store = app.StoreConfig{
		Kind: "mongo", URI: "mongodb://" + address + "/?directConnection=true&maxPoolSize=1&serverSelectionTimeoutMS=2000", Database: m.Database(),
		TLS: app.TLSConfig{Enabled: true, CAFile: ca.File, CertFile: mine.CertFile, KeyFile: mine.KeyFile},
	}
	check := func(cfg app.Config) error {
		s, err := app.OpenStore(t.Context(), cfg, true)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		return errors.Join(s.Check(ctx), s.Close())
	}
	if err := check(cfg); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*app.TLSConfig)
		want   string
	}{
		"no certificate":  {func(c *app.TLSConfig) { c.CertFile, c.KeyFile = "", "" }, "store.tls.cert_file: "},
		"another's":       {func(c *app.TLSConfig) { c.CertFile, c.KeyFile = other.CertFile, other.KeyFile }, "store.tls.cert_file: "},
		"wrong authority": {func(c *app.TLSConfig) { c.CAFile = stranger.File }, "store.tls.ca_file: "},
	} {
		wrong := cfg
		c.change(&wrong.Store.TLS)
		if err := check(wrong); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// terminate speaks TLS before a server that doesn't, and wants a client certificate.
func terminate(t *testing.T, server, caFile string, pair testcerts.Pair) string {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer in.Close()
				if in.(*tls.Conn).HandshakeContext(context.Background()) != nil {
					return
				}
				out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", server)
				if err != nil {
					return
				}
				defer out.Close()
				running.Go(func() {
					_, _ = io.Copy(in, out) // either end closes both
					_ = in.Close()
				})
				_, _ = io.Copy(out, in)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String()
}
