package postgres

import (
	"context"
	"log/slog"
	"time"

	"lavka/libs/service/polledmetrics"
	"lavka/libs/service/schemacheck"
	"lavka/libs/service/verification"
)

// Verify checks what the schema must have, and returns [schemacheck.ErrFound] with the
// first fault.
func (s *Store) Verify(ctx context.Context) error {
	return schemacheck.Check(ctx, s.background, Expected)
}

// verifications are the results of auth verify.
var verifications = verification.Results{Table: "auth.verifications", Metric: "auth", Command: "auth verify"}

// RecordVerification records what Verify found, nil for nothing, and how long it took.
func (s *Store) RecordVerification(ctx context.Context, found error, took time.Duration) error {
	return verifications.Record(ctx, s.background, found, took)
}

// Verified reports whether a result of Verify was recorded at or after a time.
func (s *Store) Verified(ctx context.Context, since time.Time) (bool, error) {
	return verifications.Done(ctx, s.background, since)
}

// Verifications returns metrics of the last verification.
func (s *Store) Verifications(log *slog.Logger) *polledmetrics.Metrics {
	return verifications.Metrics(s.background, log)
}
