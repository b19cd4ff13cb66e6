-- +goose NO TRANSACTION
-- +goose Up

-- See products_search_newest.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_search_title ON catalog.products (status, title_folded, id) INCLUDE (search_title) WHERE deleted_at IS NULL;
