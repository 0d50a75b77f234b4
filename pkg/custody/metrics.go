package custody

import (
	"cmp"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/control"
)

type metrics struct {
	erased, redacted, letters, texts, donors, expired prometheus.Counter
	checked, drifts, failures                         prometheus.Counter
	pending, leading                                  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "tungstene_custody_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "tungstene_custody_" + name, Help: help})
	}
	m := &metrics{
		erased:   counter("erased_records_total", "Records deleted because a forgotten person wrote or received them."),
		redacted: counter("redacted_records_total", "Records rewritten without the forgotten person that they mentioned."),
		letters:  counter("erased_letters_total", "Dead letters that were cut or deleted because of a forgotten person."),
		texts:    counter("erased_texts_total", "Records rewritten without their text, whose time was over."),
		donors:   counter("erased_donors_total", "Donations rewritten without their donor or the source's row, whose time was over."),
		expired:  counter("expired_records_total", "Records deleted whose time was over."),
		checked:  counter("checked_minutes_total", "Closed minutes compared with their records."),
		drifts:   counter("drifting_minutes_total", "Closed minutes whose documents were not what their records say."),
		failures: counter("failures_total", "Jobs that failed and are tried again."),
		pending:  gauge("pending_tombstones", "Forgotten people who are still being erased."),
		leading:  gauge("leading", "1 while this custody leads."),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.erased, m.redacted, m.letters, m.texts, m.donors, m.expired, m.checked, m.drifts, m.failures, m.pending, m.leading,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// sorted are the conditions by name and subject. The lock is the caller's.
func (c *Custody) sorted() []control.Condition {
	return slices.SortedFunc(maps.Values(c.conditions), func(a, b control.Condition) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Subject, b.Subject))
	})
}
