package pg

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/polledmetrics"
)

var clockOffset = prometheus.NewDesc("pg_clock_offset_seconds", "Seconds by which the database's clock is ahead of this process's.", nil, nil)

// Clock returns a metric that compares the database's clock with this process's
// every 15 seconds.
func Clock(pool *pgxpool.Pool, log *slog.Logger) *polledmetrics.Metrics {
	return &polledmetrics.Metrics{
		Name: "the database's clock", Log: log, Every: 15 * time.Second, Descs: []*prometheus.Desc{clockOffset},
		Ask: func(ctx context.Context) ([]prometheus.Metric, error) {
			ahead, err := offset(ctx, pool)
			if err != nil {
				return nil, fmt.Errorf("read the time: %w", err)
			}
			return []prometheus.Metric{prometheus.MustNewConstMetric(clockOffset, prometheus.GaugeValue, ahead.Seconds())}, nil
		},
	}
}

// offset takes the database's time as that of the middle of the round trip. It is
// wrong by at most half a round trip.
func offset(ctx context.Context, pool *pgxpool.Pool) (time.Duration, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	var theirs time.Time
	asked := time.Now()
	// The simple protocol, since the extended one takes one more round trip the first time.
	if err := conn.QueryRow(ctx, `SELECT clock_timestamp()`, pgx.QueryExecModeSimpleProtocol).Scan(&theirs); err != nil {
		return 0, err
	}
	return theirs.Sub(asked.Add(time.Since(asked) / 2)), nil
}
