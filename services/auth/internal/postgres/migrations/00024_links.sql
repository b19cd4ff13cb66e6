-- +goose Up

-- Logins for which someone has asked for a link to reset the password. They are looked up later, so that the request costs the same
-- whether or not there is such a user.
CREATE TABLE auth.reset_requests (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login      text        NOT NULL, -- folded; empty for a login that no user can have
    created_at timestamptz NOT NULL DEFAULT now()
);
-- UPDATE of a column lets the service lock rows.
GRANT SELECT, INSERT (login), UPDATE (created_at), DELETE ON auth.reset_requests TO auth;
GRANT SELECT ON SEQUENCE auth.reset_requests_id_seq TO auth;

-- Links that are sent through the hook: at most one of each kind to a user at a time. The row is its own outbox: it is tried again
-- until the receiver has taken the link, each time with a new one.
CREATE TABLE auth.links (
    user_id      bigint      NOT NULL REFERENCES auth.users,
    event        text        NOT NULL CHECK (event IN ('activation', 'password_reset')),
    id           uuid        NOT NULL DEFAULT gen_random_uuid(), -- of the request
    requested_at timestamptz NOT NULL DEFAULT now(),
    attempts     bigint      NOT NULL DEFAULT 0,
    due_at       timestamptz DEFAULT now(), -- null: it was sent, or given up
    PRIMARY KEY (user_id, event)
) WITH (fillfactor = 70);
CREATE INDEX links_due ON auth.links (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX links_unsent ON auth.links (requested_at) WHERE due_at IS NOT NULL;
GRANT SELECT, INSERT (user_id, event), UPDATE (id, requested_at, attempts, due_at) ON auth.links TO auth;
