-- +goose NO TRANSACTION
-- +goose Up

-- A deleted product gives its SKU free.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS products_sku ON catalog.products (sku) WHERE sku IS NOT NULL AND deleted_at IS NULL;
