package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"lavka/libs/service/pg"
	"lavka/libs/service/polledmetrics"
	"lavka/libs/service/schemacheck"
	"lavka/libs/service/verification"
)

// Verify checks what the schema must have, and returns [schemacheck.ErrFound] with the
// first fault.
func (s *Store) Verify(ctx context.Context) error {
	if err := schemacheck.Check(ctx, s.background, Expected); err != nil {
		return err
	}
	var voids bool
	err := s.background.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'auth.users'::regclass AND tgname = 'users_void_resets' AND tgenabled IN ('O', 'A'))`).Scan(&voids)
	if err != nil {
		return pg.Wrap("look for the trigger", err)
	}
	if !voids {
		return fmt.Errorf("%w: the trigger users_void_resets on auth.users is missing or disabled, so links to reset a password stay valid when the password or role changes or the user is disabled; create it as migration 00022 does, or as auth_owner, run: ALTER TABLE auth.users ENABLE TRIGGER users_void_resets", schemacheck.ErrFound)
	}
	return nil
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
