-- +goose Up

-- Every decision on a refund, kept permanently.
CREATE TABLE billing.refunds (
    id             bigint PRIMARY KEY, -- of transaction_ids: those of a bill ascend in the order of decision. The credit, if any, has the same id.
    refund_id      uuid   NOT NULL UNIQUE, -- catalog's
    purchase_id    uuid   NOT NULL,
    user_id        bigint NOT NULL, -- as requested: who bought
    bill_id        bigint NOT NULL, -- as requested: that the purchase was charged to
    amount         bigint NOT NULL CHECK (amount > 0), -- minor units
    force          boolean NOT NULL, -- as requested: also to a bill that owes
    outcome        text   NOT NULL CHECK (outcome IN ('refunded', 'refund_exceeds', 'balance_limit', 'charge_not_found', 'bill_owes')),
    refunded_after bigint NOT NULL CHECK (refunded_after >= 0), -- of the purchase in sum; 0 for charge_not_found
    refundable     bigint CHECK (refundable >= 0), -- what was left of the charge
    trace_context  text   NOT NULL DEFAULT '', -- W3C traceparent of the request
    decided_at     timestamptz NOT NULL DEFAULT statement_timestamp(),
    CHECK ((outcome = 'refund_exceeds') = (refundable IS NOT NULL)),
    CHECK (outcome <> 'refunded' OR refunded_after >= amount)
);
-- For what was refunded of a purchase: the greatest refunded_after.
CREATE INDEX refunds_of_purchase ON billing.refunds (purchase_id, refunded_after);

GRANT SELECT, INSERT (id, refund_id, purchase_id, user_id, bill_id, amount, force, outcome, refunded_after, refundable, trace_context) ON billing.refunds TO billing;
