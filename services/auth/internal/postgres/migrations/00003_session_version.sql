-- +goose Up

-- All of a user's sessions end in the user's row: a session of a lower version has ended. One without a version was started by a
-- release that did not know of it, and has ended if it is not newer than sessions_ended_at.
ALTER TABLE auth.users
    ADD COLUMN session_version   bigint NOT NULL DEFAULT 1,
    ADD COLUMN sessions_ended_at timestamptz;
GRANT UPDATE (session_version, sessions_ended_at) ON auth.users TO auth;
