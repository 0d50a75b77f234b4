// Package cluster runs the programs as an operator does, for tests: each role its own process, a
// simulated Twitch, a real RabbitMQ, and a MongoDB or what stands in for it. It looks at what a
// person can see: exit codes, output, logs, HTTP.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// buildTimeout bounds the building of the programs.
const buildTimeout = 8 * time.Minute

// Programs are those of cmd/, built once for all tests of a package, and watched so that none
// outlives the tests. The zero value is ready; TestMain removes them:
//
//	var programs cluster.Programs
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(programs.Main(m)) }
type Programs struct {
	// Race has them built with the race detector. Default false.
	Race bool

	once sync.Once
	dir  string
	err  error
	dog  watchdog
}

// Main wraps a *testing.M so that the programs are removed when the tests have run.
func (p *Programs) Main(m interface{ Run() int }) *Main { return &Main{m, p} }

// Main is a *testing.M with programs.
type Main struct {
	m        interface{ Run() int }
	programs *Programs
}

// Run runs the tests and removes the programs.
func (m *Main) Run() int {
	code := m.m.Run()
	if err := m.programs.close(); err != nil {
		fmt.Fprintln(os.Stderr, "remove the programs:", err)
		return max(code, 1)
	}
	return code
}

// binaries gives the folder of the programs, and builds them the first time.
func (p *Programs) binaries(tb testing.TB) string {
	tb.Helper()
	p.once.Do(func() { p.err = p.build() })
	if p.err != nil {
		tb.Fatal(p.err)
	}
	return p.dir
}

func (p *Programs) build() (err error) {
	if p.dir, err = os.MkdirTemp("", "tungstene-programs-"); err != nil {
		return err
	}
	if err := p.dog.start(p.dir); err != nil {
		return err
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return err
	}
	args := []string{"build", "-o", p.dir + string(filepath.Separator)}
	if p.Race {
		args = append(args, "-race")
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/...")...) // our own programs
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

func (p *Programs) close() error {
	p.once.Do(func() { p.err = errors.New("the tests are over") })
	if p.dir == "" {
		return nil
	}
	return errors.Join(p.dog.stop(), os.RemoveAll(p.dir))
}

// watchdog kills what is left of the programs when this process dies, however it dies: it is a
// shell that waits for the end of its input.
type watchdog struct {
	dir string
	in  io.Closer
	cmd *exec.Cmd
}

func (w *watchdog) start(dir string) error {
	w.dir = filepath.Join(dir, "running")
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		return err
	}
	w.cmd = exec.Command("/bin/sh", "-c", `trap '' INT TERM HUP
cat >/dev/null
for p in "$1"/running/*; do [ -e "$p" ] && kill -s KILL "${p##*/}" 2>/dev/null; done
rm -rf -- "$1"`, "sh", dir) // it ends with its input; the folder is ours
	in, err := w.cmd.StdinPipe()
	if err != nil {
		return err
	}
	w.in, w.cmd.Dir = in, "/"
	if err := w.cmd.Start(); err != nil {
		return fmt.Errorf("start the watchdog: %w", err)
	}
	return nil
}

func (w *watchdog) path(pid int) string { return filepath.Join(w.dir, strconv.Itoa(pid)) }

func (w *watchdog) watch(pid int) error { return os.WriteFile(w.path(pid), nil, 0o600) }

func (w *watchdog) forget(pid int) error { return os.Remove(w.path(pid)) }

func (w *watchdog) stop() error {
	if w.cmd == nil || w.cmd.Process == nil {
		return nil
	}
	return errors.Join(w.in.Close(), w.cmd.Wait())
}

// tailOf is the end of a log.
func tailOf(path string, lines int) string {
	b, err := os.ReadFile(path) // a log of ours
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
