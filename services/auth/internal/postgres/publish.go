package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
)

// ClaimNews gives at most limit users whose newest version has not been
// published, and keeps other replicas off them for the lease.
func (s *Store) ClaimNews(ctx context.Context, limit int, lease time.Duration) ([]int64, error) {
	return s.claim(ctx, `published_version < version AND`, limit, lease)
}

// ClaimRepeats gives at most limit users that are to be published once more.
func (s *Store) ClaimRepeats(ctx context.Context, limit int, lease time.Duration) ([]int64, error) {
	return s.claim(ctx, ``, limit, lease)
}

func (s *Store) claim(ctx context.Context, which string, limit int, lease time.Duration) ([]int64, error) {
	return pg.Rows(ctx, s.pool, "claim users to publish", pgx.RowTo[int64], `
		UPDATE auth.users SET publish_at = now() + $2
		WHERE id IN (SELECT id FROM auth.users WHERE `+which+` publish_at <= now() ORDER BY publish_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED)
		RETURNING id`, limit, lease)
}

// TokenVersions gives the token versions above the first of users who changed
// within a time: at most limit of them, after a user id, in the order of ids.
func (s *Store) TokenVersions(ctx context.Context, within time.Duration, after int64, limit int) ([]auth.TokenVersion, error) {
	return pg.Rows(ctx, s.pool, "read token versions", pgx.RowToStructByPos[auth.TokenVersion], `
		SELECT id, token_version FROM auth.users
		WHERE changed_at > now() - $1::interval AND token_version > 1 AND id > $2
		ORDER BY id LIMIT $3`, within, after, limit)
}

// MarkPublished says that NATS has acknowledged a version, and when it is to be
// published once more: soon, if that was the first time, else much later. Does
// nothing when there is a newer version by now.
func (s *Store) MarkPublished(ctx context.Context, id, version int64, soon, later time.Duration) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE auth.users
		SET publish_at = now() + CASE WHEN published_version < version THEN $3::interval ELSE $4::interval END, published_version = version
		WHERE id = $1 AND version = $2`, id, version, soon, later)
	return pg.Wrap("mark published", err)
}

// Due counts the users that should have been published by now.
func (s *Store) Due(ctx context.Context) (int64, error) {
	var n int64
	if err := s.pool.QueryRow(ctx, `SELECT count(*) FROM auth.users WHERE publish_at <= now()`).Scan(&n); err != nil {
		return 0, pg.Wrap("count users to publish", err)
	}
	return n, nil
}

// RepublishChanged has the users published again that changed so recently, and
// before all other repeats: they are the ones whose tokens may be revoked.
func (s *Store) RepublishChanged(ctx context.Context, within time.Duration) error {
	_, err := s.pool.Exec(ctx, `UPDATE auth.users SET publish_at = '-infinity' WHERE changed_at > now() - $1::interval AND publish_at > now()`, within)
	return pg.Wrap("republish changed users", err)
}

// RepublishAll has every user published again. It goes through the table in
// parts, so that no lock is held for long.
func (s *Store) RepublishAll(ctx context.Context) error {
	after := int64(0)
	for {
		var last *int64
		err := s.inTx(ctx, "republish all users", func(tx *pg.Tx) error {
			return tx.QueryRow(ctx, `
				WITH part AS (SELECT id FROM auth.users WHERE id > $1 ORDER BY id LIMIT 1000 FOR NO KEY UPDATE),
				marked AS (UPDATE auth.users u SET publish_at = now() FROM part WHERE u.id = part.id AND u.publish_at > now())
				SELECT max(id) FROM part`, after).Scan(&last)
		})
		if err != nil {
			return err
		}
		if last == nil {
			return nil
		}
		after = *last
	}
}

// Stream gives when the stream was made that all users have been published to,
// "" when there has been none.
func (s *Store) Stream(ctx context.Context) (string, error) {
	var created string
	err := s.pool.QueryRow(ctx, `SELECT created_at FROM auth.users_stream`).Scan(&created)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", pg.Wrap("read the known stream", err)
	}
	return created, nil
}

// RememberStream keeps when the stream was made.
func (s *Store) RememberStream(ctx context.Context, created string) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO auth.users_stream (created_at) VALUES ($1) ON CONFLICT (one) DO UPDATE SET created_at = excluded.created_at`, created)
	return pg.Wrap("remember the stream", err)
}
