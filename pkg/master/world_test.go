package master_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	operatorToken  = "operator-token-of-tests"
	collectorToken = "collector-token-of-tests"
)

// wire carries requests to masters in the same process, by host name, without sockets: so it works
// in a bubble of synctest.
type wire struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	h := w.hosts[r.URL.Host]
	w.mu.Unlock()
	if h == nil {
		return nil, fmt.Errorf("no master at %s", r.URL.Host)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// twitch is a Resolver.
type twitch struct {
	mu    sync.Mutex
	users map[string]master.User // by id
	down  bool
	calls int
	// during runs while the look-up is under way.
	during func()
}

func (f *twitch) Users(_ context.Context, ids, logins []string) ([]master.User, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.during != nil {
		f.during()
	}
	if f.down {
		return nil, errors.New("503 from Helix")
	}
	if len(ids)+len(logins) > 100 {
		return nil, errors.New("more than 100 at once")
	}
	var list []master.User
	for _, u := range f.users {
		if slices.Contains(ids, u.ID) || slices.Contains(logins, u.Login) {
			list = append(list, u)
		}
	}
	return list, nil
}

func (f *twitch) set(change func(f *twitch)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// tripwire is a store that fails to make or to delete one document while it is armed.
type tripwire struct {
	store.Store
	id    string
	armed *atomic.Bool
}

var errTripped = errors.New("the store fails")

func (s tripwire) CompareAndSet(ctx context.Context, c store.Collection, rev int64, d store.Doc) error {
	if rev == 0 && d.ID == s.id && s.armed.Load() {
		return errTripped
	}
	return s.Store.CompareAndSet(ctx, c, rev, d)
}

func (s tripwire) DeleteIf(ctx context.Context, c store.Collection, id, field, value string) (bool, error) {
	if id == s.id && s.armed.Load() {
		return false, errTripped
	}
	return s.Store.DeleteIf(ctx, c, id, field, value)
}

// world is a control plane in a bubble: one store, masters, and collectors that beat.
type world struct {
	t          *testing.T
	ctx        context.Context
	store      store.Store
	keys       master.Vault
	wire       *wire
	twitch     *twitch
	configure  func(*master.Config)
	every      time.Duration // between heartbeats
	masters    map[string]*running
	collectors map[string]*fake
	op         *control.Client
	rollup     *beating // see startRollup
	wg         sync.WaitGroup
}

type running struct {
	*master.Master
	stop context.CancelFunc
	done chan struct{}
}

// bubble runs a test in fake time.
func bubble(t *testing.T, test func(w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := local.Open(filepath.Join(dir, "store.db"), local.Options{})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := master.NewFileKeys(filepath.Join(dir, "keys"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{
			t: t, ctx: ctx, store: s, keys: keys, wire: &wire{hosts: map[string]http.Handler{}},
			twitch:  &twitch{users: map[string]master.User{}},
			masters: map[string]*running{}, collectors: map[string]*fake{}, every: time.Second,
		}
		for i := range 300 {
			w.twitch.users[strconv.Itoa(1000+i)] = master.User{ID: strconv.Itoa(1000 + i), Login: fmt.Sprint("login", i), Name: fmt.Sprint("Login", i)}
		}
		w.op = w.client(operatorToken, "m1", "m2")
		defer func() {
			cancel()
			for _, r := range w.masters {
				r.stop()
				<-r.done
			}
			w.wg.Wait()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		test(w)
	})
}

func (w *world) client(token string, hosts ...string) *control.Client {
	w.t.Helper()
	var bases []string
	for _, h := range hosts {
		bases = append(bases, "http://"+h)
	}
	c, err := control.New(bases, func() (string, error) { return token, nil }, &http.Client{Transport: w.wire})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) config(name string) master.Config {
	cfg := master.Config{
		Store: w.store, Keys: w.keys, Name: name, Resolver: w.twitch,
		OperatorTokens: master.StaticTokens(operatorToken), CollectorTokens: master.StaticTokens(collectorToken),
		Logger: slog.New(slog.DiscardHandler),
	}
	if w.configure != nil {
		w.configure(&cfg)
	}
	return cfg
}

func (w *world) startMaster(name string) *running {
	w.t.Helper()
	m, err := master.New(w.config(name))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	r := &running{Master: m, stop: cancel, done: make(chan struct{})}
	w.wire.mu.Lock()
	w.wire.hosts[name] = m.Handler()
	w.wire.mu.Unlock()
	w.masters[name] = r
	go func() {
		defer close(r.done)
		if err := m.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	return r
}

// slowly makes collectors beat, and masters look, seldom: for tests that last for hours.
func (w *world) slowly() {
	w.every = 20 * time.Second
	w.configure = func(c *master.Config) {
		c.HeartbeatTimeout, c.Settle, c.Interval, c.MemberInterval = time.Minute, 25*time.Second, 10*time.Second, time.Minute
		c.LeaseTTL = 2 * time.Minute
	}
}

// stopMaster ends a master as a shutdown does, and cuts it from the wire.
func (w *world) stopMaster(name string) {
	w.wire.mu.Lock()
	delete(w.wire.hosts, name)
	w.wire.mu.Unlock()
	w.masters[name].stop()
	<-w.masters[name].done
	delete(w.masters, name)
}

// fake is a collector: it beats every second and joins what it is assigned, as fast as allowed.
type fake struct {
	control.Heartbeat
	client *control.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	silent   bool
	stuck    bool // it joins nothing
	rates    map[string]float64
	have     control.Assignment
	answers  int
	parted   []string // channels that it was told to leave
	joinedAt map[string]time.Time
}

func (w *world) startCollector(name, node string, capacity int, change ...func(*fake)) *fake {
	ctx, cancel := context.WithCancel(w.ctx)
	f := &fake{
		Heartbeat: control.Heartbeat{Collector: name, Node: node, Run: "run of " + name, Capacity: capacity, Started: time.Now()},
		client:    w.client(collectorToken, "m1", "m2"), cancel: cancel, done: make(chan struct{}),
		joinedAt: map[string]time.Time{},
	}
	for _, c := range change {
		c(f)
	}
	w.collectors[name] = f
	w.wg.Go(func() {
		defer close(f.done)
		for ctx.Err() == nil {
			f.beat(ctx)
			select {
			case <-time.After(w.every):
			case <-ctx.Done():
			}
		}
	})
	return f
}

func (f *fake) beat(ctx context.Context) {
	f.mu.Lock()
	h := f.Heartbeat
	silent := f.silent
	h.Joined = slices.Sorted(maps.Keys(f.joinedAt))
	h.Status.Rates = maps.Clone(f.rates)
	f.mu.Unlock()
	if silent {
		return
	}
	a, err := f.client.Heartbeat(ctx, h)
	if err != nil || a.Assignment == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.Assignment.Epoch < f.have.Epoch {
		return
	}
	f.answers++
	f.have = *a.Assignment
	f.Epoch, f.Revision = f.have.Epoch, f.have.Revision
	want := map[string]bool{}
	for _, c := range f.have.Channels {
		want[c.Channel] = true
		if _, ok := f.joinedAt[c.Channel]; !ok && !f.stuck {
			f.joinedAt[c.Channel] = time.Now()
		}
	}
	for id := range f.joinedAt {
		if !want[id] {
			delete(f.joinedAt, id)
			f.parted = append(f.parted, id)
		}
	}
}

func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fake) joined() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.joinedAt))
}

// left is what it was told to leave so far.
func (f *fake) left() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.parted)
}

