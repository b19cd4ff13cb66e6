-- +goose NO TRANSACTION
-- +goose Up

-- Whether a reversal has left a shortfall on a bill, which a refund asks.
CREATE INDEX CONCURRENTLY IF NOT EXISTS reversals_short_of_bill ON billing.reversals (bill_id) WHERE shortfall > 0;
