-- +goose NO TRANSACTION
-- +goose Up

-- Without fastupdate: a search reads the list of entries that wait to be merged from end to end, and one change of a product in
-- many merges it, for as long as it takes.
CREATE INDEX CONCURRENTLY IF NOT EXISTS products_grams ON catalog.products USING gin (search_grams) WITH (fastupdate = off) WHERE deleted_at IS NULL;
