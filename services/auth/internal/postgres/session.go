package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/libs/service/telemetry"
	"lavka/services/auth/internal/auth"
)

// StartSession adds a session, and ends the user's sessions beyond [auth.MaxSessions].
// It locks the user's row: a concurrent password change or disabling either commits
// first and is seen here, or commits later and ends this session with the others; and
// concurrent logins count each other's sessions.
func (s *Store) StartSession(ctx context.Context, userID int64, checkedHash string, token auth.TokenHash, lifetime time.Duration) (in auth.LoggedIn, err error) {
	err = s.inTx(ctx, "start session", func(tx *pg.Tx) error {
		c, err := lockCredential(ctx, tx, userID)
		if err != nil {
			return err
		}
		in.User = c.user
		if c.hash != checkedHash {
			return auth.ErrInvalidCredentials
		}
		if err := in.User.MayLogIn(); err != nil {
			return err
		}
		if err := endSurplus(ctx, tx, userID); err != nil {
			return err
		}
		var session int64
		err = tx.QueryRow(ctx, `
			INSERT INTO auth.sessions (user_id, expires_at, session_version, last_used_at) VALUES ($1, now() + $2, $3, clock_timestamp())
			RETURNING id, public_id`, userID, lifetime, in.User.SessionVersion).Scan(&session, &in.Session)
		if err != nil {
			return err
		}
		return addToken(ctx, tx, session, token, lifetime)
	})
	return in, err
}

// Refresh spends a refresh token as [auth.DecideRefresh] decides, and returns its
// session and the token's successor, or auth.ErrRefreshInvalid.
func (s *Store) Refresh(ctx context.Context, token auth.Secret, salt auth.Salt, lifetime time.Duration) (in auth.LoggedIn, next auth.Secret, err error) {
	err = s.tokens.Do(ctx, token.Hash(), func() (err error) {
		in, next, err = s.refresh(ctx, token, salt, lifetime)
		return err
	})
	return in, next, pg.Wrap("refresh", err)
}

func (s *Store) refresh(ctx context.Context, token auth.Secret, salt auth.Salt, lifetime time.Duration) (in auth.LoggedIn, next auth.Secret, err error) {
	var decision auth.RefreshDecision
	hash := token.Hash()
	err = s.inTx(ctx, "refresh", func(tx *pg.Tx) error {
		session, err := pg.One(ctx, tx, "lock session", auth.ErrRefreshInvalid, pgx.RowToStructByPos[lockedSession], `
			SELECT s.id, s.user_id, s.public_id
			FROM auth.refresh_tokens t JOIN auth.sessions s ON s.id = t.session_id
			WHERE t.token_hash = $1 FOR NO KEY UPDATE OF s`, hash[:])
		if err != nil {
			return err
		}
		// Read under the session's lock: the same token may be used twice at once.
		// clock_timestamp() rather than now(), since this may have waited for the lock.
		stored, err := pg.One(ctx, tx, "read refresh token", auth.ErrRefreshInvalid, scanToken, `
			SELECT t.expires_at, t.spent_at, t.successor_salt, s.created_at, s.ended_at, s.session_version, clock_timestamp()
			FROM auth.refresh_tokens t JOIN auth.sessions s ON s.id = t.session_id
			WHERE t.token_hash = $1`, hash[:])
		if err != nil {
			return err
		}
		in.Session = sessionID(session.ID, session.PublicID)
		in.User, err = readUser(ctx, tx, session.UserID, "")
		if err != nil {
			return err
		}
		decision = auth.DecideRefresh(stored.Now, stored.StoredToken, in.User)
		switch decision {
		case auth.Rotate:
			next = token.Successor(salt)
			return rotate(ctx, tx, session.ID, hash, salt, next.Hash(), lifetime)
		case auth.GiveAgain:
			next = token.Successor(*stored.Salt)
			return nil
		case auth.EndSession:
			_, err := tx.Exec(ctx, `UPDATE auth.sessions SET ended_at = now() WHERE id = $1`, session.ID)
			return err
		default:
			return auth.ErrRefreshInvalid
		}
	})
	if err == nil && decision == auth.EndSession {
		err = auth.ErrRefreshInvalid // after the end of the session is committed
	}
	return in, next, err
}

