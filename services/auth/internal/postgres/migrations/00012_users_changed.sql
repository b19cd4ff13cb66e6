-- +goose NO TRANSACTION
-- +goose Up

-- users_by_change begins with the same column.
DROP INDEX CONCURRENTLY IF EXISTS auth.users_changed;
