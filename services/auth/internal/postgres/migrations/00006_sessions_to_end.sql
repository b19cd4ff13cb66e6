-- +goose Up

-- Users whose ended sessions are still open as rows, because there were too many for one transaction. The release before looks
-- only at rows. They are ended in parts, the latest used first: what was used before (used_at, session_id) remains.
CREATE TABLE auth.sessions_to_end (
    user_id    bigint PRIMARY KEY,
    used_at    timestamptz NOT NULL DEFAULT 'infinity',
    session_id bigint      NOT NULL DEFAULT 9223372036854775807,
    due_at     timestamptz NOT NULL DEFAULT now() -- whose turn it is: users take turns
);
CREATE INDEX sessions_to_end_due ON auth.sessions_to_end (due_at);
GRANT SELECT, INSERT, UPDATE (used_at, session_id, due_at), DELETE ON auth.sessions_to_end TO auth;

-- A new stream is filled with all users in the order of their ids: those up to filled_to have been made due for the stream that
-- was created at filling.
ALTER TABLE auth.users_stream
    ADD COLUMN filling   text   NOT NULL DEFAULT '',
    ADD COLUMN filled_to bigint NOT NULL DEFAULT 0;
GRANT UPDATE (filling, filled_to) ON auth.users_stream TO auth;
