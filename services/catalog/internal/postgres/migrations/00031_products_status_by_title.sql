-- +goose NO TRANSACTION
-- +goose Up

-- As products_status_newest, by title.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_status_by_title ON catalog.products (status, title_folded, id) WHERE deleted_at IS NULL;
