-- +goose Up

-- The link for a request that waited until its login was looked up was requested when the request was made.
GRANT INSERT (requested_at) ON auth.links TO auth;
