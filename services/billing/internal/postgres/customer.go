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

// Customers returns at most limit users, in descending order of id. It returns
// only ids lower than before, unless before is 0.
func (s *Store) Customers(ctx context.Context, before int64, limit int) ([]billing.Customer, error) {
	return pg.Rows(ctx, s.pool, "list customers", pgx.RowToStructByPos[billing.Customer], `
		SELECT user_id, login, role, status, version FROM billing.customers
		WHERE $1::bigint = 0 OR user_id < $1 ORDER BY user_id DESC LIMIT $2`, before, limit)
}

// Customer returns a user, or billing.ErrCustomerNotFound.
func (s *Store) Customer(ctx context.Context, userID int64) (billing.Customer, error) {
	return pg.One(ctx, s.pool, "read customer", billing.ErrCustomerNotFound, pgx.RowToStructByPos[billing.Customer], `
		SELECT user_id, login, role, status, version FROM billing.customers WHERE user_id = $1`, userID)
}
