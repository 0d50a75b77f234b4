package consumer

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	inserted, existed, refused prometheus.Counter
	frozen, forgotten          prometheus.Counter
	batches, stale, dead       prometheus.Counter
	cut, marks, retries        prometheus.Counter
	filed, replayed, stalls    prometheus.Counter
	held, depth, letters       prometheus.Gauge
	insert, lag                prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	records := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tungstene_consumer_records_total",
		Help: "Records by what became of them: inserted, existed (stored before), refused and frozen (dead letters), forgotten (dropped).",
	}, []string{"outcome"})
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "tungstene_consumer_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "tungstene_consumer_" + name, Help: help})
	}
	m := &metrics{
		inserted:  records.WithLabelValues("inserted"),
		existed:   records.WithLabelValues("existed"),
		refused:   records.WithLabelValues("refused"),
		frozen:    records.WithLabelValues("frozen"),
		forgotten: records.WithLabelValues("forgotten"),
		batches:   counter("batches_total", "Batches acknowledged."),
		stale:     counter("stale_acks_total", "Batches whose acknowledgement came too late; they come again."),
		dead:      counter("dead_letters_total", "Dead letters published: unreadable batches, refused records and those of frozen events."),
		cut:       counter("cut_dead_letters_total", "Dead letters too large for the queue, of which some was cut off."),
		filed:     counter("letters_filed_total", "Dead letters taken out of the queue and filed in the store."),
		replayed:  counter("letters_replayed_total", "Dead letters put back into the queue."),
		stalls:    counter("stalls_total", "Times that it acknowledged nothing for too long and subscribed anew."),
		held:      gauge("held_batches", "Batches in hand: delivered and not acknowledged."),
		depth:     gauge("queue_batches", "Batches that wait in the queue, as seen last; -1 when that can't be told."),
		letters:   gauge("letters", "Dead letters that are filed, counted up to 10000."),
		marks:     counter("marks_total", "Dirty marks written for minutes that are closed or about to be."),
		retries:   counter("retries_total", "Attempts to write to the store, to publish dead letters or to acknowledge that failed."),
		insert: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tungstene_consumer_insert_seconds", Help: "Time to store the records of one insert, retries included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tungstene_consumer_lag_seconds", Help: "Age of a chat message, by event time, when it was stored.",
			Buckets: []float64{0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60, 300, 3600},
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		records, m.batches, m.stale, m.dead, m.cut, m.marks, m.retries, m.insert, m.lag,
		m.filed, m.replayed, m.stalls, m.held, m.depth, m.letters,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
