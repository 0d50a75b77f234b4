package local

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

const namespace = "tungstene_queue_local"

// metrics are those of one file.
type metrics struct {
	queue      *Queue
	registerer prometheus.Registerer
	registered []prometheus.Collector

	published, acknowledged, delivered, redelivered *prometheus.CounterVec
	failures, full, damaged, sent, lost             prometheus.Counter
	commit                                          prometheus.Histogram

	messages, bytes, listeners *prometheus.Desc
}

func newMetrics(q *Queue, name string) *metrics {
	labels := prometheus.Labels{"file": name}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels})
	}
	perQueue := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}, []string{"queue"})
	}
	desc := func(name, help string, variable ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, help, variable, labels)
	}
	return &metrics{
		queue:        q,
		published:    perQueue("published_total", "Messages written to a queue."),
		acknowledged: perQueue("acknowledged_total", "Messages acknowledged and removed."),
		delivered:    perQueue("delivered_total", "Messages given to a subscriber, again or for the first time."),
		redelivered:  perQueue("redelivered_total", "Messages given to a subscriber again."),
		failures:     counter("write_failures_total", "Transactions that failed: disk full or broken."),
		full:         counter("refused_full_total", "Publishes refused because the file has reached its limit."),
		damaged:      counter("damaged_total", "Messages whose bytes in the file are broken."),
		sent:         counter("live_sent_total", "Messages sent to the live feed."),
		lost:         counter("live_lost_total", "Messages of the live feed that a slow listener lost."),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "commit_seconds", ConstLabels: labels,
			Help:    "Time of one transaction, flush included.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		messages:  desc("messages", "Messages in a queue, delivered and not acknowledged ones among them.", "queue"),
		bytes:     desc("bytes", "Bytes of the messages in a queue.", "queue"),
		listeners: desc("live_listeners", "Listeners of the live feed."),
	}
}

// Describe is prometheus.Collector's.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.messages
	out <- m.bytes
	out <- m.listeners
}

// Collect is prometheus.Collector's.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.queue.mu.Lock()
	defer m.queue.mu.Unlock()
	for name, b := range m.queue.boxes {
		out <- prometheus.MustNewConstMetric(m.messages, prometheus.GaugeValue, float64(b.messages), name)
		out <- prometheus.MustNewConstMetric(m.bytes, prometheus.GaugeValue, float64(b.bytes), name)
	}
	out <- prometheus.MustNewConstMetric(m.listeners, prometheus.GaugeValue, float64(len(m.queue.listeners)))
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	m.registerer = r
	for _, c := range []prometheus.Collector{
		m, m.published, m.acknowledged, m.delivered, m.redelivered,
		m.failures, m.full, m.damaged, m.sent, m.lost, m.commit,
	} {
		if err := r.Register(c); err != nil {
			m.unregister()
			return fmt.Errorf("register metrics (give each file a Name of its own): %w", err)
		}
		m.registered = append(m.registered, c)
	}
	return nil
}

func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
}
