//go:build unix

// Package testrabbit runs a real RabbitMQ for tests: a child process on loopback with a folder, a
// port and an epmd of its own, that ends with the process that started it.
//
// It needs Debian's package rabbitmq-server (or one that lies in the same place). Without it tests
// are skipped, and fail where the environment variable CI is set. A boot takes 6 to 15 seconds:
// share one broker in a package, and give each test a prefix or a virtual host of its own.
package testrabbit

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is the program itself, not the script in sbin, which changes the user.
const (
	server = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	ctl    = "/usr/lib/rabbitmq/bin/rabbitmqctl"
)

// How long a boot and a stop may take on a busy machine.
const (
	bootTimeout = 120 * time.Second
	stopTimeout = 60 * time.Second
)

// ErrAbsent: RabbitMQ is not installed here.
var ErrAbsent = errors.New("RabbitMQ is not installed: apt-get install --no-install-recommends rabbitmq-server")

// Broker is a running RabbitMQ. Its data stays over Stop, Kill and Restart, until Close.
type Broker struct {
	// Address is "127.0.0.1:port", the same for the broker's life.
	Address  string
	User     string
	Password string

	dir      string
	cookie   string
	peers    []string // node names of its cluster; none for a broker alone
	node     string
	port     int
	distPort int
	epmdPort int
	watchdog io.Closer // closing it kills all that is left
	watching *exec.Cmd
	epmd     *exec.Cmd

	mu     sync.Mutex
	server *exec.Cmd
}

// Start runs a broker for the length of a test.
func Start(tb testing.TB) *Broker {
	tb.Helper()
	b, err := Launch(context.Background())
	if err != nil {
		skip(tb, err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Errorf("stop RabbitMQ: %v", err)
		}
	})
	return b
}

func skip(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, ErrAbsent) && os.Getenv("CI") == "" {
		tb.Skip(err)
	}
	tb.Fatal(err)
}

// Shared is one broker for all tests of a package; its zero value is ready. It starts with the
// first test that asks. TestMain closes it:
//
//	var broker testrabbit.Shared
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(broker.Main(m)) }
type Shared struct {
	once   sync.Once
	broker *Broker
	err    error
}

// Get gives the broker, and skips or fails the test when it can't be had.
func (s *Shared) Get(tb testing.TB) *Broker {
	tb.Helper()
	s.once.Do(func() { s.broker, s.err = Launch(context.Background()) })
	if s.err != nil {
		skip(tb, s.err)
	}
	return s.broker
}

// Close ends the broker, if it was started.
func (s *Shared) Close() error {
	s.once.Do(func() { s.err = errors.New("the shared RabbitMQ is closed") })
	if s.broker == nil {
		return nil
	}
	return s.broker.Close()
}

// Main wraps a *testing.M so that the broker is closed when the tests have run.
func (s *Shared) Main(m interface{ Run() int }) *Main { return &Main{m, s} }

// Main is a *testing.M with a broker.
type Main struct {
	m      interface{ Run() int }
	shared *Shared
}

// Run runs the tests and closes the broker.
func (m *Main) Run() int {
	code := m.m.Run()
	if err := m.shared.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "stop RabbitMQ:", err)
		code = max(code, 1)
	}
	return code
}

