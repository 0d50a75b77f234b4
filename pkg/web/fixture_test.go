package web_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/web"
)

// memory is the part of a store that the page reads.
type memory struct {
	mu   sync.Mutex
	docs map[store.Collection]map[string]doc
	err  error
}

type doc struct {
	raw            bson.Raw
	id             string
	event, channel string
	time           time.Time
}

func newMemory() *memory { return &memory{docs: map[store.Collection]map[string]doc{}} }

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) put(t testing.TB, c store.Collection, v any) {
	t.Helper()
	raw, err := bson.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		ID      string    `bson:"_id"`
		Event   string    `bson:"event"`
		Channel string    `bson:"channel"`
		Time    time.Time `bson:"time"`
	}
	if err := bson.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.docs[c] == nil {
		m.docs[c] = map[string]doc{}
	}
	m.docs[c][d.ID] = doc{raw, d.ID, d.Event, d.Channel, d.Time}
}

func (m *memory) Find(_ context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	return func(yield func(bson.Raw, error) bool) {
		m.mu.Lock()
		err := m.err
		var found []doc
		for _, d := range m.docs[q.Collection] {
			if q.Event != "" && d.event != q.Event || q.Channel != "" && d.channel != q.Channel ||
				!q.From.IsZero() && d.time.Before(q.From) || !q.To.IsZero() && !d.time.Before(q.To) {
				continue
			}
			found = append(found, d)
		}
		m.mu.Unlock()
		if err != nil {
			yield(nil, err)
			return
		}
		slices.SortFunc(found, func(a, b doc) int { return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.id, b.id)) })
		if q.Descending {
			slices.Reverse(found)
		}
		if q.Limit > 0 {
			found = found[:min(q.Limit, len(found))]
		}
		for _, d := range found {
			if !yield(d.raw, nil) {
				return
			}
		}
	}
}

func (m *memory) Get(_ context.Context, c store.Collection, id string) (bson.Raw, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	d, ok := m.docs[c][id]
	if !ok {
		return nil, store.ErrNotFound
	}
	return d.raw, nil
}

// marathon is an event of many channels of very unequal size, three collectors reading each twice.
type marathon struct {
	*memory
	start  time.Time
	ids    []string
	weight []float64
	rng    *rand.Rand
	beat   int64
	told   int64
	// recounted is added to the time at which minutes say that they were counted.
	recounted time.Duration
}

func names(i int) string {
	first := []string{"Lanterne", "Mistral", "Corail", "Boréale", "Cobalt", "Fougère", "Silex", "Comète", "Garance", "Tamaris", "Orage", "Nacre", "Pivoine", "Falaise"}
	second := []string{"", "TV", "Live", "Joue", "Off", "Gaming", "Club", "_", "Z", "HD"}
	return first[i%len(first)] + second[i/len(first)%len(second)] + map[bool]string{true: strconv.Itoa(i)}[i >= 140]
}

func newMarathon(t testing.TB, now time.Time, channels int) *marathon {
	t.Helper()
	m := &marathon{memory: newMemory(), start: record.Minute(now).Add(-17*time.Hour - 12*time.Minute), rng: rand.New(rand.NewPCG(1, 2))}
	m.put(t, store.Events, record.Event{
		Slug: "marathon", Name: "Marathon des Lumières 2026", State: record.EventLive, Start: m.start,
		End: m.start.Add(55 * time.Hour), TimeZone: "Europe/Paris", Replicas: 2,
	})
	for i := range channels {
		id := strconv.Itoa(40000000 + i*7919)
		m.ids = append(m.ids, id)
		m.weight = append(m.weight, 1/math.Pow(float64(i+2), 0.9))
		name := names(i)
		if i == 3 {
			name = `<img src=x onerror=alert(1)>`
		}
		m.put(t, store.Channels, record.Channel{
			ID: "marathon/" + id, Event: "marathon", Channel: id, Login: fmt.Sprintf("streamer%03d", i), Name: name,
			Status: record.ChannelActive, Added: m.start.Add(-time.Hour),
		})
	}
	return m
}

