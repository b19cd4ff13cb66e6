package postgres_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/postgres"
)

const lifetime = time.Hour

func (f *fixture) logIn(t *testing.T, u auth.User) auth.Secret {
	t.Helper()
	token := auth.NewSecret()
	if _, err := f.StartSession(t.Context(), u.ID, "hash", token.Hash(), lifetime); err != nil {
		t.Fatal(err)
	}
	return token
}

func (f *fixture) refresh(t *testing.T, token auth.Secret) auth.Secret {
	t.Helper()
	_, next, err := f.Refresh(t.Context(), token, auth.NewSalt(), lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func (f *fixture) refused(t *testing.T, what string, token auth.Secret) {
	t.Helper()
	if _, _, err := f.Refresh(t.Context(), token, auth.NewSalt(), lifetime); !errors.Is(err, auth.ErrRefreshInvalid) {
		t.Errorf("%s: %v, want ErrRefreshInvalid", what, err)
	}
}

func (f *fixture) count(t *testing.T, sql string, args ...any) (n int) {
	t.Helper()
	if err := f.admin.QueryRow(t.Context(), `SELECT count(*) FROM `+sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (f *fixture) disable(t *testing.T, u auth.User) {
	t.Helper()
	if _, _, err := f.SetEnabled(t.Context(), caller(f.boss(t).ID), u.ID, false); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) boss(t *testing.T) auth.User {
	t.Helper()
	u, _, err := f.Credential(t.Context(), "boss")
	if errors.Is(err, auth.ErrUserNotFound) {
		return f.add(t, "boss", auth.RoleAdmin)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A session lives as long as its newest token.
func TestRefreshProlongsTheSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.logIn(t, f.user(t, "anna"))
	f.exec(t, `UPDATE auth.sessions SET expires_at = now() + interval '1 minute'`)
	f.exec(t, `UPDATE auth.refresh_tokens SET expires_at = now() + interval '1 minute'`)
	f.refresh(t, token)
	if n := f.count(t, `auth.sessions s JOIN auth.refresh_tokens t ON t.session_id = s.id AND t.spent_at IS NULL
		WHERE s.expires_at >= t.expires_at AND t.expires_at > now() + interval '59 minutes'`); n != 1 {
		t.Error("the session does not expire with its new token")
	}
	// A token whose lifetime was set to less shortens nothing.
	f.exec(t, `UPDATE auth.sessions SET expires_at = now() + interval '2 hours'`)
	f.refresh(t, token)
	if n := f.count(t, `auth.sessions WHERE expires_at > now() + interval '119 minutes'`); n != 1 {
		t.Error("a refresh shortened the session")
	}
}

// before is v0.6.0, with its own SQL.
type before struct{ *fixture }

func (b before) logIn(t *testing.T, u auth.User) auth.Secret {
	t.Helper()
	token := auth.NewSecret()
	hash := token.Hash()
	b.asService(t, func(tx pgx.Tx) {
		var session int64
		err := tx.QueryRow(t.Context(), `INSERT INTO auth.sessions (user_id, expires_at) VALUES ($1, now() + $2) RETURNING id`, u.ID, lifetime).Scan(&session)
		if err != nil {
			t.Fatal(err)
		}
		b.addToken(t, tx, session, hash)
	})
	return token
}

// refresh returns false if v0.6.0 refuses the token. The user is enabled.
func (b before) refresh(t *testing.T, token auth.Secret) (next auth.Secret, ok bool) {
	t.Helper()
	next = auth.NewSecret()
	hash := token.Hash()
	b.asService(t, func(tx pgx.Tx) {
		var session int64
		var ended bool
		var spent *time.Time
		err := tx.QueryRow(t.Context(), `
			SELECT s.id FROM auth.refresh_tokens t JOIN auth.sessions s ON s.id = t.session_id WHERE t.token_hash = $1 FOR NO KEY UPDATE OF s`, hash[:]).Scan(&session)
		if err != nil {
			t.Fatal(err)
		}
		err = tx.QueryRow(t.Context(), `
			SELECT t.spent_at, s.ended_at IS NOT NULL FROM auth.refresh_tokens t JOIN auth.sessions s ON s.id = t.session_id
			WHERE t.token_hash = $1`, hash[:]).Scan(&spent, &ended)
		if err != nil {
			t.Fatal(err)
		}
		if ended {
			return
		}
		ok = true
		if spent == nil {
			b.run(t, tx, `UPDATE auth.refresh_tokens SET spent_at = clock_timestamp() WHERE token_hash = $1`, hash[:])
		}
		b.run(t, tx, `UPDATE auth.sessions SET expires_at = greatest(expires_at, now() + $2) WHERE id = $1`, session, lifetime)
		b.addToken(t, tx, session, next.Hash())
	})
	return next, ok
}

func (b before) addToken(t *testing.T, tx pgx.Tx, session int64, token auth.TokenHash) {
	t.Helper()
	b.run(t, tx, `INSERT INTO auth.refresh_tokens (token_hash, session_id, expires_at) VALUES ($1, $2, now() + $3)`, token[:], session, lifetime)
}

func (b before) run(t *testing.T, tx pgx.Tx, sql string, args ...any) {
	t.Helper()
	if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func (b before) asService(t *testing.T, do func(pgx.Tx)) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error { do(tx); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

// Within its grace, a spent token gives the same successor, from any replica and
// however often: a session has one token that is not spent.
func TestGraceGivesOneSuccessor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.logIn(t, f.user(t, "anna"))
	replicas := []*postgres.Store{f.Store, postgres.New(pg.OnePool(f.pool))}
	var all sync.WaitGroup
	next := make([]auth.Secret, 30)
	for i := range next {
		all.Go(func() {
			for {
				var err error
				_, next[i], err = replicas[i%2].Refresh(t.Context(), token, auth.NewSalt(), lifetime)
				if !errors.Is(err, pg.ErrUnavailable) {
					if err != nil {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	all.Wait()
	for _, one := range next {
		if one != next[0] || one == token {
			t.Fatal("one token has two successors")
		}
	}
	if n := f.live(t); n != 1 {
		t.Errorf("%d live tokens, want 1", n)
	}
	if n := f.count(t, `auth.refresh_tokens`); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
}

// An owner and a thief of a token have the same next one. When either has used that,
// the other's next use ends the session, unless it comes within the grace.
func TestOwnerAndThief(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	stolen := f.logIn(t, u)
	owners, thiefs := f.refresh(t, stolen), f.refresh(t, stolen)
	thiefs = f.refresh(t, thiefs)
	f.exec(t, `UPDATE auth.refresh_tokens SET spent_at = spent_at - interval '11 s'`)
	if n := f.live(t); n != 1 {
		t.Errorf("%d live tokens, want 1", n)
	}
	f.refused(t, "the owner's, which the thief has used", owners)
	f.refused(t, "the thief's", thiefs)
	if n := f.live(t); n != 0 {
		t.Errorf("%d live tokens after a theft was noticed, want 0", n)
	}
}

// Beside the release before: each refreshes what the other issued. What it spent has
// no salt, so this release can't tell the successor: it refuses the token within the
// grace, and ends nothing. After the grace the token ends its session.
func TestRefreshBesideTheReleaseBefore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	old := before{f}
	u := f.user(t, "anna")
	token := old.logIn(t, u)
	first := f.refresh(t, token)
	second, ok := old.refresh(t, first)
	if !ok {
		t.Fatal("the release before refuses this one's token")
	}
	f.refused(t, "spent by the release before", first)
	third := f.refresh(t, second)
	if !strings.EqualFold(third.String(), "[redacted]") || len(third.Text()) != len(token.Text()) {
		t.Error("a token of another form")
	}
	f.exec(t, `UPDATE auth.refresh_tokens SET spent_at = spent_at - interval '11 s'`)
	f.refused(t, "spent by the release before, after the grace", first)
	f.refused(t, "its session has ended", third)
}

// What auth decides, it decides by the row, whatever message has not arrived yet.
func TestAuthDecidesByTheRow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	boss, u := f.boss(t), f.user(t, "anna")
	token := f.logIn(t, u)
	asking := auth.Caller{UserID: u.ID, TokenVersion: u.TokenVersion}
	hash := func() string {
		t.Helper()
		_, hash, err := f.Credential(t.Context(), "anna")
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	// The password was checked before the user was disabled.
	f.disable(t, u)
	if err := f.ChangePassword(t.Context(), asking, "hash", "new hash"); !errors.Is(err, auth.ErrTokenRevoked) || hash() != "hash" {
		t.Errorf("a disabled user's new password: %v, %s", err, hash())
	}
	// Enabled again, the old token stays revoked, and the session ended.
	if _, _, err := f.SetEnabled(t.Context(), caller(boss.ID), u.ID, true); err != nil {
		t.Fatal(err)
	}
	if err := f.ChangePassword(t.Context(), asking, "hash", "new hash"); !errors.Is(err, auth.ErrTokenRevoked) || hash() != "hash" {
		t.Errorf("a new password by an old token: %v, %s", err, hash())
	}
	f.refused(t, "of a disabled user", token)
	token = f.logIn(t, u)
	if err := f.EndSession(t.Context(), asking, token.Hash()); !errors.Is(err, auth.ErrTokenRevoked) {
		t.Errorf("logout by an old token: %v", err)
	}
	f.refresh(t, token)
	// An admin with another role since, or another password.
	old := auth.Caller{UserID: boss.ID, TokenVersion: boss.TokenVersion}
	if err := f.ChangePassword(t.Context(), old, "hash", "new hash"); err != nil {
		t.Fatal(err)
	}
	if _, done, err := f.SetEnabled(t.Context(), old, u.ID, false); !errors.Is(err, auth.ErrTokenRevoked) || done {
		t.Errorf("an admin's old token: %v", err)
	}
}

// blocks returns how many buffers of auth's tables and indexes Postgres used for what
// do did, in one session with that plan_cache_mode. It calls do once.
func (f *fixture) blocks(t *testing.T, plan string, do func(*postgres.Store) error) int64 {
	t.Helper()
	pool, err := pg.Open(t.Context(), f.db.URL("auth")+"&plan_cache_mode="+plan, "auth", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	// In the same session, so that reading the catalog counts for neither.
	flush := func() {
		t.Helper()
		if _, err := pool.Exec(t.Context(), `SELECT pg_stat_force_next_flush()`); err != nil {
			t.Fatal(err)
		}
	}
	used := func() (n int64) {
		t.Helper()
		err := f.admin.QueryRow(t.Context(), `
			SELECT sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read, 0) + coalesce(idx_blks_hit, 0)) FROM pg_statio_user_tables WHERE schemaname = 'auth'`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if _, err := f.admin.Exec(t.Context(), `SELECT pg_stat_force_next_flush()`); err != nil {
		t.Fatal(err)
	}
	flush()
	start := used()
	if err := do(postgres.New(pg.OnePool(pool))); err != nil {
		t.Fatal(err)
	}
	flush()
	return used() - start
}
