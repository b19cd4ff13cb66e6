-- +goose Up

-- The W3C traceparent of the request that last changed the user. Publishing the user belongs to that trace.
ALTER TABLE auth.users ADD COLUMN trace_context text NOT NULL DEFAULT '';
GRANT UPDATE (trace_context) ON auth.users TO auth;