// minute writes the documents of one minute. Part of the channels at the given index ranges are
// covered by as much as covered says.
func (m *marathon) minute(t testing.TB, at time.Time, state string, covered func(i int) float64) {
	t.Helper()
	shape := 1 + 0.35*math.Sin(float64(at.Unix())/1500) + 0.25*m.rng.Float64()
	part := 1.0
	if state == record.StateOpen {
		part = 0.55
	}
	all := record.Statistics{ID: "marathon/*/" + strconv.FormatInt(at.Unix(), 10), Event: "marathon", Channel: record.AllChannels}
	all.Time, all.State, all.Counted, all.Minutes = at, state, at.Add(80*time.Second+m.recounted), 1
	all.Coverage = record.Covered{Chat: record.Complete, Viewers: record.Complete}
	for i, id := range m.ids {
		s := record.Statistics{
			ID: "marathon/" + id + "/" + strconv.FormatInt(at.Unix(), 10), Event: "marathon", Channel: id,
			Time: at, State: state, Counted: all.Counted, Minutes: 1,
		}
		c := covered(i)
		s.Coverage = record.Covered{Chat: record.Complete, Viewers: record.Complete, Seconds: 60 * c, Expected: 60}
		if c < 1 {
			s.Coverage.Chat = record.Partial
			all.Coverage.Chat = record.Partial
		}
		if c == 0 {
			s.Coverage.Chat = record.Unknown
		}
		s.Messages = int64(5600 * m.weight[i] * shape * part * c * (0.7 + 0.6*m.rng.Float64()))
		s.Chatters = record.Chatters{Estimate: s.Messages * 2 / 5, Error: 0.0081}
		s.Emotes.Total = s.Messages / 2
		s.Subs, s.Gifts = s.Messages/190, s.Messages/260
		s.Viewers.SampledMinutes = 1
		if i%6 != 5 {
			s.Viewers.LiveMinutes = 1
			s.Viewers.Average = math.Round(95000 * m.weight[i] * (0.8 + shape/5))
		}
		all.Messages += s.Messages
		all.Chatters.Estimate += s.Chatters.Estimate * 4 / 5
		all.Emotes.Total += s.Emotes.Total
		all.Subs += s.Subs
		all.Gifts += s.Gifts
		all.Viewers.SampledMinutes++
		all.Viewers.LiveMinutes += s.Viewers.LiveMinutes
		all.Viewers.Average += s.Viewers.Average
		all.Coverage.Seconds += s.Coverage.Seconds
		all.Coverage.Expected += 60
		if state == record.StateClosed {
			m.put(t, store.Minutes, s)
		}
	}
	all.Chatters.Error = 0.0081
	m.put(t, store.Minutes, all)
	if state == record.StateClosed {
		total := all
		total.ID = "marathon/*"
		total.Time, total.Through = m.start, at
		total.Messages = 22_418_903 + at.Unix()%86400*9
		total.Chatters.Estimate = 418_237
		total.Viewers.Peak, total.Viewers.PeakAt = 812_404, m.start.Add(3*time.Hour+7*time.Minute)
		total.Coverage.Chat = record.Partial
		m.put(t, store.Totals, total)
	}
}

