package postgres_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"lavka/libs/service/adminlog"
	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/postgres"
)

var rows = flag.Int("rows", 1_000_000, "rows that TestReadsAreFlat stores")

// exempt are the methods of Store that TestReadsAreFlat does not call, and why.
var exempt = map[string]string{
	"Stream": "one row", "RememberStream": "writes one row",
	"Register": "writes one row", "AddLink": "writes one row", "Activate": "writes one row, by its key",
	"RequestReset": "writes one row", "ResolveResets": "runs in the background, in parts", "ClaimLink": "runs in the background", "MakeLink": "runs in the background", "LinkDone": "runs in the background", "GiveUpLink": "runs in the background", "OldestLink": "runs in the background",
	"CheckReset": "reads one link and its user, by their keys", "ResetPassword": "writes one user, by their key, and their sessions", "AddReset": "writes one row, and deletes a bounded number",
	"CheckLink":    "reads one link and its user, by their keys",
	"StartSession": "writes rows of one session", "Refresh": "writes rows of one session, by its key", "EndSession": "writes rows of one session, by its key",
	"EndOneSession": "writes one session, and one user by their key", "EndOtherSessions": "TestEndOtherSessions", "EndAllSessions": "TestEndingManySessions",
	"SetEnabled": "writes one user, by its key, and their sessions", "ChangePassword": "writes one user, by its key, and their sessions",
	"Verify": "an operator's command", "RecordVerification": "writes one row",
	"Verified": "an operator's command; the newest row by its key", "Verifications": "runs in the background; the newest row by its key",
	"SetRole":   "an operator's command; it locks all admins",
	"ClaimNews": "runs in the background, in parts", "ClaimRepeats": "runs in the background, in parts", "MarkPublished": "writes one row, by its key",
	"Now": "reads no row", "Changes": "TestManyUsersChanged", "Due": "TestManyUsersChanged",
	"Fill": "runs in the background, in parts", "EndMoreSessions": "TestEndingManySessions", "ClearSalts": "runs in the background, in parts", "Prune": "runs in the background, in parts",
}

// What a request reads does not depend on how much is stored, nor on the place in the
// list that its cursor claims: not with a plan for these values, and not with the plan
// that Postgres keeps for all values.
func TestReadsAreFlat(t *testing.T) {
	// Not parallel: it keeps the server busy, and the tests beside it have time limits.
	f := newFixture(t)
	// All have registered within the last minutes. The oldest are 500 active users and then 500 disabled ones; all others are inactive. The
	// tokens of the newest 500 are revoked.
	f.db.Fill(t, postgres.Schema, fmt.Sprintf(`
		INSERT INTO auth.users (login, password_hash, role, activated_at, disabled_at, token_version)
		SELECT 'user' || n, 'hash', 'user', CASE WHEN n <= 1000 THEN now() END, CASE WHEN n > 500 AND n <= 1000 THEN now() END, CASE WHEN n > %[1]d - 500 THEN 2 ELSE 1 END
		FROM generate_series(1, %[1]d) n`, *rows), fmt.Sprintf(`
		INSERT INTO auth.log (actor_id, action, subject, trace_id) SELECT 1, 'user.enable', 'user/' || n %% 1000, '' FROM generate_series(1, %d) n`, *rows/10), fmt.Sprintf(`
		INSERT INTO auth.sessions (user_id, expires_at, session_version)
		SELECT CASE WHEN n %% 2 = 0 THEN 1 ELSE 2 + n / 200 END, now() + interval '1 day', 1 FROM generate_series(1, %d) n`, *rows/10))
	w := pgtest.NewWatch(t, f.db)
	measured := map[string]int{}
	for mode, times := range map[string]int{"auto": 10, "force_custom_plan": 2, "force_generic_plan": 2} {
		pools := pg.OnePool(w.Pool(t, f.pool, map[string]string{"plan_cache_mode": mode}))
		t.Cleanup(pools.Close)
		store := postgres.New(pools)
		for method, buffers := range w.Flat(t, times, reads(store, int64(*rows))) {
			measured[method] = max(measured[method], buffers)
		}
	}
	pgtest.Covered(t, reflect.TypeFor[*postgres.Store](), measured, exempt)
	for _, method := range slices.Sorted(maps.Keys(measured)) {
		t.Logf("%s reads at most %d buffers", method, measured[method])
	}
}

