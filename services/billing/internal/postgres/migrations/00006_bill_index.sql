-- +goose NO TRANSACTION
-- +goose Up

-- Ids ascend. In an ascending index, the pages of a busy bill or user stay full; in a descending index, every page is split
-- in half and stays half empty. An ascending index can be read backwards at the same cost.
CREATE INDEX CONCURRENTLY IF NOT EXISTS transactions_by_bill ON billing.transactions (bill_id, id);
