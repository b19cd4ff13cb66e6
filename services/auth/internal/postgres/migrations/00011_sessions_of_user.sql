-- +goose NO TRANSACTION
-- +goose Up

-- sessions_by_use begins with the same column, and has the same rows.
DROP INDEX CONCURRENTLY IF EXISTS auth.sessions_of_user;
