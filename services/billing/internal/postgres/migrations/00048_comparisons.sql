-- +goose Up

-- Results of billing compare: one row for each completed run.
CREATE TABLE billing.comparisons (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    took       interval NOT NULL,
    difference text -- the first one found; NULL if the books agree
);

GRANT SELECT, INSERT (took, difference) ON billing.comparisons TO billing;
GRANT SELECT ON SEQUENCE billing.comparisons_id_seq TO billing;
