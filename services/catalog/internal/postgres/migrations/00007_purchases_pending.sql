-- +goose NO TRANSACTION
-- +goose Up

-- A user's purchases of each status. A row is in one of the three indexes; in purchases_of_user, the purchases of one
-- status may be behind any number of others. A purchase is pending while settled_at is null (purchases_settled). With
-- status = 'pending' as the condition, the server could also choose purchases_due, which has the pending purchases of all
-- users, and does so while its statistics say that there are few.
CREATE INDEX CONCURRENTLY IF NOT EXISTS purchases_pending_of_user ON catalog.purchases (user_id, id) WHERE settled_at IS NULL;
