package charity

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests  *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	donations *prometheus.CounterVec
	samples   *prometheus.CounterVec
	late      *prometheus.CounterVec
	success   *prometheus.GaugeVec
	complete  *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"source"})
	}
	m := &metrics{
		requests:  counter("tungstene_charity_requests_total", "Requests to charity sources, by source and outcome.", "source", "outcome"),
		bytes:     counter("tungstene_charity_answer_bytes_total", "Bytes of answers of charity sources, unpacked.", "source"),
		donations: counter("tungstene_charity_donations_total", "Records of single donations that were emitted.", "source"),
		samples:   counter("tungstene_charity_samples_total", "Samples of running totals that were emitted.", "source"),
		late:      counter("tungstene_charity_late_slots_total", "Answers with totals that came too late for their slot, and are samples of a later one.", "source"),
		success: gauge("tungstene_charity_success_timestamp_seconds",
			"Event time of the last slot that a charity source answered usably."),
		complete: gauge("tungstene_charity_complete_timestamp_seconds",
			"Event time up to which the single donations of a charity source are known to be all; 0 when they are not."),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.bytes, m.donations, m.samples, m.late, m.success, m.complete} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("charity: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) request(source string, r response) {
	m.requests.WithLabelValues(source, string(r.reason)).Inc()
	m.bytes.WithLabelValues(source).Add(float64(len(r.body)))
}

func (m *metrics) succeeded(source string, slot time.Time) {
	m.success.WithLabelValues(source).Set(float64(slot.Unix()))
}

func (m *metrics) completed(source string, until time.Time) {
	seconds := 0.0
	if !until.IsZero() {
		seconds = float64(until.Unix())
	}
	m.complete.WithLabelValues(source).Set(seconds)
}
