-- +goose NO TRANSACTION
-- +goose Up

-- Every index makes every transaction more expensive. A transaction belongs to a payment or a purchase, so each row needs
-- an entry in only one of two partial indexes. 00008 drops what they replace.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS transactions_payment ON billing.transactions (payment_id) WHERE payment_id IS NOT NULL;
