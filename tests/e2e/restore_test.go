package e2e

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/deploy/local/stack"
	"lavka/libs/host/pgserver"
	"lavka/libs/testkit/waittest"
)

const restore = root + "/deploy/postgres/restore"

// The drill in docs/operations.md: an operator's mistake destroys data, and a base backup plus the WAL restore the shop to the moment before it. Purchases
// that were pending at that moment are settled, and the ledger adds up.
func TestRestoreToAPointInTime(t *testing.T) {
	t.Parallel()
	wal, err := os.MkdirTemp("", "wal-*") // the server's account can't enter t.TempDir()
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(wal)) })
	must(t, os.Chmod(wal, 0o777))
	s := startShop(t, func(c *stack.Config) {
		c.Volatile = false
		c.PostgresSettings = map[string]string{"archive_mode": "on", "archive_command": "test ! -f " + wal + "/%f && cp %p " + wal + "/%f"}
		c.Catalog.Env = map[string]string{"PURCHASE_WAIT": "500ms"}
	})
	u := s.newUser(t)
	bill, product := s.bill(t, u, "100"), s.product(t, "a spoon", "1")
	buy := func(times int) (all []answer) {
		t.Helper()
		for range times {
			a := u.call(t, "POST", "/purchases", purchaseOf(product, bill))
			if a.status != 201 && a.status != 202 {
				t.Fatalf("POST /purchases: %s", a)
			}
			all = append(all, a)
		}
		return all
	}
	completed := func(all []answer) {
		t.Helper()
		for _, a := range all {
			if end := settled(t, u, a); end != "completed" {
				t.Errorf("a purchase ended as %s", end)
			}
		}
	}
	completed(buy(5))
	admin, err := pgx.Connect(t.Context(), s.AdminDatabaseURL())
	must(t, err)
	defer admin.Close(t.Context())
	backup := filepath.Join(t.TempDir(), "backup")
	bin, err := pgserver.FindBinaries()
	must(t, err)
	primary, err := url.Parse(s.AdminDatabaseURL())
	must(t, err)
	primary.Path, primary.RawQuery = "", ""
	copying := exec.CommandContext(t.Context(), filepath.Join(bin.Dir, "pg_basebackup"), "--pgdata="+backup, "--dbname="+primary.String(), "--checkpoint=fast")
	copying.Env = pgserver.Environment()
	if out, err := copying.CombinedOutput(); err != nil {
		t.Fatalf("back up: %v: %s", err, out)
	}
	completed(buy(3)) // only in the WAL
	must(t, s.Replicas(stack.Billing)[0].Crash())
	pending := buy(4)
	for _, a := range pending {
		if a.status != 202 {
			t.Fatalf("POST /purchases without billing: %s, want 202", a)
		}
	}
	run := func(sql string) {
		t.Helper()
		_, err := admin.Exec(t.Context(), sql)
		must(t, err)
	}
	run(`SELECT pg_create_restore_point('before the mistake')`)
	run(`DELETE FROM billing.transactions`)
	must(t, s.Replicas(stack.Billing)[0].Start(t.Context()))
	for _, a := range pending {
		settled(t, u, a)
	}
	anna := s.willBeUndone(t)
	if s.verify(t.Context()) == nil {
		t.Error("billing verify does not detect the destroyed data")
	}
	var last string
	must(t, admin.QueryRow(t.Context(), `SELECT pg_walfile_name(pg_switch_wal())`).Scan(&last))
	waittest.Eventually(t, "the WAL is archived", func() bool {
		_, err := os.Stat(filepath.Join(wal, last))
		return err == nil
	})
	must(t, s.Stop())

	// A new data directory: the restored database, and the secrets, which are backed up separately. NATS's store is not backed up.
	data := filepath.Join(t.TempDir(), "data")
	must(t, os.MkdirAll(filepath.Join(data, "postgres"), 0o700))
	for _, name := range []string{"secrets.json", "signing-keys.json", "postgres/password"} {
		text, err := os.ReadFile(filepath.Join(s.data, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(data, name), text, 0o600))
	}
	if out, err := exec.CommandContext(t.Context(), restore, backup, wal, filepath.Join(data, "postgres", "data"), "before the mistake").CombinedOutput(); err != nil {
		t.Fatalf("restore: %v: %s", err, out)
	}
	restored := startShop(t, func(c *stack.Config) { c.DataDir, c.Volatile = data, false })
	restored.keepsApart(t, anna, u)
	for _, a := range pending {
		if end := settled(t, u, a); end != "completed" {
			t.Errorf("a purchase that was pending ended as %s, want completed", end)
		}
	}
	if n := len(pages(t, u.client, "/purchases?status=completed", 100)); n != 12 {
		t.Errorf("%d purchases are completed, want 12", n)
	}
	if b := u.balance(t, bill); b != "88" {
		t.Errorf("the balance is %s, want 88", b)
	}
	must(t, restored.verify(t.Context()))
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	backup, wal, there := filepath.Join(dir, "backup"), filepath.Join(dir, "wal"), filepath.Join(dir, "there")
	for _, d := range []string{backup, wal, there} {
		must(t, os.Mkdir(d, 0o700))
	}
	for _, c := range []struct {
		args []string
		told string
	}{
		{[]string{backup, wal}, "usage: restore BACKUP WAL DATA [TARGET]"},
		{[]string{backup, filepath.Join(dir, "none"), filepath.Join(dir, "new")}, "is not a directory"},
		{[]string{wal, wal, filepath.Join(dir, "new")}, "is not a base backup"},
		{[]string{backup, wal, there}, "already exists"},
		{[]string{backup, wal, filepath.Join(dir, "new"), "it's"}, "must not contain a single quote"},
	} {
		for _, name := range []string{"PG_VERSION", "backup_manifest"} {
			must(t, os.WriteFile(filepath.Join(backup, name), []byte("15\n"), 0o600))
		}
		out, err := exec.Command(restore, c.args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.told) {
			t.Errorf("%v: %v, %s", c.args, err, out)
		}
		if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
			t.Errorf("%v: refused, but wrote data", c.args)
		}
	}
}
