-- +goose Up

-- Drops what the indexes of 00002 and 00005 to 00007 replace. Nothing is locked where v0.6.0 or an earlier release has
-- already dropped it.
-- +goose StatementBegin
DO $$
BEGIN
    IF to_regclass('billing.transactions_payment_id_key') IS NULL AND to_regclass('billing.transactions_purchase_id_key') IS NULL
        AND to_regclass('billing.transactions_of_bill') IS NULL AND to_regclass('billing.transactions_of_user') IS NULL THEN
        RETURN;
    END IF;
    IF (SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid IN (to_regclass('billing.transactions_payment'),
        to_regclass('billing.transactions_purchase'), to_regclass('billing.transactions_by_bill'), to_regclass('billing.transactions_by_user'))) < 4 THEN
        RAISE EXCEPTION 'an index of billing.transactions that an earlier migration built is missing or invalid; the one that it replaces is kept';
    END IF;
    ALTER TABLE billing.transactions
        DROP CONSTRAINT IF EXISTS transactions_payment_id_key,
        DROP CONSTRAINT IF EXISTS transactions_purchase_id_key;
    DROP INDEX IF EXISTS billing.transactions_of_bill, billing.transactions_of_user;
END
$$;
-- +goose StatementEnd
