-- +goose NO TRANSACTION
-- +goose Up

-- The order of GET /payment/refused.
CREATE INDEX CONCURRENTLY IF NOT EXISTS refused_payments_by_time ON billing.refused_payments (first_at, id);
