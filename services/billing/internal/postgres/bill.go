package postgres

import (
	"context"
	"errors"

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

// Bill returns a user's bill, or billing.ErrBillNotFound if it does not exist or
// belongs to another user.
func (s *Store) Bill(ctx context.Context, userID, id int64) (billing.Bill, error) {
	return pg.One(ctx, s.pool, "read bill", billing.ErrBillNotFound, pgx.RowToStructByPos[billing.Bill], `
		SELECT `+billColumns+` FROM billing.bills WHERE id = $1 AND user_id = $2`, id, userID)
}

// errIDInUse means that the provider has already used the id of a new bill.
var errIDInUse = errors.New("the id of the new bill is in use")

// OpenBill creates an empty bill for a known user. It returns
// billing.ErrTooManyBills if the user owns too many bills. An id that the provider
// has already used is skipped.
func (s *Store) OpenBill(ctx context.Context, userID int64) (billing.Bill, error) {
	var owned int
	err := s.pool.QueryRow(ctx, `SELECT count(*) FROM billing.bills WHERE user_id = $1`, userID).Scan(&owned)
	if err != nil {
		return billing.Bill{}, pg.Wrap("count bills", err)
	}
	if err := billing.CheckNewBill(owned); err != nil {
		return billing.Bill{}, err
	}
	for {
		bill, err := pg.One(ctx, s.pool, "insert bill", errIDInUse, pgx.RowToStructByPos[billing.Bill], `
			INSERT INTO billing.bills (id, user_id) VALUES (nextval('billing.bill_ids'), $1)
			ON CONFLICT DO NOTHING RETURNING `+billColumns, userID)
		if !errors.Is(err, errIDInUse) {
			return bill, err
		}
	}
}
