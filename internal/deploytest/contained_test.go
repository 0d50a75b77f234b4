//go:build linux

package deploytest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/testmongo"
	"github.com/tungstene/tungstene/internal/testrabbit"
)

const containedUser = 65532 // that of the image

// container runs programs as the image does: as a user who owns nothing but a data folder, with a
// working folder and a folder for temporary files that can't be written, and without a home.
type container struct {
	t       *testing.T
	dir     string // readable by all
	locked  string // a folder that can't be written
	secrets map[string]string
	said    map[string]*bytes.Buffer // what programs print, by name
	running map[string]*exec.Cmd
	made    []string // what the test itself gave to the programs' user
}

func newContainer(t *testing.T) *container {
	t.Helper()
	dir, err := os.MkdirTemp("", "tungstene-contained-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	c := &container{
		t: t, dir: dir, locked: filepath.Join(dir, "locked"),
		secrets: map[string]string{}, said: map[string]*bytes.Buffer{}, running: map[string]*exec.Cmd{},
	}
	t.Cleanup(func() {
		if err := errors.Join(os.Chmod(c.locked, 0o700), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(c.locked, 0o555), os.Mkdir(filepath.Join(dir, "bin"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"master", "collector", "consumer", "tungstene"} {
		build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin", program), "./cmd/"+program)
		build.Dir = root(t)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %s", program, err, out)
		}
	}
	return c
}

func (c *container) own(path string) {
	c.t.Helper()
	c.made = append(c.made, path)
	if os.Getuid() == 0 {
		if err := os.Chown(path, containedUser, containedUser); err != nil {
			c.t.Fatal(err)
		}
	}
}

// file writes a file that only the programs' user can read.
func (c *container) file(name, content string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o400); err != nil {
		c.t.Fatal(err)
	}
	c.own(path)
	return path
}

// secret makes one that can be told from everything else.
func (c *container) secret(name string) string {
	c.secrets[name] = "secret-" + rand.Text()
	return c.file(name+".txt", c.secrets[name]+"\n")
}

func (c *container) data(name string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		c.t.Fatal(err)
	}
	c.own(path)
	return path
}

func (c *container) command(ctx context.Context, name, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.dir, "bin", program), args...)
	cmd.Dir, cmd.Env = c.locked, []string{"TMPDIR=" + c.locked}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: containedUser, Gid: containedUser}
	}
	if c.said[name] == nil {
		c.said[name] = &bytes.Buffer{}
	}
	out := c.said[name]
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd
}

// run runs a command of the tool.
func (c *container) run(args ...string) (code int, said string) {
	c.t.Helper()
	name := "tungstene " + strings.Join(args, " ")
	cmd := c.command(c.t.Context(), name, "tungstene", args...)
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("%s: %v", name, err)
	}
	return cmd.ProcessState.ExitCode(), c.said[name].String()
}

// start runs a program until the test ends. It prints to a file: a buffer can't be read meanwhile.
func (c *container) start(name, program string, args ...string) (log string) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	cmd := c.command(ctx, name, program, args...)
	log = filepath.Join(c.dir, name+".log")
	f, err := os.Create(log)
	if err != nil {
		c.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		c.t.Fatalf("start %s: %v", name, err)
	}
	c.running[name] = cmd
	c.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // how it ends is no matter here
		_ = f.Close()
		if c.t.Failed() {
			b, _ := os.ReadFile(log)
			c.t.Logf("──── %s ────\n%s", name, b[max(0, len(b)-4000):])
		}
	})
	return log
}

// await waits until a pattern stands in a log, and returns its first group.
func (c *container) await(log, pattern string) string {
	c.t.Helper()
	re := regexp.MustCompile(pattern)
	var found string
	c.until(pattern+" in "+filepath.Base(log), func() bool {
		b, err := os.ReadFile(log)
		if err != nil {
			c.t.Fatal(err)
		}
		m := re.FindSubmatch(b)
		if m != nil {
			found = string(m[1])
		}
		return m != nil
	})
	return found
}

func (c *container) until(what string, holds func() bool) {
	c.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(90 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			c.t.Fatalf("not in time: %s", what)
		}
	}
}

