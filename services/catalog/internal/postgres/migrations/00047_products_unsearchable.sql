-- +goose NO TRANSACTION
-- +goose Up

-- The products whose grams are not made yet.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_unsearchable ON catalog.products (id) WHERE search_grams IS NULL AND deleted_at IS NULL;
