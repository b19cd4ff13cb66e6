-- +goose Up

-- The role support. The new constraint holds for new rows at once; 00019 checks the others.
ALTER TABLE auth.users
    ADD CONSTRAINT users_role CHECK (role IN ('user', 'support', 'admin')) NOT VALID,
    DROP CONSTRAINT users_role_check;
