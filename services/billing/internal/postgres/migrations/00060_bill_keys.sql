-- +goose Up

-- The keys (Idempotency-Key) with which users opened bills. Rows are permanent; a user has as many bills as they may have.
CREATE TABLE billing.bill_keys (
    user_id         bigint NOT NULL,
    idempotency_key text   NOT NULL,
    bill_id         bigint NOT NULL,
    PRIMARY KEY (user_id, idempotency_key)
);

GRANT SELECT, INSERT ON billing.bill_keys TO billing;
