-- +goose NO TRANSACTION
-- +goose Up

-- See reversals_of_user.
CREATE INDEX CONCURRENTLY IF NOT EXISTS reversals_of_bill ON billing.reversals (bill_id, id);
