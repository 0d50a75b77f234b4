package master

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/control"
)

type metrics struct {
	leader     prometheus.Gauge
	collectors *prometheus.GaugeVec
	channels   *prometheus.GaugeVec
	raised     *prometheus.GaugeVec
	moves      prometheus.Counter
	heartbeats prometheus.Counter
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tungstene_master_leader", Help: "1 while this master leads.",
		}),
		collectors: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tungstene_master_collectors", Help: "Collectors by state, as the leader sees them.",
		}, []string{"state"}),
		channels: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tungstene_master_channels", Help: "Channels to be read, by whether a collector has them.",
		}, []string{"state"}),
		raised: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tungstene_master_conditions", Help: "Conditions raised by this master, by name.",
		}, []string{"condition"}),
		moves: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tungstene_master_moves_total", Help: "Channels moved from one collector to another.",
		}),
		heartbeats: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tungstene_master_heartbeats_total", Help: "Heartbeats answered.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tungstene_master_requests_total", Help: "Requests by operation and status code.",
		}, []string{"operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tungstene_master_request_duration_seconds", Help: "Time to answer a request, by operation.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2, 10},
		}, []string{"operation"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.leader, m.collectors, m.channels, m.raised, m.moves, m.heartbeats, m.requests, m.seconds,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) conditions(by map[string][]control.Condition) {
	m.raised.Reset()
	for _, list := range by {
		for _, c := range list {
			m.raised.WithLabelValues(c.Name).Inc()
		}
	}
}

func (m *metrics) planned(channels int, p plan) {
	m.collectors.WithLabelValues(control.CollectorAlive).Set(float64(p.alive))
	m.collectors.WithLabelValues(control.CollectorSilent).Set(float64(p.silent))
	m.channels.WithLabelValues("assigned").Set(float64(channels - len(p.unassigned)))
	m.channels.WithLabelValues("unassigned").Set(float64(len(p.unassigned)))
	m.moves.Add(float64(p.moves))
}
