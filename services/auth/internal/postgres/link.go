package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
)

// requested ends an INSERT of links to be sent. It changes nothing for a user who
// requested one of that kind within [auth.Resend], which is $2. A link that still waits
// is due at once and is given up later, but keeps its id: the receiver may have it. One
// to reset a password is limited by [auth.ResetBurst], which is $4, and [auth.ResetEvery],
// which is $5: quota_full_at is when the user may request a burst again.
const requested = `
	ON CONFLICT (user_id, event) DO UPDATE SET requested_at = EXCLUDED.requested_at, attempts = 0, due_at = now(),
		id = CASE WHEN links.due_at IS NULL THEN EXCLUDED.id ELSE links.id END,
		quota_full_at = CASE WHEN links.due_at IS NULL THEN greatest(links.quota_full_at, now()) + $5::interval ELSE links.quota_full_at END
	WHERE links.requested_at < EXCLUDED.requested_at - $2::interval AND
		(links.due_at IS NOT NULL OR links.event = 'activation' OR links.quota_full_at <= now() + ($4::bigint - 1) * $5::interval)`

func queueLink(ctx context.Context, tx *pg.Tx, userID int64, event auth.LinkEvent) error {
	_, err := tx.Exec(ctx, `INSERT INTO auth.links (user_id, event, quota_full_at) VALUES ($1, $3, now() + $5::interval)`+requested,
		userID, auth.Resend, event, auth.ResetBurst, auth.ResetEvery)
	return err
}

// RequestReset records that someone has asked for a link to reset the password of a
// login, which no user may have. It does nothing while [auth.MaxResetRequests] wait. Their
// number is that of the ids between the first and the last, which the index has at hand.
func (s *Store) RequestReset(ctx context.Context, login string) error {
	_, err := s.pool.Exec(ctx, `
		INSERT INTO auth.reset_requests (login)
		SELECT $1 WHERE (SELECT coalesce(max(id) - min(id) + 1, 0) FROM auth.reset_requests) < $2::bigint`, login, auth.MaxResetRequests)
	return pg.Wrap("request reset", err)
}

// resetRequest is a request to reset the password of a login.
type resetRequest struct {
	Login     string
	CreatedAt time.Time
	Late      bool // the user does not expect a link any longer
}

// ResolveResets turns at most limit requests for a login into links to be sent, and
// returns how many requests it took. It drops those that are given up.
func (s *Store) ResolveResets(ctx context.Context, limit int) (n int, err error) {
	err = inTx(ctx, s.background, "resolve requests to reset passwords", func(tx *pg.Tx) error {
		requests, err := pg.Rows(ctx, tx, "take requests", pgx.RowToStructByPos[resetRequest], `
			DELETE FROM auth.reset_requests WHERE id = ANY (ARRAY(
				SELECT id FROM auth.reset_requests ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
			RETURNING login, created_at, created_at <= now() - $2::interval`, limit, auth.ResetLink.Expected())
		if n = len(requests); err != nil || n == 0 {
			return err
		}
		latest := map[string]time.Time{}
		for _, r := range requests {
			if !r.Late && r.CreatedAt.After(latest[r.Login]) {
				latest[r.Login] = r.CreatedAt
			}
		}
		var logins []string
		var at []time.Time
		for login, t := range latest {
			logins, at = append(logins, login), append(at, t)
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO auth.links (user_id, event, requested_at, quota_full_at)
			SELECT id, $3, ($6::timestamptz[])[array_position($1::text[], lower(login COLLATE "C"))], now() + $5::interval
			FROM auth.users WHERE lower(login COLLATE "C") = ANY ($1) AND disabled_at IS NULL ORDER BY id`+requested,
			logins, auth.Resend, auth.ResetLink, auth.ResetBurst, auth.ResetEvery, at)
		return err
	})
	return n, err
}

// ClaimLink returns a link for an event that is due, if there is one. No replica claims
// it again before [auth.Retry], unless it is requested again.
func (s *Store) ClaimLink(ctx context.Context, event auth.LinkEvent) (d auth.Delivery, found bool, err error) {
	err = inTx(ctx, s.background, "claim link", func(tx *pg.Tx) error {
		due, err := pg.Rows(ctx, tx, "claim link", pgx.RowToStructByPos[auth.Delivery], `
			SELECT id, event, user_id, requested_at, attempts + 1, clock_timestamp() FROM auth.links
			WHERE event = $1 AND due_at <= now() ORDER BY due_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED`, event)
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

// GiveUpLink records that a link was not sent in time. It returns false if the link was
// requested again since it was claimed: then it is still to be sent.
func (s *Store) GiveUpLink(ctx context.Context, d auth.Delivery) (bool, error) {
	tag, err := s.background.Exec(ctx, `UPDATE auth.links SET due_at = NULL WHERE user_id = $1 AND event = $2 AND id = $3 AND requested_at = $4`,
		d.UserID, d.Event, d.ID, d.RequestedAt)
	return tag.RowsAffected() > 0, pg.Wrap("give up link", err)
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
