package faults_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/internal/cluster"
	"github.com/tungstene/tungstene/internal/testrabbit"
	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/verify"
)

const event = "marathon"

// scenario is one cluster that collects one event, and what is done to it.
type scenario struct {
	*cluster.Cluster

	links    *links
	api      *control.Client
	replicas int
	begun    time.Time

	faults    int // how many were caused
	takeovers []time.Duration
	measured  []string // for the table
	result    verify.Result
	unheard   int // messages of channels that somebody had joined before
}

// options are the cluster's, and the event's.
type options struct {
	cluster.Options

	replicas int
	// lasts is how long the event lasts at the most. Default 6 h.
	lasts time.Duration
	// inShort says that the scenario is part of the short form.
	inShort bool
	// scheduled says that schedule was called.
	scheduled bool
	// straight is a program that reaches chat without a link, whose buffers keep what it does not read.
	straight string
}

// scenarios counts them: each has queues of its own in the shared broker.
var scenarios atomic.Int64

// schedule skips what is not to run now, and has the rest run beside others. A scenario that needs
// something before begin calls it first.
func schedule(t *testing.T, inShort bool) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs servers and programs for minutes")
	}
	if !full() && !inShort {
		t.Skip("not part of the short form; make faults runs it")
	}
	t.Parallel()
}

// begin runs a cluster until every channel is read, on as many collectors as the event wants, and
// messages are flowing.
func begin(t *testing.T, o options) *scenario {
	t.Helper()
	if !o.scheduled {
		schedule(t, o.inShort)
	}
	s := &scenario{links: newLinks(t), replicas: cmp.Or(o.replicas, 1), begun: time.Now()}
	t.Cleanup(s.report)
	if o.Brokers == nil {
		o.Brokers = []*testrabbit.Broker{broker.Get(t)}
		o.Prefix = "s" + strconv.FormatInt(scenarios.Add(1), 10) + "-"
	}
	o.Via = func(program, service, address string) string {
		if program == o.straight && service == "chat" {
			return address
		}
		return s.links.via(program, service, address)
	}
	o.Rate = cmp.Or(o.Rate, 50)
	o.Channels = cmp.Or(o.Channels, 24)
	s.Cluster = cluster.New(t, &programs, o.Options)
	s.StartRoles()
	token, err := os.ReadFile(s.OperatorToken)
	if err != nil {
		t.Fatal(err)
	}
	s.api, err = control.New(s.MasterURLs("operator"), func() (string, error) { return strings.TrimSpace(string(token)), nil },
		&http.Client{Timeout: 5 * time.Second}) // of a master that stands still
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.api.Close)
	now := time.Now().UTC()
	s.Operate(app.ExitOK, "event", "create", event, "--replicas", strconv.Itoa(s.replicas),
		"--start", record.Minute(now).Format(time.RFC3339), "--end", now.Add(cmp.Or(o.lasts, 6*time.Hour)).Format(time.RFC3339))
	list, _ := s.Sim.Logins()
	s.Operate(app.ExitOK, "channel", "import", event, list)
	s.Operate(app.ExitOK, "event", "start", event)
	s.Until("every channel is read", s.allRead)
	s.flow(200)
	return s
}

// report adds the row of the table.
func (s *scenario) report() {
	if s.Cluster == nil || s.T.Skipped() {
		return
	}
	r := row{
		scenario: strings.TrimPrefix(s.T.Name(), "Test"), kills: s.faults, sent: s.result.Sent, lost: s.result.Lost,
		duplicates: s.result.Duplicates, took: time.Since(s.begun), result: "ok", takeover: "-",
	}
	if len(s.takeovers) > 0 {
		r.takeover = spread(s.takeovers)
	}
	if len(s.measured) > 0 {
		r.result += ": " + strings.Join(s.measured, "; ")
	}
	if s.T.Failed() {
		r.result = "FAILED"
	}
	results.add(r)
}

