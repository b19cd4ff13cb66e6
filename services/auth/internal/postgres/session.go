package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
)

// StartSession adds a session. The user's row is locked against change: a
// password change or a disabling at the same time comes before, and is seen, or
// after, and ends this session with the others.
func (s *Store) StartSession(ctx context.Context, userID int64, checkedHash string, token auth.TokenHash, lifetime time.Duration) (user auth.User, err error) {
	err = s.inTx(ctx, "start session", func(tx *pg.Tx) error {
		var hash string
		err := tx.QueryRow(ctx, `SELECT `+userColumns+`, password_hash FROM auth.users WHERE id = $1 FOR SHARE`, userID).Scan(append(userFields(&user), &hash)...)
		if err != nil {
			return err
		}
		if hash != checkedHash {
			return auth.ErrInvalidCredentials
		}
		if err := user.MayLogIn(); err != nil {
			return err
		}
		var session int64
		err = tx.QueryRow(ctx, `INSERT INTO auth.sessions (user_id, expires_at) VALUES ($1, now() + $2) RETURNING id`, userID, lifetime).Scan(&session)
		if err != nil {
			return err
		}
		return addToken(ctx, tx, session, token, lifetime)
	})
	return user, err
}

// Refresh changes a token for another.
func (s *Store) Refresh(ctx context.Context, old, next auth.TokenHash, lifetime time.Duration) (user auth.User, err error) {
	var decision auth.RefreshDecision
	err = s.inTx(ctx, "refresh", func(tx *pg.Tx) error {
		var session, userID int64
		var token auth.StoredToken
		err := tx.QueryRow(ctx, `
			SELECT s.id, s.user_id, s.created_at, s.ended_at IS NOT NULL
			FROM auth.refresh_tokens t JOIN auth.sessions s ON s.id = t.session_id
			WHERE t.token_hash = $1 FOR NO KEY UPDATE OF s`, old[:]).Scan(&session, &userID, &token.SessionStartedAt, &token.SessionEnded)
		if errors.Is(err, pgx.ErrNoRows) {
			return auth.ErrRefreshInvalid
		}
		if err != nil {
			return err
		}
		// Read under the session's lock: the same token may come twice at once.
		// The clock is read now, since this may have waited for the lock.
		var now time.Time
		err = tx.QueryRow(ctx, `SELECT expires_at, spent_at, clock_timestamp() FROM auth.refresh_tokens WHERE token_hash = $1`, old[:]).
			Scan(&token.ExpiresAt, &token.SpentAt, &now)
		if err != nil {
			return err
		}
		user, err = readUser(ctx, tx, userID, "")
		if err != nil {
			return err
		}
		decision = auth.DecideRefresh(now, token, user)
		switch decision {
		case auth.Rotate:
			if _, err := tx.Exec(ctx, `UPDATE auth.refresh_tokens SET spent_at = clock_timestamp() WHERE token_hash = $1`, old[:]); err != nil {
				return err
			}
			fallthrough
		case auth.GiveAgain:
			if _, err := tx.Exec(ctx, `UPDATE auth.sessions SET expires_at = greatest(expires_at, now() + $2) WHERE id = $1`, session, lifetime); err != nil {
				return err
			}
			return addToken(ctx, tx, session, next, lifetime)
		case auth.EndSession:
			_, err := tx.Exec(ctx, `UPDATE auth.sessions SET ended_at = now() WHERE id = $1`, session)
			return err
		default:
			return auth.ErrRefreshInvalid
		}
	})
	if err == nil && decision == auth.EndSession {
		err = auth.ErrRefreshInvalid // now that its end is committed
	}
	return user, err
}

// EndSession ends the session of a user's own token.
func (s *Store) EndSession(ctx context.Context, userID int64, token auth.TokenHash) error {
	return s.inTx(ctx, "end session", func(tx *pg.Tx) error {
		_, err := tx.Exec(ctx, `
			UPDATE auth.sessions SET ended_at = now()
			WHERE user_id = $1 AND ended_at IS NULL AND id = (SELECT session_id FROM auth.refresh_tokens WHERE token_hash = $2)`, userID, token[:])
		return err
	})
}

// ChangePassword sets a new hash and ends all sessions and tokens.
func (s *Store) ChangePassword(ctx context.Context, userID int64, checkedHash, newHash string) error {
	return s.inTx(ctx, "change password", func(tx *pg.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE auth.users SET password_hash = $3, token_version = token_version + 1, `+changed+`
			WHERE id = $1 AND password_hash = $2`, userID, checkedHash, newHash)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return auth.ErrInvalidCredentials // somebody else has just changed it
		}
		return endSessions(ctx, tx, userID)
	})
}

// Prune deletes what can't be used any more, a bounded part at a time, and says
// whether there may be more. Links stay a month longer, to be told from those
// that never were; used ones stay for good.
func (s *Store) Prune(ctx context.Context) (more bool, err error) {
	const batch = 1000
	for _, sql := range []string{
		`DELETE FROM auth.refresh_tokens WHERE token_hash IN (SELECT token_hash FROM auth.refresh_tokens WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)`,
		`DELETE FROM auth.sessions WHERE id IN (SELECT id FROM auth.sessions WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)`,
		`DELETE FROM auth.activations WHERE token_hash IN (SELECT token_hash FROM auth.activations WHERE used_at IS NULL AND expires_at < now() - interval '30 days' LIMIT $1 FOR UPDATE SKIP LOCKED)`,
	} {
		tag, err := s.pool.Exec(ctx, sql, batch)
		if err != nil {
			return false, pg.Wrap("prune", err)
		}
		more = more || tag.RowsAffected() == batch
	}
	return more, nil
}

func addToken(ctx context.Context, tx *pg.Tx, session int64, token auth.TokenHash, lifetime time.Duration) error {
	_, err := tx.Exec(ctx, `INSERT INTO auth.refresh_tokens (token_hash, session_id, expires_at) VALUES ($1, $2, now() + $3)`, token[:], session, lifetime)
	return err
}

func endSessions(ctx context.Context, tx *pg.Tx, userID int64) error {
	_, err := tx.Exec(ctx, `UPDATE auth.sessions SET ended_at = now() WHERE user_id = $1 AND ended_at IS NULL`, userID)
	return err
}
