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

// ClaimRepeats returns at most limit users that are due although their current version
// has been published. Other replicas can't claim them for the duration of lease.
func (s *Store) ClaimRepeats(ctx context.Context, limit int, lease time.Duration) ([]int64, error) {
	return s.claim(ctx, `published_version >= version AND`, limit, lease)
}

func (s *Store) claim(ctx context.Context, which string, limit int, lease time.Duration) ([]int64, error) {
	return pg.Rows(ctx, s.background, "claim users to publish", pgx.RowTo[int64], `
		UPDATE auth.users SET publish_at = now() + $2
		WHERE id IN (SELECT id FROM auth.users WHERE `+which+` publish_at <= now() ORDER BY publish_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED)
		RETURNING id`, limit, lease)
}

// TokenVersions returns the token versions of users that changed within a time and
// have revoked tokens (a version above 1): at most limit users, with ids above
// after, in the order of ids. Fewer than limit users are the last ones.
func (s *Store) TokenVersions(ctx context.Context, within time.Duration, after int64, limit int) ([]auth.TokenVersion, error) {
	// Pages are in the order of ids, so each page has to read all users that count. If
	// they are too many for that, the pages walk all users instead, of whom many count
	// then.
	var revoked int
	err := s.background.QueryRow(ctx, `
		SELECT count(*) FROM (SELECT FROM auth.users WHERE changed_at > now() - $1::interval AND token_version > 1 ORDER BY changed_at DESC LIMIT $2) AS recent`,
		within, fewUsers+1).Scan(&revoked)
	if err != nil {
		return nil, pg.Wrap("count revoked tokens", err)
	}
	if revoked <= fewUsers {
		return pg.Rows(ctx, s.background, "read token versions", pgx.RowToStructByPos[auth.TokenVersion], `
			WITH recent AS MATERIALIZED (
				SELECT id, token_version FROM auth.users WHERE changed_at > now() - $1::interval AND token_version > 1 ORDER BY changed_at DESC LIMIT $4)
			SELECT id, token_version FROM recent WHERE id > $2
			ORDER BY id LIMIT $3`, within, after, limit, 2*fewUsers) // twice: some may change now
	}
	page := []auth.TokenVersion{}
	for len(page) < limit {
		upTo, err := s.userAfter(ctx, after, partOfUsers)
		if err != nil || upTo == nil {
			return page, err
		}
		part, err := pg.Rows(ctx, s.background, "read token versions", pgx.RowToStructByPos[auth.TokenVersion], `
			WITH part AS MATERIALIZED (
				SELECT id, token_version, changed_at FROM auth.users WHERE id > $2 AND id <= $3 ORDER BY id)
			SELECT id, token_version FROM part WHERE token_version > 1 AND changed_at > now() - $1::interval
			ORDER BY id LIMIT $4`, within, after, *upTo, limit-len(page))
		if err != nil {
			return nil, err
		}
		page = append(page, part...)
		after = *upTo
	}
	return page, nil
}

const (
	// fewUsers is how many users TokenVersions reads for each page.
	fewUsers = 20_000
	// partOfUsers is how many of all users one of its statements reads.
	partOfUsers = 2000
)

// userAfter returns the id of the user who comes n users after an id, or else of the
// last user. It returns nil if no user has a higher id.
func (s *Store) userAfter(ctx context.Context, after int64, n int) (last *int64, err error) {
	err = s.background.QueryRow(ctx, `
		SELECT max(id) FROM (SELECT id FROM auth.users WHERE id > $1 ORDER BY id LIMIT $2) AS part`, after, n).Scan(&last)
	return last, pg.Wrap("find the end of a part of the users", err)
}

// MarkPublished records that NATS has acknowledged a version, and schedules the next
// publish: after soon if this version was published for the first time, otherwise
// after later, unless one is scheduled within soon already. A time within lease is that
// of a claim. It does nothing if the user has a newer version.
func (s *Store) MarkPublished(ctx context.Context, id, version int64, lease, soon, later time.Duration) error {
	_, err := s.background.Exec(ctx, `
		UPDATE auth.users
		SET published_version = version, publish_at = CASE
			WHEN published_version < version THEN now() + $4::interval
			WHEN publish_at > now() + $3::interval AND publish_at <= now() + $4::interval THEN publish_at
			ELSE now() + $5::interval END
		WHERE id = $1 AND version = $2`, id, version, lease, soon, later)
	return pg.Wrap("mark published", err)
}

