package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

const billColumns = `id, user_id, balance, created_at`

// Bills returns at most limit bills of a user, in descending order of id. It
// returns only ids lower than before, unless before is 0.
func (s *Store) Bills(ctx context.Context, userID, before int64, limit int) ([]billing.Bill, error) {
	return pg.Collect(ctx, s.reads, "list bills", pgx.RowToStructByPos[billing.Bill], `
		SELECT `+billColumns+` FROM billing.bills
		WHERE user_id = $1 AND ($2::bigint = 0 OR id < $2) ORDER BY id DESC LIMIT $3`, userID, before, limit)
}

// BillsOf returns the bills of several users, in descending order of id.
func (s *Store) BillsOf(ctx context.Context, userIDs []int64) ([]billing.Bill, error) {
	return pg.Rows(ctx, s.pool, "list bills of customers", pgx.RowToStructByPos[billing.Bill], `
		SELECT `+billColumns+` FROM billing.bills WHERE user_id = ANY ($1) ORDER BY id DESC`, userIDs)
}

// Bill reads one bill of a user; nil when there is none or it is not theirs.
func (s *Store) Bill(ctx context.Context, userID, id int64) (*billing.Bill, error) {
	return one(pg.Rows(ctx, s.pool, "read bill", pgx.RowToStructByPos[billing.Bill], `
		SELECT `+billColumns+` FROM billing.bills WHERE id = $1 AND user_id = $2`, id, userID))
}

// OpenBill makes an empty bill for a known user, unless they have as many as
// max already: then it is nil. An id that the provider used already is passed over.
func (s *Store) OpenBill(ctx context.Context, userID int64, max int) (*billing.Bill, error) {
	var owned int
	err := s.pool.QueryRow(ctx, `SELECT count(*) FROM billing.bills WHERE user_id = $1`, userID).Scan(&owned)
	if err != nil {
		return nil, pg.Wrap("count bills", err)
	}
	if owned >= max {
		return nil, nil
	}
	for {
		bill, err := one(pg.Rows(ctx, s.pool, "insert bill", pgx.RowToStructByPos[billing.Bill], `
			INSERT INTO billing.bills (id, user_id) VALUES (nextval('billing.bill_ids'), $1)
			ON CONFLICT DO NOTHING RETURNING `+billColumns, userID))
		if bill != nil || err != nil {
			return bill, err
		}
	}
}

// one is the row of a read that finds no more than that, nil when it finds none.
func one[T any](rows []T, err error) (*T, error) {
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rows[0], nil
}
