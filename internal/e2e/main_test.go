// Package e2e runs the programs as an operator does: each role its own process, over a real
// RabbitMQ and a MongoDB (or what stands in for it), against the simulator, with faults. It looks
// at what a person can see: exit codes, output, logs, HTTP.
package e2e_test

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

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(suite{m}) }

// suite removes the programs when the tests have run.
type suite struct{ m *testing.M }

func (s suite) Run() int {
	code := s.m.Run()
	if err := built.close(); err != nil {
		fmt.Fprintln(os.Stderr, "remove the programs:", err)
		return max(code, 1)
	}
	return code
}

// buildTimeout bounds the building of the programs.
const buildTimeout = 8 * time.Minute

// programs are built once for all tests, and watched so that none outlives them.
type programs struct {
	once sync.Once
	dir  string
	err  error
	dog  watchdog
}

var built programs

// binaries gives the folder of the programs, and builds them the first time.
func binaries(tb testing.TB) string {
	tb.Helper()
	built.once.Do(func() { built.err = built.build() })
	if built.err != nil {
		tb.Fatal(built.err)
	}
	return built.dir
}

func (p *programs) build() (err error) {
	if p.dir, err = os.MkdirTemp("", "tungstene-e2e-"); err != nil {
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
	if raceEnabled {
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

func (p *programs) close() error {
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
