-- +goose NO TRANSACTION
-- +goose Up

-- A list in its order with the folded titles, for searches that pass many products: the index has all that they look at. Users search the active ones.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_search_newest ON catalog.products (status, id) INCLUDE (search_title) WHERE deleted_at IS NULL;
