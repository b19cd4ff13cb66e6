package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/libs/service/telemetry"
	"lavka/services/auth/internal/auth"
)

// AddLink adds an activation link.
func (s *Store) AddLink(ctx context.Context, userID int64, link auth.Link) error {
	return s.inTx(ctx, "add link", func(tx *pg.Tx) error { return addLink(ctx, tx, userID, link) })
}

func addLink(ctx context.Context, tx *pg.Tx, userID int64, link auth.Link) error {
	_, err := tx.Exec(ctx, `INSERT INTO auth.activations (token_hash, user_id, expires_at) VALUES ($1, $2, now() + $3)`, link.Hash[:], userID, link.Lifetime)
	return err
}

// Activate follows an activation link as [auth.DecideActivation] decides, or returns
// auth.ErrActivationNotFound.
func (s *Store) Activate(ctx context.Context, token auth.TokenHash) (user auth.User, err error) {
	err = s.inTx(ctx, "activate", func(tx *pg.Tx) error {
		var userID int64
		err := tx.QueryRow(ctx, `SELECT user_id FROM auth.activations WHERE token_hash = $1`, token[:]).Scan(&userID)
		if errors.Is(err, pgx.ErrNoRows) {
			return auth.ErrActivationNotFound
		}
		if err != nil {
			return err
		}
		user, err = readUser(ctx, tx, userID, "FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		// Read under the user's lock: the link may be followed twice at once.
		var link auth.StoredLink
		var now time.Time
		err = tx.QueryRow(ctx, `SELECT expires_at, used_at, now() FROM auth.activations WHERE token_hash = $1`, token[:]).Scan(&link.ExpiresAt, &link.UsedAt, &now)
		if err != nil {
			return err
		}
		activate, refusal := auth.DecideActivation(now, link, user)
		if refusal != nil || !activate {
			return refusal
		}
		if _, err := tx.Exec(ctx, `UPDATE auth.activations SET used_at = now() WHERE token_hash = $1`, token[:]); err != nil {
			return err
		}
		if user.ActivatedAt != nil {
			return nil // activated by another link
		}
		user, err = scanUser(tx.QueryRow(ctx, `UPDATE auth.users SET activated_at = now(), `+changed+` WHERE id = $1 RETURNING `+userColumns, userID, telemetry.Traceparent(ctx)))
		return err
	})
	return user, err
}
