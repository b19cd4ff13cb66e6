-- +goose Up

-- Results of auth verify: one row for each completed run.
CREATE TABLE auth.verifications (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    took       interval NOT NULL,
    difference text -- the first fault found; NULL if there is none
);

GRANT SELECT, INSERT (took, difference) ON auth.verifications TO auth;
GRANT SELECT ON SEQUENCE auth.verifications_id_seq TO auth;
