-- +goose NO TRANSACTION
-- +goose Up

-- Links to reset a password don't wait behind thousands to activate a user: each kind is claimed by itself.
CREATE INDEX CONCURRENTLY IF NOT EXISTS links_due_by_event ON auth.links (event, due_at) WHERE due_at IS NOT NULL;
