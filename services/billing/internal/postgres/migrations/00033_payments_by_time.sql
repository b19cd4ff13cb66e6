-- +goose NO TRANSACTION
-- +goose Up

-- The order of GET /payment/credits. Only payments pay for it: among all transactions, they may be behind any number of purchases.
CREATE INDEX CONCURRENTLY IF NOT EXISTS payments_by_time ON billing.transactions (created_at, id) WHERE payment_id IS NOT NULL;
