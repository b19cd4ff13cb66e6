package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"lavka/libs/pg"
	"lavka/services/billing/internal/billing"
)

// tries is how often a group is run before its items are given back.
const tries = 3

// Settle decides the items in one transaction. When that fails it does what
// the failure asks for: a lost race, connection or COMMIT is run again, since
// the second run finds what the first has done; a bill that somebody holds is
// skipped; data that the server refuses is found by settling each item alone.
func (s *Store) Settle(items []billing.Item) []billing.Result {
	// Not any request's context: a cancelled COMMIT would be of unknown outcome.
	ctx := context.Background()
	results, err := s.settleAgain(ctx, items, wait)
	if pg.LockTimeout(err) {
		results, err = s.settleAgain(ctx, items, skip)
	}
	switch {
	case err == nil:
		return results
	case pg.BadData(err) && len(items) == 1:
		return []billing.Result{{Poison: err}}
	case pg.BadData(err):
		s.log.WarnContext(ctx, "a group was refused; settling each item alone", "items", len(items), "error", err)
		return s.settleEach(items)
	}
	s.log.ErrorContext(ctx, "a group could not be settled", "items", len(items), "error", err)
	results = make([]billing.Result, len(items))
	for i := range results {
		results[i].Err = err
	}
	return results
}

func (s *Store) settleEach(items []billing.Item) []billing.Result {
	results := make([]billing.Result, len(items))
	for i, item := range items {
		results[i] = s.Settle([]billing.Item{item})[0]
	}
	return results
}

func (s *Store) settleAgain(ctx context.Context, items []billing.Item, l lock) ([]billing.Result, error) {
	var err error
	for range tries {
		var results []billing.Result
		limited, cancel := context.WithTimeout(ctx, groupTimeout)
		results, err = s.settle(limited, items, l)
		cancel()
		if err == nil {
			return results, nil
		}
		if !pg.Again(err) && !errors.Is(err, errUnusedBill) {
			return nil, err
		}
	}
	return nil, err
}

func commit(ctx context.Context, tx pgx.Tx) error {
	if err := tx.Commit(ctx); err != nil {
		return pg.Commit(err)
	}
	return nil
}

// RecordRefused keeps a correctly signed payment that was refused, once for
// each content, and counts.
func (s *Store) RecordRefused(ctx context.Context, p billing.Payment, code string) error {
	_, err := s.pool.Exec(ctx, `
		INSERT INTO billing.refused_payments (content, payment_id, user_id, bill_id, amount, reason)
		VALUES (sha256(convert_to($1::bigint || ':' || $2::bigint || ':' || $3::bigint || ':' || $4::text, 'UTF8')), $1, $2, $3, $4, $5)
		ON CONFLICT (content) DO UPDATE SET times = refused_payments.times + 1, last_at = now(), reason = EXCLUDED.reason`,
		p.ID, p.UserID, p.BillID, p.AmountText, code)
	if err != nil {
		return pg.Fail("insert refused payment", err)
	}
	return nil
}