// MaxDue is the number beyond which Due does not count.
const MaxDue = 10_000

// Due returns the number of users that should have been published by now, at most
// [MaxDue].
func (s *Store) Due(ctx context.Context) (int64, error) {
	var n int64
	err := s.background.QueryRow(ctx, `
		SELECT count(*) FROM (SELECT FROM auth.users WHERE publish_at <= now() ORDER BY publish_at LIMIT $1) AS due`, MaxDue).Scan(&n)
	return n, pg.Wrap("count users to publish", err)
}

// Now returns the database's time.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	var now time.Time
	err := s.background.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now)
	return now, pg.Wrap("read the time", err)
}

// Changes returns at most limit users whose last change was after since and before a
// user's change, the latest first. It locks nothing.
func (s *Store) Changes(ctx context.Context, since time.Time, before auth.Change, limit int) ([]auth.Change, error) {
	return pg.Rows(ctx, s.background, "read changed users", pgx.RowToStructByPos[auth.Change], `
		SELECT id, changed_at, publish_at FROM auth.users
		WHERE changed_at > $1 AND (changed_at, id) < ($2, $3)
		ORDER BY changed_at DESC, id DESC LIMIT $4`, since, before.At, before.UserID, limit)
}

// Fill makes the next users due, in the order of ids, for a stream that was created at
// that time. It reports whether it got any further, and whether it has reached the
// last user. How far it came is stored: it continues after a restart, and several
// replicas share the work. It waits for no user's row, and holds at most limit rows,
// for the time of two statements.
func (s *Store) Fill(ctx context.Context, created string, limit int) (progress, done bool, err error) {
	err = inTx(ctx, s.background, "fill the stream", func(tx *pg.Tx) error {
		progress, done = false, false
		var after, to int64
		err := tx.QueryRow(ctx, `
			INSERT INTO auth.users_stream AS s (created_at, filling) VALUES ('', $1)
			ON CONFLICT (one) DO UPDATE SET filling = $1, filled_to = CASE WHEN s.filling = $1 THEN s.filled_to ELSE 0 END
			RETURNING filled_to`, created).Scan(&after)
		if err != nil {
			return err
		}
		part, err := pg.Rows(ctx, tx, "read the next users", pgx.RowTo[int64], `SELECT id FROM auth.users WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
		if err != nil {
			return err
		}
		if len(part) == 0 {
			done = true
			return nil
		}
		if _, err := tx.Exec(ctx, `
			UPDATE auth.users SET publish_at = now() WHERE id = ANY (ARRAY(
				SELECT id FROM auth.users WHERE id = ANY ($1) AND publish_at > now() ORDER BY id FOR NO KEY UPDATE SKIP LOCKED))`, part); err != nil {
			return err
		}
		// It continues with the first user whose row was locked.
		err = tx.QueryRow(ctx, `
			UPDATE auth.users_stream SET filled_to = coalesce((SELECT min(id) - 1 FROM auth.users WHERE id = ANY ($1) AND publish_at > now()), $2)
			RETURNING filled_to`, part, part[len(part)-1]).Scan(&to)
		progress = to > after
		return err
	})
	return progress, done, err
}

// Stream returns the creation time of the stream to which all users have been
// published, "" if there is none.
func (s *Store) Stream(ctx context.Context) (string, error) {
	var created string
	err := s.background.QueryRow(ctx, `SELECT coalesce(max(created_at), '') FROM auth.users_stream`).Scan(&created)
	return created, pg.Wrap("read the known stream", err)
}

// RememberStream stores the creation time of the stream.
func (s *Store) RememberStream(ctx context.Context, created string) error {
	_, err := s.background.Exec(ctx, `INSERT INTO auth.users_stream (created_at) VALUES ($1) ON CONFLICT (one) DO UPDATE SET created_at = excluded.created_at`, created)
	return pg.Wrap("remember the stream", err)
}
