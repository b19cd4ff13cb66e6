-- +goose NO TRANSACTION
-- +goose Up

-- The payments of a user and of a bill, and the purchases. A row is in two of the four indexes; in transactions_by_user and
-- transactions_by_bill, those of one type may be behind any number of others.
CREATE INDEX CONCURRENTLY IF NOT EXISTS payments_by_user ON billing.transactions (user_id, id) WHERE payment_id IS NOT NULL;
