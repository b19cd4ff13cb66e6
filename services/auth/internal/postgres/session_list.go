package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/service/adminlog"
	"lavka/libs/service/pg"
	"lavka/libs/service/telemetry"
	"lavka/services/auth/internal/auth"
)

// openSessions selects the open rows of a user that were used last, without those that
// have expired. A user has no more, unless a release that did not limit them left some.
var openSessions = fmt.Sprintf(`
	SELECT id, public_id, created_at, last_used_at, session_version
	FROM (
		SELECT * FROM auth.sessions WHERE user_id = $1 AND ended_at IS NULL
		ORDER BY last_used_at DESC, id DESC LIMIT %d) AS newest
	WHERE expires_at > now() AND created_at > now() - $2::interval
	ORDER BY last_used_at DESC, id DESC`, auth.MaxSessions)

// OpenSessions returns the open sessions of a user, the last used first, at most
// [auth.MaxSessions].
func (s *Store) OpenSessions(ctx context.Context, user auth.User) ([]auth.OpenSession, error) {
	rows, err := pg.Collect(ctx, s.reads, "list sessions", pgx.RowToStructByPos[sessionRow], openSessions, user.ID, auth.MaxSession)
	if err != nil {
		return nil, err
	}
	open := []auth.OpenSession{}
	for _, row := range rows {
		if row.open(user) {
			open = append(open, auth.OpenSession{ID: sessionID(row.ID, row.PublicID), StartedAt: row.StartedAt, LastUsedAt: row.LastUsedAt})
		}
	}
	return open, nil
}

// EndOneSession ends one of the caller's sessions and revokes the user's tokens. It
// returns the error of [auth.User.MayAct], or auth.ErrSessionNotFound.
func (s *Store) EndOneSession(ctx context.Context, caller auth.Caller, id uuid.UUID) error {
	return pg.Wrap("end one session", s.users.Do(ctx, caller.UserID, func() error {
		return s.inTx(ctx, "end one session", func(tx *pg.Tx) error {
			user, err := lockCaller(ctx, tx, caller)
			if err != nil {
				return err
			}
			row, err := findOpen(ctx, tx, user, id)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `UPDATE auth.sessions SET ended_at = now() WHERE id = $1`, row); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `UPDATE auth.users SET token_version = token_version + 1, `+changed+` WHERE id = $1`, user.ID, telemetry.Traceparent(ctx))
			return err
		})
	}))
}

// EndOtherSessions ends the caller's sessions except that of their token, and revokes
// the user's tokens. It returns the error of [auth.User.MayAct], or
// auth.ErrTokenRevoked if that session has ended.
func (s *Store) EndOtherSessions(ctx context.Context, caller auth.Caller) error {
	return pg.Wrap("end other sessions", s.users.Do(ctx, caller.UserID, func() error {
		return s.inTx(ctx, "end other sessions", func(tx *pg.Tx) error {
			user, err := lockCaller(ctx, tx, caller)
			if err != nil {
				return err
			}
			own, err := findOpen(ctx, tx, user, caller.Session)
			if errors.Is(err, auth.ErrSessionNotFound) {
				return auth.ErrTokenRevoked
			}
			if err != nil {
				return err
			}
			if err := endAll(ctx, tx, user.ID, own); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `
				UPDATE auth.sessions SET session_version = (SELECT session_version FROM auth.users WHERE id = $2) WHERE id = $1`, own, user.ID)
			return err
		})
	}))
}

// EndAllSessions ends all sessions of a user on behalf of an admin, and revokes the
// user's tokens. It returns the error of [auth.User.MayAct] or
// [auth.User.MayAdminister], or auth.ErrUserNotFound.
func (s *Store) EndAllSessions(ctx context.Context, admin auth.Caller, id int64) error {
	return s.inTx(ctx, "end all sessions", func(tx *pg.Tx) error {
		user, err := lockForAdmin(ctx, tx, admin, id)
		if err != nil {
			return err
		}
		// Nothing that the API shows of the user changes.
		if err := logged(ctx, tx, admin.UserID, "end_sessions", user, adminlog.Members{}, adminlog.Members{}); err != nil {
			return err
		}
		return endAll(ctx, tx, id, none)
	})
}

// lockCaller locks and returns the caller's row, or returns the error of
// [auth.User.MayAct].
func lockCaller(ctx context.Context, tx *pg.Tx, caller auth.Caller) (auth.User, error) {
	user, err := readUser(ctx, tx, caller.UserID, "FOR NO KEY UPDATE")
	if err != nil {
		return auth.User{}, err
	}
	return user, user.MayAct(caller)
}

// findOpen returns the id of the row of an open session, or auth.ErrSessionNotFound.
func findOpen(ctx context.Context, tx *pg.Tx, user auth.User, id uuid.UUID) (row int64, err error) {
	rows, err := pg.Rows(ctx, tx, "find session", pgx.RowToStructByPos[sessionRow], openSessions, user.ID, auth.MaxSession)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(rows, func(row sessionRow) bool { return row.open(user) && sessionID(row.ID, row.PublicID) == id })
	if i < 0 {
		return 0, auth.ErrSessionNotFound
	}
	return rows[i].ID, nil
}

// sessionRow is a row of a session that has not ended by itself.
type sessionRow struct {
	ID         int64
	PublicID   *uuid.UUID
	StartedAt  time.Time
	LastUsedAt time.Time
	Version    *int64
}

func (r sessionRow) open(user auth.User) bool {
	return !auth.StoredSession{StartedAt: r.StartedAt, Version: r.Version}.Ended(user)
}

// sessionID returns the id under which clients know a session. Those of releases up to
// v0.6.0 have none in their rows; their ids are UUIDs of version 8 (RFC 9562, section
// 5.8) that hold the number of the row.
func sessionID(row int64, public *uuid.UUID) (id uuid.UUID) {
	if public != nil {
		return *public
	}
	binary.BigEndian.PutUint64(id[8:], uint64(row))
	id[6] = 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}
