-- +goose NO TRANSACTION
-- +goose Up

-- What the pending purchases of a user hold of a product with limited stock. Other purchases are not in it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS purchases_holding ON catalog.purchases (user_id, product_id) WHERE settled_at IS NULL AND stock_taken IS NOT NULL;