// Launch runs a broker outside of a test. Close it.
func Launch(ctx context.Context) (*Broker, error) {
	list, err := LaunchCluster(ctx, 1)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// StartCluster runs one broker of n nodes for the length of a test.
func StartCluster(tb testing.TB, n int) []*Broker {
	tb.Helper()
	nodes, err := LaunchCluster(context.Background(), n)
	if err != nil {
		skip(tb, err)
	}
	tb.Cleanup(func() {
		if err := closeAll(nodes); err != nil {
			tb.Errorf("stop RabbitMQ: %v", err)
		}
	})
	return nodes
}

// LaunchCluster runs one broker of n nodes outside of a test. Close all of them, the first one last:
// its epmd is everyone's.
func LaunchCluster(ctx context.Context, n int) (nodes []*Broker, err error) {
	for _, program := range []string{server, "epmd"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w (%w)", ErrAbsent, err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(nodes))
		}
	}()
	ports, err := freePorts(ctx, 2*n+1)
	if err != nil {
		return nil, err
	}
	cookie := rand.Text()
	var peers []string
	for i := range n {
		dir, err := os.MkdirTemp("", "testrabbit")
		if err != nil {
			return nodes, err
		}
		b := &Broker{User: "guest", Password: "guest", dir: dir, cookie: cookie, port: ports[2*i], distPort: ports[2*i+1], epmdPort: ports[2*n]}
		b.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port))
		b.node = fmt.Sprintf("test%d@localhost", b.port)
		nodes, peers = append(nodes, b), append(peers, b.node)
	}
	for i, b := range nodes {
		if n > 1 {
			b.peers = peers
		}
		if err := b.configure(); err != nil {
			return nodes, err
		}
		if err := b.watch(); err != nil {
			return nodes, err
		}
		if i > 0 {
			continue
		}
		epmd := exec.Command("epmd", "-port", strconv.Itoa(b.epmdPort), "-address", "127.0.0.1", "-relaxed_command_check") // it outlives the context; Close ends it
		if err := b.start(epmd, "epmd.log"); err != nil {
			return nodes, fmt.Errorf("start epmd: %w", err)
		}
		b.epmd = epmd
		if err := b.Boot(ctx); err != nil { // the others join it
			return nodes, err
		}
	}
	return nodes, BootAll(ctx, nodes[1:])
}

// BootAll boots nodes at once: those of a cluster that was down wait for each other.
func BootAll(ctx context.Context, nodes []*Broker) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, b := range nodes {
		wg.Go(func() { errs[i] = b.Boot(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func closeAll(nodes []*Broker) error {
	var errs []error
	for _, b := range slices.Backward(nodes) {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// Running says whether the broker was booted, and not ended since.
func (b *Broker) Running() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.server != nil
}

// Node is the node's Erlang name.
func (b *Broker) Node() string { return b.node }

// freePorts asks the system for ports that nobody uses.
func freePorts(ctx context.Context, n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()                                     // all at once, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port) // a TCP listener's
	}
	return ports, nil
}

func (b *Broker) path(name string) string { return filepath.Join(b.dir, name) }

func (b *Broker) configure() error {
	for _, d := range []string{"mnesia", "log", "schema", "generated", "groups"} {
		if err := os.Mkdir(b.path(d), 0o700); err != nil {
			return err
		}
	}
	var peers strings.Builder
	for i, name := range b.peers {
		if i == 0 {
			peers.WriteString("cluster_formation.peer_discovery_backend = classic_config\n")
		}
		fmt.Fprintf(&peers, "cluster_formation.classic_config.nodes.%d = %s\n", i+1, name)
	}
	for name, content := range map[string]string{
		".erlang.cookie": b.cookie,
		"plugins":        "[].\n",
		"rabbitmq.conf": fmt.Sprintf(`listeners.tcp.default = 127.0.0.1:%d
disk_free_limit.absolute = 1MB
vm_memory_high_watermark.absolute = 1GB
loopback_users = none
%s`, b.port, &peers),
	} {
		if err := os.WriteFile(b.path(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) env() []string {
	return append(os.Environ(),
		"HOME="+b.dir,
		"RABBITMQ_CONF_ENV_FILE=/nonexistent",
		"RABBITMQ_NODENAME="+b.node,
		"RABBITMQ_NODE_PORT="+strconv.Itoa(b.port),
		"RABBITMQ_DIST_PORT="+strconv.Itoa(b.distPort),
		"ERL_EPMD_PORT="+strconv.Itoa(b.epmdPort),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_MNESIA_BASE="+b.path("mnesia"),
		"RABBITMQ_LOG_BASE="+b.path("log"),
		"RABBITMQ_LOGS="+b.path("log/broker.log"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+b.path("plugins"),
		"RABBITMQ_CONFIG_FILE="+b.path("rabbitmq.conf"),
		"RABBITMQ_SCHEMA_DIR="+b.path("schema"),
		"RABBITMQ_GENERATED_CONFIG_DIR="+b.path("generated"),
		"RABBITMQ_PID_FILE="+b.path("pid"),
	)
}

// start runs a program in a process group of its own, which the watchdog knows of.
func (b *Broker) start(cmd *exec.Cmd, log string) error {
	out, err := os.OpenFile(b.path(log), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close() // the program has its own
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = b.env(), b.dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.path("groups"), strconv.Itoa(cmd.Process.Pid)), nil, 0o600)
}

// watch starts a shell that does nothing until our end of its input is closed, by Close or by the
// death of this process, however it dies. Then it kills the groups that are left and removes the
// folder.
func (b *Broker) watch() error {
	script := `trap '' INT TERM HUP
cat >/dev/null
for g in "$1"/groups/*; do
	[ -e "$g" ] && kill -s KILL -- "-${g##*/}" 2>/dev/null
done
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }`
	cmd := exec.Command("/bin/sh", "-c", script, "testrabbit", b.dir) // the folder is ours
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the watchdog: %w", err)
	}
	b.watchdog, b.watching = in, cmd
	return nil
}

// Boot starts the broker that Stop or Kill has ended, with the data that it had, and returns when
// it can be used.
func (b *Broker) Boot(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		return errors.New("RabbitMQ runs already")
	}
	cmd := exec.Command(server) // it outlives the context; Close ends it
	if err := b.start(cmd, "stdout"); err != nil {
		return fmt.Errorf("start RabbitMQ: %w", err)
	}
	b.server = cmd
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := os.ReadFile(b.path("stdout"))
		if err != nil {
			return err
		}
		if bytes.Contains(out, []byte("completed with")) {
			return nil
		}
		if b.over(cmd) {
			b.server = nil
			return fmt.Errorf("RabbitMQ ended while it started:\n%s", tail(out))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("RabbitMQ does not start: %w:\n%s", ctx.Err(), tail(out)), b.kill())
		}
	}
}

func tail(out []byte) []byte { return out[max(0, len(out)-4096):] }

// over says whether a program of ours has ended, and reaps it then.
func (b *Broker) over(cmd *exec.Cmd) bool {
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WNOHANG, nil)
	return pid == cmd.Process.Pid || errors.Is(err, syscall.ECHILD)
}

// Ctl runs rabbitmqctl, as an operator would, and returns what it prints.
func (b *Broker) Ctl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, ctl, append([]string{"--node", b.node, "--quiet"}, args...)...) // for tests
	cmd.Env, cmd.Dir = b.env(), b.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("rabbitmqctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Stop ends the broker in order.
func (b *Broker) Stop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil {
		return nil
	}
	text, err := os.ReadFile(b.path("pid"))
	if err != nil {
		return errors.Join(err, b.kill())
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return errors.Join(err, b.kill())
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return errors.Join(err, b.kill())
	}
	for deadline := time.Now().Add(stopTimeout); !b.over(b.server); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("RabbitMQ did not stop within %v", stopTimeout), b.kill())
		}
	}
	return b.forget()
}

