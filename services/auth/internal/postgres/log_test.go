package postgres_test

import (
	"fmt"
	"testing"

	"lavka/libs/service/adminlog"
	"lavka/services/auth/internal/auth"
)

// Every change by an admin or an operator has one entry, in the transaction of the
// change; what changes nothing has none.
func TestUsersInTheAdminsLog(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	boss, anna := f.add(t, "boss", auth.RoleAdmin), f.user(t, "anna")
	for _, enabled := range []bool{false, false, true} {
		if _, _, err := f.SetEnabled(t.Context(), caller(boss.ID), anna.ID, enabled); err != nil {
			t.Fatal(err)
		}
	}
	for _, role := range []auth.Role{auth.RoleAdmin, auth.RoleAdmin, auth.RoleUser} {
		if _, err := f.SetRole(t.Context(), "ANNA", role); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := f.SetEnabled(t.Context(), caller(anna.ID), boss.ID, false); err == nil {
		t.Error("a user disabled an admin")
	}
	entries, err := f.Log(t.Context(), adminlog.Query{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		actor := int64(0)
		if e.Actor != nil {
			actor = *e.Actor
		}
		got = append(got, fmt.Sprint(actor, " ", e.Action, " ", e.Subject, " ", e.Before, " ", e.After))
	}
	of := func(u auth.User) string { return fmt.Sprint("user/", u.ID) }
	want := []string{
		"0 user.role " + of(anna) + " map[role:admin] map[role:user]",
		"0 user.role " + of(anna) + " map[role:user] map[role:admin]",
		fmt.Sprint(boss.ID) + " user.enable " + of(anna) + " map[enabled:false] map[enabled:true]",
		fmt.Sprint(boss.ID) + " user.disable " + of(anna) + " map[enabled:true] map[enabled:false]",
		"0 user.create " + of(anna) + " map[] map[login:anna role:user]",
		"0 user.create " + of(boss) + " map[] map[login:boss role:admin]",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// A change whose entry can't be written does not happen.
	f.exec(t, `REVOKE INSERT (action) ON auth.log FROM auth`)
	if _, _, err := f.SetEnabled(t.Context(), caller(boss.ID), anna.ID, false); err == nil {
		t.Error("a user was disabled without an entry")
	}
	if u, err := f.User(t.Context(), anna.ID); err != nil || u.Status() != auth.Active {
		t.Errorf("%+v, %v: disabled without an entry", u, err)
	}
}
