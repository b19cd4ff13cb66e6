-- +goose Up

-- Billing's own copy of auth's users. Version 0: known only from a token.
CREATE TABLE billing.customers (
    user_id bigint PRIMARY KEY,
    login   text   NOT NULL DEFAULT '',
    role    text   NOT NULL CHECK (role IN ('user', 'admin')),
    status  text   NOT NULL CHECK (status IN ('inactive', 'active', 'disabled')),
    version bigint NOT NULL DEFAULT 0
);

-- A fillfactor below 100 leaves room for heap-only updates of the balance.
CREATE TABLE billing.bills (
    id         bigint PRIMARY KEY CHECK (id > 0),
    user_id    bigint NOT NULL REFERENCES billing.customers,
    balance    bigint NOT NULL DEFAULT 0 CHECK (balance BETWEEN 0 AND 7000000000000000), -- minor units
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE INDEX bills_of_user ON billing.bills (user_id, id DESC);

-- Ids of bills that users open themselves, separate from the provider's ids.
CREATE SEQUENCE billing.bill_ids START 1000000000000;

-- No foreign keys from here on: no role of the service may delete a bill or a
-- transaction, both ends are written while the bill is locked, and the check of a
-- foreign key would cost a lookup for each row. billing verify looks for orphans.
CREATE SEQUENCE billing.transaction_ids;
CREATE TABLE billing.transactions (
    id            bigint PRIMARY KEY,
    bill_id       bigint NOT NULL,
    user_id       bigint NOT NULL,
    amount        bigint NOT NULL, -- minor units; credit +, debit -
    balance_after bigint NOT NULL CHECK (balance_after BETWEEN 0 AND 7000000000000000),
    payment_id    bigint UNIQUE,
    purchase_id   uuid   UNIQUE,
    created_at    timestamptz NOT NULL DEFAULT statement_timestamp(),
    CHECK ((payment_id IS NOT NULL AND purchase_id IS NULL AND amount > 0)
        OR (payment_id IS NULL AND purchase_id IS NOT NULL AND amount < 0))
);
CREATE INDEX transactions_of_bill ON billing.transactions (bill_id, id DESC);
CREATE INDEX transactions_of_user ON billing.transactions (user_id, id DESC);

-- Every decision on a purchase, kept permanently. For a request that could not be
-- read, only the purchase id is known, and it can only expire.
CREATE TABLE billing.charges (
    purchase_id    uuid PRIMARY KEY,
    user_id        bigint,
    bill_id        bigint,
    amount         bigint, -- minor units
    outcome        text NOT NULL CHECK (outcome IN ('settled', 'insufficient_funds', 'bill_not_found', 'buyer_disabled', 'expired')),
    balance        bigint,
    transaction_id bigint UNIQUE,
    decided_at     timestamptz NOT NULL DEFAULT statement_timestamp(),
    CHECK ((outcome = 'settled') = (transaction_id IS NOT NULL)),
    CHECK ((outcome IN ('settled', 'insufficient_funds')) = (balance IS NOT NULL)),
    CHECK (outcome = 'expired' OR (user_id IS NOT NULL AND bill_id IS NOT NULL AND amount > 0))
);

-- Correctly signed payments that were refused: one row for each content.
CREATE TABLE billing.refused_payments (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content    bytea  NOT NULL UNIQUE, -- SHA-256 of the texts of the four values
    payment_id bigint NOT NULL,
    user_id    bigint NOT NULL,
    bill_id    bigint NOT NULL,
    amount     text   NOT NULL, -- exactly as received
    reason     text   NOT NULL,
    times      bigint NOT NULL DEFAULT 1,
    first_at   timestamptz NOT NULL DEFAULT now(),
    last_at    timestamptz NOT NULL DEFAULT now()
);

-- Purchase requests that could not be parsed or stored: one row for each purchase
-- id, or for each body that has no readable purchase id.
CREATE TABLE billing.rejected_messages (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         text  NOT NULL UNIQUE, -- the purchase id, or SHA-256 of the body
    purchase_id uuid,
    body        bytea NOT NULL, -- its first 4 KiB
    reason      text  NOT NULL,
    times       bigint NOT NULL DEFAULT 1,
    first_at    timestamptz NOT NULL DEFAULT now(),
    last_at     timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT ON billing.schema_version TO billing;
GRANT SELECT, INSERT, UPDATE ON billing.customers TO billing;
GRANT SELECT, INSERT (id, user_id), UPDATE (balance) ON billing.bills TO billing; -- a new bill is empty
GRANT SELECT, INSERT ON billing.transactions, billing.charges TO billing;
GRANT SELECT, INSERT (content, payment_id, user_id, bill_id, amount, reason), UPDATE (reason, times, last_at) ON billing.refused_payments TO billing;
GRANT SELECT, INSERT (key, purchase_id, body, reason), UPDATE (reason, times, last_at) ON billing.rejected_messages TO billing;
GRANT USAGE ON SEQUENCE billing.bill_ids, billing.transaction_ids TO billing;
