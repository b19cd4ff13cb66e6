-- +goose Up

-- Reads the table, and holds up no one who writes it.
ALTER TABLE billing.transactions VALIDATE CONSTRAINT transactions_one_id;
