-- +goose Up

-- Results of billing verify: one row for each completed run.
CREATE TABLE billing.verifications (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT now(),
    took         interval NOT NULL,
    difference   text, -- the first one found; NULL if the ledger adds up, and then the counts below are set
    bills        bigint,
    transactions bigint,
    charges      bigint,
    CHECK ((difference IS NULL) = (bills IS NOT NULL AND transactions IS NOT NULL AND charges IS NOT NULL))
);

GRANT SELECT, INSERT (took, difference, bills, transactions, charges) ON billing.verifications TO billing;
