-- +goose Up

CREATE TABLE auth.users (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login             text   NOT NULL CHECK (login ~ '^[A-Za-z0-9][A-Za-z0-9._@+-]{2,63}$'),
    password_hash     text   NOT NULL, -- PHC string
    role              text   NOT NULL CHECK (role IN ('user', 'admin')),
    activated_at      timestamptz,
    disabled_at       timestamptz,
    version           bigint NOT NULL DEFAULT 1, -- increases with every change
    token_version     bigint NOT NULL DEFAULT 1, -- tokens with a lower version are revoked
    created_at        timestamptz NOT NULL DEFAULT now(),
    changed_at        timestamptz NOT NULL DEFAULT now(),
    publish_at        timestamptz NOT NULL DEFAULT now(),
    published_version bigint NOT NULL DEFAULT 0 -- the last version that NATS has acknowledged
);
-- The collation is explicit: which logins are equal must not depend on the
-- server's locale.
CREATE UNIQUE INDEX users_login ON auth.users (lower(login COLLATE "C"));
-- For lists of disabled and of inactive users, which are few. Other lists walk
-- the primary key.
CREATE INDEX users_disabled ON auth.users (id DESC) WHERE disabled_at IS NOT NULL;
CREATE INDEX users_inactive ON auth.users (id DESC) WHERE disabled_at IS NULL AND activated_at IS NULL;
CREATE INDEX users_admins ON auth.users (id) WHERE role = 'admin';
-- New versions are published before repeats.
CREATE INDEX users_news ON auth.users (publish_at) WHERE published_version < version;
CREATE INDEX users_due ON auth.users (publish_at);
CREATE INDEX users_changed ON auth.users (changed_at);

CREATE TABLE auth.activations (
    token_hash bytea  PRIMARY KEY CHECK (octet_length(token_hash) = 32), -- SHA-256
    user_id    bigint NOT NULL REFERENCES auth.users,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX activations_unused ON auth.activations (expires_at) WHERE used_at IS NULL;

-- A session is a family of refresh tokens. When it is deleted, so are they.
CREATE TABLE auth.sessions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES auth.users,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL, -- that of its newest token
    ended_at   timestamptz
);
CREATE INDEX sessions_of_user ON auth.sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_expired ON auth.sessions (expires_at);

CREATE TABLE auth.refresh_tokens (
    token_hash bytea  PRIMARY KEY CHECK (octet_length(token_hash) = 32), -- SHA-256
    session_id bigint NOT NULL REFERENCES auth.sessions ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    spent_at   timestamptz
);
CREATE INDEX refresh_tokens_of_session ON auth.refresh_tokens (session_id);
CREATE INDEX refresh_tokens_expired ON auth.refresh_tokens (expires_at);

-- The creation time of the stream to which all users have been published.
CREATE TABLE auth.users_stream (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    created_at text NOT NULL -- as NATS reports it, to the nanosecond
);

-- Users are never deleted, and only these columns of a user can change.
GRANT SELECT ON auth.schema_version TO auth;
GRANT SELECT, INSERT ON auth.users TO auth;
GRANT UPDATE (password_hash, role, activated_at, disabled_at, version, token_version, changed_at, publish_at, published_version) ON auth.users TO auth;
GRANT SELECT, INSERT, UPDATE (used_at), DELETE ON auth.activations TO auth;
GRANT SELECT, INSERT, UPDATE (expires_at, ended_at), DELETE ON auth.sessions TO auth;
GRANT SELECT, INSERT, UPDATE (spent_at), DELETE ON auth.refresh_tokens TO auth;
GRANT SELECT, INSERT, UPDATE (created_at) ON auth.users_stream TO auth;
