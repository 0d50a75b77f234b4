//go:build unix

package testrabbit

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// Extend restarts the broker with plugins, and with lines added to its configuration.
func (b *Broker) Extend(ctx context.Context, plugins []string, lines ...string) error {
	if err := b.Stop(); err != nil {
		return err
	}
	if err := os.WriteFile(b.path("plugins"), []byte("["+strings.Join(plugins, ",")+"].\n"), 0o600); err != nil {
		return fmt.Errorf("enable plugins: %w", err)
	}
	f, err := os.OpenFile(b.path("rabbitmq.conf"), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("configure the broker: %w", err)
	}
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("configure the broker: %w", err)
	}
	return b.Boot(ctx)
}

// Manage restarts the broker with its management API, and returns the API's base URL.
func (b *Broker) Manage(ctx context.Context) (string, error) {
	ports, err := freePorts(ctx, 1)
	if err != nil {
		return "", err
	}
	err = b.Extend(ctx, []string{"rabbitmq_management"}, "management.tcp.ip = 127.0.0.1", "management.tcp.port = "+strconv.Itoa(ports[0]))
	return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])), err
}

// Secure restarts the broker with a TLS listener beside the plain one, which lets clients in that
// have a certificate of the authority, and returns its address.
func (b *Broker) Secure(ctx context.Context, caFile, certFile, keyFile string) (string, error) {
	ports, err := freePorts(ctx, 1)
	if err != nil {
		return "", err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	return address, b.Extend(ctx, nil,
		"listeners.ssl.default = "+address,
		"ssl_options.cacertfile = "+caFile, "ssl_options.certfile = "+certFile, "ssl_options.keyfile = "+keyFile,
		"ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true")
}
