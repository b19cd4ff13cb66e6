-- +goose NO TRANSACTION
-- +goose Up

-- The session that was unused longest ends first. Each use of a session already added an entry to each of the table's indexes,
-- because it moves expires_at.
CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_by_use ON auth.sessions (user_id, last_used_at, id) WHERE ended_at IS NULL;
