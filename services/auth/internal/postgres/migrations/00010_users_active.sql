-- +goose NO TRANSACTION
-- +goose Up

-- The newest active users. In the primary key, they may be behind any number of inactive ones.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_active ON auth.users (id) WHERE disabled_at IS NULL AND activated_at IS NOT NULL;
