package pg_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

// Whatever a transaction begins with, all of it is one.
func TestBeginIsSentWithTheFirstStatement(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.New(t))
	const insert = `INSERT INTO shelf.things VALUES (1, 'tea')`
	for name, first := range map[string]func(*pg.Tx) error{
		"a batch": func(tx *pg.Tx) error {
			b := &pgx.Batch{}
			b.Queue(insert)
			return tx.SendBatch(t.Context(), b).Close()
		},
		"a statement": func(tx *pg.Tx) error { _, err := tx.Exec(t.Context(), insert); return err },
		"rows": func(tx *pg.Tx) error {
			rows, err := tx.Query(t.Context(), insert+` RETURNING id`)
			if err != nil {
				return err
			}
			_, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
			return err
		},
		"a row": func(tx *pg.Tx) error { return tx.QueryRow(t.Context(), insert+` RETURNING id`).Scan(new(int)) },
	} {
		for _, keep := range []bool{false, true} {
			tx, err := pg.Begin(t.Context(), pool)
			if err != nil {
				t.Fatal(err)
			}
			if err := first(tx); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			b := &pgx.Batch{}
			b.Queue(`INSERT INTO shelf.things VALUES (2, 'coffee')`)
			if err := tx.SendBatch(t.Context(), b).Close(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if n := count(t, pool); n != 0 {
				t.Errorf("%s: %d rows are seen before the commit", name, n)
			}
			if keep {
				if err := tx.Commit(t.Context()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			tx.Rollback(t.Context())
			if n := count(t, pool); n != map[bool]int{false: 0, true: 2}[keep] {
				t.Errorf("%s: %d rows, kept %v", name, n, keep)
			}
		}
		if _, err := pool.Exec(t.Context(), `DELETE FROM shelf.things`); err != nil {
			t.Fatal(err)
		}
	}
	if n := pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d sessions were kept", n)
	}
}

func TestATransactionThatFails(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.New(t))
	// The error of a failed statement that was ignored appears at the end.
	err := pg.InTx(t.Context(), pool, func(tx *pg.Tx) error {
		_, _ = tx.Exec(t.Context(), `SELECT 1/0`)
		return nil
	})
	if !errors.Is(err, pgx.ErrTxCommitRollback) || pg.CommitUnknown(err) {
		t.Errorf("committed after a failure: %v", err)
	}
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO shelf.things VALUES (1, 'tea')`)
	b.Queue(`SELECT 1/0`)
	err = pg.InTx(t.Context(), pool, func(tx *pg.Tx) error { return tx.SendBatch(t.Context(), b).Close() })
	if pg.Code(err) != "22012" || count(t, pool) != 0 {
		t.Errorf("a batch that fails: %v, and %d rows", err, count(t, pool))
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := pg.InTx(gone, pool, func(*pg.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("begun after the end: %v", err)
	}
	if n := pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d sessions were kept", n)
	}
	if err := pg.InTx(t.Context(), pool, func(*pg.Tx) error { return nil }); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
}

func TestCommitIsSentWithTheLastStatement(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool, admin := open(t, db), open(t, db)
	batch := func(statements ...string) *pgx.Batch {
		b := &pgx.Batch{}
		for _, s := range statements {
			b.Queue(s)
		}
		return b
	}
	const insert = `INSERT INTO shelf.things VALUES (1, 'tea')`
	for name, c := range map[string]struct {
		first, last []string
		before      func(*pg.Tx) error
		want        int
		code        string
	}{
		"all in one":         {nil, []string{insert}, nil, 1, ""},
		"two":                {[]string{insert}, []string{`INSERT INTO shelf.things VALUES (2, 'coffee')`}, nil, 2, ""},
		"nothing more to do": {[]string{insert}, nil, nil, 1, ""},
		"refused":            {[]string{insert}, []string{`SELECT 1/0`}, nil, 0, "22012"},
		"refused by COMMIT":  {nil, []string{`INSERT INTO shelf.once VALUES (1), (1)`}, nil, 0, "23505"},
		"the session ended": {[]string{insert}, []string{`INSERT INTO shelf.things VALUES (2, 'coffee')`}, func(tx *pg.Tx) error {
			var pid int
			if err := tx.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
				return err
			}
			_, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend($1, 5000)`, pid)
			return err
		}, 0, "57P01"},
	} {
		if _, err := admin.Exec(t.Context(), `DELETE FROM shelf.things; CREATE TABLE IF NOT EXISTS shelf.once (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)`); err != nil {
			t.Fatal(err)
		}
		tx, err := pg.Begin(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.first) > 0 {
			if err := tx.SendBatch(t.Context(), batch(c.first...)).Close(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if c.before != nil {
			if err := c.before(tx); err != nil {
				t.Fatal(err)
			}
		}
		err = tx.CommitWith(t.Context(), batch(c.last...))
		tx.Rollback(t.Context())
		if pg.CommitUnknown(err) || pg.Code(err) != c.code || (err == nil) != (c.code == "") {
			t.Errorf("%s: %v", name, err)
		}
		if n := count(t, admin); n != c.want {
			t.Errorf("%s: %d rows, want %d", name, n, c.want)
		}
	}
	// One that has ended is let go a moment later.
	waittest.Eventually(t, "no session is kept", func() bool { return pool.Stat().AcquiredConns() == 0 })
}
