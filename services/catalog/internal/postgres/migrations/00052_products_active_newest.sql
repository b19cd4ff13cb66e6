-- +goose NO TRANSACTION
-- +goose Up

-- The list of active products with the folded titles, for searches that pass many products: the index has all that they look at.
-- It has no status, which Postgres would compare for each product that is passed.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_active_newest ON catalog.products (id) INCLUDE (search_title) WHERE deleted_at IS NULL AND status = 'active';
