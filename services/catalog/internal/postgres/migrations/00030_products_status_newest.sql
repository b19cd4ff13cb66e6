-- +goose NO TRANSACTION
-- +goose Up

-- The products of a status in the order of a list, however many have another one: users see the active ones.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_status_newest ON catalog.products (status, id) WHERE deleted_at IS NULL;
