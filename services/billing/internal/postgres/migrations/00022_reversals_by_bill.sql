-- +goose NO TRANSACTION
-- +goose Up

-- The reversals of a bill; see payments_by_user.
CREATE INDEX CONCURRENTLY IF NOT EXISTS reversals_by_bill ON billing.transactions (bill_id, id) WHERE reversal_id IS NOT NULL;
