package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/queue"
	queuelocal "github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/queue/rabbit"
	"github.com/tungstene/tungstene/pkg/store"
	storelocal "github.com/tungstene/tungstene/pkg/store/local"
	"github.com/tungstene/tungstene/pkg/store/mongo"
	"github.com/tungstene/tungstene/pkg/twitch/helix"
)

const (
	kindLocal  = "local"
	kindRabbit = "rabbit"
	kindMongo  = "mongo"
)

// The environment variables of secrets.
const (
	envQueuePassword  = "TUNGSTENE_QUEUE_PASSWORD"  //nolint:gosec // the variable's name
	envStorePassword  = "TUNGSTENE_STORE_PASSWORD"  //nolint:gosec // the variable's name
	envOperatorToken  = "TUNGSTENE_OPERATOR_TOKEN"  //nolint:gosec // the variable's name
	envCollectorToken = "TUNGSTENE_COLLECTOR_TOKEN" //nolint:gosec // the variable's name
	envClientID       = "TUNGSTENE_TWITCH_CLIENT_ID"
	envClientSecret   = "TUNGSTENE_TWITCH_CLIENT_SECRET" //nolint:gosec // the variable's name
)

// StorePath is the embedded store's file in a data folder.
func StorePath(data string) string { return filepath.Join(data, "store.db") }

// OpenQueue opens the queue that the configuration names.
func OpenQueue(ctx context.Context, cfg Config, logger *slog.Logger, reg prometheus.Registerer) (queue.Queue, error) {
	if cfg.Queue.Kind == kindLocal {
		return queuelocal.Open(filepath.Join(cfg.Data, "queue.db"), queuelocal.Options{Logger: logger, Registerer: reg})
	}
	rc, err := rabbitConfig(cfg, logger, reg)
	if err != nil {
		return nil, err
	}
	if cfg.Queue.Declare {
		if err := rabbit.Declare(ctx, rc); err != nil {
			return nil, err
		}
	}
	return rabbit.Open(ctx, rc)
}

func rabbitConfig(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (rabbit.Config, error) {
	credential := func() (string, error) {
		password, err := secret("queue.password_file", cfg.Queue.PasswordFile, envQueuePassword)
		if password == "" && cfg.Queue.User == "guest" {
			password = "guest" // RabbitMQ's own default, which it takes from loopback only
		}
		return password, err
	}
	if _, err := credential(); err != nil {
		return rabbit.Config{}, err
	}
	tlsConfig, err := cfg.Queue.TLS.client("queue.tls", logger)
	if err != nil {
		return rabbit.Config{}, err
	}
	return rabbit.Config{
		Addresses: cfg.Queue.Addresses, VHost: cfg.Queue.VHost, User: cfg.Queue.User, Credential: credential,
		Prefix: cfg.Queue.Prefix, TLS: tlsConfig, Explain: explain("queue.tls"), Logger: logger, Registerer: reg,
	}, nil
}

// explain adds remedies to errors of the TLS of a section.
func explain(section string) func(error) error {
	return func(err error) error { return ExplainTLS(section, err) }
}

// DeclareQueue declares the queues on RabbitMQ.
func DeclareQueue(ctx context.Context, cfg Config, logger *slog.Logger) error {
	if cfg.Queue.Kind != kindRabbit {
		return &FieldError{Field: "queue.kind", Err: errors.New("only rabbit has anything to declare")}
	}
	rc, err := rabbitConfig(cfg, logger, nil)
	if err != nil {
		return err
	}
	return rabbit.Declare(ctx, rc)
}

// OpenStore opens the store that the configuration names, and declares its indexes unless it is
// only read.
func OpenStore(ctx context.Context, cfg Config, readOnly bool) (store.Store, error) {
	return openStore(ctx, cfg, readOnly, slog.Default())
}

// fillCache is the memory for page caches where millions of documents are written in one go: their keys
// are in no order, and without it every other one costs a read and a write of a page.
const fillCache = 512 << 20

// OpenStoreToFill is OpenStore for whoever writes millions of documents and then closes it.
func OpenStoreToFill(ctx context.Context, cfg Config) (store.Store, error) {
	if cfg.Store.Kind == kindLocal {
		return storelocal.Open(StorePath(cfg.Data), storelocal.Options{CacheBytes: fillCache})
	}
	return OpenStore(ctx, cfg, false)
}

func openStore(ctx context.Context, cfg Config, readOnly bool, logger *slog.Logger) (store.Store, error) {
	if cfg.Store.Kind == kindLocal {
		return storelocal.Open(StorePath(cfg.Data), storelocal.Options{ReadOnly: readOnly})
	}
	password, err := secret("store.password_file", cfg.Store.PasswordFile, envStorePassword)
	if err != nil {
		return nil, err
	}
	mc, err := mongoConfig(cfg, cfg.Store.User, password, logger)
	if err != nil {
		return nil, err
	}
	s, err := mongo.Open(ctx, mc)
	if err != nil {
		return nil, &FieldError{Field: "store.uri", Err: err}
	}
	if !readOnly {
		if err := s.Declare(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("declare the store's indexes: %w", err), s.Close())
		}
	}
	return s, nil
}

