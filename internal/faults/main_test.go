// Package faults causes the faults that a cluster meets, in front of real processes, a real RabbitMQ
// and a MongoDB or its stand-in, and has the simulator's ledger judge what became of the messages.
//
// `go test ./internal/faults` runs a short form; FAULTS=full (make faults) runs every scenario at
// its full length. FAULTS_SEED sets the seed of what is random, FAULTS_OUT names a file that gets
// the table of results too.
package faults_test

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/internal/cluster"
	"github.com/tungstene/tungstene/internal/testrabbit"
)

var (
	// programs are built without the race detector: what counts here is time.
	programs cluster.Programs
	broker   testrabbit.Shared
	results  table
)

// full says that every scenario is to run, at its full length.
func full() bool { return os.Getenv("FAULTS") == "full" }

func TestMain(m *testing.M) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's
	goleak.VerifyTestMain(programs.Main(broker.Main(&results.wrap(m).suite)))
}

// row is what one scenario did and measured.
type row struct {
	scenario   string
	kills      int // and other faults
	sent       int64
	lost       int64
	duplicates int64
	takeover   string
	result     string
	took       time.Duration
}

// table gathers the rows of all scenarios.
type table struct {
	mu   sync.Mutex
	rows []row

	m     *testing.M
	suite suite
}

func (t *table) wrap(m *testing.M) *table {
	t.m, t.suite = m, suite{t}
	return t
}

func (t *table) add(r row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

// suite prints the table when the tests have run.
type suite struct{ *table }

func (s *suite) Run() int {
	code := s.m.Run()
	if err := s.print(); err != nil {
		fmt.Fprintln(os.Stderr, "print the results:", err)
		return max(code, 1)
	}
	return code
}

func (t *table) print() error {
	if len(t.rows) == 0 {
		return nil
	}
	slices.SortFunc(t.rows, func(a, b row) int { return strings.Compare(a.scenario, b.scenario) })
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "scenario\tfaults\tsent\tlost\tduplicates\ttakeover\ttook\tresult")
	for _, r := range t.rows {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n",
			r.scenario, r.kills, r.sent, r.lost, r.duplicates, r.takeover, r.took.Round(time.Second), r.result)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := io.WriteString(os.Stdout, "\n"+b.String()+"\n"); err != nil {
		return err
	}
	if path := os.Getenv("FAULTS_OUT"); path != "" {
		return os.WriteFile(path, []byte(b.String()), 0o644)
	}
	return nil
}