// spread is the median and the largest of some durations, in words.
func spread(list []time.Duration) string {
	if len(list) == 0 {
		return "none"
	}
	list = slices.Sorted(slices.Values(list))
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
	if len(list) == 1 {
		return round(list[0]).String()
	}
	return fmt.Sprintf("p50 %v, max %v of %d", round(list[len(list)/2]), round(list[len(list)-1]), len(list))
}

// measure notes a figure for the log and the table.
func (s *scenario) measure(format string, args ...any) {
	s.T.Helper()
	s.measured = append(s.measured, fmt.Sprintf(format, args...))
	s.Note("measured: "+format, args...)
}

// flow waits until so many further messages have been sent.
func (s *scenario) flow(n int64) {
	s.T.Helper()
	before, err := s.Sim.Status()
	if err != nil {
		s.T.Fatal(err)
	}
	s.Until(fmt.Sprintf("%d more messages are sent", n), s.Sim.HasSent(before.Sent+n))
}

// lasts is met when a time has passed since now. It stands where a fault has to last.
func (s *scenario) lasts(what string, d time.Duration) {
	s.T.Helper()
	end := time.Now().Add(d)
	s.Within(d+10*time.Second, fmt.Sprintf("%s for %v", what, d), func() error {
		if left := time.Until(end); left > 0 {
			return fmt.Errorf("%v left", left)
		}
		return nil
	})
}

// allRead is met when every channel is read by as many collectors as the event wants.
func (s *scenario) allRead() error {
	list, err := s.api.Collectors(s.T.Context())
	if err != nil {
		return err
	}
	joined := 0
	for _, c := range list {
		if c.State == control.CollectorSilent || s.isEnded(c.Name) {
			continue
		}
		if !c.Current || c.Joined != c.Assigned {
			return fmt.Errorf("%s is %s and has joined %d of %d assigned channels", c.Name, c.State, c.Joined, c.Assigned)
		}
		joined += c.Joined
	}
	if want := s.replicas * s.Channels; joined != want {
		return fmt.Errorf("%d channels are joined, want %d", joined, want)
	}
	return nil
}

// isEnded reports whether a collector was ended by us, whatever the master knows.
func (s *scenario) isEnded(name string) bool {
	return slices.ContainsFunc(s.Collectors, func(p *cluster.Program) bool { return p.Name == name && p.Ended() })
}

// program finds what runs under a name.
func (s *scenario) program(name string) *cluster.Program {
	s.T.Helper()
	for _, p := range s.Roles() {
		if p.Name == name {
			return p
		}
	}
	s.T.Fatalf("no program %s", name)
	return nil
}

// kill ends a program with SIGKILL.
func (s *scenario) kill(p *cluster.Program) {
	s.T.Helper()
	p.Kill()
	s.faults++
	s.Note("killed %s", p.Name)
}

// signal sends SIGSTOP or SIGCONT.
func (s *scenario) signal(p *cluster.Program, sig syscall.Signal) {
	s.T.Helper()
	if err := syscall.Kill(p.PID(), sig); err != nil {
		s.T.Fatalf("signal %s: %v", p.Name, err)
	}
	if sig == syscall.SIGSTOP {
		s.faults++
	}
	s.Note("%s to %s", sig, p.Name)
}

// took waits for a condition, and gives the time that it took since a moment.
func (s *scenario) took(since time.Time, what string, met func() error) time.Duration {
	s.T.Helper()
	s.Until(what, met)
	return time.Since(since)
}

// leadsOther is met when one of the programs leads that is not the one.
func leadsOther(programs []*cluster.Program, not *cluster.Program, metric string) func() error {
	others := slices.DeleteFunc(slices.Clone(programs), func(p *cluster.Program) bool { return p == not })
	return func() error {
		_, err := cluster.Leading(others, metric)
		return err
	}
}

