-- +goose NO TRANSACTION
-- +goose Up

-- Pages of users that changed need a place to go on from, also if a million changed in the same moment.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_by_change ON auth.users (changed_at, id);
