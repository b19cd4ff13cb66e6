-- +goose Up

-- Units that go back into stock when the refund is completed; null for none.
ALTER TABLE catalog.refunds ADD COLUMN restock integer;