// Kill ends the broker as a power cut would.
func (b *Broker) Kill() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kill()
}

func (b *Broker) kill() error {
	if b.server == nil {
		return nil
	}
	if err := syscall.Kill(-b.server.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	for !b.over(b.server) {
		time.Sleep(10 * time.Millisecond)
	}
	return b.forget()
}

// forget takes the ended server's group from the watchdog's list: its number may be given anew.
func (b *Broker) forget() error {
	group := b.server.Process.Pid
	b.server = nil
	// Helpers that the server left behind are in its group.
	if err := syscall.Kill(-group, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	if err := os.Remove(filepath.Join(b.path("groups"), strconv.Itoa(group))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Restart stops the broker in order and boots it again.
func (b *Broker) Restart(ctx context.Context) error {
	if err := b.Stop(); err != nil {
		return err
	}
	return b.Boot(ctx)
}

// Close ends the broker for good and removes its data. A second call does nothing.
func (b *Broker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.kill() // nobody needs the data any more
	if b.epmd != nil {
		err = errors.Join(err, ignore(syscall.Kill(-b.epmd.Process.Pid, syscall.SIGKILL), syscall.ESRCH))
		for !b.over(b.epmd) {
			time.Sleep(10 * time.Millisecond)
		}
		b.epmd = nil
	}
	if b.watching != nil {
		err = errors.Join(err, b.watchdog.Close(), b.watching.Wait())
		b.watching = nil
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}
