-- +goose NO TRANSACTION
-- +goose Up

-- The newest products that are not deleted. In the primary key, they may be behind any number of deleted ones.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_newest ON catalog.products (id) WHERE deleted_at IS NULL;
