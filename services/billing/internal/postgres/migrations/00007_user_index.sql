-- +goose NO TRANSACTION
-- +goose Up

CREATE INDEX CONCURRENTLY IF NOT EXISTS transactions_by_user ON billing.transactions (user_id, id);
