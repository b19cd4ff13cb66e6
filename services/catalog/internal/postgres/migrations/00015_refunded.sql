-- +goose Up

-- The sum of the purchase's completed refunds; null for none. It is written in the transaction that completes a refund, so
-- that a page of purchases need not look at their refunds.
ALTER TABLE catalog.purchases ADD COLUMN refunded bigint;

GRANT UPDATE (refunded) ON catalog.purchases TO catalog;
