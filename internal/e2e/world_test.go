package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// world is what one test runs: programs with their logs in one folder, and secrets that nobody may
// tell.
type world struct {
	t    *testing.T
	bin  string
	dir  string // configuration, data
	logs string
	http *http.Client

	mu      sync.Mutex
	running []*program
	secrets map[string]string // by what it is
	begun   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, bin: binaries(t), dir: t.TempDir(), logs: t.ArtifactDir(), secrets: map[string]string{}, begun: time.Now(),
		http: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	t.Cleanup(func() {
		for _, p := range w.programs() {
			p.kill()
		}
		if t.Failed() {
			w.showLogs()
		}
	})
	return w
}

// note tells how far the test is.
func (w *world) note(format string, args ...any) {
	w.t.Helper()
	w.t.Logf("%s %5.1fs  %s", time.Now().UTC().Format("15:04:05"), time.Since(w.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (w *world) showLogs() {
	files, err := filepath.Glob(filepath.Join(w.logs, "*"))
	if err != nil {
		w.t.Error(err)
	}
	for _, f := range files {
		w.t.Logf("──── %s ────\n%s", filepath.Base(f), tailOf(f, 40))
	}
}

// write makes a file of 0600 in the world's folder.
func (w *world) write(name, content string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// secret makes a file that holds a secret.
func (w *world) secret(name, value string) string {
	w.t.Helper()
	w.secrets[name] = value
	return w.write(name, value+"\n")
}

// program is one process.
type program struct {
	w    *world
	name string
	cmd  *exec.Cmd
	log  string // its standard error
	out  string // its standard output
	from int64  // where in the log this run begins

	done  chan struct{} // closed when it has ended
	err   error         // of its end
	ended bool          // we have ended it
	url   string
}

// start runs a program until the test ends or it is told to stop. A second run of a name goes on in
// the logs of the first.
func (w *world) start(name, binary string, args ...string) *program {
	w.t.Helper()
	p := &program{
		w: w, name: name, done: make(chan struct{}),
		log: filepath.Join(w.logs, name+".log"), out: filepath.Join(w.logs, name+".out"),
	}
	stderr, stdout := w.open(p.log), w.open(p.out)
	defer func() { _, _ = stderr.Close(), stdout.Close() }() // the program has its own
	if info, err := stderr.Stat(); err == nil {
		p.from = info.Size()
	}
	p.cmd = exec.Command(filepath.Join(w.bin, binary), args...) // ours; the test ends it
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = w.dir, stdout, stderr, environment()
	if err := p.cmd.Start(); err != nil {
		w.t.Fatalf("start %s: %v", name, err)
	}
	if err := built.dog.watch(p.pid()); err != nil {
		w.t.Error(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		_ = built.dog.forget(p.pid()) // nothing to kill any more
		close(p.done)
	}()
	w.mu.Lock()
	w.running = append(w.running, p)
	w.mu.Unlock()
	return p
}

func (w *world) open(path string) *os.File {
	w.t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // a log of ours
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// environment is ours without what would configure the programs.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TUNGSTENE_") })
}

// programs are those that have not been ended by us.
func (w *world) programs() []*program {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.running), func(p *program) bool { return p.ended })
}

// until waits for a condition, asked several times a second. It fails the test when that takes
// longer than a minute, or when a program ends by itself.
func (w *world) until(what string, met func() error) {
	w.t.Helper()
	const patience = time.Minute
	w.within(patience, what, met)
}

func (w *world) within(patience time.Duration, what string, met func() error) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for {
		err := met()
		if err == nil {
			w.note("%s", what)
			return
		}
		for _, p := range w.programs() {
			select {
			case <-p.done:
				w.t.Fatalf("%s ended by itself (%v) while the test waited: %s", p.name, p.err, what)
			default:
			}
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %v: %s: %v", patience, what, err)
		}
		<-tick.C
	}
}

func (p *program) pid() int { return p.cmd.Process.Pid }

// address waits until a role serves, and gives the URL.
func (p *program) address() string {
	p.w.t.Helper()
	if p.url != "" {
		return p.url
	}
	p.w.until(p.name+" runs", func() error {
		for line := range strings.Lines(p.logged()) {
			var entry struct {
				Msg     string `json:"msg"`
				Address string `json:"address"`
			}
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "running" {
				p.url = entry.Address
				return nil
			}
		}
		return errors.New("its log does not say so")
	})
	return p.url
}

// logged is what this run has logged so far.
func (p *program) logged() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return string(b[min(p.from, int64(len(b))):])
}

// kill ends it as a power cut would.
func (p *program) kill() {
	p.end()
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

func (p *program) end() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.ended = true
}

// stop ends it in order, and fails the test when that takes long or the exit code is not 0.
func (p *program) stop() {
	p.w.t.Helper()
	p.end()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.w.t.Errorf("stop %s: %v", p.name, err)
	}
	const patience = 40 * time.Second
	select {
	case <-p.done:
	case <-time.After(patience):
		p.w.t.Errorf("%s does not stop within %v", p.name, patience)
		p.kill()
		return
	}
	if p.err != nil {
		p.w.t.Errorf("%s stopped: %v, want exit code 0", p.name, p.err)
		return
	}
	p.w.note("%s stopped", p.name)
}

