package postgres_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"lavka/services/auth/internal/auth"
)

// Whatever two admins do to each other at once, one active admin remains.
func TestTwoAdminsDisableEachOther(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	disable := func(admin, user auth.User) error {
		_, _, err := f.SetEnabled(t.Context(), caller(admin.ID), user.ID, false)
		return err
	}
	revoke := func(_, user auth.User) error {
		_, err := f.SetRole(t.Context(), strings.ToUpper(user.Login), auth.RoleUser)
		return err
	}
	anna, bert := f.add(t, "anna", auth.RoleAdmin), f.add(t, "bert", auth.RoleAdmin)
	for name, do := range map[string][2]func(admin, user auth.User) error{
		"both disable": {disable, disable}, "both revoke": {revoke, revoke}, "one disables, one revokes": {disable, revoke},
	} {
		for range 5 {
			f.exec(t, `UPDATE auth.users SET role = 'admin', disabled_at = NULL`)
			var all sync.WaitGroup
			refused := make([]error, 2)
			all.Go(func() { refused[0] = do[0](anna, bert) })
			all.Go(func() { refused[1] = do[1](bert, anna) })
			all.Wait()
			n := 0
			for _, err := range refused {
				if errors.Is(err, auth.ErrForbidden) || errors.Is(err, auth.ErrTokenRevoked) || errors.Is(err, auth.ErrLastAdmin) {
					n++
				} else if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			var left int
			err := f.admin.QueryRow(t.Context(), `SELECT count(*) FROM auth.users WHERE role = 'admin' AND disabled_at IS NULL`).Scan(&left)
			if n != 1 || left != 1 || err != nil {
				t.Errorf("%s: %v; %d admins left, %v", name, refused, left, err)
			}
		}
	}
}

// Only an active admin may disable, whatever role their token carries.
func TestOnlyAnActiveAdminDisables(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	boss, user := f.add(t, "boss", auth.RoleAdmin), f.user(t, "anna")
	for name, c := range map[string]struct {
		actor int64
		state string
		want  error
	}{
		"a user": {user.ID, ``, auth.ErrForbidden}, "no longer an admin": {boss.ID, `role = 'user'`, auth.ErrForbidden},
		"unknown": {99, ``, auth.ErrTokenRevoked}, "disabled": {boss.ID, `disabled_at = now()`, auth.ErrTokenRevoked},
		"inactive": {boss.ID, `activated_at = NULL`, auth.ErrTokenRevoked},
	} {
		if c.state != "" {
			f.exec(t, `UPDATE auth.users SET `+c.state+` WHERE id = $1`, boss.ID)
		}
		for _, enabled := range []bool{false, true} {
			for _, id := range []int64{user.ID, 99} {
				if _, done, err := f.SetEnabled(t.Context(), caller(c.actor), id, enabled); !errors.Is(err, c.want) || done {
					t.Errorf("%s: %v, want %v", name, err, c.want)
				}
			}
		}
		f.exec(t, `UPDATE auth.users SET role = 'admin', disabled_at = NULL, activated_at = now() WHERE id = $1`, boss.ID)
	}
	if _, _, err := f.SetEnabled(t.Context(), caller(boss.ID), 99, false); !errors.Is(err, auth.ErrUserNotFound) {
		t.Errorf("an unknown user: %v, want ErrUserNotFound", err)
	}
	if u, done, err := f.SetEnabled(t.Context(), caller(boss.ID), user.ID, false); err != nil || !done || u.Status() != auth.Disabled {
		t.Errorf("%+v %v", u, err)
	}
}
