package postgres

import (
	"context"
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
		userID, err := pg.One(ctx, tx, "find link", auth.ErrActivationNotFound, pgx.RowTo[int64], `SELECT user_id FROM auth.activations WHERE token_hash = $1`, token[:])
		if err != nil {
			return err
		}
		user, err = readUser(ctx, tx, userID, "FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		// Read under the user's lock: the link may be followed twice at once.
		link, err := pg.One(ctx, tx, "read link", auth.ErrActivationNotFound, pgx.RowToStructByPos[linkNow], `SELECT expires_at, used_at, now() FROM auth.activations WHERE token_hash = $1`, token[:])
		if err != nil {
			return err
		}
		activate, refusal := auth.DecideActivation(link.Now, link.StoredLink, user)
		if refusal != nil || !activate {
			return refusal
		}
		if _, err := tx.Exec(ctx, `UPDATE auth.activations SET used_at = now() WHERE token_hash = $1`, token[:]); err != nil {
			return err
		}
		if user.ActivatedAt != nil {
			return nil // activated by another link
		}
		return tx.QueryRow(ctx, `
			UPDATE auth.users SET activated_at = now(), `+changed+` WHERE id = $1 RETURNING `+userColumns, userID, telemetry.Traceparent(ctx)).Scan(userFields(&user)...)
	})
	return user, err
}

// linkNow is an activation link and the time at which it was read.
type linkNow struct {
	auth.StoredLink
	Now time.Time
}