func (f *fake) assignment() control.Assignment {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have
}

// readers counts on how many collectors each channel is read.
func (w *world) readers() map[string]int {
	n := map[string]int{}
	for _, f := range w.collectors {
		for _, id := range f.joined() {
			n[id]++
		}
	}
	return n
}

func (w *world) sleep(d time.Duration) {
	time.Sleep(d) // fake time
	synctest.Wait()
}

// live makes an event with n channels and starts it.
func (w *world) live(slug string, n, replicas int) {
	w.t.Helper()
	now := time.Now()
	_, err := w.op.CreateEvent(w.ctx, control.NewEvent{
		Slug: slug, Start: now, End: now.Add(55 * time.Hour), Replicas: replicas, TimeZone: "Europe/Paris",
	})
	w.must(err)
	if n > 0 {
		w.importLogins(slug, 0, n)
	}
	_, err = w.op.SetState(w.ctx, slug, control.Start)
	w.must(err)
}

func (w *world) importLogins(slug string, from, to int) control.Imported {
	w.t.Helper()
	var list bytes.Buffer
	for i := from; i < to; i++ {
		fmt.Fprintln(&list, fmt.Sprint("login", i))
	}
	in, err := w.op.ImportChannels(w.ctx, slug, "text/plain", list.Bytes())
	w.must(err)
	return in
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// channels lists ids and statuses.
func (w *world) channels(slug string) string {
	w.t.Helper()
	channels, err := w.op.Channels(w.ctx, slug)
	w.must(err)
	var list []string
	for _, c := range channels {
		list = append(list, c.ID+" "+c.Status)
	}
	return strings.Join(list, ", ")
}

func (w *world) conditions() string {
	w.t.Helper()
	members, err := w.op.Members(w.ctx)
	w.must(err)
	var list []string
	for _, m := range members {
		if m.Role == control.RoleMaster {
			for _, c := range m.Conditions {
				if c.Name == "rollup-behind" && w.rollup == nil {
					continue // there is none, and nobody asks
				}
				list = append(list, strings.TrimSpace(c.Name+" "+c.Subject))
			}
		}
	}
	return strings.Join(list, ", ")
}

func (w *world) wantReaders(channels, each int) {
	w.t.Helper()
	n := w.readers()
	if len(n) != channels {
		w.t.Errorf("%d channels are read, want %d", len(n), channels)
	}
	for id, k := range n {
		if k != each {
			w.t.Errorf("channel %s is read by %d, want %d", id, k, each)
		}
	}
}
