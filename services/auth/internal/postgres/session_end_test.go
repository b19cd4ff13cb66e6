package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/postgres"
)

// pile adds open sessions of a user as v0.6.0 did, before this release's migrations:
// they all count as used at the same time.
func (f *fixture) pile(t *testing.T, u auth.User, n int) {
	t.Helper()
	f.exec(t, `SET session_replication_role = replica`) // foreign keys are not checked
	f.exec(t, `
		INSERT INTO auth.sessions (user_id, created_at, expires_at, last_used_at)
		SELECT $1, now() - interval '1 day' - i * interval '1 s', now() + interval '1 day', now() - interval '1 hour' FROM generate_series(1, $2) i`, u.ID, n)
	f.exec(t, `RESET session_replication_role`)
	f.exec(t, `VACUUM ANALYZE auth.sessions`)
}

// What it costs to end all sessions of a user does not depend on how many there are.
// They can't be used from then on, and a replica of the release before, which looks at
// their rows, refuses them too in the end.
func TestEndingManySessions(t *testing.T) {
	t.Parallel()
	const few = 3000
	for name, c := range map[string]struct {
		many int // the others end sessions in the same way: fewer show that too
		end  func(*testing.T, *postgres.Store, auth.Caller, auth.User) error
	}{
		"disabled": {200_000, func(t *testing.T, s *postgres.Store, boss auth.Caller, u auth.User) error {
			_, _, err := s.SetEnabled(t.Context(), boss, u.ID, false)
			return err
		}},
		"by an admin": {50_000, func(t *testing.T, s *postgres.Store, boss auth.Caller, u auth.User) error {
			return s.EndAllSessions(t.Context(), boss, u.ID)
		}},
		"a new password": {50_000, func(t *testing.T, s *postgres.Store, _ auth.Caller, u auth.User) error {
			return s.ChangePassword(t.Context(), caller(u.ID), "hash", "new hash")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			old := before{f}
			boss := caller(f.boss(t).ID)
			modest, busy := f.user(t, "anna"), f.user(t, "bert")
			long := old.logIn(t, busy) // the row that is looked at last
			f.exec(t, `UPDATE auth.sessions SET last_used_at = now() - interval '1 year', created_at = now() - interval '1 week'`)
			f.pile(t, modest, few)
			f.pile(t, busy, c.many)
			recent, new := old.logIn(t, busy), f.logIn(t, busy)

			for _, plan := range []string{"force_custom_plan", "force_generic_plan"} {
				open := f.count(t, `auth.sessions WHERE ended_at IS NULL`)
				cheap := f.blocks(t, plan, func(s *postgres.Store) error { return c.end(t, s, boss, modest) })
				if n := open - f.count(t, `auth.sessions WHERE ended_at IS NULL`); n != 1000 {
					t.Errorf("%d rows ended, want 1000", n)
				}
				f.exec(t, `UPDATE auth.users SET disabled_at = NULL, password_hash = 'hash'`)
				dear := f.blocks(t, plan, func(s *postgres.Store) error { return c.end(t, s, boss, busy) })
				f.exec(t, `UPDATE auth.users SET disabled_at = NULL, password_hash = 'hash'`)
				t.Logf("%s: %d buffers with %d sessions, %d with %d", plan, cheap, few, dear, c.many)
				if dear > 2*cheap {
					t.Errorf("%s: %d buffers with %d sessions, %d with %d", plan, cheap, few, dear, c.many)
				}
			}
			for what, token := range map[string]auth.Secret{"the oldest": long, "started by the release before": recent, "started by this one": new} {
				f.refused(t, what, token)
			}
			if _, ok := old.refresh(t, recent); ok {
				t.Error("the session used last ended later")
			}
			if _, ok := old.refresh(t, long); !ok {
				t.Fatal("the row has ended already: the rest of the test shows nothing")
			}

			// Sessions that are started meanwhile stay. Each part may be done by another replica.
			during := f.logIn(t, busy)
			replicas := []*postgres.Store{f.Store, postgres.New(pg.OnePool(f.pool))}
			parts := 0
			for more := true; more; parts++ {
				var err error
				if more, err = replicas[parts%2].EndMoreSessions(t.Context()); err != nil {
					t.Fatal(err)
				}
				if parts == 3 { // its place is stored: it does not begin again
					if n := f.count(t, `auth.sessions_to_end WHERE used_at < now()`); n != 1 {
						t.Errorf("%d users have been begun, want the busy one", n)
					}
				}
			}
			if most := (few+c.many)/1000 + 3; parts > most {
				t.Errorf("%d parts, want at most %d", parts, most)
			}
			if n := f.count(t, `auth.sessions WHERE ended_at IS NULL`); n != 1 {
				t.Errorf("%d open rows, want the one that was started since", n)
			}
			if n := f.count(t, `auth.sessions_to_end`); n != 0 {
				t.Errorf("%d users remain to be ended", n)
			}
			if _, ok := old.refresh(t, long); ok {
				t.Error("the release before still refreshes an ended session")
			}
			f.refresh(t, during)
		})
	}
}

