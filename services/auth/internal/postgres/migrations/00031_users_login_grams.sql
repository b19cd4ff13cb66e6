-- +goose NO TRANSACTION
-- +goose Up

-- With fastupdate, each search would also read the entries that wait to be merged.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_login_grams ON auth.users USING gin ((auth.login_grams(login)) COLLATE "C") WITH (fastupdate = off);
