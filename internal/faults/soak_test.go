package faults_test

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
)

// What a process may grow by from the second quarter of a soak to the last: by a share, and by an
// amount, whichever is more. A heap that the collector has not yet given back is no leak.
const (
	growShare      = 0.25
	growMemory     = 24 << 20 // bytes
	growHandles    = 12
	growGoroutines = 20
	// mostQueued bounds what waits between the faults, in batches: nothing that a fault has held up
	// may stay.
	mostQueued = 200
)

// sampled are the metrics that a soak watches, and what each may grow by.
var sampled = []struct {
	metric string
	grow   float64
}{
	{"process_resident_memory_bytes", growMemory},
	{"process_open_fds", growHandles},
	{"go_goroutines", growGoroutines},
}

// soak gathers samples.
type soak struct {
	*scenario

	begun  time.Time
	series map[string][]float64 // by program and metric
	csv    *csv.Writer
}

// TestSoak runs the pipeline for hours (make soak HOURS=1), with a fault every minute. Memory,
// handles and goroutines must be flat, queues bounded, and nothing lost.
//
// One program of each role is never killed, so that its growth can be seen; it gets every other
// fault.
func TestSoak(t *testing.T) {
	hours, err := strconv.ParseFloat(os.Getenv("SOAK_HOURS"), 64)
	if err != nil || hours <= 0 {
		t.Skip("make soak runs it: SOAK_HOURS says how long")
	}
	length := time.Duration(hours * float64(time.Hour))
	rate := 5 // the stand-in for MongoDB uses no index: an hour of more can't be counted in time
	if text := os.Getenv("SOAK_RATE"); text != "" {
		if rate, err = strconv.Atoi(text); err != nil {
			t.Fatalf("SOAK_RATE: %v", err)
		}
	}
	path := cmp.Or(os.Getenv("SOAK_OUT"), filepath.Join(t.ArtifactDir(), "soak.csv"))
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := &soak{
		scenario: begin(t, options{
			replicas: 2, inShort: true, lasts: length + 24*time.Hour,
			Options: cluster.Options{Collectors: 3, Channels: 8, Rate: rate, Config: seldom, Sim: []string{"--duplicate", "0.005", "--disorder", "0.005"}},
		}),
		begun: time.Now(), series: map[string][]float64{}, csv: csv.NewWriter(f),
	}
	s.put("seconds", "program", "metric", "value")
	s.run(length)
	s.csv.Flush()
	if err := s.csv.Error(); err != nil {
		t.Error(err)
	}
	s.Until("every channel is read twice", s.allRead)
	s.judge()
	s.nothingLost()
	t.Logf("the samples are in %s", path)
}

func (s *soak) put(fields ...string) {
	if err := s.csv.Write(fields); err != nil {
		s.T.Fatal(err)
	}
}

// run causes a fault every minute, and samples every ten seconds.
func (s *soak) run(length time.Duration) {
	r := random(s.T)
	faults := s.kinds(func(n int) int { return r.IntN(n) })
	next, fault := s.begun, s.begun.Add(30*time.Second)
	var undo func()
	var until time.Time
	end := s.begun.Add(length)
	s.Within(length+5*time.Minute, "the soak is over", func() error {
		now := time.Now()
		if undo != nil && now.After(until) {
			undo()
			undo = nil
		}
		if !now.Before(next) {
			s.sample()
			next = next.Add(10 * time.Second)
		}
		if !now.Before(fault) && now.Before(end.Add(-30*time.Second)) {
			name := slices.Sorted(maps.Keys(faults))[s.faults%len(faults)]
			s.Note("fault %d: %s", s.faults+1, name)
			was := s.faults
			undo = faults[name]()
			s.faults = was + 1
			until = now.Add(time.Duration(3+r.IntN(9)) * time.Second)
			fault = fault.Add(time.Minute)
		}
		if undo == nil && now.After(end) {
			return nil
		}
		return fmt.Errorf("%v left", time.Until(end).Round(time.Second))
	})
}

