-- +goose Up

-- Every decision on a reversal (a chargeback), kept permanently.
CREATE TABLE billing.reversals (
    id          bigint PRIMARY KEY, -- of transaction_ids: those of a bill ascend in the order of decision. The debit, if any, has the same id.
    reversal_id bigint NOT NULL UNIQUE, -- the provider's
    payment_id  bigint NOT NULL,
    bill_id     bigint NOT NULL,
    user_id     bigint NOT NULL,
    total       bigint NOT NULL CHECK (total >= 0), -- of the payment, reversed so far, as the provider says; minor units
    due         bigint NOT NULL, -- what of it no earlier reversal had
    debited     bigint NOT NULL CHECK (debited >= 0),
    shortfall   bigint NOT NULL CHECK (shortfall >= 0), -- what the bill did not hold
    decided_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
    CHECK (debited + shortfall = due AND due <= total)
);
-- For the greatest total of a payment.
CREATE INDEX reversals_of_payment ON billing.reversals (payment_id, total);
CREATE INDEX reversals_short ON billing.reversals (id) WHERE shortfall > 0;

GRANT SELECT, INSERT (id, reversal_id, payment_id, bill_id, user_id, total, due, debited, shortfall) ON billing.reversals TO billing;
