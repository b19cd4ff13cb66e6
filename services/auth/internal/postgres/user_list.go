package postgres

import (
	"context"
	"fmt"
	"strings"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
)

// Users returns at most limit users, newest first. If below is set, it returns only
// users with a lower id.
func (s *Store) Users(ctx context.Context, filter auth.Filter, below *int64, limit int) ([]auth.User, error) {
	where, args := []string{"true"}, []any{limit}
	if below != nil {
		where, args = append(where, "id < $2"), append(args, *below)
	}
	switch filter.Status { // each has an index of its own
	case "":
	case auth.Disabled:
		where = append(where, "disabled_at IS NOT NULL")
	case auth.Inactive:
		where = append(where, "disabled_at IS NULL AND activated_at IS NULL")
	case auth.Active:
		where = append(where, "disabled_at IS NULL AND activated_at IS NOT NULL")
	default:
		return nil, fmt.Errorf("list users: unknown status %q", filter.Status)
	}
	if filter.Login != "" {
		return s.searchUsers(ctx, strings.Join(where, " AND "), args, auth.Fold(filter.Login))
	}
	return pg.Collect(ctx, s.reads, "list users", scanUser, pg.Page(`SELECT `+userColumns+` FROM auth.users WHERE `+strings.Join(where, " AND ")+` ORDER BY id DESC`), args...)
}

// The parts of a search, each bounded by a number of users.
const (
	// firstSearched is how many users of the list a search looks at, one after another. A text that is in one of a hundred logins
	// fills a page there.
	firstSearched = 4000
	// mostByGrams is how many users a search looks at that have the grams of its text.
	mostByGrams = 10_000
)

// searchUsers lists users for whom where holds, with args, and whose logins contain a text in lower case. It looks at the first users of
// the list, and so finds what is frequent. What is rare, the index of grams finds. A text that is frequent but comes late in the list, or
// has fewer than three characters, takes a look at all users, within the time limit of an expensive read.
func (s *Store) searchUsers(ctx context.Context, where string, args []any, text string) ([]auth.User, error) {
	limit := args[0].(int)
	args = append(args, "%"+likeEscaper.Replace(text)+"%")
	matches := fmt.Sprintf(`lower(login COLLATE "C") LIKE $%d`, len(args))
	return pg.Search(ctx, s.expensive, "search users", func(ctx context.Context, tx *pg.Tx) ([]auth.User, error) {
		found, err := pg.Rows(ctx, tx, "search the first users", scanUser, fmt.Sprintf(`
			SELECT %s FROM (SELECT * FROM auth.users WHERE %s ORDER BY id DESC LIMIT %d) AS first WHERE %s ORDER BY id DESC LIMIT $1`,
			userColumns, where, firstSearched, matches), args...)
		if err != nil || len(found) >= limit {
			return found, err
		}
		if grams := gramsOf(text); len(grams) > 0 {
			found, all, err := searchByGrams(ctx, tx, where, matches, append(args, grams))
			if err != nil || all {
				return found, err
			}
		}
		return pg.Rows(ctx, tx, "search all users", scanUser, `SELECT `+userColumns+` FROM auth.users WHERE `+where+` AND `+matches+` ORDER BY id DESC LIMIT $1`, args...)
	})
}

// searchByGrams returns the users of the list who have the grams, the last of args, and match. It reports whether it looked at all of
// them.
func searchByGrams(ctx context.Context, tx *pg.Tx, where, matches string, args []any) (found []auth.User, all bool, err error) {
	if _, err := tx.Exec(ctx, pg.ThroughBitmaps); err != nil {
		return nil, false, err
	}
	// What the list is about is asked of those that were found: together with the grams, it could lead the server to another index.
	var ids []int64
	var looked int
	err = tx.QueryRow(ctx, fmt.Sprintf(`
		WITH candidates AS MATERIALIZED (
			SELECT id, login, activated_at, disabled_at FROM auth.users WHERE (auth.login_grams(login)) COLLATE "C" @> $%d LIMIT %d)
		SELECT (SELECT count(*) FROM candidates), ARRAY(SELECT id FROM candidates WHERE %s AND %s ORDER BY id DESC LIMIT $1)`,
		len(args), mostByGrams+1, where, matches), args...).Scan(&looked, &ids)
	if err != nil {
		return nil, false, pg.Wrap("search by grams", err)
	}
	if _, err := tx.Exec(ctx, pg.AnyPlan); err != nil {
		return nil, false, err
	}
	if looked > mostByGrams {
		return nil, false, nil
	}
	found, err = pg.Rows(ctx, tx, "read what was found", scanUser, `SELECT `+userColumns+` FROM auth.users WHERE id = ANY ($1) ORDER BY id DESC`, ids)
	return found, true, err
}

// gramsOf returns the grams of a text (auth.login_grams); those that a login must have to contain it. A text of fewer characters has none.
func gramsOf(text string) (grams []string) {
	characters := []rune(text)
	for i := range len(characters) - 2 {
		grams = append(grams, string(characters[i:i+3]))
	}
	return grams
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)
