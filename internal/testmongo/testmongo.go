// Package testmongo gives tests a MongoDB: the one that TUNGSTENE_TEST_MONGODB_URI names, else a
// mongod from the PATH, else FerretDB, a stand-in that speaks its protocol (tools/ferretdb).
package testmongo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// EnvURI names the variable with the connection string of a MongoDB for tests. It may be used by
// several tests at once; each takes databases of its own (Server.Database).
const EnvURI = "TUNGSTENE_TEST_MONGODB_URI"

// startTimeout bounds the start of a server, buildTimeout the building of the stand-in.
const (
	startTimeout = time.Minute
	buildTimeout = 8 * time.Minute
)

// Server is a MongoDB for tests.
type Server struct {
	uri  string
	name string
	real bool

	dir   string
	child *exec.Cmd
	stdin io.Closer // a child exits when it is closed
	done  chan error
	// stderr is what the child has said; to be read when it has ended.
	stderr *bytes.Buffer
	// binary is set where the child is the server itself, so that it can be killed and started again.
	binary string
	once   sync.Once
	err    error
}

// Run gives a test a server that ends with it, and says in its log which one it is. If there is
// none, the test is skipped; where the variable CI is true, it fails.
func Run(tb testing.TB) *Server {
	tb.Helper()
	s, err := Start(context.Background())
	if err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("no MongoDB for this test: %v", err)
		}
		tb.Skipf("no MongoDB for this test: %v", err)
	}
	tb.Logf("this test runs on %s", s)
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Errorf("stop %s: %v", s, err)
		}
	})
	return s
}

// Start starts or finds a server, for TestMain and for tests over several processes. Stop it.
func Start(ctx context.Context) (*Server, error) {
	if uri := os.Getenv(EnvURI); uri != "" {
		return &Server{uri: uri, name: "the MongoDB of " + EnvURI, real: true}, nil
	}
	mongod, err := exec.LookPath("mongod")
	if err == nil {
		return startMongod(ctx, mongod)
	}
	s, err := startFerretDB(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s is not set, there is no mongod on the PATH, and FerretDB does not start: %w", EnvURI, err)
	}
	return s, nil
}

// URI is the connection string, without a database.
func (s *Server) URI() string { return s.uri }

// Real reports whether it is MongoDB itself. The stand-in uses no index, loses concurrent updates
// of one document over several connections, and lacks transactions, change streams, logins and
// much of the aggregation.
func (s *Server) Real() bool { return s.real }

// MaxPoolSize is the most connections that a client may have; 0 is any number.
func (s *Server) MaxPoolSize() int {
	if s.real {
		return 0
	}
	return 1
}

// String says which server it is.
func (s *Server) String() string { return s.name }

// Database makes up the name of a database that nobody else uses.
func (s *Server) Database() string { return "tungstene_test_" + strings.ToLower(rand.Text()[:12]) }

// Drop removes a database that a test has used.
func (s *Server) Drop(ctx context.Context, database string) error {
	client, err := mongo.Connect(options.Client().ApplyURI(s.uri))
	if err != nil {
		return fmt.Errorf("drop %s: %w", database, err)
	}
	err = client.Database(database).Drop(ctx)
	return errors.Join(err, client.Disconnect(ctx))
}

// Stop ends a server that Start has started and removes its files; one that was there goes on.
func (s *Server) Stop() error {
	s.once.Do(func() {
		if s.done == nil {
			if s.dir != "" { // killed
				s.err = os.RemoveAll(s.dir)
			}
			return
		}
		// How a child that was told to end ends is of no interest; one that ended before is.
		select {
		case err := <-s.done:
			s.err = fmt.Errorf("%s ended before it was told to (%v): %s", s.name, err, s.stderr) //nolint:errorlint // nil too
		default:
			_ = s.stdin.Close()
			<-s.done
		}
		s.err = errors.Join(s.err, os.RemoveAll(s.dir))
	})
	return s.err
}

// ErrNotOurs: the server can't be killed, it is not a child of this process.
var ErrNotOurs = errors.New("this MongoDB can't be killed and started again by a test")

// Kill ends the server as a power cut would. Its data and its address stay, for Boot. The error is
// ErrNotOurs where that can't be done. Not safe for concurrent use with Boot and Stop.
func (s *Server) Kill() error {
	if s.binary == "" {
		return ErrNotOurs
	}
	if s.done == nil {
		return nil
	}
	if err := s.child.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", s.name, err)
	}
	<-s.done // its stdin is closed with it
	s.done = nil
	return nil
}

// Boot starts a killed server again, on its data and its address.
func (s *Server) Boot(ctx context.Context) error {
	if s.binary == "" {
		return ErrNotOurs
	}
	if s.done != nil {
		return fmt.Errorf("%s runs already", s.name)
	}
	again, err := serve(ctx, s.binary, s.dir, strings.TrimSuffix(strings.TrimPrefix(s.uri, "mongodb://"), "/"))
	if err != nil {
		return err
	}
	s.child, s.stdin, s.done, s.stderr = again.child, again.stdin, again.done, again.stderr
	return nil
}

