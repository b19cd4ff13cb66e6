-- +goose NO TRANSACTION
-- +goose Up

-- Recently changed users whose earlier tokens are revoked. In users_by_change, they may be among any number of others.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_revoked ON auth.users (changed_at) WHERE token_version > 1;
