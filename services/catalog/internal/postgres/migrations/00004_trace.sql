-- +goose Up

-- The W3C traceparent of the request that made a purchase: what is asked again an hour later belongs to its story.
ALTER TABLE catalog.purchases ADD COLUMN trace_context text NOT NULL DEFAULT '';
