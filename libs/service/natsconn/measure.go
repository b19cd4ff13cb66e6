package natsconn

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/polledmetrics"
)

// Lag returns metrics of how far a durable consumer is behind, read from NATS every
// five seconds. The connection's user needs permission for the consumer's
// CONSUMER.INFO.
func Lag(js jetstream.JetStream, stream, consumer string, log *slog.Logger) *polledmetrics.Metrics {
	gauge := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, nil, prometheus.Labels{"stream": stream, "consumer": consumer})
	}
	pending := gauge("nats_consumer_num_pending", "Messages that have not been delivered yet.")
	unacked := gauge("nats_consumer_num_ack_pending", "Messages that have been delivered but not acknowledged yet.")
	redelivered := gauge("nats_consumer_num_redelivered", "Messages that have been delivered more than once but not acknowledged yet.")
	return &polledmetrics.Metrics{
		Name: "consumer " + consumer + " of " + stream, Log: log, Every: 5 * time.Second,
		Descs: []*prometheus.Desc{pending, unacked, redelivered},
		Ask: func(ctx context.Context) ([]prometheus.Metric, error) {
			asked, err := js.Consumer(ctx, stream, consumer)
			if err != nil {
				return nil, fmt.Errorf("read consumer %s of %s: %w", consumer, stream, err)
			}
			info := asked.CachedInfo()
			return []prometheus.Metric{
				prometheus.MustNewConstMetric(pending, prometheus.GaugeValue, float64(info.NumPending)),
				prometheus.MustNewConstMetric(unacked, prometheus.GaugeValue, float64(info.NumAckPending)),
				prometheus.MustNewConstMetric(redelivered, prometheus.GaugeValue, float64(info.NumRedelivered)),
			}, nil
		},
	}
}
