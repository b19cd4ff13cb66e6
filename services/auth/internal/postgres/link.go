package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
)

// requested ends an INSERT of links to be sent: nothing is added for a user of whom one
// of that kind is being sent or was requested within [auth.Resend], which is $2.
const requested = `
	ON CONFLICT (user_id, event) DO UPDATE SET id = gen_random_uuid(), requested_at = now(), attempts = 0, due_at = now()
	WHERE links.due_at IS NULL AND links.requested_at < now() - $2::interval`

func queueLink(ctx context.Context, tx *pg.Tx, userID int64, event auth.LinkEvent) error {
	_, err := tx.Exec(ctx, `INSERT INTO auth.links (user_id, event) VALUES ($1, $3)`+requested, userID, auth.Resend, event)
	return err
}

// RequestReset records that someone has asked for a link to reset the password of a
// login, which no user may have.
func (s *Store) RequestReset(ctx context.Context, login string) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO auth.reset_requests (login) VALUES ($1)`, login)
	return pg.Wrap("request reset", err)
}

// ResolveResets turns at most limit requests for a login into links to be sent, and
// returns how many requests it took.
func (s *Store) ResolveResets(ctx context.Context, limit int) (n int, err error) {
	err = inTx(ctx, s.background, "resolve requests to reset passwords", func(tx *pg.Tx) error {
		logins, err := pg.Rows(ctx, tx, "take requests", pgx.RowTo[string], `
			DELETE FROM auth.reset_requests WHERE id = ANY (ARRAY(
				SELECT id FROM auth.reset_requests ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING login`, limit)
		if n = len(logins); err != nil || n == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO auth.links (user_id, event)
			SELECT id, $3 FROM auth.users WHERE lower(login COLLATE "C") = ANY ($1) AND disabled_at IS NULL ORDER BY id`+requested,
			logins, auth.Resend, auth.ResetLink)
		return err
	})
	return n, err
}

// ClaimLink returns a link that is due, if there is one. No replica claims it again
// before [auth.Retry].
func (s *Store) ClaimLink(ctx context.Context) (d auth.Delivery, found bool, err error) {
	err = inTx(ctx, s.background, "claim link", func(tx *pg.Tx) error {
		due, err := pg.Rows(ctx, tx, "claim link", pgx.RowToStructByPos[auth.Delivery], `
			SELECT id, event, user_id, requested_at, attempts + 1, clock_timestamp() FROM auth.links
			WHERE due_at <= now() ORDER BY due_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED`)
		if found = len(due) > 0; err != nil || !found {
			return err
		}
		d = due[0]
		_, err = tx.Exec(ctx, `UPDATE auth.links SET attempts = $3, due_at = clock_timestamp() + $4 WHERE user_id = $1 AND event = $2`,
			d.UserID, d.Event, d.Attempt, auth.Retry(d.Attempt))
		return err
	})
	return d, found, err
}

// MakeLink adds a link for a delivery. It returns false if the user has no use for it
// any more: they are active already, or disabled.
func (s *Store) MakeLink(ctx context.Context, d auth.Delivery, link auth.Link) (made auth.MadeLink, wanted bool, err error) {
	err = inTx(ctx, s.background, "make link", func(tx *pg.Tx) error {
		user, err := readUser(ctx, tx, d.UserID, "FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		wanted = user.DisabledAt == nil && (d.Event == auth.ResetLink || user.ActivatedAt == nil)
		if !wanted {
			return nil
		}
		made.Login = user.Login
		if d.Event == auth.ResetLink {
			made.ExpiresAt, err = addReset(ctx, tx, user, link)
			return err
		}
		made.ExpiresAt, err = replaceLink(ctx, tx, user.ID, link, auth.MaxSentLinks)
		return err
	})
	return made, wanted, err
}

// LinkDone records that a link was sent, or will not be.
func (s *Store) LinkDone(ctx context.Context, d auth.Delivery) error {
	_, err := s.background.Exec(ctx, `UPDATE auth.links SET due_at = NULL WHERE user_id = $1 AND event = $2 AND id = $3`, d.UserID, d.Event, d.ID)
	return pg.Wrap("mark link", err)
}

// OldestLink returns for how long the oldest link has been waiting to be sent, 0 if
// none is.
func (s *Store) OldestLink(ctx context.Context) (age time.Duration, err error) {
	err = s.background.QueryRow(ctx, `
		SELECT coalesce(clock_timestamp() - least(
			(SELECT requested_at FROM auth.links WHERE due_at IS NOT NULL ORDER BY requested_at LIMIT 1),
			(SELECT created_at FROM auth.reset_requests ORDER BY id LIMIT 1)), '0')`).Scan(&age)
	return age, pg.Wrap("find the oldest link", err)
}
