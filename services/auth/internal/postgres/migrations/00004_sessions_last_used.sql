-- +goose Up

-- A session that is older than this column counts as used when it was added.
ALTER TABLE auth.sessions
    ADD COLUMN session_version bigint,
    ADD COLUMN last_used_at    timestamptz NOT NULL DEFAULT now();
GRANT UPDATE (last_used_at) ON auth.sessions TO auth;
