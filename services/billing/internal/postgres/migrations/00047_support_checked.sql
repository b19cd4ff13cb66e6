-- +goose Up

-- Reads the table, and holds up no one who writes it.
ALTER TABLE billing.customers VALIDATE CONSTRAINT customers_role;
