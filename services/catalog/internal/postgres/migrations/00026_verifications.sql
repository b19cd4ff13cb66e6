-- +goose Up

-- Results of catalog verify: one row for each completed run.
CREATE TABLE catalog.verifications (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    took       interval NOT NULL,
    difference text -- the first fault found; NULL if there is none
);

GRANT SELECT, INSERT (took, difference) ON catalog.verifications TO catalog;
GRANT SELECT ON SEQUENCE catalog.verifications_id_seq TO catalog;
