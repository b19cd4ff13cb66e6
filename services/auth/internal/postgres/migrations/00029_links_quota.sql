-- +goose Up

-- A user is sent a few links to reset the password at once, and then one in each interval, from whatever addresses they are requested.
ALTER TABLE auth.links ADD COLUMN quota_full_at timestamptz NOT NULL DEFAULT '-infinity'; -- when they may be requested at once again
GRANT INSERT (quota_full_at), UPDATE (quota_full_at) ON auth.links TO auth;
