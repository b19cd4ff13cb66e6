-- +goose Up

-- No foreign key to products: the service can't delete a product, and the key would take a lock on the product for every
-- purchase, even while many users buy the same one.
CREATE TABLE catalog.purchases (
    id              uuid PRIMARY KEY,
    user_id         bigint NOT NULL,
    idempotency_key text,
    product_id      bigint NOT NULL,
    title           text NOT NULL,
    price           bigint NOT NULL CHECK (price > 0),
    bill_id         bigint NOT NULL,
    expected_price  bigint,
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'completed', 'declined')),
    decline_reason  text,
    balance         bigint,
    transaction_id  bigint,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    settled_at      timestamptz,
    next_send_at    timestamptz NOT NULL,
    claimed         integer NOT NULL DEFAULT 0,

    CONSTRAINT purchases_key UNIQUE (user_id, idempotency_key),
    CONSTRAINT purchases_settled CHECK ((status = 'pending') = (settled_at IS NULL)),
    CONSTRAINT purchases_completed CHECK ((status = 'completed') = (transaction_id IS NOT NULL)),
    CONSTRAINT purchases_declined CHECK ((status = 'declined') = (decline_reason IS NOT NULL))
);

CREATE INDEX purchases_of_user ON catalog.purchases (user_id, id);
CREATE INDEX purchases_due ON catalog.purchases (next_send_at) WHERE status = 'pending';
CREATE INDEX purchases_pending ON catalog.purchases (user_id, created_at) WHERE status = 'pending';

-- Purchases are permanent: no DELETE, and who bought what at which price can't be changed.
GRANT SELECT, INSERT ON catalog.purchases TO catalog;
GRANT UPDATE (status, decline_reason, balance, transaction_id, settled_at, next_send_at, claimed) ON catalog.purchases TO catalog;
