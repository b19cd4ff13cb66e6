-- +goose NO TRANSACTION
-- +goose Up

-- For the number of a user's unused links.
CREATE INDEX CONCURRENTLY IF NOT EXISTS activations_of_user ON auth.activations (user_id, created_at DESC, token_hash) WHERE used_at IS NULL;
