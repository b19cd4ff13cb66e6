-- +goose NO TRANSACTION
-- +goose Up

-- See payments_by_user.
CREATE INDEX CONCURRENTLY IF NOT EXISTS payments_by_bill ON billing.transactions (bill_id, id) WHERE payment_id IS NOT NULL;
