-- +goose Up

-- A spent token and this salt make the next token of its session, until the grace is over.
ALTER TABLE auth.refresh_tokens ADD COLUMN successor_salt bytea;
GRANT UPDATE (successor_salt) ON auth.refresh_tokens TO auth;
