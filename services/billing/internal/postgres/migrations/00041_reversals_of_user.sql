-- +goose NO TRANSACTION
-- +goose Up

-- The reversals of a user, of a bill and of a payment, for GET /admin/reversals. reversals_by_user has those that debited something.
CREATE INDEX CONCURRENTLY IF NOT EXISTS reversals_of_user ON billing.reversals (user_id, id);
