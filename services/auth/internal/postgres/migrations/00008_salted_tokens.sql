-- +goose NO TRANSACTION
-- +goose Up

-- For the removal of salts after the grace. Only tokens that were spent a moment ago are in it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS refresh_tokens_salted ON auth.refresh_tokens (spent_at) WHERE successor_salt IS NOT NULL;
