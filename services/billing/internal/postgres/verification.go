package postgres

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/pg"
	"lavka/libs/service/polledmetrics"
)

// recordLimit is the time limit for recording a verification. Without it, the
// COMMIT would wait on a primary that has lost its synchronous standby.
const recordLimit = 5 * time.Second

// RecordVerification records what Verify found and how long it took. Difference
// is the error that Verify returned, nil if the ledger adds up.
func (s *Store) RecordVerification(ctx context.Context, v Verified, difference error, took time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, recordLimit)
	defer cancel()
	sql, args := `INSERT INTO billing.verifications (took, bills, transactions, charges) VALUES ($1, $2, $3, $4)`, []any{took, v.Bills, v.Transactions, v.Charges}
	if difference != nil {
		sql, args = `INSERT INTO billing.verifications (took, difference) VALUES ($1, $2)`, []any{took, difference.Error()}
	}
	_, err := s.background.Exec(ctx, sql, args...)
	return pg.Wrap("insert verification", err)
}

// Verification is a recorded run of Verify.
type Verification struct {
	At   time.Time
	Took time.Duration
	OK   bool
}

// ErrNeverVerified means that no verification is recorded.
var ErrNeverVerified = errors.New("the ledger was never verified")

// LastVerification returns the last recorded run, or ErrNeverVerified.
func (s *Store) LastVerification(ctx context.Context) (Verification, error) {
	return pg.One(ctx, s.background, "read verification", ErrNeverVerified, pgx.RowToStructByPos[Verification], `
		SELECT at, took, difference IS NULL FROM billing.verifications ORDER BY id DESC LIMIT 1`)
}

var (
	verifiedAt   = prometheus.NewDesc("billing_ledger_verified_timestamp_seconds", "When billing verify last completed, as Unix time; 0 if never.", nil, nil)
	verifiedOK   = prometheus.NewDesc("billing_ledger_verify_ok", "1 if the ledger added up in the last verification, 0 if it did not.", nil, nil)
	verifiedTook = prometheus.NewDesc("billing_ledger_verify_duration_seconds", "Duration of the last verification in seconds.", nil, nil)
)

// Verifications returns metrics of the last verification. They are read from the
// database every 15 seconds, because another process runs the verification.
func (s *Store) Verifications(log *slog.Logger) *polledmetrics.Metrics {
	gauge := func(d *prometheus.Desc, v float64) prometheus.Metric {
		return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	return &polledmetrics.Metrics{
		Name: "the last verification", Log: log, Every: 15 * time.Second, Descs: []*prometheus.Desc{verifiedAt, verifiedOK, verifiedTook},
		Ask: func(ctx context.Context) ([]prometheus.Metric, error) {
			v, err := s.LastVerification(ctx)
			if errors.Is(err, ErrNeverVerified) {
				return []prometheus.Metric{gauge(verifiedAt, 0)}, nil
			}
			if err != nil {
				return nil, err
			}
			ok := 0.0
			if v.OK {
				ok = 1
			}
			return []prometheus.Metric{gauge(verifiedAt, float64(v.At.Unix())), gauge(verifiedOK, ok), gauge(verifiedTook, v.Took.Seconds())}, nil
		},
	}
}