func mongoConfig(cfg Config, user, password string, logger *slog.Logger) (mongo.Config, error) {
	tlsConfig, err := cfg.Store.TLS.client("store.tls", logger)
	if err != nil {
		return mongo.Config{}, err
	}
	return mongo.Config{
		URI: cfg.Store.URI, Database: cfg.Store.Database, Username: user, Password: password, TLS: tlsConfig,
		Explain: explain("store.tls"),
	}, nil
}

// StoreConfigOf is how the database of a configuration is reached as another user: one who may give
// rights.
func StoreConfigOf(cfg Config, user, password string) (mongo.Config, error) {
	if err := plainURL(cfg.Store.URI, "mongodb", "mongodb+srv"); err != nil {
		return mongo.Config{}, &FieldError{Field: "store.uri", Err: err} // checked by Check only where store.kind is mongo
	}
	return mongoConfig(cfg, user, password, slog.Default())
}

// newHelix makes a client of Helix with the credentials of the configuration.
func newHelix(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*helix.Client, error) {
	var clients []helix.Credential
	for _, id := range sortedKeys(cfg.Twitch.Clients) {
		s, err := secret("twitch.clients", cfg.Twitch.Clients[id], "")
		if err != nil {
			return nil, err
		}
		clients = append(clients, helix.Credential{ClientID: id, Secret: s})
	}
	if id := os.Getenv(envClientID); id != "" && !slices.ContainsFunc(clients, func(c helix.Credential) bool { return c.ClientID == id }) {
		clients = append(clients, helix.Credential{ClientID: id, Secret: os.Getenv(envClientSecret)})
	}
	if len(clients) == 0 {
		return nil, &FieldError{Field: "twitch.clients", Err: fmt.Errorf(
			"no client id: register an application at https://dev.twitch.tv/console, and name its client id with the file of its secret here, or set %s and %s",
			envClientID, envClientSecret)}
	}
	c, err := helix.New(helix.Config{
		Clients: clients, APIURL: cfg.Twitch.Helix, AuthURL: cfg.Twitch.Auth, Logger: logger, Registerer: reg,
	})
	if err != nil {
		return nil, &FieldError{Field: "twitch.clients", Err: err}
	}
	return c, nil
}

// tokens is where a master takes the tokens of one role from. With neither file nor variable it
// makes a token and keeps it in the data folder.
func (p *Process) tokens(field, file, variable, fallback string) (master.TokenSource, error) {
	if file == "" {
		if t := os.Getenv(variable); t != "" {
			return master.StaticTokens(t), nil
		}
		file = filepath.Join(p.cfg.Data, fallback)
		if err := makeToken(file); err != nil {
			return nil, &FieldError{Field: field, Err: err, Environment: true}
		}
	}
	source := master.TokenFile(file)
	if _, err := source(); err != nil {
		return nil, &FieldError{Field: field, Err: err, Environment: true}
	}
	return source, nil
}

