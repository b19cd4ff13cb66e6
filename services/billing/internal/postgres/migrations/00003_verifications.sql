-- +goose Up

-- What billing verify has found: a row for each run that came to an end.
CREATE TABLE billing.verifications (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT now(),
    took         interval NOT NULL,
    difference   text, -- the first one; NULL when the ledger adds up, and then what was counted is there:
    bills        bigint,
    transactions bigint,
    charges      bigint,
    CHECK ((difference IS NULL) = (bills IS NOT NULL AND transactions IS NOT NULL AND charges IS NOT NULL))
);

GRANT SELECT, INSERT (took, difference, bills, transactions, charges) ON billing.verifications TO billing;
