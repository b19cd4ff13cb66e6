package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/libs/service/schemacheck"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/postgres"
)

// addReset adds a link as an admin does, and returns its hash.
func (f *fixture) addReset(t *testing.T, u auth.User) auth.TokenHash {
	t.Helper()
	hash := auth.NewSecret().Hash()
	if err := f.AddReset(t.Context(), caller(f.boss(t).ID), u.ID, auth.Link{Hash: hash, Lifetime: auth.ResetLifetime}); err != nil {
		t.Fatal(err)
	}
	return hash
}

func (f *fixture) password(t *testing.T, login string) string {
	t.Helper()
	_, hash, err := f.Credential(t.Context(), login)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// A link sets the password once, ends all sessions and revokes all tokens. All other
// links of the user are void then, and those of others are not.
func TestResetPassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u, other := f.user(t, "anna"), f.user(t, "bert")
	session, older := f.logIn(t, u), before{f}.logIn(t, u)
	first, second, foreign := f.addReset(t, u), f.addReset(t, u), f.addReset(t, other)
	if err := f.ResetPassword(t.Context(), auth.NewSecret().Hash(), "x"); !errors.Is(err, auth.ErrResetNotFound) {
		t.Errorf("an unknown link: %v", err)
	}
	if got, err := f.CheckReset(t.Context(), second); err != nil || got.ID != u.ID {
		t.Fatal(got, err)
	}
	if err := f.ResetPassword(t.Context(), second, "new hash"); err != nil {
		t.Fatal(err)
	}
	for _, token := range []auth.Secret{session, older} {
		f.refused(t, "a session from before the reset", token)
	}
	now := f.now(t, u)
	if f.password(t, "anna") != "new hash" || now.TokenVersion != u.TokenVersion+1 || now.Version != u.Version+1 {
		t.Errorf("%+v", now)
	}
	for _, link := range []auth.TokenHash{first, second} {
		if _, err := f.CheckReset(t.Context(), link); !errors.Is(err, auth.ErrResetNotFound) {
			t.Errorf("a void link: %v", err)
		}
		if err := f.ResetPassword(t.Context(), link, "newer hash"); !errors.Is(err, auth.ErrResetNotFound) || f.password(t, "anna") != "new hash" {
			t.Errorf("a void link: %v, password %s", err, f.password(t, "anna"))
		}
	}
	if err := f.ResetPassword(t.Context(), foreign, "bert's"); err != nil || f.password(t, "bert") != "bert's" || f.password(t, "anna") != "new hash" {
		t.Errorf("another user's link: %v", err)
	}
	f.exec(t, `UPDATE auth.users SET activated_at = NULL WHERE id = $1`, u.ID)
	if err := f.ResetPassword(t.Context(), f.addReset(t, u), "hash"); err != nil || f.now(t, u).Status() != auth.Inactive {
		t.Errorf("a user who is not active: %v, %s", err, f.now(t, u).Status())
	}
}

// Fifty requests at once, through two replicas, with one link and with two: one succeeds.
func TestALinkResetsOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	replicas := []*postgres.Store{f.Store, postgres.New(pg.OnePool(f.pool))}
	for n := range 2 {
		links := []auth.TokenHash{f.addReset(t, u), f.addReset(t, u)}
		var all sync.WaitGroup
		var mu sync.Mutex
		set := []string{}
		for i := range 50 {
			all.Go(func() {
				for {
					hash := fmt.Sprint("hash ", i)
					err := replicas[i%2].ResetPassword(t.Context(), links[i%(n+1)], hash)
					switch {
					case errors.Is(err, pg.ErrUnavailable): // the machine is slow: the row was locked for long
						continue
					case err == nil:
						mu.Lock()
						set = append(set, hash)
						mu.Unlock()
					case !errors.Is(err, auth.ErrResetNotFound):
						t.Error(err)
					}
					return
				}
			})
		}
		all.Wait()
		if len(set) != 1 || f.password(t, "anna") != set[0] {
			t.Errorf("the password was set to %q and is %s, want once", set, f.password(t, "anna"))
		}
	}
}

