package postgres

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/libs/service/telemetry"
	"lavka/services/auth/internal/auth"
)

// AddLink adds an activation link. Of the user's unused links it deletes those beyond
// the newest [auth.MaxLinks]. One that is sent replaces none.
func (s *Store) AddLink(ctx context.Context, userID int64, link auth.Link) error {
	return pg.Wrap("add link", s.users.Do(ctx, userID, func() error {
		return s.inTx(ctx, "add link", func(tx *pg.Tx) error {
			// Under the user's lock, concurrent requests count each other's links.
			if _, err := readUser(ctx, tx, userID, "FOR NO KEY UPDATE"); err != nil {
				return err
			}
			if link.Sent {
				return queueLink(ctx, tx, userID, auth.ActivationLink)
			}
			_, err := replaceLink(ctx, tx, userID, link, auth.MaxLinks)
			return err
		})
	}))
}

// replaceLink adds an activation link of a user, whose row is locked, and returns when
// it expires. Of the user's unused links it deletes those beyond the newest most, at
// most as many: a release before may have left more.
func replaceLink(ctx context.Context, tx *pg.Tx, userID int64, link auth.Link, most int) (expires time.Time, err error) {
	_, err = tx.Exec(ctx, `
		DELETE FROM auth.activations WHERE used_at IS NULL AND token_hash = ANY (ARRAY(
			SELECT token_hash FROM auth.activations WHERE user_id = $1 AND used_at IS NULL
			ORDER BY created_at DESC, token_hash OFFSET $2 LIMIT $3))`, userID, most-1, most)
	if err != nil {
		return expires, err
	}
	return addLink(ctx, tx, userID, link)
}

func addLink(ctx context.Context, tx *pg.Tx, userID int64, link auth.Link) (expires time.Time, err error) {
	err = tx.QueryRow(ctx, `INSERT INTO auth.activations (token_hash, user_id, expires_at) VALUES ($1, $2, now() + $3) RETURNING expires_at`,
		link.Hash[:], userID, link.Lifetime).Scan(&expires)
	return expires, err
}

// Activate follows an activation link as [auth.DecideActivation] decides, or returns
// auth.ErrActivationNotFound.
func (s *Store) Activate(ctx context.Context, token auth.TokenHash) (auth.User, error) {
	// Without a lock first: a link that changes nothing can be followed without limit,
	// and must not keep others from the user's row.
	user, activate, err := s.follow(ctx, token)
	if err != nil || !activate {
		return user, err
	}
	err = s.tokens.Do(ctx, token, func() (err error) {
		user, err = s.activate(ctx, token, user.ID)
		return err
	})
	return user, pg.Wrap("activate", err)
}

// activate reads the link again under the lock of its user's row, because it may be
// followed twice at once.
func (s *Store) activate(ctx context.Context, token auth.TokenHash, userID int64) (user auth.User, err error) {
	err = s.inTx(ctx, "activate", func(tx *pg.Tx) error {
		if user, err = readUser(ctx, tx, userID, "FOR NO KEY UPDATE"); err != nil {
			return err
		}
		link, err := pg.One(ctx, tx, "read link", auth.ErrActivationNotFound, pgx.RowToStructByPos[linkNow], `SELECT expires_at, used_at, now() FROM auth.activations WHERE token_hash = $1`, token[:])
		if err != nil {
			return err
		}
		activate, err := auth.DecideActivation(link.Now, link.StoredLink, user)
		if err != nil || !activate {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE auth.activations SET used_at = now() WHERE token_hash = $1`, token[:]); err != nil {
			return err
		}
		if user.ActivatedAt != nil {
			return nil // activated by another link
		}
		return tx.QueryRow(ctx, `
			UPDATE auth.users SET activated_at = now(), `+changed+` WHERE id = $1 RETURNING `+userColumns, user.ID, telemetry.Traceparent(ctx)).Scan(userFields(&user)...)
	})
	return user, err
}

// CheckLink returns what [Store.Activate] would, and changes nothing.
func (s *Store) CheckLink(ctx context.Context, token auth.TokenHash) (auth.User, error) {
	user, activate, err := s.follow(ctx, token)
	if err != nil {
		return auth.User{}, err
	}
	if activate && user.ActivatedAt == nil {
		now := time.Now()
		user.ActivatedAt = &now
	}
	return user, nil
}

// follow decides what following a link does. It locks nothing.
func (s *Store) follow(ctx context.Context, token auth.TokenHash) (user auth.User, activate bool, err error) {
	found, err := pg.CollectOne(ctx, s.reads, "read link", auth.ErrActivationNotFound, scanLink, `
		SELECT link.expires_at, link.used_at, now(), `+userColumns+`
		FROM (SELECT user_id, expires_at, used_at FROM auth.activations WHERE token_hash = decode($1, 'hex')) AS link
		JOIN auth.users ON users.id = link.user_id`, hex.EncodeToString(token[:]))
	if err != nil {
		return user, false, err
	}
	activate, err = auth.DecideActivation(found.link.Now, found.link.StoredLink, found.user)
	return found.user, activate, err
}

// linkNow is an activation link and the time at which it was read.
type linkNow struct {
	auth.StoredLink
	Now time.Time
}

// linkOfUser is an activation link with its user.
type linkOfUser struct {
	link linkNow
	user auth.User
}

func scanLink(row pgx.CollectableRow) (l linkOfUser, err error) {
	err = row.Scan(append([]any{&l.link.ExpiresAt, &l.link.UsedAt, &l.link.Now}, userFields(&l.user)...)...)
	return l, err
}
