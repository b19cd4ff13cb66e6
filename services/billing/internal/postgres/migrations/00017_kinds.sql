-- +goose Up

-- A transaction is of one type, that of the id which is set. A column with the type would have to be filled in every row that
-- exists. The new constraint holds for new rows at once; 00018 checks the others. It has to replace the old one in the same
-- statement, which knows two of the ids only.
ALTER TABLE billing.transactions
    ADD COLUMN refund_id uuid,
    ADD COLUMN reversal_id bigint,
    ADD CONSTRAINT transactions_one_id CHECK (
        num_nonnulls(payment_id, purchase_id, refund_id, reversal_id) = 1 AND amount <> 0
        AND (amount > 0) = (payment_id IS NOT NULL OR refund_id IS NOT NULL)) NOT VALID,
    DROP CONSTRAINT transactions_check;
