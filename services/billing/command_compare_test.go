package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/contract/books"
	"lavka/libs/service/config"
	"lavka/libs/service/program"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

const purchase = "019ac000-0000-7000-8000-000000000001"

// bought is a purchase that catalog has, and that shop's billing has charged.
var bought = books.Entry{PurchaseID: purchase, UserID: 1, BillID: 7, Minor: 400, Outcome: books.Settled, TransactionID: 5, Due: true}

// charged returns the settings of a billing that has charged a purchase, and a session
// of the superuser.
func charged(t *testing.T) (Config, *pgx.Conn) {
	t.Helper()
	db := pgtest.New(t)
	admin := pgtest.Connect(t, db.AdminURL())
	for _, sql := range []string{
		`INSERT INTO billing.customers (user_id, role, status) VALUES (1, 'user', 'active')`,
		`INSERT INTO billing.bills (id, user_id, balance) VALUES (7, 1, 600)`,
		`INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id) VALUES (4, 7, 1, 1000, 1000, 99)`,
		`INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, purchase_id) VALUES (5, 7, 1, -400, 600, '` + purchase + `')`,
		`INSERT INTO billing.charges (purchase_id, outcome, transaction_id, balance, bill_id, user_id, amount) VALUES ('` + purchase + `', 'settled', 5, 600, 7, 1, 400)`,
		`SELECT setval('billing.transaction_ids', 100)`,
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	return Config{Common: config.Common{InternalAddr: "127.0.0.1:0", DatabaseURL: config.Hide(db.URL("billing")), LogLevel: "info", LogFormat: "json"}}, admin
}

// written returns catalog's books.
func written(t *testing.T, at time.Time, entries ...books.Entry) []byte {
	t.Helper()
	var text bytes.Buffer
	w, err := books.NewWriter(&text, books.Catalog, at)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

func changed(e books.Entry, change func(*books.Entry)) books.Entry {
	change(&e)
	return e
}

func TestCompare(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		books []byte
		sql   string // in billing, before
		out   string
		err   string
		kept  string // the recorded difference; "no run" for none, empty for a run without a difference
	}{
		"they agree":               {written(t, now, bought), "", "catalog and billing agree on 1 purchases and 0 refunds\n", "", ""},
		"the charge is undone":     {written(t, now, bought), "TRUNCATE billing.charges", "", "catalog and billing differ: purchase " + purchase + " of user 1 is completed in catalog, with transaction 5, but billing has no charge for it", "billing has no charge for it"},
		"another price":            {written(t, now, changed(bought, func(e *books.Entry) { e.Minor = 399 })), "", "", "399 minor units", "399 minor units"},
		"the purchase is lost":     {written(t, now), "", "", "catalog does not have that purchase", "catalog does not have that purchase"},
		"of the night before":      {written(t, now.Add(-24*time.Hour), bought), "", "", "catalog's books are from ", "no run"},
		"of half a night ago":      {written(t, now.Add(-6*time.Hour), bought), "", "catalog and billing agree on 1 purchases and 0 refunds\n", "", ""},
		"cut off":                  {written(t, now, bought)[:120], "", "", "can't be read after 0 entries", "no run"},
		"without the last line":    {bytes.SplitAfter(written(t, now, bought), []byte("true}\n"))[0], "", "", "without their last line: the command was interrupted", "no run"},
		"empty":                    {nil, "", "", "catalog's books are empty", "no run"},
		"it can't be recorded":     {written(t, now, bought), "REVOKE INSERT ON billing.comparisons FROM billing; REVOKE INSERT (took, difference) ON billing.comparisons FROM billing", "catalog and billing agree on 1 purchases and 0 refunds\n", "", "no run"},
		"billing's can't be read":  {written(t, now, bought), "REVOKE SELECT ON billing.refunds FROM billing", "", "permission denied", "no run"},
		"a thousand that are lost": {written(t, now, bought), "INSERT INTO billing.charges (purchase_id, outcome, transaction_id, balance, bill_id, user_id, amount) SELECT ('019ac000-0000-7000-9000-' || lpad(n::text, 12, '0'))::uuid, 'settled', n, 1, 7, 1, 400 FROM generate_series(1000, 1999) n", "", "(the first of 20 differences in the log)", "019ac000-0000-7000-9000-000000001000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, admin := charged(t)
			if _, err := admin.Exec(t.Context(), c.sql); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "catalog")
			if err := os.WriteFile(file, c.books, 0o600); err != nil {
				t.Fatal(err)
			}
			for n, from := range []string{file, "-"} {
				var out, log bytes.Buffer
				err := run(t.Context(), cfg, []string{"compare", from}, program.Streams{In: bytes.NewReader(c.books), Out: &out, Err: &log})
				if out.String() != c.out || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("from %s: %q, %v", from, out.String(), err)
				}
				if differs := c.kept != "" && c.kept != "no run"; strings.Contains(log.String(), `"level":"ERROR"`) != differs {
					t.Errorf("from %s, the log is %s", from, log.String())
				}
				var runs int
				var kept string
				if err := admin.QueryRow(t.Context(), `SELECT count(*), coalesce(max(difference), '') FROM billing.comparisons WHERE took > '0'`).Scan(&runs, &kept); err != nil {
					t.Fatal(err)
				}
				if want := n + 1; c.kept == "no run" && runs != 0 || c.kept != "no run" && (runs != want || !strings.Contains(kept, c.kept) || (kept == "") != (c.kept == "")) {
					t.Errorf("from %s: %d runs are recorded, with the difference %q", from, runs, kept)
				}
			}
		})
	}
}

