package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"lavka/libs/service/pg"
	"lavka/libs/service/telemetry"
	"lavka/services/auth/internal/auth"
)

// All sessions of a user end with one change of the user's row, however many there
// are: see [auth.StoredSession.Ended]. The rest of this file is about their rows. A
// replica of v0.6.0, which may run beside this release, looks only at them; and
// ended sessions whose rows are open are in the way of those that count.

// sessionsEnded is part of an UPDATE of a user's row that the transaction has locked:
// a session that was started before the lock is older than this time.
const sessionsEnded = `session_version = session_version + 1, sessions_ended_at = clock_timestamp()`

// partOfSessions is how many sessions one transaction ends: what that takes, others
// may have to wait for.
const partOfSessions = 1000

// none is the id of no session.
const none = 0

// endAll ends all sessions of a user, whose row is locked, except keep, and revokes the
// user's tokens. The caller gives keep the user's new version.
func endAll(ctx context.Context, tx *pg.Tx, userID, keep int64) error {
	_, err := tx.Exec(ctx, `
		UPDATE auth.users SET token_version = token_version + 1, `+sessionsEnded+`, `+changed+` WHERE id = $1`, userID, telemetry.Traceparent(ctx))
	if err != nil {
		return err
	}
	return endRows(ctx, tx, userID, keep)
}

// endRows ends a user's open rows that were used last, except keep, and leaves the
// others to [Store.EndMoreSessions]. It does not wait for a row that is being
// refreshed, which a busy client could make take long.
func endRows(ctx context.Context, tx *pg.Tx, userID, keep int64) error {
	_, err := tx.Exec(ctx, `
		UPDATE auth.sessions SET ended_at = now() WHERE id = ANY (ARRAY(
			SELECT id FROM auth.sessions WHERE user_id = $1 AND ended_at IS NULL AND id <> $3
			ORDER BY last_used_at DESC, id DESC LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED))`, userID, partOfSessions, keep)
	if err != nil {
		return err
	}
	// EXISTS would let the planner choose a scan of the table. An ordered subquery
	// leaves only the index.
	_, err = tx.Exec(ctx, `
		INSERT INTO auth.sessions_to_end (user_id)
		SELECT $1 WHERE (SELECT id FROM auth.sessions WHERE user_id = $1 AND ended_at IS NULL AND id <> $2 ORDER BY last_used_at DESC, id DESC LIMIT 1) IS NOT NULL
		ON CONFLICT (user_id) DO UPDATE SET used_at = DEFAULT, session_id = DEFAULT`, userID, keep)
	return err
}

// EndMoreSessions ends a part of the rows of a user whose sessions have all been
// ended, and reports whether there may be more to do, for this user or another. Where
// it continues is stored, and several replicas may run it at once.
func (s *Store) EndMoreSessions(ctx context.Context) (more bool, err error) {
	err = inTx(ctx, s.background, "end more sessions", func(tx *pg.Tx) error {
		more = false
		found, err := pg.Rows(ctx, tx, "find sessions to end", pgx.RowToStructByPos[sessionsToEnd], `
			SELECT user_id, used_at, session_id FROM auth.sessions_to_end ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED`)
		if err != nil || len(found) == 0 {
			return err
		}
		more = true
		from := found[0]
		part, err := pg.Rows(ctx, tx, "read sessions to end", pgx.RowToStructByPos[openSession], `
			SELECT id, last_used_at FROM auth.sessions
			WHERE user_id = $1 AND ended_at IS NULL AND (last_used_at, id) < ($2, $3)
			ORDER BY last_used_at DESC, id DESC LIMIT $4`, from.UserID, from.UsedAt, from.SessionID, partOfSessions)
		if err != nil {
			return err
		}
		ids := make([]int64, len(part))
		for i, one := range part {
			ids[i] = one.ID
		}
		// Not those that were started since: see auth.StoredSession.Ended.
		if _, err := tx.Exec(ctx, `
			UPDATE auth.sessions s SET ended_at = now() FROM auth.users u
			WHERE s.id = ANY ($2) AND s.ended_at IS NULL AND u.id = $1
				AND CASE WHEN s.session_version IS NULL THEN s.created_at <= u.sessions_ended_at ELSE s.session_version <> u.session_version END`,
			from.UserID, ids); err != nil {
			return err
		}
		if len(part) < partOfSessions {
			_, err := tx.Exec(ctx, `DELETE FROM auth.sessions_to_end WHERE user_id = $1`, from.UserID)
			return err
		}
		last := part[len(part)-1]
		_, err = tx.Exec(ctx, `
			UPDATE auth.sessions_to_end SET used_at = $2, session_id = $3, due_at = clock_timestamp()
			WHERE user_id = $1`, from.UserID, last.UsedAt, last.ID)
		return err
	})
	return more, err
}

// sessionsToEnd says which open sessions of a user have not been looked at: those
// before SessionID, in the order of their last use.
type sessionsToEnd struct {
	UserID    int64
	UsedAt    pgtype.Timestamptz // infinity at first
	SessionID int64
}

type openSession struct {
	ID     int64
	UsedAt time.Time
}

// endSurplus makes room for one more session of a user, whose row is locked. Beyond
// the [auth.MaxSessions] - 1 that were used last, it ends at most as many, so that a
// login costs the same after a release that did not limit them.
func endSurplus(ctx context.Context, tx *pg.Tx, userID int64) error {
	_, err := tx.Exec(ctx, `
		UPDATE auth.sessions SET ended_at = now() WHERE ended_at IS NULL AND id = ANY (ARRAY(
			SELECT id FROM auth.sessions WHERE user_id = $1 AND ended_at IS NULL
			ORDER BY last_used_at DESC, id DESC OFFSET $2 LIMIT $3))`, userID, auth.MaxSessions-1, auth.MaxSessions)
	return err
}