// A link works once, and the user's others not after it, even without the trigger,
// whose absence Verify finds.
func TestALinkResetsOnceWithoutTheTrigger(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	if err := f.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	f.exec(t, `ALTER TABLE auth.users DISABLE TRIGGER users_void_resets`)
	for range 2 {
		if err := f.Verify(t.Context()); !errors.Is(err, schemacheck.ErrFound) || !strings.Contains(err.Error(), "users_void_resets") {
			t.Errorf("without the trigger: %v", err)
		}
		first, second := f.addReset(t, u), f.addReset(t, u)
		if err := f.ResetPassword(t.Context(), first, "new hash"); err != nil {
			t.Fatal(err)
		}
		for _, link := range []auth.TokenHash{first, second} {
			if err := f.ResetPassword(t.Context(), link, "newer hash"); !errors.Is(err, auth.ErrResetNotFound) {
				t.Errorf("a void link: %v", err)
			}
		}
		f.exec(t, `DROP TRIGGER IF EXISTS users_void_resets ON auth.users`)
	}
}

// Whatever release changes the password or the role or disables the user voids all
// links; other changes don't.
func TestChangesThatVoidResets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	boss := caller(f.boss(t).ID)
	old := before{f}
	for what, c := range map[string]struct {
		change func(auth.User) error
		void   bool
	}{
		"a new password": {func(u auth.User) error { return f.ChangePassword(t.Context(), caller(u.ID), "hash", "new") }, true},
		"disabled and enabled": {func(u auth.User) error {
			_, _, err := f.SetEnabled(t.Context(), boss, u.ID, false)
			if err == nil {
				_, _, err = f.SetEnabled(t.Context(), boss, u.ID, true)
			}
			return err
		}, true},
		"another role": {func(u auth.User) error { _, err := f.SetRole(t.Context(), u.Login, auth.RoleAdmin); return err }, true},
		"another role, and back": {func(u auth.User) error {
			_, err := f.SetRole(t.Context(), u.Login, auth.RoleAdmin)
			if err == nil {
				_, err = f.SetRole(t.Context(), u.Login, auth.RoleUser)
			}
			return err
		}, true},
		"a new password through the release before": {func(u auth.User) error {
			old.asService(t, func(tx pgx.Tx) {
				old.run(t, tx, `UPDATE auth.users SET password_hash = 'new', token_version = token_version + 1, version = version + 1, changed_at = now(), publish_at = now(), trace_context = '' WHERE id = $1`, u.ID)
			})
			return nil
		}, true},
		"disabled and enabled through the release before": {func(u auth.User) error {
			old.asService(t, func(tx pgx.Tx) {
				old.run(t, tx, `UPDATE auth.users SET disabled_at = now(), token_version = token_version + 1, version = version + 1 WHERE id = $1`, u.ID)
				old.run(t, tx, `UPDATE auth.users SET disabled_at = NULL, version = version + 1 WHERE id = $1`, u.ID)
			})
			return nil
		}, true},
		"another role through the release before": {func(u auth.User) error {
			old.asService(t, func(tx pgx.Tx) {
				old.run(t, tx, `UPDATE auth.users SET role = 'admin', token_version = token_version + 1, version = version + 1 WHERE id = $1`, u.ID)
			})
			return nil
		}, true},
		"a session ended": {func(u auth.User) error {
			_, id := f.begin(t, u)
			return f.EndOneSession(t.Context(), f.in(t, u, id), id)
		}, false},
		"all sessions ended": {func(u auth.User) error { return f.EndAllSessions(t.Context(), boss, u.ID) }, false},
		"published":          {func(u auth.User) error { return f.MarkPublished(t.Context(), u.ID, u.Version, 0, 0, 0) }, false},
	} {
		t.Run(what, func(t *testing.T) {
			u := f.user(t, fmt.Sprint("user", f.count(t, `auth.users`)))
			link := f.addReset(t, u)
			if err := c.change(u); err != nil {
				t.Fatal(err)
			}
			err := f.ResetPassword(t.Context(), link, "reset")
			if void := errors.Is(err, auth.ErrResetNotFound); void != c.void || !void && err != nil {
				t.Errorf("%v, void: want %v", err, c.void)
			}
		})
	}
}

