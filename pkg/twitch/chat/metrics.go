package chat

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	lines       prometheus.Counter
	malformed   prometheus.Counter
	joins       prometheus.Counter
	unanswered  prometheus.Counter
	ends        *prometheus.CounterVec
	connections prometheus.Gauge
	joined      prometheus.Gauge
}

// The reasons why a connection ended, as the metric tells them.
const (
	endClosed    = "closed"
	endDial      = "dial"
	endLost      = "lost"
	endSilent    = "silent"
	endRefused   = "refused"
	endReconnect = "reconnect"
	endReplaced  = "replaced"
)

// newMetrics registers the metrics. Readers that share a registerer share them.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "tungstene_chat_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "tungstene_chat_" + name, Help: help})
	}
	m := &metrics{
		lines:      counter("lines_total", "Lines received from chat, PING and PONG among them."),
		malformed:  counter("malformed_lines_total", "Lines that could not be parsed."),
		joins:      counter("joins_total", "JOINs sent, each channel one."),
		unanswered: counter("joins_unanswered_total", "JOINs whose echo did not come in time."),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tungstene_chat_connection_ends_total", Help: "Connections that ended, by reason.",
		}, []string{"reason"}),
		connections: gauge("connections", "Connections that are welcomed."),
		joined:      gauge("joined_channels", "Channels whose JOIN was echoed."),
	}
	if r == nil {
		return m, nil
	}
	var errs []error
	m.lines = shared(r, m.lines, &errs)
	m.malformed = shared(r, m.malformed, &errs)
	m.joins = shared(r, m.joins, &errs)
	m.unanswered = shared(r, m.unanswered, &errs)
	m.ends = shared(r, m.ends, &errs)
	m.connections = shared(r, m.connections, &errs)
	m.joined = shared(r, m.joined, &errs)
	return m, errors.Join(errs...)
}

func shared[C prometheus.Collector](r prometheus.Registerer, c C, errs *[]error) C {
	err := r.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	if err != nil {
		*errs = append(*errs, err)
	}
	return c
}