// kinds are the faults: each begins one and gives what ends it.
func (s *soak) kinds(pick func(n int) int) map[string]func() func() {
	kill := func(list []*cluster.Program) func() {
		p := list[1+pick(len(list)-1)] // never the first
		s.kill(p)
		return func() { s.Revive(p.Name) }
	}
	stop := func(p *cluster.Program) func() {
		s.signal(p, syscall.SIGSTOP)
		return func() { s.signal(p, syscall.SIGCONT) }
	}
	link := func(program, service string, begin, end func(program, service string)) func() func() {
		return func() func() {
			begin(program, service)
			return func() { end(program, service) }
		}
	}
	slow := func(program, service string) { s.links.slow(program, service, 150*time.Millisecond, 100) }
	return map[string]func() func(){
		"a collector is killed":              func() func() { return kill(s.Collectors) },
		"a consumer is killed":               func() func() { return kill(s.Consumers) },
		"a master is killed":                 func() func() { return kill(s.Masters) },
		"a consumer stands still":            func() func() { return stop(s.Consumers[0]) },
		"a master stands still":              func() func() { return stop(s.Masters[0]) },
		"chat asks for reconnects":           func() func() { s.Sim.Fault(`{"do":"reconnect"}`); return func() {} },
		"collectors can't reach the broker":  link("collector", "broker", s.links.cut, s.links.mend),
		"consumers can't reach the broker":   link("consumer", "broker", s.links.cut, s.links.mend),
		"collectors can't reach the masters": link("collector", "master", s.links.cut, s.links.mend),
		"the store is slow":                  link("consumer", "store", slow, s.links.clean),
		"the broker is slow":                 link("collector", "broker", slow, s.links.clean),
	}
}

func (s *soak) sample() {
	at := strconv.FormatFloat(time.Since(s.begun).Seconds(), 'f', 0, 64)
	note := func(program, metric string, v float64) {
		key := program + " " + metric
		s.series[key] = append(s.series[key], v)
		s.put(at, program, metric, strconv.FormatFloat(v, 'f', -1, 64))
	}
	for _, p := range s.Roles() {
		if p.Ended() {
			continue
		}
		for _, m := range sampled {
			if v, err := p.Metric(m.metric); err == nil { // a stopped one does not answer
				note(p.Name, m.metric, v)
			}
		}
	}
	for _, p := range s.Collectors {
		if v, err := p.Metric("tungstene_collector_outbox_batches"); err == nil {
			note(p.Name, "outbox_batches", v)
		}
	}
	if depths, err := s.depths(); err == nil {
		note("broker", "store_batches", float64(depths["store"]))
		note("broker", "dead_batches", float64(depths["dead"]))
	}
}

// judge compares the second quarter with the last.
func (s *soak) judge() {
	s.T.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "program\tmetric\tsecond quarter\tlast quarter\tmost\t")
	for _, key := range slices.Sorted(maps.Keys(s.series)) {
		list := s.series[key]
		n := len(list)
		early, late := median(list[n/4:n/2]), median(list[n*3/4:])
		program, metric, _ := strings.Cut(key, " ")
		verdict := ""
		if n < 8 {
			verdict = "too few"
		}
		for _, m := range sampled {
			steady := strings.HasSuffix(program, "-1")
			if metric == m.metric && steady && n >= 8 && late > early+max(m.grow, growShare*early) {
				verdict = "GROWS"
				s.T.Errorf("%s of %s grew from %.0f to %.0f", metric, program, early, late)
			}
		}
		if strings.HasSuffix(metric, "_batches") && n >= 8 && late > mostQueued {
			verdict = "STAYS FULL"
			s.T.Errorf("%s of %s are %.0f in the last quarter, want at most %d", metric, program, late, mostQueued)
		}
		fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\t%.0f\t%s\n", program, metric, early, late, slices.Max(list), verdict)
	}
	if err := w.Flush(); err != nil {
		s.T.Error(err)
	}
	fmt.Fprintf(os.Stdout, "\n%s\n", &b)
}
