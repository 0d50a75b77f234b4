package collector

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

type metrics struct {
	lines, records, invalid, outside, refused, forwarded, unsent prometheus.Counter
	bytes, dropped, excluded                                     prometheus.Counter
	commit, confirm                                              prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, c *Collector) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "tungstene_collector_" + name, Help: help})
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tungstene_collector_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		})
	}
	m := &metrics{
		lines:     counter("lines_total", "Lines of chat read, of every kind."),
		records:   counter("records_total", "Records written to the outbox."),
		invalid:   counter("invalid_total", "Lines and samples that could not be made into a record."),
		outside:   counter("outside_total", "Records not kept because their time lies outside of their event."),
		refused:   counter("refused_total", "Records not taken while stopping, for lack of room on disk."),
		forwarded: counter("forwarded_batches_total", "Batches confirmed by the queue."),
		unsent:    counter("feed_unsent_total", "Batches that the live feed did not take."),
		bytes:     counter("outbox_written_bytes_total", "Bytes of batches written to the outbox."),
		dropped:   counter("dropped_records_total", "Records dropped because the outbox could not take them (collector.outbox_full: drop)."),
		excluded:  counter("excluded_total", "Records of people who opted out or were forgotten, not kept."),
		commit:    histogram("outbox_commit_seconds", "Time to write a tick to the outbox, durable."),
		confirm:   histogram("queue_confirm_seconds", "Time until the queue confirmed a group of batches."),
	}
	if reg == nil {
		return m
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tungstene_collector_" + name, Help: help}, f)
	}
	stats := func() (int, int64, time.Time) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		n, size, oldest, err := c.outbox.Stats(ctx)
		if err != nil {
			return -1, 0, time.Time{}
		}
		return n, size, oldest
	}
	reg.MustRegister(m.lines, m.records, m.invalid, m.outside, m.refused, m.forwarded, m.unsent, m.bytes, m.dropped, m.excluded,
		m.commit, m.confirm,
		gauge("channels_assigned", "Channels that this collector is to read.", func() float64 {
			return float64(len(c.plan.Load().assignment.Channels))
		}),
		gauge("channels_joined", "Channels whose JOIN was echoed and that are read.", func() float64 {
			return float64(c.Joined())
		}),
		gauge("waiting_records", "Records that wait in memory because the outbox does not take them.", func() float64 {
			return float64(c.batch.stuck())
		}),
		gauge("outbox_batches", "Batches that wait in the outbox; -1 when that can't be told.", func() float64 {
			n, _, _ := stats()
			return float64(n)
		}),
		gauge("outbox_bytes", "Bytes that wait in the outbox.", func() float64 {
			_, size, _ := stats()
			return float64(size)
		}),
		gauge("outbox_oldest_seconds", "Age of the oldest batch in the outbox.", func() float64 {
			n, _, oldest := stats()
			if n <= 0 {
				return 0
			}
			return time.Since(oldest).Seconds()
		}),
		gauge("outbox_left_seconds", "How long the outbox takes what comes until a bound is reached; 0 when it is not filling.", func() float64 {
			return c.outbox.left().Seconds()
		}),
		gauge("silent_channels", "Live channels that are silent for longer than their own rate explains.", func() float64 {
			return float64(len(c.listener.conditions()))
		}),
	)
	return m
}

// value reads a counter back, for the heartbeat.
func value(c prometheus.Counter) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		return 0 // a counter of ours always writes
	}
	return m.GetCounter().GetValue()
}
