-- +goose NO TRANSACTION
-- +goose Up

-- Replaces bills_of_user, which the release before reads: both columns in the same direction, so that one condition finds
-- where a page begins.
CREATE INDEX CONCURRENTLY IF NOT EXISTS bills_by_user ON billing.bills (user_id, id);
