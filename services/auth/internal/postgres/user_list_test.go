package postgres_test

import (
	"fmt"
	"slices"
	"testing"

	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/postgres"
)

// Whatever part of a search finds users, they are those whose logins contain the text, the newest first.
func TestUsersAreFoundByAPartOfTheirLogin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const early, late = 10_100, 4_100 // more than have the grams of one text, and than the first users of a list
	f.db.Fill(t, postgres.Schema, `
		INSERT INTO auth.users (login, password_hash, role, activated_at, disabled_at) VALUES
			('Rare_One', '', 'user', now(), NULL), ('rare-one', '', 'user', now(), now()), ('rare_one+2', '', 'user', NULL, NULL)`, fmt.Sprintf(`
		INSERT INTO auth.users (login, password_hash, role) SELECT 'Early-' || n, '', 'user' FROM generate_series(1, %d) n`, early), fmt.Sprintf(`
		INSERT INTO auth.users (login, password_hash, role) SELECT 'late-' || n, '', 'user' FROM generate_series(1, %d) n`, late))
	newest := func(name string, n int) []string {
		return []string{fmt.Sprint(name, n), fmt.Sprint(name, n-1), fmt.Sprint(name, n-2)}
	}
	for _, c := range []struct {
		what   string
		filter auth.Filter
		below  *int64
		want   []string
	}{
		{"frequent among the first", auth.Filter{Login: "late"}, nil, newest("late-", late)},
		{"frequent, but late in the list", auth.Filter{Login: "EARLY-"}, nil, newest("Early-", early)},
		{"rare", auth.Filter{Login: "ly-777"}, nil, []string{"Early-7779", "Early-7778", "Early-7777"}},
		{"rare, below a cursor", auth.Filter{Login: "rly-10"}, new(int64(3 + 101)), []string{"Early-100", "Early-10"}},
		{"two characters", auth.Filter{Login: "e_"}, nil, []string{"rare_one+2", "Rare_One"}},
		{"no wildcard", auth.Filter{Login: "rare_one"}, nil, []string{"rare_one+2", "Rare_One"}},
		{"active", auth.Filter{Login: "rare", Status: auth.Active}, nil, []string{"Rare_One"}},
		{"disabled", auth.Filter{Login: "one", Status: auth.Disabled}, nil, []string{"rare-one"}},
		{"inactive", auth.Filter{Login: "E_ONE", Status: auth.Inactive}, nil, []string{"rare_one+2"}},
		{"all grams, but not the text", auth.Filter{Login: "early-early-"}, nil, nil},
		{"none", auth.Filter{Login: "nobody"}, nil, nil},
		{"no login has it", auth.Filter{Login: "рарe"}, nil, nil},
	} {
		users, err := f.Users(t.Context(), c.filter, c.below, 3)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		var got []string
		for _, u := range users {
			got = append(got, u.Login)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
