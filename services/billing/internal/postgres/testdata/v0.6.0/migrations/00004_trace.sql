-- +goose Up

-- The W3C traceparent of the message that was decided on. The span of a repeat is linked to it.
ALTER TABLE billing.charges ADD COLUMN trace_context text NOT NULL DEFAULT '';
