package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/postgres"
)

// begin logs in and returns the refresh token and the session's id.
func (f *fixture) begin(t *testing.T, u auth.User) (auth.Secret, uuid.UUID) {
	t.Helper()
	token := auth.NewSecret()
	in, err := f.StartSession(t.Context(), u.ID, "hash", token.Hash(), lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return token, in.Session
}

func (f *fixture) open(t *testing.T, u auth.User) (ids []uuid.UUID) {
	t.Helper()
	open, err := f.OpenSessions(t.Context(), f.now(t, u))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range open {
		if s.StartedAt.IsZero() || s.LastUsedAt.Before(s.StartedAt) {
			t.Errorf("%+v", s)
		}
		ids = append(ids, s.ID)
	}
	return ids
}

// now returns a user as their row is.
func (f *fixture) now(t *testing.T, u auth.User) auth.User {
	t.Helper()
	u, err := f.User(t.Context(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// in returns a caller with a valid token of a session.
func (f *fixture) in(t *testing.T, u auth.User, session uuid.UUID) auth.Caller {
	t.Helper()
	return auth.Caller{UserID: u.ID, TokenVersion: f.now(t, u).TokenVersion, Session: session}
}

func TestOpenSessions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u, other := f.user(t, "anna"), f.user(t, "bert")
	if ids := f.open(t, u); len(ids) != 0 {
		t.Errorf("%v before the first login", ids)
	}
	f.begin(t, other)
	first, a := f.begin(t, u)
	_, b := f.begin(t, u)
	first = f.refresh(t, first)
	if ids := f.open(t, u); !slices.Equal(ids, []uuid.UUID{a, b}) {
		t.Errorf("%v, want the one that was refreshed and then the other, %v", ids, []uuid.UUID{a, b})
	}
	// A session keeps its id, also if the release before started it and had none for it.
	f.exec(t, `UPDATE auth.sessions SET public_id = NULL WHERE public_id = $1`, a)
	made := f.open(t, u)[0]
	if made == a || made.Version() != 8 || made.Variant() != uuid.RFC4122 {
		t.Errorf("the session without an id is shown as %v", made)
	}
	in, _, err := f.Refresh(t.Context(), first, auth.NewSalt(), lifetime)
	if err != nil || in.Session != made || f.open(t, u)[0] != made {
		t.Errorf("after a refresh, %v, %v, want %v", in.Session, err, made)
	}
	// What has ended or expired is not open.
	for what, sql := range map[string]string{
		"ended": `ended_at = now()`, "expired": `expires_at = now()`, "too old": `created_at = now() - interval '90 days'`,
		"ended with all others": `session_version = 0`, "ended before it had a version": `session_version = NULL`,
	} {
		_, id := f.begin(t, u)
		f.exec(t, `UPDATE auth.users SET sessions_ended_at = now()`)
		f.exec(t, `UPDATE auth.sessions SET `+sql+` WHERE public_id = $1`, id)
		if ids := f.open(t, u); slices.Contains(ids, id) {
			t.Errorf("%s: the session is in the list", what)
		}
		if err := f.EndOneSession(t.Context(), caller(u.ID), id); !errors.Is(err, auth.ErrSessionNotFound) {
			t.Errorf("%s: %v, want ErrSessionNotFound", what, err)
		}
	}
}

// One session ends, and no other; all access tokens of the user are revoked.
func TestEndOneSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u, other := f.user(t, "anna"), f.user(t, "bert")
	mine, own := f.begin(t, u)
	stolen, thief := f.begin(t, u)
	foreign, berts := f.begin(t, other)
	asking := f.in(t, u, own)
	for what, id := range map[string]uuid.UUID{"unknown": uuid.New(), "another user's": berts} {
		if err := f.EndOneSession(t.Context(), asking, id); !errors.Is(err, auth.ErrSessionNotFound) {
			t.Errorf("%s: %v, want ErrSessionNotFound", what, err)
		}
	}
	if v := f.now(t, u).TokenVersion; v != asking.TokenVersion {
		t.Errorf("tokens were revoked although no session ended: version %d", v)
	}
	if err := f.EndOneSession(t.Context(), asking, thief); err != nil {
		t.Fatal(err)
	}
	f.refused(t, "the ended session", stolen)
	if _, ok := (before{f}).refresh(t, stolen); ok {
		t.Error("the release before refreshes the ended session")
	}
	if now := f.now(t, u); now.TokenVersion != asking.TokenVersion+1 || now.Version != u.Version+1 {
		t.Errorf("%+v: the tokens are not revoked", now)
	}
	if err := f.EndOneSession(t.Context(), asking, own); !errors.Is(err, auth.ErrTokenRevoked) {
		t.Errorf("by a revoked token: %v", err)
	}
	mine = f.refresh(t, mine)
	f.refresh(t, foreign)
	if err := f.EndOneSession(t.Context(), f.in(t, u, own), own); err != nil {
		t.Fatal(err)
	}
	f.refused(t, "one's own session", mine)
}

// A session that is refreshed all the time can be ended like any other.
func TestEndASessionInUse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	for range 20 {
		token, id := f.begin(t, u)
		inUse := make(chan struct{}, 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				_, next, err := f.Refresh(t.Context(), token, auth.NewSalt(), lifetime)
				if errors.Is(err, pg.ErrUnavailable) {
					continue
				}
				if err != nil {
					return
				}
				token = next
				select {
				case inUse <- struct{}{}:
				default:
				}
			}
		}()
		<-inUse
		if err := f.EndOneSession(t.Context(), f.in(t, u, id), id); err != nil {
			t.Fatal(err)
		}
		<-done
		f.refused(t, "the ended session", token)
	}
}

