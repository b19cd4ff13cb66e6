package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

// SaveCustomer stores a user unless the same or a newer version is already
// stored.
func (s *Store) SaveCustomer(ctx context.Context, c billing.Customer) error {
	_, err := s.pool.Exec(ctx, `
		INSERT INTO billing.customers (user_id, login, role, status, version) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id) DO UPDATE
		SET login = EXCLUDED.login, role = EXCLUDED.role, status = EXCLUDED.status, version = EXCLUDED.version
		WHERE customers.version < EXCLUDED.version`, c.UserID, c.Login, c.Role, c.Status, c.Version)
	return pg.Wrap("save customer", err)
}

// Customers returns at most limit users, in descending order of id, and only ids
// lower than before, if it is set.
func (s *Store) Customers(ctx context.Context, before *int64, limit int) ([]billing.Customer, error) {
	where, args := ``, []any{limit}
	if before != nil {
		where, args = `WHERE user_id < $2`, append(args, *before)
	}
	return pg.Collect(ctx, s.reads, "list customers", pgx.RowToStructByPos[billing.Customer],
		pg.Page(`SELECT user_id, login, role, status, version FROM billing.customers `+where+` ORDER BY user_id DESC`), args...)
}

// Customer returns a user, or billing.ErrCustomerNotFound.
func (s *Store) Customer(ctx context.Context, userID int64) (billing.Customer, error) {
	return pg.CollectOne(ctx, s.reads, "read customer", billing.ErrCustomerNotFound, pgx.RowToStructByPos[billing.Customer], `
		SELECT user_id, login, role, status, version FROM billing.customers WHERE user_id = $1`, userID)
}

// KnownUsers returns those of the users who are customers.
func (s *Store) KnownUsers(ctx context.Context, ids []int64) ([]int64, error) {
	return pg.Rows(ctx, s.background, "find customers", pgx.RowTo[int64], `SELECT user_id FROM billing.customers WHERE user_id = ANY ($1)`, ids)
}