// A link is valid for half an hour, and a disabled user's is not.
func TestResetsEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u := f.user(t, "anna")
	link := f.addReset(t, u)
	if n := f.count(t, `auth.password_resets WHERE expires_at - created_at = interval '30 minutes'`); n != 1 {
		t.Error("a link is not valid for 30 minutes")
	}
	f.exec(t, `UPDATE auth.password_resets SET expires_at = now()`)
	if _, err := f.CheckReset(t.Context(), link); !errors.Is(err, auth.ErrResetExpired) {
		t.Errorf("%v, want ErrResetExpired", err)
	}
	if err := f.ResetPassword(t.Context(), link, "new"); !errors.Is(err, auth.ErrResetExpired) || f.password(t, "anna") != "hash" {
		t.Errorf("%v, want ErrResetExpired", err)
	}
	f.exec(t, `UPDATE auth.password_resets SET expires_at = now() - interval '25 hours'`)
	if err := f.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := f.count(t, `auth.password_resets`); n != 0 {
		t.Errorf("%d links are left", n)
	}
}

func TestAddReset(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	boss, u := f.boss(t), f.user(t, "anna")
	add := func(admin, user int64) error {
		return f.AddReset(t.Context(), caller(admin), user, auth.Link{Hash: auth.NewSecret().Hash(), Lifetime: time.Minute})
	}
	for what, c := range map[string]struct {
		admin, user int64
		want        error
	}{
		"by a user": {u.ID, u.ID, auth.ErrForbidden}, "by no one": {99, u.ID, auth.ErrTokenRevoked}, "for no one": {boss.ID, 99, auth.ErrUserNotFound},
	} {
		if err := add(c.admin, c.user); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	first := f.addReset(t, u)
	for range auth.MaxResets + 5 {
		f.addReset(t, u)
	}
	if n := f.count(t, `auth.password_resets`); n != auth.MaxResets {
		t.Errorf("%d links, want %d", n, auth.MaxResets)
	}
	if _, err := f.CheckReset(t.Context(), first); !errors.Is(err, auth.ErrResetNotFound) {
		t.Errorf("a link that was replaced: %v", err)
	}
	if n := f.count(t, `auth.log WHERE action = 'user.password_reset' AND subject = $1`, fmt.Sprint("user/", u.ID)); n != auth.MaxResets+6 {
		t.Errorf("%d entries in the log", n)
	}
	f.disable(t, u)
	if err := add(boss.ID, u.ID); !errors.Is(err, auth.ErrUserDisabled) {
		t.Errorf("for a disabled user: %v", err)
	}
}

// A request costs the same for every login, whether or not a user has it, and a request
// for the same user is pending.
func TestRequestsCostTheSame(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.user(t, "anna")
	request := func(login string) int64 {
		return f.blocks(t, "auto", func(s *postgres.Store) error { return s.RequestReset(t.Context(), login) })
	}
	request("anna") // makes the first page
	want := request("anna")
	for _, login := range []string{"nobody", "anna", "", "bert"} {
		if got := request(login); got != want {
			t.Errorf("%q: %d buffers, for a user %d", login, got, want)
		}
	}
	for _, left := range []int{2, 0} {
		if n, err := f.ResolveResets(t.Context(), 4); err != nil || n != min(4, left+2) {
			t.Error(n, err)
		}
		if n := f.count(t, `auth.reset_requests`); n != left {
			t.Errorf("%d requests are left, want %d", n, left)
		}
		if n := f.count(t, `auth.links WHERE event = 'password_reset' AND due_at IS NOT NULL`); n != 1 {
			t.Errorf("%d links to be sent, want 1", n)
		}
	}
}

// A user whose link still waits to be sent can request it again: it is tried at once,
// with the same id, and is given up only an hour after that.
func TestAnotherRequestRenewsALink(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	boss, u := f.boss(t), f.user(t, "anna")
	for who, request := range map[string]func() error{
		"the user": func() error {
			if err := f.RequestReset(t.Context(), u.Login); err != nil {
				return err
			}
			_, err := f.ResolveResets(t.Context(), 10)
			return err
		},
		"an admin": func() error { return f.AddReset(t.Context(), caller(boss.ID), u.ID, auth.Link{Sent: true}) },
	} {
		t.Run(who, func(t *testing.T) {
			f.exec(t, `DELETE FROM auth.links`)
			must := func() {
				t.Helper()
				if err := request(); err != nil {
					t.Fatal(err)
				}
			}
			claim := func() auth.Delivery {
				t.Helper()
				d, found, err := f.ClaimLink(t.Context(), auth.ResetLink)
				if err != nil || !found {
					t.Fatal("no link is due", err)
				}
				return d
			}
			must()
			first := claim()
			must() // within the minute
			if _, found, err := f.ClaimLink(t.Context(), auth.ResetLink); found || err != nil {
				t.Error("a request within a minute changes something", err)
			}
			f.exec(t, `UPDATE auth.links SET requested_at = now() - interval '59 minutes 59 seconds', attempts = 8`)
			must()
			again := claim()
			if again.ID != first.ID || again.Attempt != 1 || again.Event.GivenUp(again.RequestedAt, again.Now.Add(59*time.Minute)) {
				t.Errorf("%+v after %+v", again, first)
			}
			late := again
			late.RequestedAt = late.RequestedAt.Add(-time.Hour) // as it was claimed before it was requested again
			if done, err := f.GiveUpLink(t.Context(), late); done || err != nil || f.count(t, `auth.links WHERE due_at IS NOT NULL`) != 1 {
				t.Error("a link that was requested again is given up", err)
			}
			if done, err := f.GiveUpLink(t.Context(), again); !done || err != nil || f.count(t, `auth.links WHERE due_at IS NOT NULL`) != 0 {
				t.Error("the link is not given up", err)
			}
			f.exec(t, `UPDATE auth.links SET requested_at = now() - interval '1 hour'`)
			must()
			if next := claim(); next.ID == first.ID {
				t.Error("a new request has the id of one that is done")
			}
		})
	}
}

// A link was requested when the request was made, however long it waited. A request that
// waited for an hour is dropped.
func TestRequestsThatWaited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for login, minutes := range map[string]int{"anna": 50, "bert": 61} {
		f.user(t, login)
		f.exec(t, `INSERT INTO auth.reset_requests (login, created_at) VALUES ($1, now() - $2 * interval '1 minute')`, login, minutes)
	}
	f.exec(t, `INSERT INTO auth.reset_requests (login, created_at) VALUES ('anna', now() - interval '52 minutes')`)
	if n, err := f.ResolveResets(t.Context(), 10); n != 3 || err != nil {
		t.Error(n, err)
	}
	d, found, err := f.ClaimLink(t.Context(), auth.ResetLink)
	if age := d.Now.Sub(d.RequestedAt); !found || err != nil || age < 50*time.Minute || age > 52*time.Minute {
		t.Errorf("a link that was requested %v ago, want 50 minutes: %v", age, err)
	}
	if n := f.count(t, `auth.links`); n != 1 {
		t.Errorf("%d links, want that of anna alone", n)
	}
}

