-- +goose NO TRANSACTION
-- +goose Up

-- Every index is paid for by every transaction. What was half made when this was interrupted is dropped first.

-- A transaction is a payment's or a purchase's: it needs no place among the others.
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_payment;
CREATE UNIQUE INDEX CONCURRENTLY transactions_payment ON billing.transactions (payment_id) WHERE payment_id IS NOT NULL;
ALTER TABLE billing.transactions DROP CONSTRAINT IF EXISTS transactions_payment_id_key;
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_purchase;
CREATE UNIQUE INDEX CONCURRENTLY transactions_purchase ON billing.transactions (purchase_id) WHERE purchase_id IS NOT NULL;
ALTER TABLE billing.transactions DROP CONSTRAINT IF EXISTS transactions_purchase_id_key;

-- Ids rise. Where they stand in rising order, the pages of a bill or a user that is much used stay full; in falling order
-- each is split in halves and left so. They are read backwards just as well.
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_by_bill;
CREATE INDEX CONCURRENTLY transactions_by_bill ON billing.transactions (bill_id, id);
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_of_bill;
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_by_user;
CREATE INDEX CONCURRENTLY transactions_by_user ON billing.transactions (user_id, id);
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_of_user;
