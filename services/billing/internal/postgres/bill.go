package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

const billColumns = `id, user_id, balance, created_at`

// The user is part of the order of a list of bills: the order by id alone would also
// be the primary key's, in which Postgres would look for the user's rows among all
// others (ADR 46).
const (
	firstBills = `SELECT ` + billColumns + ` FROM billing.bills WHERE user_id >= %[1]s AND user_id <= %[1]s ORDER BY user_id DESC, id DESC`
	nextBills  = `SELECT ` + billColumns + ` FROM billing.bills WHERE user_id >= $2 AND (user_id, id) < ($2, $3) ORDER BY user_id DESC, id DESC`
)

// Bills returns at most limit bills of a user, in descending order of id, and only
// ids lower than before, if it is set.
func (s *Store) Bills(ctx context.Context, userID int64, before *int64, limit int) ([]billing.Bill, error) {
	if before == nil {
		return pg.Collect(ctx, s.reads, "list bills", pgx.RowToStructByPos[billing.Bill], pg.Page(fmt.Sprintf(firstBills, `$2`)), limit, userID)
	}
	return pg.Collect(ctx, s.reads, "list bills", pgx.RowToStructByPos[billing.Bill], pg.Page(nextBills), limit, userID, *before)
}

// BillsOf returns the newest bills of several users, at most limit of each, in
// descending order of id.
func (s *Store) BillsOf(ctx context.Context, userIDs []int64, limit int) ([]billing.Bill, error) {
	return pg.CollectExpensive(ctx, s.expensive, "list bills of customers", pgx.RowToStructByPos[billing.Bill], `
		SELECT bill.* FROM unnest($2::bigint[]) AS owner (user_id)
		CROSS JOIN LATERAL (`+fmt.Sprintf(firstBills, `owner.user_id`)+` LIMIT $1) AS bill ORDER BY bill.id DESC`, limit, userIDs)
}

// Bill returns a user's bill, or billing.ErrBillNotFound if it does not exist or
// belongs to another user.
func (s *Store) Bill(ctx context.Context, userID, id int64) (billing.Bill, error) {
	return pg.CollectOne(ctx, s.reads, "read bill", billing.ErrBillNotFound, pgx.RowToStructByPos[billing.Bill], `
		SELECT `+billColumns+` FROM billing.bills WHERE id = $1 AND user_id = $2`, id, userID)
}

// errIDInUse means that the provider has already used the id of a new bill.
var errIDInUse = errors.New("the id of the new bill is in use")

// OpenBill creates an empty bill for a known user. It returns
// billing.ErrTooManyBills if the user owns too many bills. An id that the provider
// has already used is skipped. key is that of the request, "" for none: if the user has
// opened a bill with it, OpenBill returns that as it was then, and reports it.
func (s *Store) OpenBill(ctx context.Context, userID int64, key string) (bill billing.Bill, repeat bool, err error) {
	err = s.openers.Do(ctx, userID, func() (err error) {
		for {
			bill, repeat, err = s.openBill(ctx, userID, key)
			if !errors.Is(err, errIDInUse) {
				return err
			}
		}
	})
	return bill, repeat, pg.Wrap("open bill", err)
}

func (s *Store) openBill(ctx context.Context, userID int64, key string) (bill billing.Bill, repeat bool, err error) {
	err = pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		// Under the lock of the customer, concurrent requests of a user are counted one
		// after another, also those of other replicas.
		b := &pgx.Batch{}
		b.Queue(`SELECT FROM billing.customers WHERE user_id = $1 FOR NO KEY UPDATE`, userID)
		var owned int
		b.Queue(`SELECT count(*) FROM (SELECT FROM billing.bills WHERE user_id = $1 LIMIT $2) AS owned`, userID, billing.MaxBills).
			QueryRow(func(row pgx.Row) error { return row.Scan(&owned) })
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("count bills: %w", err)
		}
		if key != "" {
			opened, err := pg.Rows(ctx, tx, "look up key", pgx.RowToStructByPos[billing.Bill], `
				SELECT id, user_id, 0::bigint, created_at FROM billing.bills WHERE id = (SELECT bill_id FROM billing.bill_keys WHERE user_id = $1 AND idempotency_key = $2)`, userID, key)
			if err != nil {
				return err
			}
			if repeat = len(opened) > 0; repeat {
				bill = opened[0]
				return nil
			}
		}
		if err := billing.CheckNewBill(owned); err != nil {
			return err
		}
		bill, err = pg.One(ctx, tx, "insert bill", errIDInUse, pgx.RowToStructByPos[billing.Bill], `
			INSERT INTO billing.bills (id, user_id) VALUES (nextval('billing.bill_ids'), $1)
			ON CONFLICT DO NOTHING RETURNING `+billColumns, userID)
		if err != nil || key == "" {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO billing.bill_keys (user_id, idempotency_key, bill_id) VALUES ($1, $2, $3)`, userID, key, bill.ID)
		return err
	})
	return bill, repeat, err
}
