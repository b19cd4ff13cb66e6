package postgres

import (
	"context"
	"io"
	"log/slog"
	"time"

	"lavka/libs/contract/books"
	"lavka/libs/service/pg"
	"lavka/libs/service/polledmetrics"
	"lavka/libs/service/verification"
)

// The results of billing verify, and of billing compare.
var (
	verifications = verification.Results{Table: "billing.verifications", Metric: "billing_ledger", Command: "billing verify"}
	comparisons   = verification.Results{Table: "billing.comparisons", Metric: "billing_books", Command: "billing compare"}
)

// RecordVerification records what Verify found and how long it took. Difference
// is the error that Verify returned, nil if the ledger adds up.
func (s *Store) RecordVerification(ctx context.Context, v Verified, difference error, took time.Duration) error {
	if difference != nil {
		return verifications.Record(ctx, s.background, difference, took)
	}
	ctx, cancel := context.WithTimeout(ctx, verification.RecordLimit)
	defer cancel()
	_, err := s.background.Exec(ctx, `INSERT INTO billing.verifications (took, bills, transactions, charges) VALUES ($1, $2, $3, $4)`, took, v.Bills, v.Transactions, v.Charges)
	return pg.Wrap("insert verification", err)
}

// Verified reports whether a result of Verify was recorded at or after a time.
func (s *Store) Verified(ctx context.Context, since time.Time) (bool, error) {
	return verifications.Done(ctx, s.background, since)
}

// Verifications returns metrics of the last verification.
func (s *Store) Verifications(log *slog.Logger) *polledmetrics.Metrics {
	return verifications.Metrics(s.background, log)
}

// Compare compares catalog's books with billing's own, which it reads in one snapshot, while
// the shop is running. Neither is held in memory.
func (s *Store) Compare(ctx context.Context, catalog *books.Reader) (books.Compared, error) {
	ctx, cancel := context.WithCancel(ctx)
	in, out := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		out.CloseWithError(s.Books(ctx, out))
	}()
	defer func() { // after a difference, what is left of the books does not matter
		cancel()
		in.Close()
		<-written
	}()
	billing, err := books.NewReader(in, books.Billing)
	if err != nil {
		return books.Compared{}, err
	}
	return books.Compare(catalog, billing)
}

// RecordComparison records what Compare found and how long it took. Difference is nil
// if the books agree.
func (s *Store) RecordComparison(ctx context.Context, difference error, took time.Duration) error {
	return comparisons.Record(ctx, s.background, difference, took)
}

// Compared reports whether a result of Compare was recorded at or after a time.
func (s *Store) Compared(ctx context.Context, since time.Time) (bool, error) {
	return comparisons.Done(ctx, s.background, since)
}

// Comparisons returns metrics of the last comparison.
func (s *Store) Comparisons(log *slog.Logger) *polledmetrics.Metrics {
	return comparisons.Metrics(s.background, log)
}
