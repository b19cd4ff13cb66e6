-- +goose NO TRANSACTION
-- +goose Up

-- See payments_by_user.
CREATE INDEX CONCURRENTLY IF NOT EXISTS debits_by_bill ON billing.transactions (bill_id, id) WHERE purchase_id IS NOT NULL;
