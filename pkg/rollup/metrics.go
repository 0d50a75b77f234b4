package rollup

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	closed, recounts, void, fenced    prometheus.Counter
	scanned, ignored, live, liveDrops prometheus.Counter
	scan                              prometheus.Histogram
	lag, leading                      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "tungstene_rollup_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "tungstene_rollup_" + name, Help: help})
	}
	m := &metrics{
		closed:    counter("minutes_closed_total", "Minutes closed that have documents."),
		recounts:  counter("recounts_total", "Marked minutes counted again."),
		void:      counter("void_marks_total", "Marks cleared without counting, of events whose records were erased."),
		fenced:    counter("fenced_writes_total", "Writes refused because a later leader has written."),
		scanned:   counter("scanned_records_total", "Records read to close or recount minutes."),
		ignored:   counter("ignored_records_total", "Records read that no statistic speaks of."),
		live:      counter("live_records_total", "Records counted from the live feed."),
		liveDrops: counter("live_dropped_total", "Records of the live feed that were not counted: of minutes closed already, or too many."),
		scan: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tungstene_rollup_scan_seconds", Help: "Time to read and count the records of one round of closing, or of one recount.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 15),
		}),
		lag:     gauge("closing_lag_seconds", "How long the longest overdue minute is past its closing time."),
		leading: gauge("leading", "1 while this rollup leads."),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.closed, m.recounts, m.void, m.fenced, m.scanned, m.ignored, m.live, m.liveDrops, m.scan, m.lag, m.leading,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
