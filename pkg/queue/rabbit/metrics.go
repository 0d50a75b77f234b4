package rabbit

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

const namespace = "tungstene_queue_rabbit"

// metrics are those of one client.
type metrics struct {
	registerer prometheus.Registerer
	registered []prometheus.Collector

	connected                                       *prometheus.GaugeVec
	disconnects                                     *prometheus.CounterVec
	published, delivered, redelivered, acknowledged *prometheus.CounterVec
	refused, unroutable, resent, forgotten          prometheus.Counter
	sent, dropped, lost                             prometheus.Counter
	blocked, unconfirmed                            prometheus.Gauge
	confirm                                         prometheus.Histogram
}

func newMetrics(name string) *metrics {
	labels := prometheus.Labels{"client": name}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels})
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}, []string{label})
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}
	}
	return &metrics{
		connected:    prometheus.NewGaugeVec(gauge("connected", "1 while the connection (publish, consume) stands."), []string{"connection"}),
		disconnects:  counters("disconnects_total", "Connections that ended without being closed by us.", "connection"),
		published:    counters("published_total", "Messages that the broker confirmed.", "queue"),
		delivered:    counters("delivered_total", "Messages given to a subscriber, again or for the first time.", "queue"),
		redelivered:  counters("redelivered_total", "Messages that the broker marked as delivered before.", "queue"),
		acknowledged: counters("acknowledged_total", "Acknowledgements sent.", "queue"),
		refused:      counter("refused_total", "Messages that the broker refused after taking them (basic.nack)."),
		unroutable:   counter("unroutable_total", "Messages returned because there is no such queue."),
		resent:       counter("resent_total", "Messages sent again because the connection ended before their confirmation."),
		forgotten:    counter("confirms_missing_total", "Connections given up because confirmations did not come."),
		sent:         counter("live_sent_total", "Messages sent to the live feed."),
		dropped:      counter("live_dropped_total", "Messages of the live feed dropped before they were sent."),
		lost:         counter("live_lost_total", "Messages of the live feed that a slow listener of this process lost."),
		blocked:      prometheus.NewGauge(gauge("blocked", "1 while the broker asks publishers to wait.")),
		unconfirmed:  prometheus.NewGauge(gauge("unconfirmed", "Messages that wait for their confirmation.")),
		confirm: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "confirm_seconds", ConstLabels: labels,
			Help:    "Time from sending a message to its confirmation.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	m.registerer = r
	for _, c := range []prometheus.Collector{
		m.connected, m.disconnects, m.published, m.delivered, m.redelivered, m.acknowledged,
		m.refused, m.unroutable, m.resent, m.forgotten, m.sent, m.dropped, m.lost, m.blocked, m.unconfirmed, m.confirm,
	} {
		if err := r.Register(c); err != nil {
			m.unregister()
			return fmt.Errorf("register metrics (give each client a Name of its own): %w", err)
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
