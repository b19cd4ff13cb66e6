-- +goose NO TRANSACTION
-- +goose Up

-- What became of one payment: GET /payment/credits/{transaction_id}.
CREATE INDEX CONCURRENTLY IF NOT EXISTS refused_payments_by_payment ON billing.refused_payments (payment_id, id);
