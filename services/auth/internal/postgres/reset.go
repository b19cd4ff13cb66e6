package postgres

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/adminlog"
	"lavka/libs/service/pg"
	"lavka/libs/service/telemetry"
	"lavka/services/auth/internal/auth"
)

// CheckReset returns the user of a link to reset a password, or the error of
// [auth.DecideReset].
func (s *Store) CheckReset(ctx context.Context, token auth.TokenHash) (auth.User, error) {
	found, err := pg.CollectOne(ctx, s.reads, "read reset", auth.ErrResetNotFound, scanReset, `
		SELECT link.made_for, link.expires_at, now(), `+userColumns+`
		FROM (SELECT user_id, reset_version AS made_for, expires_at FROM auth.password_resets WHERE token_hash = decode($1, 'hex')) AS link
		JOIN auth.users ON users.id = link.user_id`, hex.EncodeToString(token[:]))
	if err != nil {
		return auth.User{}, err
	}
	return found.user, auth.DecideReset(found.now, found.link, found.user)
}

// ResetPassword sets the password of a link's user, ends all of their sessions and
// revokes their tokens. It returns the error of [auth.DecideReset], which it decides
// under the lock of the user's row: a link may be used twice at once.
func (s *Store) ResetPassword(ctx context.Context, token auth.TokenHash, newHash string) error {
	return pg.Wrap("reset password", s.tokens.Do(ctx, token, func() error {
		return s.inTx(ctx, "reset password", func(tx *pg.Tx) error {
			userID, err := pg.One(ctx, tx, "find reset", auth.ErrResetNotFound, pgx.RowTo[int64], `SELECT user_id FROM auth.password_resets WHERE token_hash = $1`, token[:])
			if err != nil {
				return err
			}
			user, err := readUser(ctx, tx, userID, "FOR NO KEY UPDATE")
			if err != nil {
				return err
			}
			// clock_timestamp() rather than now(), since this may have waited for the lock.
			link, err := pg.One(ctx, tx, "read reset", auth.ErrResetNotFound, pgx.RowToStructByPos[resetNow], `
				SELECT reset_version, expires_at, clock_timestamp() FROM auth.password_resets WHERE token_hash = $1`, token[:])
			if err != nil {
				return err
			}
			if err := auth.DecideReset(link.Now, link.StoredReset, user); err != nil {
				return err
			}
			// A trigger gives the user another reset_version, which voids all of their
			// links. That a link works once does not rest on the trigger alone. Those that
			// have expired are left to Prune.
			if _, err := tx.Exec(ctx, `DELETE FROM auth.password_resets WHERE user_id = $1 AND expires_at >= now()`, userID); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `
				UPDATE auth.users SET password_hash = $3, token_version = token_version + 1, `+sessionsEnded+`, `+changed+`
				WHERE id = $1`, userID, telemetry.Traceparent(ctx), newHash)
			if err != nil {
				return err
			}
			return endRows(ctx, tx, userID, none)
		})
	}))
}

// AddReset adds a link to reset a user's password on behalf of an admin, and deletes
// the user's links beyond the newest [auth.MaxResets]. It returns the error of
// [auth.User.MayAct] or [auth.User.MayAdminister], auth.ErrUserNotFound, or
// auth.ErrUserDisabled.
func (s *Store) AddReset(ctx context.Context, admin auth.Caller, userID int64, link auth.Link) error {
	return s.inTx(ctx, "add reset", func(tx *pg.Tx) error {
		user, err := lockForAdmin(ctx, tx, admin, userID)
		if err != nil {
			return err
		}
		if user.DisabledAt != nil {
			return auth.ErrUserDisabled
		}
		// Nothing that the API shows of the user changes.
		if err := logged(ctx, tx, admin.UserID, "password_reset", user, adminlog.Members{}, adminlog.Members{}); err != nil {
			return err
		}
		if link.Sent {
			return queueLink(ctx, tx, user.ID, auth.ResetLink)
		}
		_, err = addReset(ctx, tx, user, link)
		return err
	})
}

// addReset adds a link for a user, whose row is locked, and returns when it expires.
func addReset(ctx context.Context, tx *pg.Tx, user auth.User, link auth.Link) (expires time.Time, err error) {
	_, err = tx.Exec(ctx, `
		DELETE FROM auth.password_resets WHERE token_hash = ANY (ARRAY(
			SELECT token_hash FROM auth.password_resets WHERE user_id = $1 ORDER BY created_at DESC, token_hash OFFSET $2 LIMIT $3))`,
		user.ID, auth.MaxResets-1, auth.MaxResets)
	if err != nil {
		return expires, err
	}
	err = tx.QueryRow(ctx, `
		INSERT INTO auth.password_resets (token_hash, user_id, reset_version, expires_at) VALUES ($1, $2, $3, now() + $4) RETURNING expires_at`,
		link.Hash[:], user.ID, user.ResetVersion, link.Lifetime).Scan(&expires)
	return expires, err
}

// resetNow is a link to reset a password and the time at which it was read.
type resetNow struct {
	auth.StoredReset
	Now time.Time
}

// resetOfUser is a link to reset a password with its user.
type resetOfUser struct {
	link auth.StoredReset
	now  time.Time
	user auth.User
}

func scanReset(row pgx.CollectableRow) (r resetOfUser, err error) {
	err = row.Scan(append([]any{&r.link.Version, &r.link.ExpiresAt, &r.now}, userFields(&r.user)...)...)
	return r, err
}
