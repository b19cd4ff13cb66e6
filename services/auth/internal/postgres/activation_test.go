package postgres_test

import (
	"errors"
	"testing"
	"time"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/waittest"
	"lavka/services/auth/internal/auth"
)

// However often a user asks for a link, few are stored: the newest.
func TestUnusedLinksAreLimited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rosa := auth.NewUser{Login: "rosa", PasswordHash: "hash", Role: auth.RoleUser}
	oldest := auth.NewSecret()
	user, err := f.Register(t.Context(), rosa, &auth.Link{Hash: oldest.Hash(), Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	stored := func() (n int) {
		if err := f.admin.QueryRow(t.Context(), `SELECT count(*) FROM auth.activations WHERE user_id = $1`, user.ID).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	// A release before left many: they go in parts.
	f.exec(t, `
		INSERT INTO auth.activations (token_hash, user_id, created_at, expires_at)
		SELECT sha256(n::text::bytea), $1, now() - interval '1 day', now() + interval '1 day' FROM generate_series(1, 30) AS n`, user.ID)
	left := stored()
	var newest auth.Secret
	for range 5 {
		newest = auth.NewSecret()
		if err := f.AddLink(t.Context(), user.ID, auth.Link{Hash: newest.Hash(), Lifetime: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if left = max(auth.MaxLinks, left-auth.MaxLinks+1); stored() != left {
			t.Fatalf("%d links, want %d", stored(), left)
		}
	}
	for range 2 * auth.MaxLinks {
		newest = auth.NewSecret()
		if err := f.AddLink(t.Context(), user.ID, auth.Link{Hash: newest.Hash(), Lifetime: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	if n := stored(); n != auth.MaxLinks {
		t.Errorf("%d links", n)
	}
	if _, err := f.Activate(t.Context(), oldest.Hash()); !errors.Is(err, auth.ErrActivationNotFound) {
		t.Errorf("the oldest link: %v", err)
	}
	if u, err := f.Activate(t.Context(), newest.Hash()); err != nil || u.Status() != auth.Active {
		t.Errorf("the newest link: %v %v", u, err)
	}
}

// Requests that wait for one row leave the sessions to others.
func TestALockedRowLeavesSessionsToOthers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	anna, rosa := f.user(t, "anna"), f.user(t, "rosa")
	token := auth.NewSecret()
	if _, err := f.StartSession(t.Context(), anna.ID, "hash", token.Hash(), time.Hour); err != nil {
		t.Fatal(err)
	}
	f.exec(t, `BEGIN`)
	f.exec(t, `SELECT FROM auth.sessions FOR UPDATE`)
	const sessions = 8
	results := make(chan error, 5*sessions)
	for range cap(results) {
		go func() {
			_, _, err := f.Refresh(t.Context(), token, auth.NewSalt(), time.Hour)
			results <- err
		}()
	}
	waittest.Eventually(t, "a refresh waits", func() bool { return f.pool.Stat().AcquiredConns() > 0 })
	for range 20 {
		if _, err := f.User(t.Context(), rosa.ID); err != nil {
			t.Fatal(err)
		}
		if n := f.pool.Stat().AcquiredConns(); n > 1 {
			t.Fatalf("%d sessions are in use", n)
		}
	}
	f.exec(t, `COMMIT`)
	for range cap(results) {
		if err := <-results; err != nil && !errors.Is(err, pg.ErrUnavailable) { // on a busy machine
			t.Error(err)
		}
	}
}
