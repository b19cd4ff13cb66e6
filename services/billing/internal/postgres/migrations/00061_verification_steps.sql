-- +goose Up

-- What a nightly billing verify that is not complete has checked, so that after an interruption it goes on from there.
CREATE TABLE billing.verification_steps (
    step      text PRIMARY KEY,
    passed_at timestamptz NOT NULL DEFAULT statement_timestamp()
);

GRANT SELECT, INSERT (step), UPDATE (passed_at), DELETE ON billing.verification_steps TO billing;