// members writes everyone's heartbeat.
func (m *marathon) members(t testing.TB, now, closed time.Time, silent bool) {
	t.Helper()
	m.beat++
	base := control.Member{Version: "0.2.0", Started: m.start, Seen: now, Beat: m.beat, Run: "r1"}
	for c := range 3 {
		if silent && c == 2 && m.beat > 1 {
			continue
		}
		mem := base
		mem.Name, mem.Role, mem.Node = fmt.Sprintf("collector-%d", c+1), control.RoleCollector, fmt.Sprintf("node-%d", c+1)
		mem.ID = control.RoleCollector + "/" + mem.Name
		col := control.CollectorMember{Capacity: 300}
		col.Status.Rates = map[string]float64{}
		for i, id := range m.ids {
			if i%3 == c {
				continue
			}
			col.Status.Assigned++
			if i < len(m.ids)-2 {
				col.Joined = append(col.Joined, id)
			}
			r := 93 * m.weight[i] * (0.8 + 0.4*m.rng.Float64())
			col.Status.Rates[id] = r
			col.Status.Rate += r
		}
		for n := range 3 {
			col.Status.Connections = append(col.Status.Connections, control.Connection{Name: fmt.Sprintf("%s/%d/1", mem.Name, n), State: "ready", LastLine: now})
		}
		col.Status.OutboxBatches, col.Status.OutboxBytes, col.Status.OutboxOldest = int64(c), int64(c)*41200, now.Add(-180*time.Millisecond)
		if c == 1 {
			col.Status.Conditions = []control.Condition{{Name: "helix-unauthorized", Subject: "client id a1b2…", Since: now.Add(-26 * time.Minute), Detail: "Twitch refuses the client secret (401); the next client id is used. Renew the secret in the configuration."}}
		}
		mem.Collector = &col
		m.put(t, store.Members, mem)
	}
	for c := range 2 {
		mem := base
		mem.Name, mem.Role, mem.Node = fmt.Sprintf("consumer-%d", c+1), control.RoleConsumer, fmt.Sprintf("node-%d", c+1)
		mem.ID = control.RoleConsumer + "/" + mem.Name
		m.told += int64(300 + m.rng.IntN(30))
		mem.Consumer = &control.ConsumerStatus{Rate: 610 + 40*m.rng.Float64(), Lag: 640 * time.Millisecond, Inserted: m.told}
		m.put(t, store.Members, mem)
	}
	mem := base
	mem.Name, mem.Role, mem.Node, mem.ID = "rollup-1", control.RoleRollup, "node-1", "rollup/rollup-1"
	mem.Rollup = &control.RollupStatus{Leader: true, Epoch: 4, Events: []control.RollupEvent{{Event: "marathon", Closed: closed, Marks: 0}}}
	m.put(t, store.Members, mem)
	mem = base
	mem.Name, mem.Role, mem.Node, mem.ID = "master-1", control.RoleMaster, "node-2", "master/master-1"
	mem.Master = &control.MasterStatus{Leader: true, Epoch: 7}
	m.put(t, store.Members, mem)
}

// TestServeFixture serves the page with a made-up marathon, to look at while working on it:
// TUNGSTENE_WEB_FIXTURE=127.0.0.1:18080 go test -run TestServeFixture -timeout 0 ./pkg/web
func TestServeFixture(t *testing.T) {
	addr := os.Getenv("TUNGSTENE_WEB_FIXTURE")
	if addr == "" {
		t.Skip("TUNGSTENE_WEB_FIXTURE names no address")
	}
	calm := os.Getenv("TUNGSTENE_WEB_FIXTURE_CALM") != ""
	now := time.Now()
	m := newMarathon(t, now, 350)
	if !calm {
		m.put(t, store.Channels, record.Channel{ID: "marathon/login:streamre", Event: "marathon", Login: "streamre", Status: record.ChannelUnknown})
	}
	last := record.Minute(now).Add(-2 * time.Minute)
	covered := func(at time.Time) func(int) float64 {
		ago := int(last.Sub(at).Minutes())
		return func(i int) float64 {
			switch {
			case calm:
			case ago >= 31 && ago <= 33:
				return 0.35
			case ago == 12 && i%50 == 3, ago == 11 && i%50 == 3:
				return 0.6
			}
			return 1
		}
	}
	for ago := 62; ago >= 0; ago-- {
		if !calm && (ago == 45 || ago == 44) {
			continue
		}
		at := last.Add(-time.Duration(ago) * time.Minute)
		m.minute(t, at, record.StateClosed, covered(at))
	}
	whole := func(int) float64 { return 1 }
	m.minute(t, last.Add(time.Minute), record.StateOpen, whole)
	m.minute(t, last.Add(2*time.Minute), record.StateOpen, whole)
	m.members(t, now, last, !calm)
	cfg := web.Config{Store: m, Version: "0.2.0", Depth: func(_ context.Context, q string) (int, error) {
		if q == "dead" {
			return 0, nil
		}
		return 3, nil
	}}
	if !calm {
		cfg.Silent = 3 * time.Second
		cfg.Demo = func() web.Demo {
			return web.Demo{Phase: web.PhaseRunning, Sent: 35_412 + int64(time.Since(now).Seconds()*600), Elapsed: time.Since(now), Remaining: time.Minute}
		}
	}
	s, err := web.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: time.Second}
	go func() {
		for range time.Tick(time.Second) {
			m.members(t, time.Now(), last, !calm)
		}
	}()
	go func() { _ = s.Run(t.Context()) }()
	if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		t.Fatal(err)
	}
}