// makeToken writes a new token where there is none.
func makeToken(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	_, err = f.WriteString(rand.Text() + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	return nil
}

// clientToken is the token that is presented: the first of the file, read anew each time.
func (p *Process) clientToken(field, file, variable, fallback string) (func() (string, error), error) {
	return ClientToken(p.cfg.Data, field, file, variable, fallback)
}

// OperatorToken is the token that the command line presents to the masters.
func OperatorToken(cfg Config) (func() (string, error), error) {
	read, err := ClientToken(cfg.Data, "master.operator_token_file", cfg.Master.OperatorTokenFile, envOperatorToken, operatorTokenName)
	var field *FieldError
	if cfg.Master.OperatorTokenFile == "" && errors.Is(err, fs.ErrNotExist) && errors.As(err, &field) {
		field.Err = fmt.Errorf("%w, or the data folder of the 'up' on this machine with --data", field.Err)
	}
	return read, err
}

// OperatorTokenOrigin says where OperatorToken takes it from.
func OperatorTokenOrigin(cfg Config) string {
	switch {
	case cfg.Master.OperatorTokenFile != "":
		return cfg.Master.OperatorTokenFile
	case os.Getenv(envOperatorToken) != "":
		return "the environment variable " + envOperatorToken
	}
	return filepath.Join(cfg.Data, operatorTokenName)
}

// operatorTokenName is the operator's token in the data folder of a process that makes its own.
const operatorTokenName = "operator.token"

// ClientToken reads the first token of a file; of the variable where no file is named; of the
// fallback in the data folder where there is neither.
func ClientToken(data, field, file, variable, fallback string) (func() (string, error), error) {
	if file == "" {
		if t := os.Getenv(variable); t != "" {
			return func() (string, error) { return t, nil }, nil
		}
		file = filepath.Join(data, fallback)
	}
	source := master.TokenFile(file)
	read := func() (string, error) {
		tokens, err := source()
		if err != nil {
			return "", fmt.Errorf("%w; name the file in %s or set %s", err, field, variable)
		}
		return tokens[0], nil
	}
	if _, err := read(); err != nil {
		return nil, &FieldError{Field: field, Err: err, Environment: true}
	}
	return read, nil
}

// MasterURLs are where the masters of a configuration are: those that it names, else the one on this
// machine.
func MasterURLs(cfg Config) []string {
	if len(cfg.Master.URLs) > 0 {
		return cfg.Master.URLs
	}
	scheme := "http://"
	if cfg.ListenTLS.CertFile != "" {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return []string{scheme + cfg.Listen}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return []string{scheme + net.JoinHostPort(host, port)}
}

// NewMasterClient makes a client of the masters.
func NewMasterClient(cfg Config, urls []string, token func() (string, error)) (*control.Client, error) {
	return newMasterClient(cfg, urls, token, slog.Default())
}

func newMasterClient(cfg Config, urls []string, token func() (string, error), logger *slog.Logger) (*control.Client, error) {
	for _, u := range urls {
		if strings.HasPrefix(u, "http://") && (cfg.Master.CAFile != "" || cfg.Master.CertFile != "") {
			return nil, &FieldError{Field: "master.urls", Err: fmt.Errorf("%s: use https where master.ca_file or master.cert_file is set", u)}
		}
	}
	tlsConfig, err := ClientTLS("master", cfg.Master.CAFile, cfg.Master.CertFile, cfg.Master.KeyFile, logger)
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Transport: explaining{"master", &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			TLSClientConfig:       tlsConfig,
			DialContext:           (&net.Dialer{Timeout: masterDialTimeout}).DialContext,
			TLSHandshakeTimeout:   masterDialTimeout,
			ResponseHeaderTimeout: time.Minute,
			MaxIdleConnsPerHost:   4,
			IdleConnTimeout:       90 * time.Second,
		}},
		// A token must not follow a redirection to somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c, err := control.New(urls, token, client)
	if err != nil {
		return nil, &FieldError{Field: "master.urls", Err: err}
	}
	return c, nil
}

// masterDialTimeout bounds the making of a connection to a master: the next one is tried then.
const masterDialTimeout = 2 * time.Second
