-- +goose Up

-- The id under which clients know a session. A session that is older than this column has none: its id is made of the row's
-- (auth/internal/postgres/session_list.go). The default is set after the column, since otherwise every row would be rewritten.
ALTER TABLE auth.sessions
    ADD COLUMN public_id uuid,
    ALTER COLUMN public_id SET DEFAULT gen_random_uuid();
-- When all other sessions of a user end, this one gets the user's new version.
GRANT UPDATE (session_version) ON auth.sessions TO auth;
