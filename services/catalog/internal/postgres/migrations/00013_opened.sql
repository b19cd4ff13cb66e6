-- +goose Up

-- The level up to which replicas may write new kinds of rows, which the release before does not understand. The command
-- migrate finish raises it (libs/service/opened).
CREATE TABLE catalog.opened (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    level bigint NOT NULL
);
INSERT INTO catalog.opened (level) VALUES (0);

GRANT SELECT ON catalog.opened TO catalog;