// Beyond a number of requests that wait, more have no effect.
func TestRequestsAreLimited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	request := func(want int) {
		t.Helper()
		if err := f.RequestReset(t.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		if n := f.count(t, `auth.reset_requests`); n != want {
			t.Errorf("%d requests wait, want %d", n, want)
		}
	}
	f.exec(t, `INSERT INTO auth.reset_requests (login) SELECT 'anna' FROM generate_series(1, $1)`, auth.MaxResetRequests-1)
	request(auth.MaxResetRequests)
	request(auth.MaxResetRequests)
	if _, err := f.ResolveResets(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	request(auth.MaxResetRequests - 9)
}

// However often strangers ask, a user is sent at most five links in an hour. Requests
// that renew one that waits don't count.
func TestResetsOfAUserAreLimited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.user(t, "anna")
	// request reports whether a link is due after a request.
	request := func() bool {
		t.Helper()
		if err := f.RequestReset(t.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ResolveResets(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		return f.count(t, `auth.links WHERE due_at <= now()`) == 1
	}
	pass := func(minutes int) {
		f.exec(t, `UPDATE auth.links SET requested_at = requested_at - $1 * interval '1 minute', quota_full_at = quota_full_at - $1 * interval '1 minute'`, minutes)
	}
	sent := 0
	for range 58 / 2 { // 58 minutes
		if request() {
			sent++
			pass(1)
			if !request() { // it still waits
				t.Error("a link that waits is not due any more")
			}
			f.exec(t, `UPDATE auth.links SET due_at = NULL`)
			pass(1)
		} else {
			pass(2)
		}
	}
	if sent != 5 {
		t.Errorf("%d links in an hour, want 5", sent)
	}
}
