package helix

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	points   *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) (metrics, error) {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tungstene_helix_requests_total",
			Help: "Requests to Twitch's API and authentication, by endpoint and outcome.",
		}, []string{"endpoint", "outcome"}),
		points: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tungstene_helix_points_remaining",
			Help: "Points that a client id had left, by the last answer.",
		}, []string{"client_id"}),
	}
	return m, register(reg, m.requests, m.points)
}

func (m metrics) request(endpoint string, outcome reason) {
	m.requests.WithLabelValues(endpoint, string(outcome)).Inc()
}

func (m metrics) remaining(clientID string, points int) {
	if points >= 0 {
		m.points.WithLabelValues(clientID).Set(float64(points))
	}
}

func register(reg prometheus.Registerer, collectors ...prometheus.Collector) error {
	if reg == nil {
		return nil
	}
	for _, c := range collectors {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("helix: register metrics: %w", err)
		}
	}
	return nil
}

type sweepMetrics struct {
	sweeps  *prometheus.CounterVec
	samples *prometheus.CounterVec
	skipped prometheus.Counter
	seconds prometheus.Histogram
	live    prometheus.Gauge
	viewers prometheus.Gauge
}

func newSweepMetrics(reg prometheus.Registerer) (sweepMetrics, error) {
	m := sweepMetrics{
		sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tungstene_helix_sweeps_total",
			Help: "Sweeps over all channels, by what they ask for and how they ended.",
		}, []string{"sweep", "result"}),
		samples: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tungstene_helix_samples_total",
			Help: "Viewer samples of channels that were taken, missed (no answer in time) or discarded (suspect and not confirmed).",
		}, []string{"result"}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tungstene_helix_skipped_slots_total",
			Help: "Slots without a sweep because the one before took too long.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tungstene_helix_sweep_seconds",
			Help:    "Time from the start of a sweep of streams to its last answer.",
			Buckets: []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30},
		}),
		live: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tungstene_helix_live_channels",
			Help: "Channels live at the last sweep.",
		}),
		viewers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tungstene_helix_viewers",
			Help: "Viewers of all live channels at the last sweep.",
		}),
	}
	return m, register(reg, m.sweeps, m.samples, m.skipped, m.seconds, m.live, m.viewers)
}
