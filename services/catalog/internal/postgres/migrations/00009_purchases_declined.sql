-- +goose NO TRANSACTION
-- +goose Up

-- See purchases_pending_of_user.
CREATE INDEX CONCURRENTLY IF NOT EXISTS purchases_declined_of_user ON catalog.purchases (user_id, id) WHERE status = 'declined';
