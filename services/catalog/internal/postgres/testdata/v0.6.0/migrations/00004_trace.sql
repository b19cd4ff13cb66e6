-- +goose Up

-- The W3C traceparent of the HTTP request that created the purchase, so that a request resent to billing an hour later is
-- still in its trace.
ALTER TABLE catalog.purchases ADD COLUMN trace_context text NOT NULL DEFAULT '';
