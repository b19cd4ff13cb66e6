-- +goose NO TRANSACTION
-- +goose Up

-- A refund is credited once. Only refunds have an entry, so that other transactions pay nothing for it.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS transactions_refund ON billing.transactions (refund_id) WHERE refund_id IS NOT NULL;
