-- +goose NO TRANSACTION
-- +goose Up

-- See products_search_newest.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_search_price ON catalog.products (status, price, id) INCLUDE (search_title) WHERE deleted_at IS NULL;
