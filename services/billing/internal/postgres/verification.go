package postgres

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/pg"
	"lavka/libs/service/polledmetrics"
)

// recordLimit bounds the record of a verification: a primary that has lost its
// synchronous standby would be waited for.
const recordLimit = 5 * time.Second

// RecordVerification keeps what Verify found, and how long that took. Difference
// is nil when the ledger adds up.
func (s *Store) RecordVerification(ctx context.Context, v Verified, difference error, took time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, recordLimit)
	defer cancel()
	sql, args := `INSERT INTO billing.verifications (took, bills, transactions, charges) VALUES ($1, $2, $3, $4)`, []any{took, v.Bills, v.Transactions, v.Charges}
	if difference != nil {
		sql, args = `INSERT INTO billing.verifications (took, difference) VALUES ($1, $2)`, []any{took, difference.Error()}
	}
	_, err := s.pool.Exec(ctx, sql, args...)
	return pg.Wrap("insert verification", err)
}

// Verification is what a run of Verify has found.
type Verification struct {
	At   time.Time
	Took time.Duration
	OK   bool
}

// LastVerification is nil when there has been none.
func (s *Store) LastVerification(ctx context.Context) (*Verification, error) {
	return one(pg.Rows(ctx, s.pool, "read verification", pgx.RowToStructByPos[Verification], `
		SELECT at, took, difference IS NULL FROM billing.verifications ORDER BY id DESC LIMIT 1`))
}

var (
	verifiedAt   = prometheus.NewDesc("billing_ledger_verified_timestamp_seconds", "When billing verify last came to an end, as Unix time; 0 for never.", nil, nil)
	verifiedOK   = prometheus.NewDesc("billing_ledger_verify_ok", "1 when the ledger added up then, 0 when it did not.", nil, nil)
	verifiedTook = prometheus.NewDesc("billing_ledger_verify_duration_seconds", "How long that took.", nil, nil)
)

// Verifications are metrics of the last verification, read every 15 seconds: it
// was made by another process.
func (s *Store) Verifications(log *slog.Logger) *polledmetrics.Metrics {
	gauge := func(d *prometheus.Desc, v float64) prometheus.Metric {
		return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	return &polledmetrics.Metrics{
		Name: "the last verification", Log: log, Every: 15 * time.Second, Descs: []*prometheus.Desc{verifiedAt, verifiedOK, verifiedTook},
		Ask: func(ctx context.Context) ([]prometheus.Metric, error) {
			v, err := s.LastVerification(ctx)
			if err != nil {
				return nil, err
			}
			if v == nil {
				return []prometheus.Metric{gauge(verifiedAt, 0)}, nil
			}
			ok := 0.0
			if v.OK {
				ok = 1
			}
			return []prometheus.Metric{gauge(verifiedAt, float64(v.At.Unix())), gauge(verifiedOK, ok), gauge(verifiedTook, v.Took.Seconds())}, nil
		},
	}
}
