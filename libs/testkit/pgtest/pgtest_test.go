package pgtest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) {
	Main(m, Config{Setup: func(ctx context.Context, adminURL string) error {
		if err := execute(ctx, adminURL, `CREATE ROLE clerk LOGIN; CREATE TABLE shelf (name text); GRANT SELECT, INSERT ON shelf TO clerk`); err != nil {
			return err
		}
		url, err := RoleURL(ctx, adminURL, "clerk")
		if err != nil {
			return err
		}
		return execute(ctx, url, `INSERT INTO shelf VALUES ('tea')`)
	}})
}

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	t.Parallel()
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			db := New(t)
			if err := execute(t.Context(), db.URL("clerk"), `INSERT INTO shelf VALUES ('bread')`); err != nil {
				t.Fatal(err)
			}
			conn, err := pgx.Connect(t.Context(), db.AdminURL()) // left open: the drop must succeed anyway
			if err != nil {
				t.Fatal(err)
			}
			var rows int
			if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM shelf`).Scan(&rows); err != nil {
				t.Fatal(err)
			}
			if rows != 2 {
				t.Errorf("%d rows on the shelf, want 2: the template's and ours", rows)
			}
		})
	}
}

func TestRoleIsNotSuperuser(t *testing.T) {
	t.Parallel()
	if err := execute(t.Context(), New(t).URL("clerk"), `DROP TABLE shelf`); err == nil {
		t.Error("clerk was allowed to drop the superuser's table")
	}
}