// get asks one of the programs, and keeps the answer to look into.
func (c *container) get(url, token string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	if c.said[url] == nil {
		c.said[url] = &bytes.Buffer{}
	}
	fmt.Fprint(c.said[url], res.Header, string(b))
	return res.StatusCode, string(b)
}

// Every role works when it may write its data folder and nothing else; and nowhere that someone may
// look is a secret: not in logs (at their most talkative), command lines, environments, metrics, API
// answers, the page, what the tool prints, and what it says of wrong configurations.
func TestProgramsAreContainedAndKeepSecrets(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker and all programs")
	}
	b := testrabbit.Start(t)
	mongo := testmongo.Run(t)
	database := mongo.Database()
	t.Cleanup(func() {
		if err := mongo.Drop(context.WithoutCancel(t.Context()), database); err != nil {
			t.Error(err)
		}
	})
	c := newContainer(t)
	operator, collectorToken := c.secret("operator-token"), c.secret("collector-token")
	password, twitch := c.secret("queue-password"), c.secret("twitch-secret")
	if _, err := b.Ctl(t.Context(), "change_password", b.User, c.secrets["queue-password"]); err != nil {
		t.Fatal(err)
	}
	simLog := c.start("sim", "tungstene", "sim", "--listen-irc=127.0.0.1:0", "--listen-http=127.0.0.1:0", "--channels=3", "--rate=20", "--joins=-1")
	irc, helix, auth := c.await(simLog, `(?m)^irc +(\S+)$`), c.await(simLog, `(?m)^helix +(\S+)$`), c.await(simLog, `(?m)^auth +(\S+)$`)

	uri := mongo.URI()
	if !mongo.Real() {
		uri += "?maxPoolSize=1"
	}
	masters := "[]"
	config := func(name string) string {
		return c.file(name+".yaml", fmt.Sprintf(`data: %s
listen: 127.0.0.1:0
name: %s
log: {level: debug, format: json}
queue: {kind: rabbit, addresses: [%q], user: %s, password_file: %s}
store: {kind: mongo, uri: %q, database: %s}
twitch: {irc: %s, irc_tls: false, helix: %s, auth: %s, clients: {contained: %s}}
master: {urls: %s, operator_token_file: %s, collector_token_file: %s, keys_dir: %s, heartbeat_timeout: 10s}
collector: {handover: 0s}
`, c.data(name), name, b.Address, b.User, password, uri, database, irc, helix, auth, twitch, masters, operator, collectorToken, filepath.Join(c.dir, "master", "keys")))
	}
	const address = `"address":"(http://[^"]+)"`
	file := config("master")
	if code, said := c.run("queue", "declare", "--config", file); code != 0 {
		t.Fatal(said)
	}
	urls := map[string]string{"master": c.await(c.start("master", "master", "--config", file), address)}
	masters = fmt.Sprintf("[%q]", urls["master"])
	for _, role := range []string{"collector", "consumer"} {
		urls[role] = c.await(c.start(role, role, "--config", config(role)), address)
	}
	for role, url := range urls {
		c.until(role+" is ready", func() bool { code, _ := c.get(url+"/readyz", ""); return code == http.StatusOK })
		if code, said := c.run("health", "--url", url+"/readyz"); code != 0 {
			t.Error(said)
		}
	}

	// An event is collected, stored and counted.
	tool := config("tool")
	if code, said := c.run("event", "apply", "demo", c.file("channels.json", channelsOf(t, c, helix)), "--name=Demo", "--config", tool); code != 0 {
		t.Fatal(said)
	}
	c.until("messages are stored", func() bool {
		_, metrics := c.get(urls["consumer"]+"/metrics", "")
		m := regexp.MustCompile(`(?m)^tungstene_consumer_records_total\{[^}]*inserted[^}]*\} (\d+)`).FindStringSubmatch(metrics)
		if m == nil {
			return false
		}
		n, err := strconv.Atoi(m[1])
		return err == nil && n > 20
	})

	// Look everywhere.
	for role, url := range urls {
		for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
			if code, _ := c.get(url+path, ""); code != http.StatusOK {
				t.Errorf("%s%s: %d", role, path, code)
			}
		}
	}
	var api struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	_, spec := c.get(urls["master"]+"/openapi.json", "")
	if err := json.Unmarshal([]byte(spec), &api); err != nil || len(api.Paths) < 5 {
		t.Fatalf("%d paths, %v", len(api.Paths), err)
	}
	for path, methods := range api.Paths {
		if _, ok := methods["get"]; !ok {
			continue
		}
		path = strings.NewReplacer("{slug}", "demo", "{name}", "collector").Replace(path)
		for _, token := range []string{"", "a-wrong-token-" + path, c.secrets["collector-token"], c.secrets["operator-token"]} {
			if code, said := c.get(urls["master"]+path, token); token == c.secrets["operator-token"] && (code == 0 || code == http.StatusTooManyRequests || code == http.StatusUnauthorized) {
				t.Errorf("%s with the operator's token: %d %s", path, code, said)
			}
		}
	}
	c.get(urls["master"]+"/", "")
	c.get(urls["master"]+"/api/status", "")
	for _, args := range [][]string{
		{"doctor", "--config", tool},
		{"doctor", "--config", tool, "--json"},
		{"queue", "depth", "--config", tool},
		{"event", "list", "--config", tool, "--json"},
		{"collectors", "list", "--config", tool},
		{"permissions", "show", "--config", tool},
	} {
		c.run(args...)
	}
	if _, said := c.run("doctor", "--config", tool, "--json"); !strings.Contains(said, `"queue"`) || strings.Contains(said, "read-only file system") {
		t.Errorf("the doctor says %s", said)
	}
	c.secrets["password in a URL"] = "secret-" + rand.Text()
	bad := c.secrets["password in a URL"]
	for _, args := range [][]string{
		{"--store-uri", "mongodb://user:" + bad + "@127.0.0.1/"},
		{"--store-uri", "mongodb://127.0.0.1/?tlsCertificateKeyFilePassword=" + bad},
		{"--queue-addresses", "user:" + bad + "@127.0.0.1:5672"},
		{"--master-urls", "https://user:" + bad + "@127.0.0.1"},
		{"--twitch-helix", "https://user:" + bad + "@127.0.0.1"},
	} {
		// These are on a command line; what is tested is that nothing repeats them.
		cmd := c.command(t.Context(), "wrong", "tungstene", append([]string{"doctor", "--config", tool}, args...)...)
		if err := cmd.Run(); err == nil {
			t.Errorf("%s is accepted", args[0])
		}
	}
	for name, cmd := range c.running {
		for _, f := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, f))
			if err != nil {
				t.Fatal(err)
			}
			c.said[name+" "+f] = bytes.NewBuffer(text)
		}
		text, err := os.ReadFile(filepath.Join(c.dir, name+".log"))
		if err != nil || len(text) == 0 {
			t.Errorf("the log of %s: %v", name, err)
		}
		c.said[name+" log"] = bytes.NewBuffer(text)
	}
	for where, text := range c.said {
		for what, secret := range c.secrets {
			if strings.Contains(text.String(), secret) {
				t.Errorf("%s tells the %s", where, what)
			}
		}
	}
	c.clean(t)
}

// channelsOf asks the simulator for its channels.
func channelsOf(t *testing.T, c *container, helix string) string {
	t.Helper()
	code, body := c.get(strings.TrimSuffix(helix, "/helix")+"/sim/channels", "")
	if code != http.StatusOK {
		t.Fatalf("the simulator's channels: %d %s", code, body)
	}
	return body
}

// clean fails the test when something was written where nothing may be, or data can be read by
// others.
func (c *container) clean(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(c.locked)
	if err != nil || len(left) > 0 {
		t.Errorf("the locked folder holds %v, %v", left, err)
	}
	for _, folder := range []string{"/", "/tmp", "/var/tmp", "/dev/shm", "/run", c.dir} { // where everybody may write
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				continue // somebody else's, and gone
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == containedUser && !slices.Contains(c.made, filepath.Join(folder, e.Name())) {
				t.Errorf("a program has written %s", filepath.Join(folder, e.Name()))
			}
		}
	}
	for name := range c.running {
		if !slices.Contains([]string{"master", "collector", "consumer"}, name) {
			continue
		}
		err := filepath.WalkDir(filepath.Join(c.dir, name), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a file of the database that has just gone
			}
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s can be read by others: %v", path, info.Mode())
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}
