-- +goose NO TRANSACTION
-- +goose Up

-- Every index makes every transaction more expensive. An index left half built by an interrupted run is dropped first.

-- A transaction belongs to a payment or a purchase, so each row needs an entry in only one of these two indexes.
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_payment;
CREATE UNIQUE INDEX CONCURRENTLY transactions_payment ON billing.transactions (payment_id) WHERE payment_id IS NOT NULL;
ALTER TABLE billing.transactions DROP CONSTRAINT IF EXISTS transactions_payment_id_key;
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_purchase;
CREATE UNIQUE INDEX CONCURRENTLY transactions_purchase ON billing.transactions (purchase_id) WHERE purchase_id IS NOT NULL;
ALTER TABLE billing.transactions DROP CONSTRAINT IF EXISTS transactions_purchase_id_key;

-- Ids ascend. In an ascending index, the pages of a busy bill or user stay full; in a descending index, every page is split
-- in half and stays half empty. An ascending index can be read backwards at the same cost.
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_by_bill;
CREATE INDEX CONCURRENTLY transactions_by_bill ON billing.transactions (bill_id, id);
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_of_bill;
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_by_user;
CREATE INDEX CONCURRENTLY transactions_by_user ON billing.transactions (user_id, id);
DROP INDEX CONCURRENTLY IF EXISTS billing.transactions_of_user;
