-- +goose Up

-- The W3C traceparent of the message that was decided on: who asks again is shown where that was.
ALTER TABLE billing.charges ADD COLUMN trace_context text NOT NULL DEFAULT '';
