-- +goose NO TRANSACTION
-- +goose Up

-- As products_status_newest, by price.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_status_by_price ON catalog.products (status, price, id) WHERE deleted_at IS NULL;