// Ending all sessions does not wait for one that is being refreshed.
func TestEndingASessionInUse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	token := f.logIn(t, u)
	f.boss(t)
	held, err := f.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := held.Exec(t.Context(), `SELECT FROM auth.sessions FOR NO KEY UPDATE`); err != nil {
		t.Fatal(err)
	}
	f.disable(t, u)
	if err := held.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.exec(t, `UPDATE auth.users SET disabled_at = NULL`)
	f.refused(t, "ended by its version", token)
	if more, err := f.EndMoreSessions(t.Context()); err != nil || !more {
		t.Fatal(more, err)
	}
	if n := f.count(t, `auth.sessions WHERE ended_at IS NULL`); n != 0 {
		t.Error("the row of the session is still open")
	}
}

// A change of role keeps sessions.
func TestARoleKeepsSessions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	token, older := f.logIn(t, u), before{f}.logIn(t, u)
	if done, err := f.SetRole(t.Context(), "anna", auth.RoleAdmin); err != nil || !done {
		t.Fatal(done, err)
	}
	f.refresh(t, token)
	f.refresh(t, older)
}

// Fifty logins at once, through two replicas, leave at most 100 open sessions, and end
// those that were unused longest.
func TestSessionsAreLimited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	var tokens []auth.Secret
	for range auth.MaxSessions - 5 {
		tokens = append(tokens, f.logIn(t, u))
	}
	const used = 10 // of the oldest, which are used again
	for i := range used {
		tokens[i] = f.refresh(t, tokens[i])
	}
	another, err := pg.Open(t.Context(), f.db.URL("auth"), "auth", 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(another.Close)
	replicas := []*postgres.Store{f.Store, postgres.New(pg.OnePool(another))}
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for {
				_, err := replicas[i%2].StartSession(t.Context(), u.ID, "hash", auth.NewSecret().Hash(), lifetime)
				if !errors.Is(err, pg.ErrUnavailable) { // the machine is slow: the row was locked for long
					if err != nil {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	all.Wait()
	if n := f.count(t, `auth.sessions WHERE ended_at IS NULL`); n != auth.MaxSessions {
		t.Errorf("%d open sessions, want %d", n, auth.MaxSessions)
	}
	const ended = 45
	for i, token := range tokens {
		switch {
		case i >= used && i < used+ended:
			f.refused(t, "unused longest", token)
		default:
			tokens[i] = f.refresh(t, token)
		}
	}
}

// A login costs the same when a release before left any number of open sessions.
func TestALoginAmongManySessions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	modest, busy := f.user(t, "anna"), f.user(t, "bert")
	f.pile(t, modest, 2*auth.MaxSessions)
	f.pile(t, busy, 200_000)
	for _, plan := range []string{"force_custom_plan", "force_generic_plan"} {
		logIn := func(u auth.User) int64 {
			open := f.count(t, `auth.sessions WHERE ended_at IS NULL AND user_id = $1`, u.ID)
			blocks := f.blocks(t, plan, func(s *postgres.Store) error {
				_, err := s.StartSession(t.Context(), u.ID, "hash", auth.NewSecret().Hash(), lifetime)
				return err
			})
			if left := f.count(t, `auth.sessions WHERE ended_at IS NULL AND user_id = $1`, u.ID); left != max(auth.MaxSessions, open+1-auth.MaxSessions) {
				t.Errorf("%s: %d open sessions became %d", plan, open, left)
			}
			return blocks
		}
		cheap, dear := logIn(modest), logIn(busy)
		t.Logf("%s: %d buffers with few sessions, %d with many", plan, cheap, dear)
		if dear > 2*cheap+100 {
			t.Errorf("%s: %d buffers with few sessions, %d with many", plan, cheap, dear)
		}
		f.pile(t, modest, auth.MaxSessions)
	}
}

func (f *fixture) live(t *testing.T) int {
	t.Helper()
	return f.count(t, `auth.refresh_tokens t JOIN auth.sessions s ON s.id = t.session_id WHERE t.spent_at IS NULL AND s.ended_at IS NULL`)
}
