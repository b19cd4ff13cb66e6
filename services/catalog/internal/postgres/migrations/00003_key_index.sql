-- +goose NO TRANSACTION
-- +goose Up

-- Every purchase updates every index twice: when it is created and when it is settled. Purchases without a key don't need
-- to be in the index of keys. 00005 drops the constraint that this index replaces.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS purchases_with_key ON catalog.purchases (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