type lockedSession struct {
	ID, UserID int64
	PublicID   *uuid.UUID
}

func rotate(ctx context.Context, tx *pg.Tx, session int64, spent auth.TokenHash, salt auth.Salt, next auth.TokenHash, lifetime time.Duration) error {
	if _, err := tx.Exec(ctx, `UPDATE auth.refresh_tokens SET spent_at = clock_timestamp(), successor_salt = $2 WHERE token_hash = $1`, spent[:], salt[:]); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE auth.sessions SET last_used_at = clock_timestamp(), expires_at = greatest(expires_at, now() + $2)
		WHERE id = $1`, session, lifetime); err != nil {
		return err
	}
	return addToken(ctx, tx, session, next, lifetime)
}

// tokenNow is a refresh token and the time at which it was read.
type tokenNow struct {
	auth.StoredToken
	Now time.Time
}

func scanToken(row pgx.CollectableRow) (t tokenNow, err error) {
	var salt []byte
	s := &t.Session
	if err := row.Scan(&t.ExpiresAt, &t.SpentAt, &salt, &s.StartedAt, &s.EndedAt, &s.Version, &t.Now); err != nil {
		return t, err
	}
	switch len(salt) {
	case 0:
	case len(t.Salt):
		t.Salt = (*auth.Salt)(salt)
	default:
		return t, fmt.Errorf("a salt of %d bytes", len(salt))
	}
	return t, nil
}

// EndSession ends the session of a refresh token, if the session is the caller's. It
// returns the error of [auth.User.MayAct].
func (s *Store) EndSession(ctx context.Context, caller auth.Caller, token auth.TokenHash) error {
	return pg.Wrap("end session", s.users.Do(ctx, caller.UserID, func() error {
		return s.inTx(ctx, "end session", func(tx *pg.Tx) error {
			user, err := readUser(ctx, tx, caller.UserID, "FOR SHARE")
			if err != nil {
				return err
			}
			if err := user.MayAct(caller); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `
				UPDATE auth.sessions SET ended_at = now()
				WHERE user_id = $1 AND ended_at IS NULL AND id = (SELECT session_id FROM auth.refresh_tokens WHERE token_hash = $2)`, caller.UserID, token[:])
			return err
		})
	}))
}

// ChangePassword sets a new hash, ends the user's sessions and revokes their tokens.
// It decides by the user's row, which it locks: it returns the error of
// [auth.User.MayAct], or auth.ErrInvalidCredentials if the hash is no longer
// checkedHash.
func (s *Store) ChangePassword(ctx context.Context, caller auth.Caller, checkedHash, newHash string) error {
	return s.inTx(ctx, "change password", func(tx *pg.Tx) error {
		c, err := lockCredential(ctx, tx, caller.UserID)
		if err != nil {
			return err
		}
		if err := c.user.MayAct(caller); err != nil {
			return err
		}
		if c.hash != checkedHash {
			return auth.ErrInvalidCredentials
		}
		_, err = tx.Exec(ctx, `
			UPDATE auth.users SET password_hash = $3, token_version = token_version + 1, `+sessionsEnded+`, `+changed+`
			WHERE id = $1`, caller.UserID, telemetry.Traceparent(ctx), newHash)
		if err != nil {
			return err
		}
		return endRows(ctx, tx, caller.UserID, none)
	})
}

func lockCredential(ctx context.Context, tx *pg.Tx, userID int64) (credential, error) {
	return pg.One(ctx, tx, "lock credential", auth.ErrUserNotFound, scanCredential, `SELECT `+userColumns+`, password_hash FROM auth.users WHERE id = $1 FOR NO KEY UPDATE`, userID)
}

func addToken(ctx context.Context, tx *pg.Tx, session int64, token auth.TokenHash, lifetime time.Duration) error {
	_, err := tx.Exec(ctx, `INSERT INTO auth.refresh_tokens (token_hash, session_id, expires_at) VALUES ($1, $2, now() + $3)`, token[:], session, lifetime)
	return err
}
