-- +goose NO TRANSACTION
-- +goose Up

-- See products_active_newest.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_active_price ON catalog.products (price, id) INCLUDE (search_title) WHERE deleted_at IS NULL AND status = 'active';
