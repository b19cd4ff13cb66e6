-- +goose Up

-- The W3C traceparent of the request that changed a user last: what is published of him belongs to its story.
ALTER TABLE auth.users ADD COLUMN trace_context text NOT NULL DEFAULT '';
GRANT UPDATE (trace_context) ON auth.users TO auth;
