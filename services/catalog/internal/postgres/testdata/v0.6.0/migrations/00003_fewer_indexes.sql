-- +goose NO TRANSACTION
-- +goose Up

-- Every purchase updates every index twice: when it is created and when it is settled. Purchases without a key don't need
-- to be in the index of keys, and pending purchases are few, so that one index is enough to find them.
DROP INDEX CONCURRENTLY IF EXISTS catalog.purchases_with_key; -- left incomplete, if this migration was interrupted
CREATE UNIQUE INDEX CONCURRENTLY purchases_with_key ON catalog.purchases (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
ALTER TABLE catalog.purchases DROP CONSTRAINT IF EXISTS purchases_key;
DROP INDEX CONCURRENTLY IF EXISTS catalog.purchases_pending;
