-- +goose NO TRANSACTION
-- +goose Up

-- GET /admin/transactions?type=payment is in the order of payments_by_time, so payments don't pay for an index by id as well.
DROP INDEX CONCURRENTLY IF EXISTS billing.payments_by_id;