// start runs a child that ends when its stdin is closed, so that it can't outlive this process.
func start(name, dir string, cmd *exec.Cmd) (*Server, io.Reader, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, w := io.Pipe()
	stderr := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = w, stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	s := &Server{name: name, dir: dir, child: cmd, stdin: stdin, stderr: stderr, done: make(chan error, 1)}
	done := s.done
	go func() {
		err := cmd.Wait()
		_ = w.Close() // always nil
		done <- err
	}()
	return s, out, nil
}

func startFerretDB(ctx context.Context) (*Server, error) {
	binary, err := buildFerretDB(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tungstene-ferretdb-")
	if err != nil {
		return nil, err
	}
	s, err := serve(ctx, binary, dir, "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// serve runs the stand-in on a folder and an address. On an error nothing runs.
func serve(ctx context.Context, binary, dir, listen string) (*Server, error) {
	s, out, err := start("FerretDB on SQLite, a stand-in for MongoDB", dir, exec.Command(binary, "-dir", dir, "-listen", listen))
	if err != nil {
		return nil, err
	}
	s.binary = binary
	lines := make(chan string, 1)
	go func() {
		r := bufio.NewReader(out)
		line, err := r.ReadString('\n')
		if err == nil {
			lines <- strings.TrimSpace(line)
		}
		close(lines)
		_, _ = io.Copy(io.Discard, r) // until it ends
	}()
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case addr, ok := <-lines:
		if ok {
			s.uri = "mongodb://" + addr + "/"
			return s, nil
		}
		err = errors.New("it ended without printing an address")
	case <-timer.C:
		err = fmt.Errorf("it printed no address within %v", startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = s.stdin.Close()
	<-s.done
	return nil, fmt.Errorf("start %s: %w: %s", binary, err, s.stderr)
}

// buildFerretDB builds tools/ferretdb into the user's cache, under a name made of its sources.
func buildFerretDB(ctx context.Context) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	src := filepath.Join(root, "tools", "ferretdb")
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version())
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		b, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			return "", fmt.Errorf("read the stand-in's source: %w", err)
		}
		hash.Write(b)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "tungstene")
	binary := filepath.Join(cache, "ferretdb-"+hex.EncodeToString(hash.Sum(nil)[:8]))
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := os.MkdirAll(cache, 0o750); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	// Built beside and renamed: another test may be building it too.
	temp := binary + "." + strconv.Itoa(os.Getpid())
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", temp, ".")
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build %s: %w: %s", src, err, out), removeIfThere(temp))
	}
	if err := os.Rename(temp, binary); err != nil {
		return "", err
	}
	return binary, nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// moduleRoot finds the folder of the main module above the working directory, which of a test is
// its package's.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module github.com/tungstene/tungstene\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory is not within Tungstene's source")
		}
		dir = parent
	}
}

// startMongod starts a replica set of one, so that majorities and retried writes are as in
// production.
func startMongod(ctx context.Context, binary string) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "tungstene-mongod-")
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	addr := l.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	if err = errors.Join(err, l.Close()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	// mongod does not watch its stdin; the shell does it in its place.
	const script = `"$@" & pid=$!; cat >/dev/null; kill "$pid"; wait "$pid"`
	cmd := exec.Command("sh", "-c", script, "sh", binary, "--dbpath", dir, "--port", port,
		"--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.25",
		"--logpath", filepath.Join(dir, "mongod.log"))
	s, out, err := start("mongod, a replica set of one", dir, cmd)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.real = true
	go func() { _, _ = io.Copy(io.Discard, out) }()
	s.uri = "mongodb://" + addr + "/?replicaSet=rs0"
	if err := initiate(ctx, addr); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "mongod.log"))
		tail := log[max(0, len(log)-2000):]
		stop := s.Stop()
		return nil, fmt.Errorf("start %s: %w: %s %s", binary, errors.Join(err, stop), s.stderr, tail)
	}
	return s, nil
}

// initiate makes a replica set of the one server and waits until it is its primary.
func initiate(ctx context.Context, addr string) (err error) {
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + addr + "/?directConnection=true"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Disconnect(context.WithoutCancel(ctx))) }()
	admin := client.Database("admin")
	config := bson.D{{Key: "replSetInitiate", Value: bson.D{
		{Key: "_id", Value: "rs0"},
		{Key: "members", Value: bson.A{bson.D{{Key: "_id", Value: 0}, {Key: "host", Value: addr}}}},
	}}}
	if err := admin.RunCommand(ctx, config).Err(); err != nil {
		return fmt.Errorf("initiate the replica set: %w", err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var hello struct {
			Primary bool `bson:"isWritablePrimary"`
		}
		if err := admin.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err == nil && hello.Primary {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for a primary: %w", ctx.Err())
		}
	}
}
