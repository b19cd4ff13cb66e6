package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
)

// ClaimNews returns at most limit users whose current version has not been
// published. Other replicas can't claim them for the duration of lease.
func (s *Store) ClaimNews(ctx context.Context, limit int, lease time.Duration) ([]int64, error) {
	return s.claim(ctx, `published_version < version AND`, limit, lease)
}

// ClaimRepeats returns at most limit users that are due, with or without an
// unpublished version. Other replicas can't claim them for the duration of lease.
func (s *Store) ClaimRepeats(ctx context.Context, limit int, lease time.Duration) ([]int64, error) {
	return s.claim(ctx, ``, limit, lease)
}

func (s *Store) claim(ctx context.Context, which string, limit int, lease time.Duration) ([]int64, error) {
	return pg.Rows(ctx, s.pool, "claim users to publish", pgx.RowTo[int64], `
		UPDATE auth.users SET publish_at = now() + $2
		WHERE id IN (SELECT id FROM auth.users WHERE `+which+` publish_at <= now() ORDER BY publish_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED)
		RETURNING id`, limit, lease)
}

// TokenVersions returns the token versions of users that changed within a time and
// have revoked tokens (a version above 1): at most limit users, with ids above
// after, in the order of ids.
func (s *Store) TokenVersions(ctx context.Context, within time.Duration, after int64, limit int) ([]auth.TokenVersion, error) {
	return pg.Rows(ctx, s.pool, "read token versions", pgx.RowToStructByPos[auth.TokenVersion], `
		SELECT id, token_version FROM auth.users
		WHERE changed_at > now() - $1::interval AND token_version > 1 AND id > $2
		ORDER BY id LIMIT $3`, within, after, limit)
}

// MarkPublished records that NATS has acknowledged a version, and schedules the next
// publish: after soon if this version was published for the first time, otherwise
// after later. It does nothing if the user has a newer version.
func (s *Store) MarkPublished(ctx context.Context, id, version int64, soon, later time.Duration) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE auth.users
		SET publish_at = now() + CASE WHEN published_version < version THEN $3::interval ELSE $4::interval END, published_version = version
		WHERE id = $1 AND version = $2`, id, version, soon, later)
	return pg.Wrap("mark published", err)
}

// Due returns the number of users that should have been published by now.
func (s *Store) Due(ctx context.Context) (int64, error) {
	var n int64
	err := s.pool.QueryRow(ctx, `SELECT count(*) FROM auth.users WHERE publish_at <= now()`).Scan(&n)
	return n, pg.Wrap("count users to publish", err)
}

// RepublishChanged makes the users due that changed within a time, ahead of all other
// repeats: their tokens may be revoked.
func (s *Store) RepublishChanged(ctx context.Context, within time.Duration) error {
	_, err := s.pool.Exec(ctx, `UPDATE auth.users SET publish_at = '-infinity' WHERE changed_at > now() - $1::interval AND publish_at > now()`, within)
	return pg.Wrap("republish changed users", err)
}

// RepublishAll makes every user due. It walks the table in batches, so that no lock
// is held for long.
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

// Stream returns the creation time of the stream to which all users have been
// published, "" if there is none.
func (s *Store) Stream(ctx context.Context) (string, error) {
	var created string
	err := s.pool.QueryRow(ctx, `SELECT coalesce(max(created_at), '') FROM auth.users_stream`).Scan(&created)
	return created, pg.Wrap("read the known stream", err)
}

// RememberStream stores the creation time of the stream.
func (s *Store) RememberStream(ctx context.Context, created string) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO auth.users_stream (created_at) VALUES ($1) ON CONFLICT (one) DO UPDATE SET created_at = excluded.created_at`, created)
	return pg.Wrap("remember the stream", err)
}
