-- +goose Up

-- What admins changed (libs/service/adminlog). The service adds rows, and neither changes nor deletes them.
CREATE TABLE catalog.log (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor_id bigint, -- null: a command that an operator ran
    action   text   NOT NULL,
    subject  text   NOT NULL,
    before   jsonb, -- the members that changed; null if the subject did not exist
    after    jsonb, -- null if it exists no longer
    trace_id text   NOT NULL -- empty for none
);
CREATE INDEX log_of_subject ON catalog.log (subject, id);

GRANT SELECT, INSERT (actor_id, action, subject, before, after, trace_id) ON catalog.log TO catalog;
GRANT SELECT ON SEQUENCE catalog.log_id_seq TO catalog;
