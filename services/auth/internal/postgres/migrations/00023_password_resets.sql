-- +goose Up

-- Links to reset a password. Using one gives the user another reset_version, so that it and all others are void.
CREATE TABLE auth.password_resets (
    token_hash    bytea  PRIMARY KEY CHECK (octet_length(token_hash) = 32), -- SHA-256
    user_id       bigint NOT NULL REFERENCES auth.users,
    reset_version bigint NOT NULL, -- the user's, when the link was made
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL
);
CREATE INDEX password_resets_of_user ON auth.password_resets (user_id, created_at DESC, token_hash);
CREATE INDEX password_resets_expired ON auth.password_resets (expires_at);

GRANT SELECT, INSERT, DELETE ON auth.password_resets TO auth;
