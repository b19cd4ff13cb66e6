-- +goose NO TRANSACTION
-- +goose Up

CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS transactions_purchase ON billing.transactions (purchase_id) WHERE purchase_id IS NOT NULL;
