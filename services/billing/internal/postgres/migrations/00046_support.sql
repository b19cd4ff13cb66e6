-- +goose Up

-- The role support of auth. The new constraint holds for new rows at once; 00047 checks the others.
ALTER TABLE billing.customers
    ADD CONSTRAINT customers_role CHECK (role IN ('user', 'support', 'admin')) NOT VALID,
    DROP CONSTRAINT customers_role_check;
