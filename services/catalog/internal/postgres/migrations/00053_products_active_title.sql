-- +goose NO TRANSACTION
-- +goose Up

-- See products_active_newest.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_active_title ON catalog.products (title_folded, id) INCLUDE (search_title) WHERE deleted_at IS NULL AND status = 'active';
