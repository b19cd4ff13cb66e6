-- +goose Up

-- Drops the constraint that the index of 00003 replaces, and purchases_pending: pending purchases are few, so that one
-- index is enough to find them. Nothing is locked where v0.6.0 or an earlier release has already dropped both.
-- +goose StatementBegin
DO $$
BEGIN
    IF to_regclass('catalog.purchases_key') IS NULL AND to_regclass('catalog.purchases_pending') IS NULL THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_index WHERE indisvalid AND indexrelid = to_regclass('catalog.purchases_with_key')) THEN
        RAISE EXCEPTION 'the index catalog.purchases_with_key is missing or invalid; the constraint that it replaces is kept';
    END IF;
    ALTER TABLE catalog.purchases DROP CONSTRAINT IF EXISTS purchases_key;
    DROP INDEX IF EXISTS catalog.purchases_pending;
END
$$;
-- +goose StatementEnd
