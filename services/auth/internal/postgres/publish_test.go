package postgres_test

import (
	"context"
	"math"
	"testing"
	"time"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/postgres"
)

// However many users changed in the same moment, and whatever plan is kept: what the
// publisher and a starting replica read is bounded, and nothing waits for a row.
func TestManyUsersChanged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const users = 100_000
	f.exec(t, `
		INSERT INTO auth.users (login, password_hash, role, activated_at, token_version, published_version, changed_at, publish_at)
		SELECT 'user' || i, 'x', 'user', now(), 2, 1, date_trunc('minute', now()), now() + interval '1 day' FROM generate_series(1, $1) i`, users)
	f.exec(t, `VACUUM ANALYZE auth.users`)
	since := time.Now().Add(-time.Hour)
	for _, plan := range []string{"force_custom_plan", "force_generic_plan"} {
		first := auth.Change{UserID: math.MaxInt64, At: time.Now()}
		middle := auth.Change{UserID: users / 2, At: time.Now().Truncate(time.Minute)}
		for what, c := range map[string]struct {
			most int64
			do   func(*postgres.Store) error
		}{
			"first changes": {300, func(s *postgres.Store) error {
				page, err := s.Changes(t.Context(), since, first, 100)
				if len(page) != 100 {
					t.Errorf("%d changes", len(page))
				}
				return err
			}},
			"middle changes": {300, func(s *postgres.Store) error {
				_, err := s.Changes(t.Context(), since, middle, 100)
				return err
			}},
			"due": {600, func(s *postgres.Store) error { _, err := s.Due(t.Context()); return err }},
			"token versions": {3000, func(s *postgres.Store) error {
				page, err := s.TokenVersions(t.Context(), time.Hour, users/2, 900)
				if len(page) != 900 || page[0].UserID != users/2+1 {
					t.Errorf("%d users", len(page))
				}
				return err
			}},
			"fill": {30_000, func(s *postgres.Store) error {
				progress, _, err := s.Fill(t.Context(), plan, 500)
				if !progress {
					t.Error("no progress")
				}
				return err
			}},
		} {
			if n := f.blocks(t, plan, c.do); n > c.most {
				t.Errorf("%s, %s: %d buffers, want at most %d", what, plan, n, c.most)
			}
		}
	}

	// Filling stops at a user whose row is locked, without waiting, and continues there.
	locker, err := pg.Open(t.Context(), f.db.URL("auth"), "auth", 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(locker.Close)
	lock, err := locker.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := lock.Exec(t.Context(), `SELECT FROM auth.users WHERE id = 700 FOR NO KEY UPDATE`); err != nil {
		t.Fatal(err)
	}
	f.exec(t, `UPDATE auth.users SET publish_at = now() + interval '1 day' WHERE id BETWEEN 501 AND 699`)
	if progress, done, err := f.Fill(t.Context(), "another", 1000); err != nil || !progress || done {
		t.Error(progress, done, err)
	}
	if progress, done, err := f.Fill(t.Context(), "another", 1000); err != nil || progress || done {
		t.Errorf("past a locked row: %v %v %v", progress, done, err)
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if progress, _, err := f.Fill(t.Context(), "another", 1000); err != nil || !progress {
		t.Error(progress, err)
	}
	if n := f.count(t, `auth.users WHERE id <= 1699 AND publish_at > now()`); n != 0 {
		t.Errorf("%d users were left out", n)
	}
}