func TestCompareNeedsAFile(t *testing.T) {
	t.Parallel()
	cfg, _ := charged(t)
	for args, says := range map[string]string{
		"compare":     "usage: compare FILE",
		"compare a b": "usage: compare FILE",
		"compare " + filepath.Join(t.TempDir(), "none"): "catalog's books are missing",
		"compare " + t.TempDir():                        "catalog's books are empty",
		"verify --books":                                "flag needs an argument",
	} {
		err := run(t.Context(), cfg, strings.Fields(args), program.Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// The daily run checks the ledger at once, waits for catalog's books, and stops when it
// is told to. Started again, it does nothing more in that night.
func TestVerifyDaily(t *testing.T) {
	t.Parallel()
	cfg, admin := charged(t)
	file := filepath.Join(t.TempDir(), "catalog")
	start := func() (log *waittest.Text, stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		log, ended := new(waittest.Text), make(chan error, 1)
		go func() {
			ended <- run(ctx, cfg, []string{"verify", "--daily", time.Now().UTC().Add(-time.Hour).Format("15:04"), "--books", file}, program.Streams{In: strings.NewReader(""), Out: io.Discard, Err: log})
		}()
		return log, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("stopped: %v", err)
			}
		}
	}
	count := func(table string) (n int) {
		t.Helper()
		if err := admin.QueryRow(t.Context(), `SELECT count(*) FROM billing.`+table+` WHERE difference IS NULL`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	log, stop := start()
	waittest.Eventually(t, "the ledger is verified", func() bool { return count("verifications") == 1 })
	waittest.Eventually(t, "it waits for the books", func() bool { return strings.Contains(log.String(), "catalog's books are missing") })
	stop()
	if err := os.WriteFile(file, written(t, time.Now(), bought), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		log, stop = start()
		waittest.Eventually(t, "the books are compared", func() bool { return count("comparisons") == 1 })
		waittest.Eventually(t, "the ledger was verified", func() bool { return strings.Contains(log.String(), "its result is there already") })
		stop()
	}
	if v, c := count("verifications"), count("comparisons"); v != 1 || c != 1 {
		t.Errorf("%d verifications and %d comparisons in one night", v, c)
	}
	if strings.Contains(log.String(), `"level":"ERROR"`) {
		t.Error(log.String())
	}

	// The next night finds a charge that was undone.
	for _, sql := range []string{`UPDATE billing.verifications SET at = at - interval '1 day'`, `UPDATE billing.comparisons SET at = at - interval '1 day'`, `TRUNCATE billing.charges`} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	log, stop = start()
	waittest.Eventually(t, "both find it", func() bool {
		return strings.Count(log.String(), `"msg":"the nightly task failed"`) == 2 && strings.Contains(log.String(), "the ledger does not add up: bill 7") &&
			strings.Contains(log.String(), "billing has no charge for it")
	})
	stop()
}
