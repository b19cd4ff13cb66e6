-- +goose Up

-- Set if a reversal was refused. Then payment_id is the payment to reverse, and amount the total; user_id and bill_id are 0
-- if the payment is unknown.
ALTER TABLE billing.refused_payments ADD COLUMN reversal_id bigint;

GRANT INSERT (reversal_id) ON billing.refused_payments TO billing;
