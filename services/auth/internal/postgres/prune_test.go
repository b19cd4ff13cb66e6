package postgres_test

import (
	"context"
	"testing"
	"time"

	"lavka/services/auth/internal/auth"
)

// A salt is kept for the grace only.
func TestSaltsAreCleared(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	old, new := f.logIn(t, u), f.logIn(t, u)
	f.refresh(t, old)
	f.exec(t, `UPDATE auth.refresh_tokens SET spent_at = spent_at - interval '11 s' WHERE spent_at IS NOT NULL`)
	next := f.refresh(t, new)
	if n := f.count(t, `auth.refresh_tokens WHERE octet_length(successor_salt) = 32`); n != 2 {
		t.Errorf("%d salts, want 2", n)
	}
	for range 2 {
		if err := f.ClearSalts(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := f.count(t, `auth.refresh_tokens WHERE successor_salt IS NOT NULL`); n != 1 {
			t.Errorf("%d salts left, want that of the grace", n)
		}
	}
	if f.refresh(t, new) != next {
		t.Error("another successor after salts were cleared")
	}
	f.refused(t, "after the grace", old)
}

func TestPrune(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	live, dead := f.logIn(t, u), f.logIn(t, u).Hash()
	for range 3 {
		if err := f.AddLink(t.Context(), u.ID, auth.Link{Hash: auth.NewSecret().Hash(), Lifetime: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	f.exec(t, `UPDATE auth.refresh_tokens SET expires_at = now() - interval '1 s' WHERE token_hash = $1`, dead[:])
	f.exec(t, `UPDATE auth.sessions SET expires_at = now() - interval '1 s' WHERE id = 2`)
	f.exec(t, `UPDATE auth.activations SET expires_at = now() - interval '31 days', used_at = CASE WHEN ctid = (SELECT min(ctid) FROM auth.activations) THEN now() END`)
	f.exec(t, `UPDATE auth.activations SET expires_at = now() - interval '29 days' WHERE ctid = (SELECT max(ctid) FROM auth.activations)`)
	if err := f.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{"refresh_tokens": 1, "sessions": 1, "activations": 2} {
		var n int
		if err := f.admin.QueryRow(t.Context(), `SELECT count(*) FROM auth.`+table).Scan(&n); err != nil || n != want {
			t.Errorf("%d rows in %s, want %d: %v", n, table, want, err)
		}
	}
	f.refresh(t, live)
}

// A spent token is kept until it expires: if it is used again, it was stolen, and its
// session must end.
func TestPruneKeepsSpentTokens(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.logIn(t, f.user(t, "anna"))
	second := f.refresh(t, first)
	f.exec(t, `UPDATE auth.refresh_tokens SET spent_at = spent_at - interval '11 s' WHERE spent_at IS NOT NULL`)
	if err := f.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.refused(t, "a spent token", first)
	f.refused(t, "the successor of a token that was used twice", second)
}

// A session whose tokens are not deleted yet stays: deleting it would delete them in
// one statement, however many there are.
func TestPruneLeavesSessionsWithTokens(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, f.user(t, "anna"))
	f.exec(t, `INSERT INTO auth.refresh_tokens (token_hash, session_id, expires_at) SELECT sha256(i::text::bytea), 1, now() - interval '1 s' FROM generate_series(1, 2500) i`)
	f.exec(t, `UPDATE auth.refresh_tokens SET expires_at = now() - interval '1 s'`)
	f.exec(t, `UPDATE auth.sessions SET expires_at = now() - interval '1 s'`)
	held, err := f.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := held.Exec(t.Context(), `SELECT FROM auth.refresh_tokens LIMIT 1 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	if err := f.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := held.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tokens, sessions := f.count(t, `auth.refresh_tokens`), f.count(t, `auth.sessions`); tokens != 1 || sessions != 1 {
		t.Errorf("%d tokens and %d sessions left, want one of each", tokens, sessions)
	}
	if err := f.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tokens, sessions := f.count(t, `auth.refresh_tokens`), f.count(t, `auth.sessions`); tokens != 0 || sessions != 0 {
		t.Errorf("%d tokens and %d sessions left, want none", tokens, sessions)
	}
}