// emptied is met when nothing waits in an outbox or in the queue, and nothing is dead.
func (s *scenario) emptied() error {
	for _, p := range s.Collectors {
		if p.Ended() {
			continue
		}
		if err := p.MetricIs("tungstene_collector_outbox_batches", 0)(); err != nil {
			return err
		}
	}
	depths, err := s.depths()
	if err == nil && (depths["store"] != 0 || depths["dead"] != 0) {
		err = fmt.Errorf("queues hold %v batches", depths)
	}
	return err
}

// depths are how many batches wait in the queues.
func (s *scenario) depths() (map[string]int, error) {
	code, out, errs := s.Run("queue", "depth", "--json", "--config", s.Operator)
	if code != app.ExitOK {
		return nil, fmt.Errorf("queue depth: exit code %d: %s", code, errs)
	}
	return cluster.Decode[map[string]int](s.World, out), nil
}

// unacknowledged is met when no consumer has held a batch since a moment.
func (s *scenario) unacknowledged(since time.Time) func() error {
	return func() error {
		members, err := s.api.Members(s.T.Context())
		if err != nil {
			return err
		}
		for _, p := range s.Consumers {
			i := slices.IndexFunc(members, func(m control.Member) bool { return m.Role == control.RoleConsumer && m.Name == p.Name })
			switch {
			case p.Ended():
			case i < 0 || members[i].Consumer == nil || members[i].Seen.Before(since):
				return fmt.Errorf("%s has not told lately what it holds", p.Name)
			case members[i].Consumer.Held > 0:
				return fmt.Errorf("%s holds %d batches", p.Name, members[i].Consumer.Held)
			}
		}
		return nil
	}
}

// every asks no oftener than that, for conditions that are dear to ask.
func every(d time.Duration, met func() error) func() error {
	var asked time.Time
	var last error
	return func() error {
		if time.Since(asked) >= d {
			last = met()
			asked = time.Now()
		}
		return last
	}
}

// node is a broker's node that runs.
func (s *scenario) node() *testrabbit.Broker {
	for _, b := range s.Brokers {
		if b.Running() {
			return b
		}
	}
	s.T.Fatal("no node of the broker runs")
	return nil
}

// end stops the traffic, has everything that was sent arrive, stops the event and waits until its
// last minute is closed for good.
func (s *scenario) end() {
	s.T.Helper()
	if !s.Sim.Ended() {
		s.Sim.Stop()
	}
	s.Within(2*time.Minute, "all that was sent is out of outboxes and queues", every(time.Second, s.emptied))
	s.Within(2*time.Minute, "no consumer holds anything", every(time.Second, s.unacknowledged(time.Now().Add(time.Second))))
	through := record.Minute(time.Now()).Add(time.Minute)
	s.Until("the event is stopped", func() error {
		_, err := s.api.SetState(s.T.Context(), event, control.Stop)
		return err
	})
	s.Within(4*time.Minute, "all minutes are closed", every(2*time.Second, func() error {
		return s.Look(func(db store.Store) error { return cluster.Settled(s.T.Context(), db, event, through) })
	}))
}

// verify compares the ledger with the store.
func (s *scenario) verify() verify.Result {
	s.T.Helper()
	var r verify.Result
	if err := s.Look(func(db store.Store) (err error) {
		r, err = verify.Run(s.T.Context(), db, event, s.ledger(nil))
		return err
	}); err != nil {
		s.T.Fatalf("verify: %v", err)
	}
	s.result = r
	s.Note("verified: %+v", r)
	return r
}

// nothingLost ends the scenario and wants every message of the ledger stored once, and every minute
// exact.
func (s *scenario) nothingLost() {
	s.T.Helper()
	s.end()
	r := s.verify()
	if r.Lost != 0 || r.Duplicates != 0 || r.Stored != r.Sent || r.RollupMessages != r.Sent ||
		r.MinutesDiffering != 0 || r.MinutesOpen != 0 || r.MinutesCompared == 0 || r.Outside != 0 || r.Unexpected != 0 {
		s.T.Errorf("not what was sent: %+v", r)
		s.explain()
	}
	if r.Sent < 300 {
		s.T.Errorf("only %d messages: too little was tried", r.Sent)
	}
	s.Sound()
}