// All sessions end but one, at a cost that does not depend on how many there are. The
// one that remains goes on, also through a replica of the release before.
func TestEndOtherSessions(t *testing.T) {
	t.Parallel()
	const few, many = 3000, 100_000
	for _, plan := range []string{"force_custom_plan", "force_generic_plan"} {
		t.Run(plan, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			modest, busy := f.user(t, "anna"), f.user(t, "bert")
			f.pile(t, modest, few)
			f.pile(t, busy, many)
			end := func(u auth.User) (kept, other auth.Secret, blocks int64) {
				old := before{f}.logIn(t, u)
				kept, own := f.begin(t, u)
				other, _ = f.begin(t, u)
				if plan == "force_generic_plan" { // this session was started by the release before
					kept = old
					f.exec(t, `UPDATE auth.sessions SET public_id = NULL WHERE user_id = $1 AND created_at > now() - interval '1 minute' AND session_version IS NULL`, u.ID)
					in, next, err := f.Refresh(t.Context(), old, auth.NewSalt(), lifetime)
					if err != nil {
						t.Fatal(err)
					}
					kept, own = next, in.Session
				}
				asking := f.in(t, u, own)
				blocks = f.blocks(t, plan, func(s *postgres.Store) error { return s.EndOtherSessions(t.Context(), asking) })
				if ids := f.open(t, u); !slices.Equal(ids, []uuid.UUID{own}) {
					t.Errorf("open sessions: %v, want %v", ids, own)
				}
				if now := f.now(t, u); now.TokenVersion != asking.TokenVersion+1 || now.Version != u.Version+1 {
					t.Errorf("%+v: the tokens are not revoked", now)
				}
				if err := f.EndOtherSessions(t.Context(), asking); !errors.Is(err, auth.ErrTokenRevoked) {
					t.Errorf("by a revoked token: %v", err)
				}
				return kept, other, blocks
			}
			_, _, cheap := end(modest)
			kept, other, dear := end(busy)
			t.Logf("%d buffers with %d sessions, %d with %d", cheap, few, dear, many)
			if dear > 2*cheap {
				t.Errorf("%d buffers with %d sessions, %d with %d", cheap, few, dear, many)
			}
			f.refused(t, "another session", other)
			kept = f.refresh(t, kept)
			for more := true; more; {
				var err error
				if more, err = f.EndMoreSessions(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if n := f.count(t, `auth.sessions WHERE ended_at IS NULL`); n != 2 {
				t.Errorf("%d open rows, want one of each user", n)
			}
			if _, ok := (before{f}).refresh(t, kept); !ok {
				t.Error("the release before does not refresh the session that remains")
			}
		})
	}
}

// The session of the token that asks has ended.
func TestEndOtherSessionsOfAnEndedOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	token, own := f.begin(t, u)
	other, _ := f.begin(t, u)
	if err := f.EndSession(t.Context(), f.in(t, u, own), token.Hash()); err != nil { // its access tokens are still valid
		t.Fatal(err)
	}
	if err := f.EndOtherSessions(t.Context(), f.in(t, u, own)); !errors.Is(err, auth.ErrTokenRevoked) {
		t.Errorf("%v, want ErrTokenRevoked", err)
	}
	f.refresh(t, other)
}

func TestEndAllSessions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	boss, u := f.boss(t), f.user(t, "anna")
	first, second := f.logIn(t, u), before{f}.logIn(t, u)
	for id, want := range map[int64]error{u.ID: auth.ErrForbidden, 99: auth.ErrTokenRevoked} {
		if err := f.EndAllSessions(t.Context(), caller(id), u.ID); !errors.Is(err, want) {
			t.Errorf("by user %d: %v, want %v", id, err, want)
		}
	}
	if err := f.EndAllSessions(t.Context(), caller(boss.ID), 99); !errors.Is(err, auth.ErrUserNotFound) {
		t.Errorf("of no user: %v", err)
	}
	first = f.refresh(t, first)
	if err := f.EndAllSessions(t.Context(), caller(boss.ID), u.ID); err != nil {
		t.Fatal(err)
	}
	for _, token := range []auth.Secret{first, second} {
		f.refused(t, "an ended session", token)
	}
	if now := f.now(t, u); now.TokenVersion != u.TokenVersion+1 || now.Status() != auth.Active {
		t.Errorf("%+v", now)
	}
	f.logIn(t, u)
	if n := f.count(t, fmt.Sprintf(`auth.log WHERE action = 'user.end_sessions' AND subject = 'user/%d' AND actor_id = %d`, u.ID, boss.ID)); n != 1 {
		t.Errorf("%d entries in the log, want 1", n)
	}
}
