package report_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/report"
	"github.com/tungstene/tungstene/pkg/statistics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// comparisonOf compares an event with a smaller one of a year before.
func comparisonOf(t *testing.T, d *report.Data) *statistics.Comparison {
	t.Helper()
	there := d.Minutes
	there.Name, there.From, there.To = "Marathon 2025", d.Minutes.From.AddDate(-1, 0, 0), d.Minutes.To.AddDate(-1, 0, 0)
	there.Points = nil
	for _, p := range d.Minutes.Points {
		p.Time = p.Time.AddDate(-1, 0, 0)
		p.Viewers.N *= 0.7
		p.Corrected.N = p.Corrected.N * 6 / 10
		there.Points = append(there.Points, p)
	}
	c, err := statistics.Compare(d.Minutes, there, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}
