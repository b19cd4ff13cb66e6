package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/services/billing/internal/postgres"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Setup: pgtest.Service(postgres.Schema, postgres.Migrations)})
}

// Verify records its result, for the metrics. If the database is read-only, the
// output is the same and only the record is missing.
func TestVerifyRecordsItsResult(t *testing.T) {
	t.Parallel()
	const addsUp = "the ledger adds up: 1 bills, 0 transactions, 0 charges"
	for name, c := range map[string]struct {
		sql        string
		out        string
		differs    bool
		kept       int
		logs       string // part of the log
		difference string
	}{
		"it adds up":                {"SELECT", addsUp, false, 1, "", ""},
		"it does not add up":        {"UPDATE billing.bills SET balance = 5", "", true, 1, "", "the ledger does not add up: bill 7: its balance is 5 and its transactions sum to 0"},
		"the database is read-only": {"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$", addsUp, false, 0, "could not be recorded", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			admin, err := pgx.Connect(t.Context(), db.AdminURL())
			if err != nil {
				t.Fatal(err)
			}
			defer admin.Close(context.WithoutCancel(t.Context()))
			for _, sql := range []string{`INSERT INTO billing.customers (user_id, role, status) VALUES (1, 'user', 'active')`, `INSERT INTO billing.bills (id, user_id) VALUES (7, 1)`, c.sql} {
				if _, err := admin.Exec(t.Context(), sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			pool, err := pg.Open(t.Context(), db.URL("billing"), "billing verify", 1)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			var log bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&log, nil))
			pools := pg.OnePool(pool)
			defer pools.Close()
			store := postgres.New(pools, pool, logger)
			out, err := verify(t.Context(), store, time.Now(), logger)
			if errors.Is(err, postgres.ErrDifference) != c.differs || (err != nil) != c.differs || err == nil && out != c.out {
				t.Errorf("%q, %v", out, err)
			}
			if !strings.Contains(log.String(), c.logs) || (c.logs == "") != (log.Len() == 0) {
				t.Errorf("the log is %q", log.String())
			}
			var kept int
			var difference string
			if err := admin.QueryRow(t.Context(), `SELECT count(*), coalesce(max(difference), '') FROM billing.verifications WHERE took > '0'`).Scan(&kept, &difference); err != nil {
				t.Fatal(err)
			}
			if kept != c.kept || difference != c.difference {
				t.Errorf("%d runs are recorded, with the difference %q", kept, difference)
			}
		})
	}
}
