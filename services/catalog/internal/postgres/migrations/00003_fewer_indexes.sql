-- +goose NO TRANSACTION
-- +goose Up

-- Every index is paid for by every purchase, twice: when it is made and when it is settled. Those without a key need no
-- place among the keys, and pending ones are few: one index finds them.
DROP INDEX CONCURRENTLY IF EXISTS catalog.purchases_with_key; -- half made, if this was interrupted
CREATE UNIQUE INDEX CONCURRENTLY purchases_with_key ON catalog.purchases (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
ALTER TABLE catalog.purchases DROP CONSTRAINT IF EXISTS purchases_key;
DROP INDEX CONCURRENTLY IF EXISTS catalog.purchases_pending;