const pageSize = 20

func reads(store *postgres.Store, users int64) []pgtest.Read {
	const inPage = 60 // buffers: each of 20 rows on a page of its own, and the way through the index
	var all []pgtest.Read
	add := func(method, what string, most, want int, run func(context.Context) (int, error)) {
		all = append(all, pgtest.Read{Method: method, Case: what, Most: most, Rows: want, Run: run})
	}
	// Of each list: the first page, one in the middle, the last one, and cursors that no page has.
	for status, list := range map[auth.Status]struct{ middle, last int64 }{
		"": {users / 2, pageSize + 1}, auth.Inactive: {users / 2, 1000 + pageSize + 1}, auth.Active: {250, pageSize + 1}, auth.Disabled: {750, 500 + pageSize + 1},
	} {
		for _, cursor := range []struct {
			below *int64
			want  int
		}{{nil, pageSize}, {&list.middle, pageSize}, {&list.last, pageSize}, {new(int64(math.MaxInt64)), pageSize}, {new(int64(math.MinInt64)), 0}} {
			what := fmt.Sprintf("status %q, first page", status)
			if cursor.below != nil {
				what = fmt.Sprintf("status %q, below %d", status, *cursor.below)
			}
			add("Users", what, inPage, cursor.want, func(ctx context.Context) (int, error) {
				found, err := store.Users(ctx, auth.Filter{Status: status}, cursor.below, pageSize)
				return len(found), err
			})
		}
	}
	// Among the first 4,000 users is what is frequent. The index of grams finds the rest; its lists of the text's grams are read, too. If more
	// than 10,000 users have the grams, the search goes on in the list.
	lists := int(users) / 2000
	for login, c := range map[string]struct{ most, want int }{
		"USER": {4000 / 30, pageSize}, fmt.Sprint("ser", users/2): {4000/30 + lists, 1}, "user7": {10_000 + lists, pageSize}, "nobody": {4000/30 + lists, 0}, "7r7": {4000/30 + lists, 0},
	} {
		for _, status := range []auth.Status{"", auth.Inactive} {
			add("Users by login", fmt.Sprintf("%q, status %q", login, status), c.most+inPage, c.want, func(ctx context.Context) (int, error) {
				found, err := store.Users(ctx, auth.Filter{Status: status, Login: login}, nil, pageSize)
				return len(found), err
			})
		}
	}
	for _, subject := range []string{"", "user/7"} {
		for below, want := range map[int64]int{math.MaxInt64: pageSize, users / 20: pageSize, math.MinInt64: 0} {
			add("Log", fmt.Sprintf("of %q, below %d", subject, below), inPage, want, func(ctx context.Context) (int, error) {
				found, err := store.Log(ctx, adminlog.Query{Subject: subject, Below: &below}, pageSize)
				return len(found), err
			})
		}
	}
	const one = 10 // buffers: one row by its key
	middle := fmt.Sprint("USER", users/2)
	add("User", "in the middle", one, 1, func(ctx context.Context) (int, error) { _, err := store.User(ctx, users/2); return 1, err })
	add("Credential", "in the middle", one, 1, func(ctx context.Context) (int, error) { _, _, err := store.Credential(ctx, middle); return 1, err })
	add("LoginTaken", "in the middle", one, 1, func(ctx context.Context) (int, error) { _, err := store.LoginTaken(ctx, middle); return 1, err })
	for _, after := range []int64{0, users - 250, -1} {
		add("TokenVersions", fmt.Sprint("of 500 in the last hour, after ", after), 1000, pageSize, func(ctx context.Context) (int, error) {
			found, err := store.TokenVersions(ctx, time.Hour, after, pageSize)
			return len(found), err
		})
	}
	for _, id := range []int64{1, 2} {
		add("OpenSessions", fmt.Sprint("of user ", id), 3*auth.MaxSessions, auth.MaxSessions, func(ctx context.Context) (int, error) {
			found, err := store.OpenSessions(ctx, auth.User{ID: id, SessionVersion: 1})
			return len(found), err
		})
	}
	add("AdminExists", "none", inPage, 1, func(ctx context.Context) (int, error) {
		_, err := store.AdminExists(ctx)
		return 1, err
	})
	return all
}