// explain tells of the lost messages when they were sent, and what was covered then.
func (s *scenario) explain() {
	c := s.coverage()
	have := s.stored()
	n := 0
	for e, err := range s.ledger(nil) {
		if err != nil || n == 20 {
			return
		}
		if _, ok := have[e.ID]; !ok {
			n++
			at := time.UnixMilli(e.SentMS).UTC()
			s.Note("lost: %s of %s (%s) at %s, covered then: %v", e.ID, e.Channel, e.Room, at.Format("15:04:05.000"), c.by(e.Room, e.SentMS))
		}
	}
}

// stored are the ids of the stored messages, with the time of each in Unix milliseconds.
func (s *scenario) stored() map[string]int64 {
	s.T.Helper()
	ids := map[string]int64{}
	s.records(record.KindMessage, func(raw bson.Raw) {
		id, _ := raw.Lookup("message").StringValueOK()
		at, _ := raw.Lookup("time").DateTimeOK()
		ids[id] = at
	})
	return ids
}

// records reads the stored records of a kind.
func (s *scenario) records(kind record.Kind, each func(bson.Raw)) {
	s.T.Helper()
	if err := s.Look(func(db store.Store) error {
		for raw, err := range db.Find(s.T.Context(), store.Query{Collection: store.Records, Event: event, Kind: kind}) {
			if err != nil {
				return err
			}
			each(raw)
		}
		return nil
	}); err != nil {
		s.T.Fatalf("read records of kind %s: %v", kind, err)
	}
}

// minutes reads the documents of the channels' closed minutes.
func (s *scenario) minutes(each func(record.Statistics)) {
	s.T.Helper()
	if err := s.Look(func(db store.Store) error {
		for raw, err := range db.Find(s.T.Context(), store.Query{Collection: store.Minutes, Event: event}) {
			if err != nil {
				return err
			}
			var d record.Statistics
			if err := record.Decode(raw, &d); err != nil {
				return err
			}
			if d.Channel != record.AllChannels && d.State == record.StateClosed {
				each(d)
			}
		}
		return nil
	}); err != nil {
		s.T.Fatalf("read the minutes: %v", err)
	}
}

// epochs is met as long as no assignment's epoch has fallen; it remembers the highest.
func (s *scenario) epochs(seen map[string]int64) error {
	list, err := s.api.Assignments(s.T.Context())
	if err != nil {
		return nil //nolint:nilerr // no master answers just now
	}
	for _, a := range list {
		if a.Epoch < seen[a.Collector] {
			return fmt.Errorf("the epoch of the assignment of %s fell from %d to %d", a.Collector, seen[a.Collector], a.Epoch)
		}
		seen[a.Collector] = a.Epoch
	}
	return nil
}

// condition is met when a master raises a condition, or does not.
func (s *scenario) condition(name string, raised bool) func() error {
	return func() error {
		h, err := s.api.Health(s.T.Context())
		if err != nil {
			return err
		}
		var names []string
		for _, c := range h.Conditions {
			names = append(names, c.Name)
		}
		if slices.Contains(names, name) != raised {
			return fmt.Errorf("conditions: %v", names)
		}
		return nil
	}
}

// median of some figures.
func median(list []float64) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	return slices.Sorted(slices.Values(list))[len(list)/2]
}

// background is a context that outlives the test's own, for cleaning up.
func background(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

// seldom makes collectors write coverage every two seconds instead of five times a second. Scenarios that
// last long need it: the stand-in for MongoDB has no index, and reads all records to count a minute.
func seldom(program string) string {
	if strings.HasPrefix(program, "collector-") {
		return "collector:\n  tick: 2s\n"
	}
	return ""
}
