-- +goose NO TRANSACTION
-- +goose Up

-- Replaced by links_due_by_event.
DROP INDEX CONCURRENTLY IF EXISTS auth.links_due;