// get fetches a page of a program.
func (w *world) get(url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	return w.do(req)
}

func (w *world) do(req *http.Request) (status int, body []byte, err error) {
	res, err := w.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, errors.Join(err, res.Body.Close())
}

// metric is the sum of a metric's values over its labels.
func (p *program) metric(name string) (sum float64, err error) {
	status, body, err := p.w.get(p.url + "/metrics")
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("/metrics of %s: status %d", p.name, status)
	}
	found := false
	for line := range strings.Lines(string(body)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if i := strings.LastIndexByte(line, '}'); i > 0 {
			series, value, ok = line[:i+1], strings.TrimSpace(line[i+1:]), true
		}
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("/metrics of %s: %q: %w", p.name, line, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("/metrics of %s has no %s", p.name, name)
	}
	return sum, nil
}

// metricIs is met when a metric has a value.
func (p *program) metricIs(name string, want float64) func() error {
	return func() error {
		got, err := p.metric(name)
		if err == nil && got != want {
			err = fmt.Errorf("%s of %s is %v, want %v", name, p.name, got, want)
		}
		return err
	}
}

// answers is met when a page of the program has a status.
func (p *program) answers(path string, want int) func() error {
	return func() error {
		status, body, err := p.w.get(p.address() + path)
		if err == nil && status != want {
			err = fmt.Errorf("%s of %s: status %d, want %d: %s", path, p.name, status, want, body)
		}
		return err
	}
}

// commandTimeout bounds one command of the operator's.
const commandTimeout = 90 * time.Second

// run is what an operator does: it runs the tool and returns its exit code and what it printed.
func (w *world) run(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), commandTimeout)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(w.bin, "tungstene"), args...) // ours
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = w.dir, &out, &errs, environment()
	err := cmd.Run()
	log := w.open(filepath.Join(w.logs, "commands.log"))
	defer func() { _ = log.Close() }() // closed after the test has read it, at the latest
	if _, werr := fmt.Fprintf(log, "$ tungstene %s\n%s%s→ %v\n", strings.Join(args, " "), out.String(), errs.String(), err); werr != nil {
		w.t.Error(werr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("tungstene %s: %v", strings.Join(args, " "), err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// must runs the tool and fails the test when the exit code is another.
func (w *world) must(code int, args ...string) (stdout string) {
	w.t.Helper()
	got, stdout, stderr := w.run(args...)
	if got != code {
		w.t.Fatalf("tungstene %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout
}

// decode reads JSON that the tool has printed.
func decode[T any](w *world, text string) (v T) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		w.t.Fatalf("not the JSON that was expected: %v\n%s", err, text)
	}
	return v
}

// keepsSecrets looks for secrets where anyone could see them: in logs, in what the tool printed,
// and in the command lines of what runs.
func (w *world) keepsSecrets() {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.logs, "*"))
	if err != nil || len(files) == 0 {
		w.t.Fatalf("no logs to look into: %v", err)
	}
	for _, p := range w.programs() {
		if _, err := os.Stat("/proc/self/cmdline"); err == nil {
			files = append(files, fmt.Sprintf("/proc/%d/cmdline", p.pid()))
		}
	}
	for _, f := range files {
		b, err := os.ReadFile(f) // logs of ours
		if err != nil {
			w.t.Error(err)
			continue
		}
		for what, secret := range w.secrets {
			if secret == "" {
				w.t.Errorf("the secret %s is empty", what)
			} else if bytes.Contains(b, []byte(secret)) {
				w.t.Errorf("%s holds the secret %s", f, what)
			}
		}
	}
}

// sound fails the test when a log tells of a panic or a data race.
func (w *world) sound() {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.logs, "*.log"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f) // logs of ours
		if err != nil {
			w.t.Error(err)
			continue
		}
		for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if at := bytes.Index(b, []byte(sign)); at >= 0 {
				w.t.Errorf("%s:\n%s", filepath.Base(f), b[at:min(len(b), at+6000)])
			}
		}
	}
}
