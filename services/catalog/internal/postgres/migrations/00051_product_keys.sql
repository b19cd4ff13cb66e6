-- +goose Up

-- The keys (Idempotency-Key) with which admins made products. Rows are permanent.
CREATE TABLE catalog.product_keys (
    admin_id        bigint      NOT NULL,
    idempotency_key text        NOT NULL,
    product_id      bigint      NOT NULL,
    content         bytea       NOT NULL, -- SHA-256 of what was asked for
    created_at      timestamptz NOT NULL DEFAULT now(), -- as in the product
    PRIMARY KEY (admin_id, idempotency_key)
);

GRANT SELECT, INSERT (admin_id, idempotency_key, product_id, content) ON catalog.product_keys TO catalog;
