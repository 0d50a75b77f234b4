package cluster

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

// World is what one test runs: programs with their logs in one folder, and secrets that nobody may
// tell.
type World struct {
	T *testing.T
	// Dir holds configuration and data.
	Dir string
	// Secrets, by what they are, must stand in no log: KeepsSecrets looks for them.
	Secrets map[string]string

	programs *Programs
	bin      string
	logs     string
	http     *http.Client

	mu      sync.Mutex
	running []*Program
	begun   time.Time
}

// NewWorld begins a test. When it ends, all that was started in it is killed, and what it has logged
// is shown if the test has failed.
func NewWorld(t *testing.T, programs *Programs) *World {
	t.Helper()
	w := &World{
		T: t, programs: programs, bin: programs.binaries(t), Dir: t.TempDir(), logs: t.ArtifactDir(), Secrets: map[string]string{}, begun: time.Now(),
		http: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	t.Cleanup(func() {
		for _, p := range w.Programs() {
			p.Kill()
		}
		if t.Failed() {
			w.showLogs()
		}
	})
	return w
}

// Note tells how far the test is.
func (w *World) Note(format string, args ...any) {
	w.T.Helper()
	w.T.Logf("%s %5.1fs  %s", time.Now().UTC().Format("15:04:05"), time.Since(w.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (w *World) showLogs() {
	files, err := filepath.Glob(filepath.Join(w.logs, "*"))
	if err != nil {
		w.T.Error(err)
	}
	for _, f := range files {
		w.T.Logf("──── %s ────\n%s", filepath.Base(f), tailOf(f, 40))
	}
}

// Write makes a file of 0600 in the world's folder.
func (w *World) Write(name, content string) string {
	w.T.Helper()
	path := filepath.Join(w.Dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.T.Fatal(err)
	}
	return path
}

// Secret makes a file that holds a secret.
func (w *World) Secret(name, value string) string {
	w.T.Helper()
	w.Secrets[name] = value
	return w.Write(name, value+"\n")
}

// Program is one process.
type Program struct {
	Name string

	w    *World
	cmd  *exec.Cmd
	log  string // its standard error
	out  string // its standard output
	from int64  // where in the log this run begins

	done  chan struct{} // closed when it has ended
	err   error         // of its end
	ended bool          // we have ended it
	url   string
}

// Start runs a program until the test ends or it is told to stop. A second run of a name goes on in
// the logs of the first.
func (w *World) Start(name, binary string, args ...string) *Program {
	w.T.Helper()
	p := &Program{
		w: w, Name: name, done: make(chan struct{}),
		log: filepath.Join(w.logs, name+".log"), out: filepath.Join(w.logs, name+".out"),
	}
	stderr, stdout := w.open(p.log), w.open(p.out)
	defer func() { _, _ = stderr.Close(), stdout.Close() }() // the program has its own
	if info, err := stderr.Stat(); err == nil {
		p.from = info.Size()
	}
	p.cmd = exec.Command(filepath.Join(w.bin, binary), args...) // ours; the test ends it
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = w.Dir, stdout, stderr, environment()
	if err := p.cmd.Start(); err != nil {
		w.T.Fatalf("start %s: %v", name, err)
	}
	if err := w.programs.dog.watch(p.PID()); err != nil {
		w.T.Error(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		_ = w.programs.dog.forget(p.PID()) // nothing to kill any more
		close(p.done)
	}()
	w.mu.Lock()
	w.running = append(w.running, p)
	w.mu.Unlock()
	return p
}

func (w *World) open(path string) *os.File {
	w.T.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // a log of ours
	if err != nil {
		w.T.Fatal(err)
	}
	return f
}

// environment is ours without what would configure the programs.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TUNGSTENE_") })
}

// Programs are those that have not been ended by us.
func (w *World) Programs() []*Program {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.running), func(p *Program) bool { return p.ended })
}

// Until waits for a condition, asked several times a second. It fails the test when that takes
// longer than a minute, or when a program ends by itself.
func (w *World) Until(what string, met func() error) {
	w.T.Helper()
	const patience = 3 * time.Minute
	w.Within(patience, what, met)
}

// Within is Until with another patience.
func (w *World) Within(patience time.Duration, what string, met func() error) {
	w.T.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for {
		err := met()
		if err == nil {
			w.Note("%s", what)
			return
		}
		for _, p := range w.Programs() {
			select {
			case <-p.done:
				w.T.Fatalf("%s ended by itself (%v) while the test waited: %s", p.Name, p.err, what)
			default:
			}
		}
		if time.Now().After(deadline) {
			w.T.Fatalf("not within %v: %s: %v", patience, what, err)
		}
		<-tick.C
	}
}

// Ended reports whether it was ended by us.
func (p *Program) Ended() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.ended
}

// PID is the process's number.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Address waits until a role serves, and gives the URL.
func (p *Program) Address() string {
	p.w.T.Helper()
	if p.url != "" {
		return p.url
	}
	p.w.Until(p.Name+" runs", func() error {
		for line := range strings.Lines(p.Logged()) {
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

// Logged is what this run has logged so far.
func (p *Program) Logged() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		p.w.T.Fatal(err)
	}
	return string(b[min(p.from, int64(len(b))):])
}

// Kill ends it as a power cut would.
func (p *Program) Kill() {
	p.end()
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

func (p *Program) end() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.ended = true
}

// Stop ends it in order, and fails the test when that takes long or the exit code is not 0.
func (p *Program) Stop() {
	p.w.T.Helper()
	p.end()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.w.T.Errorf("stop %s: %v", p.Name, err)
	}
	const patience = 40 * time.Second
	select {
	case <-p.done:
	case <-time.After(patience):
		p.w.T.Errorf("%s does not stop within %v", p.Name, patience)
		p.Kill()
		return
	}
	if p.err != nil {
		p.w.T.Errorf("%s stopped: %v, want exit code 0", p.Name, p.err)
		return
	}
	p.w.Note("%s stopped", p.Name)
}

// Get fetches a page of a program.
func (w *World) Get(url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(w.T.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	return w.Do(req)
}

// Do sends a request.
func (w *World) Do(req *http.Request) (status int, body []byte, err error) {
	res, err := w.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, errors.Join(err, res.Body.Close())
}

// Metric is the sum of a metric's values over its labels.
func (p *Program) Metric(name string) (sum float64, err error) {
	status, body, err := p.w.Get(p.url + "/metrics")
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("/metrics of %s: status %d", p.Name, status)
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
			return 0, fmt.Errorf("/metrics of %s: %q: %w", p.Name, line, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("/metrics of %s has no %s", p.Name, name)
	}
	return sum, nil
}

// MetricIs is met when a metric has a value.
func (p *Program) MetricIs(name string, want float64) func() error {
	return func() error {
		got, err := p.Metric(name)
		if err == nil && got != want {
			err = fmt.Errorf("%s of %s is %v, want %v", name, p.Name, got, want)
		}
		return err
	}
}

// Answers is met when a page of the program has a status.
func (p *Program) Answers(path string, want int) func() error {
	return func() error {
		status, body, err := p.w.Get(p.Address() + path)
		if err == nil && status != want {
			err = fmt.Errorf("%s of %s: status %d, want %d: %s", path, p.Name, status, want, body)
		}
		return err
	}
}

// commandTimeout bounds one command of the operator's.
const commandTimeout = 90 * time.Second

// Run is what an operator does: it runs the tool and returns its exit code and what it printed.
func (w *World) Run(args ...string) (code int, stdout, stderr string) {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(w.T.Context(), commandTimeout)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(w.bin, "tungstene"), args...) // ours
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = w.Dir, &out, &errs, environment()
	err := cmd.Run()
	log := w.open(filepath.Join(w.logs, "commands.log"))
	defer func() { _ = log.Close() }() // closed after the test has read it, at the latest
	if _, werr := fmt.Fprintf(log, "$ tungstene %s\n%s%s→ %v\n", strings.Join(args, " "), out.String(), errs.String(), err); werr != nil {
		w.T.Error(werr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.T.Fatalf("tungstene %s: %v", strings.Join(args, " "), err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// Must runs the tool and fails the test when the exit code is another.
func (w *World) Must(code int, args ...string) (stdout string) {
	w.T.Helper()
	got, stdout, stderr := w.Run(args...)
	if got != code {
		w.T.Fatalf("tungstene %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout
}

// Decode reads JSON that the tool has printed.
func Decode[T any](w *World, text string) (v T) {
	w.T.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		w.T.Fatalf("not the JSON that was expected: %v\n%s", err, text)
	}
	return v
}

// KeepsSecrets looks for secrets where anyone could see them: in logs, in what the tool printed,
// and in the command lines of what runs.
func (w *World) KeepsSecrets() {
	w.T.Helper()
	files, err := filepath.Glob(filepath.Join(w.logs, "*"))
	if err != nil || len(files) == 0 {
		w.T.Fatalf("no logs to look into: %v", err)
	}
	for _, p := range w.Programs() {
		if _, err := os.Stat("/proc/self/cmdline"); err == nil {
			files = append(files, fmt.Sprintf("/proc/%d/cmdline", p.PID()))
		}
	}
	for _, f := range files {
		b, err := os.ReadFile(f) // logs of ours
		if err != nil {
			w.T.Error(err)
			continue
		}
		for what, secret := range w.Secrets {
			if secret == "" {
				w.T.Errorf("the secret %s is empty", what)
			} else if bytes.Contains(b, []byte(secret)) {
				w.T.Errorf("%s holds the secret %s", f, what)
			}
		}
	}
}

// Sound fails the test when a log tells of a panic or a data race.
func (w *World) Sound() {
	w.T.Helper()
	files, err := filepath.Glob(filepath.Join(w.logs, "*.log"))
	if err != nil {
		w.T.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f) // logs of ours
		if err != nil {
			w.T.Error(err)
			continue
		}
		for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if at := bytes.Index(b, []byte(sign)); at >= 0 {
				w.T.Errorf("%s:\n%s", filepath.Base(f), b[at:min(len(b), at+6000)])
			}
		}
	}
}
