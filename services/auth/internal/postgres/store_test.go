package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/postgres"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Setup: pgtest.Service(postgres.Schema, postgres.Migrations)})
}

type fixture struct {
	*postgres.Store
	pool  *pgxpool.Pool
	admin *pgx.Conn
	db    pgtest.Database
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{db: pgtest.New(t)}
	var err error
	if f.pool, err = pg.Open(t.Context(), f.db.URL("auth"), "auth", 8); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.pool.Close)
	pools := pg.OnePool(f.pool)
	t.Cleanup(pools.Close)
	f.Store = postgres.New(pools)
	if f.admin, err = pgx.Connect(t.Context(), f.db.AdminURL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.admin.Close(context.WithoutCancel(t.Context())) })
	return f
}

func (f *fixture) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := f.admin.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (f *fixture) user(t *testing.T, login string) auth.User {
	t.Helper()
	return f.add(t, login, auth.RoleUser)
}

func (f *fixture) add(t *testing.T, login string, role auth.Role) auth.User {
	t.Helper()
	u, err := f.Register(t.Context(), auth.NewUser{Login: login, PasswordHash: "hash", Role: role}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// caller is a user with a token that was not revoked.
func caller(userID int64) auth.Caller {
	return auth.Caller{UserID: userID, TokenVersion: math.MaxInt64}
}

// Statements that the service's role must not be able to run, whatever its code
// does.
func TestTheServicesRights(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.user(t, "anna")
	for _, sql := range []string{
		`DELETE FROM auth.users`,
		`TRUNCATE auth.users CASCADE`,
		`UPDATE auth.users SET login = 'x' || login`,
		`UPDATE auth.users SET id = DEFAULT`,
		`UPDATE auth.users SET created_at = now()`,
		`UPDATE auth.activations SET expires_at = now()`,
		`UPDATE auth.refresh_tokens SET expires_at = now()`,
		`UPDATE auth.sessions SET user_id = 1`,
		`UPDATE auth.sessions SET public_id = gen_random_uuid()`,
		`UPDATE auth.sessions_to_end SET user_id = 1`,
		`DELETE FROM auth.users_stream`,
		`UPDATE auth.users SET reset_version = 1`,
		`UPDATE auth.password_resets SET expires_at = now()`,
		`UPDATE auth.links SET user_id = 1`,
		`DELETE FROM auth.links`,
		`INSERT INTO auth.reset_requests (login, created_at) VALUES ('x', now() - interval '1 day')`,
		`DELETE FROM auth.log`,
		`TRUNCATE auth.log`,
		`UPDATE auth.log SET actor_id = 2`,
		`INSERT INTO auth.log (at, action, subject, trace_id) VALUES (now() - interval '1 day', 'x', 'x', '')`,
		`UPDATE auth.verifications SET difference = NULL`,
		`DELETE FROM auth.verifications`,
		`INSERT INTO auth.verifications (at, took) VALUES ('2099-01-01', '1s')`,
		`UPDATE auth.schema_version SET version_id = 99`,
		`ALTER TABLE auth.users ADD COLUMN mine int`,
		`CREATE TABLE auth.mine (id int)`,
		`CREATE TABLE public.mine (id int)`,
		`SET ROLE auth_owner`,
	} {
		if _, err := f.pool.Exec(t.Context(), sql); pg.Code(err) != "42501" {
			t.Errorf("%s: %v, want insufficient_privilege", sql, err)
		}
	}
	for _, sql := range []string{
		`INSERT INTO auth.users (login, password_hash, role) VALUES ('ab', 'x', 'user')`,
		`INSERT INTO auth.users (login, password_hash, role) VALUES ('a b c', 'x', 'user')`,
		`INSERT INTO auth.users (login, password_hash, role) VALUES ('abc', 'x', 'king')`,
	} {
		if _, err := f.pool.Exec(t.Context(), sql); pg.Code(err) != "23514" {
			t.Errorf("%s: %v, want check_violation", sql, err)
		}
	}
}

func TestManyMigrateAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	probe, err := pg.NewProbe(f.db.URL("auth"), "auth", postgres.Schema, postgres.Migrations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(probe.Close)
	f.exec(t, `DROP SCHEMA auth CASCADE; CREATE SCHEMA auth AUTHORIZATION auth_owner; GRANT USAGE ON SCHEMA auth TO auth`)
	if err := probe.Ready(t.Context()); err == nil {
		t.Error("ready without a schema")
	}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if err := pg.Migrate(t.Context(), f.db.URL("auth_owner"), postgres.Schema, postgres.Migrations, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := probe.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	f.exec(t, `INSERT INTO auth.schema_version (version_id, is_applied) VALUES (99, true)`)
	if err := probe.Ready(t.Context()); err != nil {
		t.Errorf("a newer schema: %v", err)
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const users = 30
	f.exec(t, `INSERT INTO auth.users (login, password_hash, role, activated_at) SELECT 'user' || i, 'x', CASE i WHEN 2 THEN 'admin' ELSE 'user' END, now() FROM generate_series(1, $1) i`, users)
	if ids, err := f.ClaimRepeats(t.Context(), users, time.Minute); err != nil || len(ids) != 0 {
		t.Errorf("new users were claimed as repeats: %v %v", ids, err)
	}
	// Replicas that claim concurrently get each user once.
	var all sync.WaitGroup
	var mu sync.Mutex
	claimed := map[int64]int{}
	for range 6 {
		all.Go(func() {
			ids, err := f.ClaimNews(t.Context(), users/3, time.Minute)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				claimed[id]++
			}
		})
	}
	all.Wait()
	for id, n := range claimed {
		if n != 1 {
			t.Errorf("user %d was claimed %d times", id, n)
		}
	}
	// Publishing an older version does not mark a newer one as published.
	if _, _, err := f.SetEnabled(t.Context(), caller(2), 1, false); err != nil {
		t.Fatal(err)
	}
	if err := f.MarkPublished(t.Context(), 1, 1, time.Second, time.Minute, time.Hour); err != nil {
		t.Fatal(err)
	}
	if ids, err := f.ClaimNews(t.Context(), users, time.Minute); err != nil || !slices.Contains(ids, 1) {
		t.Errorf("a newer version is not due: %v %v", ids, err)
	}
	if err := f.MarkPublished(t.Context(), 1, 2, time.Second, time.Minute, time.Hour); err != nil {
		t.Fatal(err)
	}
	f.exec(t, `UPDATE auth.users SET published_version = version, publish_at = now() + interval '1 day', changed_at = now() - interval '2 hours' WHERE id <> 1`)
	count := func(want int64) {
		t.Helper()
		if n, err := f.Due(t.Context()); err != nil || n != want {
			t.Errorf("%d due, want %d: %v", n, want, err)
		}
	}
	count(0)
	// A new stream is filled with all users, in parts.
	for parts := 1; ; parts++ {
		progress, done, err := f.Fill(t.Context(), "a stream", users/3)
		if err != nil || progress == done {
			t.Fatalf("progress %v, done %v, %v", progress, done, err)
		}
		if done {
			if parts != 4 {
				t.Errorf("%d parts", parts)
			}
			break
		}
		count(int64(min(users, parts*users/3)))
	}
	if ids, err := f.ClaimNews(t.Context(), users, time.Minute); err != nil || len(ids) != 0 {
		t.Errorf("repeats were claimed as new versions: %v %v", ids, err)
	}
	if ids, err := f.ClaimRepeats(t.Context(), users, time.Minute); err != nil || len(ids) != users {
		t.Errorf("%d of %d users were claimed: %v", len(ids), users, err)
	}
}

func TestTokenVersions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(t, `INSERT INTO auth.users (login, password_hash, role, token_version, changed_at) SELECT 'user' || i, 'x', 'user', i % 3 + 1, now() - i * interval '1 minute' FROM generate_series(1, 20) i`)
	got := map[int64]int64{}
	for after := int64(0); ; {
		page, err := f.TokenVersions(t.Context(), 9*time.Minute+30*time.Second, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, one := range page {
			got[one.UserID] = one.Version
			after = max(after, one.UserID)
		}
	}
	// Without users that changed earlier, and without users that never had a token revoked.
	if want := map[int64]int64{1: 2, 2: 3, 4: 2, 5: 3, 7: 2, 8: 3}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestStreamIsRemembered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, want := range []string{"", "2026-05-01T12:00:00.000000001Z", "2026-05-01T12:00:00.000000002Z"} {
		if want != "" {
			if err := f.RememberStream(t.Context(), want); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := f.Stream(t.Context()); err != nil || got != want {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}
}

// A login that was checked against the old password must not start a session after
// the password has changed.
func TestNoSessionWithAnOldPassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	if err := f.ChangePassword(t.Context(), caller(u.ID), "hash", "new hash"); err != nil {
		t.Fatal(err)
	}
	token := auth.NewSecret().Hash()
	if _, err := f.StartSession(t.Context(), u.ID, "hash", token, time.Hour); !errors.Is(err, auth.ErrInvalidCredentials) {
		t.Errorf("%v", err)
	}
	if err := f.ChangePassword(t.Context(), caller(u.ID), "hash", "third"); !errors.Is(err, auth.ErrInvalidCredentials) {
		t.Errorf("a second change from the same old password: %v", err)
	}
	if in, err := f.StartSession(t.Context(), u.ID, "new hash", token, time.Hour); err != nil || in.User.TokenVersion != 2 {
		t.Errorf("%+v %v", in, err)
	}
	if _, _, err := f.SetEnabled(t.Context(), caller(f.add(t, "boss", auth.RoleAdmin).ID), u.ID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := f.StartSession(t.Context(), u.ID, "new hash", auth.NewSecret().Hash(), time.Hour); !errors.Is(err, auth.ErrUserDisabled) {
		t.Errorf("%v", err)
	}
}

// Postgres ends the transaction of a replica that froze while holding a row lock
// after two seconds. Other transactions wait for that.
func TestWaitsForAFrozenReplica(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	frozen, err := f.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = frozen.Rollback(context.WithoutCancel(t.Context())) }() // Postgres has ended it
	if _, err := frozen.Exec(t.Context(), `SELECT FROM auth.users WHERE id = $1 FOR UPDATE`, u.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.ChangePassword(t.Context(), caller(u.ID), "hash", "new hash"); err != nil {
		t.Error(err)
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	pool, err := pg.Open(t.Context(), "postgres://auth@127.0.0.1:1/lavka", "auth", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	pools := pg.OnePool(pool)
	defer pools.Close()
	store := postgres.New(pools)
	if _, err := store.User(t.Context(), 1); !errors.Is(err, pg.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if _, _, err := store.SetEnabled(t.Context(), caller(1), 2, true); !errors.Is(err, pg.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
