-- +goose NO TRANSACTION
-- +goose Up

-- The order of GET /admin/transactions?type=payment, which is that of the ids. Only payments pay for it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS payments_by_id ON billing.transactions (id) WHERE payment_id IS NOT NULL;
