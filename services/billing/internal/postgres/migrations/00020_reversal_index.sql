-- +goose NO TRANSACTION
-- +goose Up

-- A reversal is debited once. See transactions_refund.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS transactions_reversal ON billing.transactions (reversal_id) WHERE reversal_id IS NOT NULL;
