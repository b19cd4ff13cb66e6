package postgres

import (
	"context"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
)

// partOfRows is how many rows one statement of Prune and ClearSalts changes.
const partOfRows = 1000

// Prune deletes expired refresh tokens, sessions and links, in parts, until none are
// left or ctx ends. Unused links are kept for 30 days after they expire, so that they
// are reported as expired rather than unknown; used links are never deleted. Links to
// reset a password are kept for a day after they expire.
func (s *Store) Prune(ctx context.Context) error {
	for _, sql := range []string{
		`DELETE FROM auth.refresh_tokens WHERE token_hash = ANY (ARRAY(
			SELECT token_hash FROM auth.refresh_tokens WHERE expires_at < now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))`,
		// A session expires with its last token. A session that still has tokens waits:
		// its deletion would delete them in one statement, however many there are.
		`DELETE FROM auth.sessions s WHERE id = ANY (ARRAY(
			SELECT id FROM auth.sessions WHERE expires_at < now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))
			AND NOT EXISTS (SELECT FROM auth.refresh_tokens WHERE session_id = s.id)`,
		`DELETE FROM auth.activations WHERE token_hash = ANY (ARRAY(
			SELECT token_hash FROM auth.activations WHERE used_at IS NULL AND expires_at < now() - interval '30 days' ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))`,
		`DELETE FROM auth.password_resets WHERE token_hash = ANY (ARRAY(
			SELECT token_hash FROM auth.password_resets WHERE expires_at < now() - interval '1 day' ORDER BY expires_at LIMIT $1))`,
	} {
		if err := s.inParts(ctx, "prune", sql, partOfRows); err != nil {
			return err
		}
	}
	return nil
}

// ClearSalts removes the salts of tokens that were spent longer ago than [auth.Grace],
// in parts. With such a salt, the holder of an old token could make all that followed.
func (s *Store) ClearSalts(ctx context.Context) error {
	return s.inParts(ctx, "clear salts", `
		UPDATE auth.refresh_tokens SET successor_salt = NULL WHERE token_hash = ANY (ARRAY(
			SELECT token_hash FROM auth.refresh_tokens WHERE successor_salt IS NOT NULL AND spent_at < now() - $2::interval
			ORDER BY spent_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED))`, partOfRows, auth.Grace)
}

// inParts runs a statement that changes at most partOfRows rows until it changes
// fewer.
func (s *Store) inParts(ctx context.Context, what, sql string, args ...any) error {
	for {
		tag, err := s.background.Exec(ctx, sql, args...)
		if err != nil {
			return pg.Wrap(what, err)
		}
		if tag.RowsAffected() < partOfRows {
			return nil
		}
	}
}
