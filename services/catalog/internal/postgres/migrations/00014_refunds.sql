-- +goose Up

-- Refunds of purchases. A row is its own outbox: billing is asked until its answer is in the row. Rows are permanent.
CREATE TABLE catalog.refunds (
    id              uuid   PRIMARY KEY, -- UUIDv7
    purchase_id     uuid   NOT NULL,
    idempotency_key text   NOT NULL,
    user_id         bigint NOT NULL, -- as in the purchase: who bought
    bill_id         bigint NOT NULL, -- as in the purchase: where the money goes
    amount          bigint NOT NULL CHECK (amount > 0), -- minor units
    asked_amount    bigint, -- as asked for; null: all that was left
    reason          text   NOT NULL,
    note            text   NOT NULL, -- for admins; '' for none
    force           boolean NOT NULL, -- also to a bill on which a reversal has left a shortfall
    admin_id        bigint NOT NULL, -- who asked for it
    status          text   NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'completed', 'declined')),
    decline_reason  text,
    refundable      bigint, -- if declined as refund_exceeds: what was left of the charge
    transaction_id  bigint,
    trace_context   text   NOT NULL DEFAULT '', -- W3C traceparent of the HTTP request
    created_at      timestamptz NOT NULL DEFAULT now(),
    settled_at      timestamptz,
    next_send_at    timestamptz NOT NULL,
    claimed         integer NOT NULL DEFAULT 0,

    -- It also finds the refunds of a purchase.
    CONSTRAINT refunds_key UNIQUE (purchase_id, idempotency_key),
    CONSTRAINT refunds_settled CHECK ((status = 'pending') = (settled_at IS NULL)),
    CONSTRAINT refunds_completed CHECK ((status = 'completed') = (transaction_id IS NOT NULL)),
    CONSTRAINT refunds_declined CHECK ((status = 'declined') = (decline_reason IS NOT NULL))
);
CREATE INDEX refunds_due ON catalog.refunds (next_send_at) WHERE status = 'pending';
CREATE INDEX refunds_pending ON catalog.refunds (id) WHERE settled_at IS NULL;

GRANT SELECT, INSERT ON catalog.refunds TO catalog;
GRANT UPDATE (status, decline_reason, refundable, transaction_id, settled_at, next_send_at, claimed) ON catalog.refunds TO catalog;
