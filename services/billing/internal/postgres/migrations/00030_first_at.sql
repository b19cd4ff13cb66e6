-- +goose Up

-- The transaction has its id before the row gets its time. Otherwise a row could appear in a list after a time up to which the list was
-- said to be complete (libs/service/complete). now() is the time of the transaction's start, before it has an id.
ALTER TABLE billing.refused_payments
    ALTER COLUMN first_at SET DEFAULT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END,
    ALTER COLUMN last_at SET DEFAULT clock_timestamp(); -- not before first_at
