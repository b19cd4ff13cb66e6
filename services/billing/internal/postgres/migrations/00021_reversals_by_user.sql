-- +goose NO TRANSACTION
-- +goose Up

-- The reversals of a user; see payments_by_user.
CREATE INDEX CONCURRENTLY IF NOT EXISTS reversals_by_user ON billing.transactions (user_id, id) WHERE reversal_id IS NOT NULL;
