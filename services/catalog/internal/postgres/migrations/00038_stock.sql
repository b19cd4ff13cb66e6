-- +goose Up

-- Units in stock, of products that have a limit. It changes with every purchase of the product: half of each page is kept free
-- for its next versions. stock_limit is the row of stock_changes that set the limit: one that is lifted and set again is another.
CREATE TABLE catalog.stock (
    product_id  bigint PRIMARY KEY,
    on_hand     bigint NOT NULL CONSTRAINT stock_on_hand CHECK (on_hand >= 0),
    stock_limit bigint NOT NULL
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE (on_hand), DELETE ON catalog.stock TO catalog;

-- What changed the stock, besides purchases and their declines, which say so in their own rows. The service adds rows, and
-- neither changes nor deletes them.
CREATE TABLE catalog.stock_changes (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id      bigint NOT NULL,
    stock_limit     bigint, -- null: this row sets the limit
    change          bigint NOT NULL, -- units
    on_hand         bigint NOT NULL CHECK (on_hand >= 0), -- after it
    reason          text NOT NULL,
    admin_id        bigint, -- null: a refund
    refund_id       uuid, -- what it put back; null: not a refund
    idempotency_key text, -- null: a refund, the end of the limit, or the stock of a new product
    created_at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT stock_changes_key UNIQUE (product_id, idempotency_key),
    CONSTRAINT stock_changes_refund UNIQUE (refund_id)
);

GRANT SELECT, INSERT (product_id, stock_limit, change, on_hand, reason, admin_id, refund_id, idempotency_key) ON catalog.stock_changes TO catalog;
GRANT SELECT ON SEQUENCE catalog.stock_changes_id_seq TO catalog;
