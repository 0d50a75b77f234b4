package rabbit

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says which broker to use and how. It prints without its password.
type Config struct {
	// Addresses are the nodes of one broker, "host:port" each. They are tried in turn from a
	// random one on. User and password have fields of their own: an address that holds them is
	// refused. Without a port: 5672, or 5671 with TLS.
	Addresses []string
	// User and Password are those of the broker. Default: guest, guest, which RabbitMQ takes over
	// loopback only.
	User     string
	Password string
	// Credential is asked for the password at each connection, so that a new one is taken up without
	// a restart; its error counts as a failed attempt. Default: Password.
	Credential func() (string, error)
	// Explain may add a remedy to why no connection could be made. Default: none.
	Explain func(error) error
	// VHost is the virtual host. Default: "/".
	VHost string
	// TLS is the TLS configuration; nil is plain TCP. The server's name is taken from the address
	// when it has none; a server that asks for a certificate gets the client's. Default: nil.
	TLS *tls.Config
	// Prefix stands before the names of all queues and exchanges, so that several installations
	// can share a virtual host. Default: "".
	Prefix string
	// Name is shown by the broker for the connections, with "publish" or "consume" after it, and
	// is the label "client" of the metrics. It must be unique within one Registerer. Default:
	// "tungstene".
	Name string
	// ConfirmWindow is how many messages may wait for their confirmation, of all publishers
	// together. Default: 256.
	ConfirmWindow int
	// ConfirmTimeout is how long the broker may confirm nothing of what waits for it, unless it has
	// blocked publishers, before the connection is given up and what waits is sent over a new one.
	// Default: 30 s.
	ConfirmTimeout time.Duration
	// Heartbeat is the interval of keep-alive frames, in whole seconds. A connection that is
	// silent for three of them is given up. Default: 10 s.
	Heartbeat time.Duration
	// DialTimeout bounds one attempt at one address, handshakes included. Default: 5 s.
	DialTimeout time.Duration
	// MinBackoff and MaxBackoff bound the pause between two rounds of attempts: it is random
	// between 0 and a ceiling that begins at the one and doubles up to the other. Default: 250 ms
	// and 10 s.
	MinBackoff time.Duration
	MaxBackoff time.Duration
	// Logger is told of connections that come and go. Default: slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics, until Close. Default: none.
	Registerer prometheus.Registerer
}

// String is the configuration without its password.
func (c Config) String() string {
	scheme := "amqp"
	if c.TLS != nil {
		scheme = "amqps"
	}
	return fmt.Sprintf("%s://%s@%s vhost %q prefix %q", scheme, c.User, strings.Join(c.Addresses, ","), c.VHost, c.Prefix)
}

// GoString is String.
func (c Config) GoString() string { return c.String() }

// LogValue is String.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// withDefaults fills in what is not set and refuses what is wrong.
func (c Config) withDefaults() (Config, error) {
	if len(c.Addresses) == 0 {
		return c, errors.New("rabbitmq: no address: give at least one host:port")
	}
	port := "5672"
	if c.TLS != nil {
		port = "5671"
	}
	addresses := make([]string, len(c.Addresses))
	for i, a := range c.Addresses {
		if a == "" || strings.ContainsAny(a, "@/ ") {
			// It may hold a password: it is not repeated here.
			return c, fmt.Errorf("rabbitmq: address %d is not host:port (user, password and virtual host have settings of their own)", i+1)
		}
		host, p, err := net.SplitHostPort(a)
		if err != nil {
			host, p = strings.Trim(a, "[]"), port
		}
		number, err := strconv.Atoi(p)
		if _, ip := netip.ParseAddr(host); host == "" || ip != nil && strings.ContainsAny(host, ":[]") || err != nil || number < 1 || number > 65535 {
			return c, fmt.Errorf("rabbitmq: address %q is not host:port", a)
		}
		addresses[i] = net.JoinHostPort(host, p)
	}
	c.Addresses = addresses
	if c.User == "" && c.Password == "" && c.Credential == nil {
		c.User, c.Password = "guest", "guest"
	}
	if c.Credential == nil {
		password := c.Password
		c.Credential = func() (string, error) { return password, nil }
	}
	if c.Explain == nil {
		c.Explain = func(err error) error { return err }
	}
	if c.VHost == "" {
		c.VHost = "/"
	}
	if c.Name == "" {
		c.Name = "tungstene"
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.ConfirmWindow == 0 {
		c.ConfirmWindow = 256
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		fallback time.Duration
	}{
		{"confirm timeout", &c.ConfirmTimeout, 30 * time.Second},
		{"heartbeat", &c.Heartbeat, 10 * time.Second},
		{"dial timeout", &c.DialTimeout, 5 * time.Second},
		{"smallest pause", &c.MinBackoff, 250 * time.Millisecond},
		{"largest pause", &c.MaxBackoff, 10 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
		if *d.value < 0 {
			return c, fmt.Errorf("rabbitmq: %s %v: use a positive duration", d.name, *d.value)
		}
	}
	switch {
	case c.ConfirmWindow < 1 || c.ConfirmWindow > 65536:
		return c, fmt.Errorf("rabbitmq: confirm window %d: use 1 to 65536", c.ConfirmWindow)
	case c.Heartbeat < time.Second:
		return c, fmt.Errorf("rabbitmq: heartbeat %v: use at least 1s", c.Heartbeat)
	case c.MinBackoff > c.MaxBackoff:
		return c, fmt.Errorf("rabbitmq: the smallest pause %v is longer than the largest, %v", c.MinBackoff, c.MaxBackoff)
	}
	return c, nil
}

// liveExchange is the name of the live feed's exchange, after the prefix.
const liveExchange = "live"
