-- +goose Up

-- Reads the table, and holds up no one who writes it.
ALTER TABLE auth.users VALIDATE CONSTRAINT users_role;
