-- +goose Up

-- The one row says when a replica that can do its work was last seen: each writes it every 10 s. There is no row before the
-- first has. A replica that can't is not ready while one can (libs/service/serving).
CREATE TABLE billing.serving (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    seen_at timestamptz NOT NULL
) WITH (fillfactor = 50);

GRANT SELECT, INSERT (seen_at), UPDATE (seen_at) ON billing.serving TO billing;
