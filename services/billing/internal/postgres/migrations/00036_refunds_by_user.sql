-- +goose NO TRANSACTION
-- +goose Up

-- The refunds of a user; see payments_by_user.
CREATE INDEX CONCURRENTLY IF NOT EXISTS refunds_by_user ON billing.transactions (user_id, id) WHERE refund_id IS NOT NULL;
