-- +goose NO TRANSACTION
-- +goose Up

-- The refunds of a bill; see payments_by_user.
CREATE INDEX CONCURRENTLY IF NOT EXISTS refunds_by_bill ON billing.transactions (bill_id, id) WHERE refund_id IS NOT NULL;
