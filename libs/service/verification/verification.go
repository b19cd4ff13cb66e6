// Package verification keeps the results of a check, such as billing verify, in the
// schema of its service, and shows the last one as metrics.
package verification

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/pg"
	"lavka/libs/service/polledmetrics"
)

// Results are those of one check. A row is a completed run.
type Results struct {
	Table   string // with its schema; it has the columns id, at, took and difference
	Metric  string // what the names of its metrics begin with, such as billing_ledger
	Command string // what runs the check, such as billing verify
}

// Check runs a check, and records its result if the check was completed: if it returned
// no error, or one of faults. A read-only standby is checked as well, only without a
// record.
func Check(ctx context.Context, log *slog.Logger, check func() (string, error), record func(ctx context.Context, found error, took time.Duration) error, faults ...error) (string, error) {
	began := time.Now()
	said, err := check()
	if err != nil && !slices.ContainsFunc(faults, func(fault error) bool { return errors.Is(err, fault) }) {
		return "", err
	}
	if unrecorded := record(ctx, err, time.Since(began)); unrecorded != nil {
		log.WarnContext(ctx, "the result could not be recorded, so the metrics will not show it", "error", unrecorded)
	}
	return said, err
}

// RecordLimit is the time limit for recording a result. Without it, the COMMIT would
// wait on a primary that has lost its synchronous standby.
const RecordLimit = 5 * time.Second

// Record adds a completed run, with what it found and how long it took. Found is nil if
// everything is sound.
func (r Results) Record(ctx context.Context, db pg.Querier, found error, took time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, RecordLimit)
	defer cancel()
	var difference *string
	if found != nil {
		difference = new(found.Error())
	}
	_, err := db.Exec(ctx, `INSERT INTO `+r.Table+` (took, difference) VALUES ($1, $2)`, took, difference)
	return pg.Wrap("insert verification", err)
}

// Run is a completed run of the check.
type Run struct {
	At   time.Time
	Took time.Duration
	OK   bool
}

// ErrNever means that the check was never completed.
var ErrNever = errors.New("it was never verified")

// Last returns the last completed run, or ErrNever.
func (r Results) Last(ctx context.Context, db pg.Querier) (Run, error) {
	return pg.One(ctx, db, "read verification", ErrNever, pgx.RowToStructByPos[Run], `
		SELECT at, took, difference IS NULL FROM `+r.Table+` ORDER BY id DESC LIMIT 1`)
}

// Done reports whether a run was completed at or after a time.
func (r Results) Done(ctx context.Context, db pg.Querier, since time.Time) (bool, error) {
	last, err := r.Last(ctx, db)
	if errors.Is(err, ErrNever) {
		return false, nil
	}
	return !last.At.Before(since), err
}

// Metrics returns metrics of the last run. They are read from the database every 15
// seconds, because another process runs the check.
func (r Results) Metrics(db pg.Querier, log *slog.Logger) *polledmetrics.Metrics {
	at := prometheus.NewDesc(r.Metric+"_verified_timestamp_seconds", "When "+r.Command+" last completed, as Unix time; 0 if never.", nil, nil)
	ok := prometheus.NewDesc(r.Metric+"_verify_ok", "1 if it found everything sound then, 0 if it did not.", nil, nil)
	took := prometheus.NewDesc(r.Metric+"_verify_duration_seconds", "Duration of that run in seconds.", nil, nil)
	gauge := func(d *prometheus.Desc, v float64) prometheus.Metric {
		return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	return &polledmetrics.Metrics{
		Name: "the last run of " + r.Command, Log: log, Every: 15 * time.Second, Descs: []*prometheus.Desc{at, ok, took},
		Ask: func(ctx context.Context) ([]prometheus.Metric, error) {
			last, err := r.Last(ctx, db)
			if errors.Is(err, ErrNever) {
				return []prometheus.Metric{gauge(at, 0)}, nil
			}
			if err != nil {
				return nil, err
			}
			sound := 0.0
			if last.OK {
				sound = 1
			}
			return []prometheus.Metric{gauge(at, float64(last.At.Unix())), gauge(ok, sound), gauge(took, last.Took.Seconds())}, nil
		},
	}
}
