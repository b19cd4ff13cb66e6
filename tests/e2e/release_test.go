package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
)

// During a rollout, and after a rollback, the previous release works on this release's schema and with this release's services.
// The file RELEASE names the previous release.
func TestTheReleaseBefore(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root + "/RELEASE")
	must(t, err)
	name, commit, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	before := t.TempDir()
	unpack := exec.CommandContext(t.Context(), "sh", "-c", `git -C "$0" archive "$1" | tar -x -C "$2"`, root, commit, before)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("unpack the sources of %s: %v: %s", name, err, out)
	}
	bin := filepath.Join(t.TempDir(), "bin")
	must(t, stack.Build(t.Context(), before, bin, true))

	t.Run("on this schema", func(t *testing.T) {
		data := filepath.Join(t.TempDir(), "data")
		s := startShop(t, func(c *stack.Config) { c.DataDir = data })
		u := s.newUser(t)
		bill, product := s.bill(t, u, "10"), s.product(t, "a bell", "1")
		u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
		must(t, s.Stop())

		old := startShop(t, func(c *stack.Config) { c.DataDir, c.BinDir = data, bin })
		u.base = old.GatewayURL()
		u.logIn(t)
		u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
		old.pay(t, u.id, bill, "5")
		if b := u.balance(t, bill); b != "13" {
			t.Errorf("the balance is %s, want 13", b)
		}
		late := old.newUser(t)
		old.bill(t, late, "1")
		old.disable(t, late)
		must(t, old.verify(t.Context()))

		// The release before never says that it can do its work. A replica of this one
		// that can't leaves its place to it, and one that can is ready at once.
		conn, err := pgx.Connect(t.Context(), old.AdminDatabaseURL())
		must(t, err)
		defer conn.Close(context.WithoutCancel(t.Context()))
		_, err = conn.Exec(t.Context(), `TRUNCATE billing.serving`) // as if only the release before had ever run
		must(t, err)
		unable(t, old.beside(t, filepath.Join(binDir, stack.Billing), stack.Billing, map[string]string{"NATS_STREAM_REPLICAS": "3"}), "may be able to")

		// While the release before runs, the gate for new kinds of rows can't be opened.
		finish := exec.CommandContext(t.Context(), filepath.Join(binDir, stack.Billing), "migrate", "finish")
		finish.Env = append(os.Environ(), "MIGRATE_DATABASE_URL="+old.DatabaseURL("billing_owner"))
		if out, err := finish.CombinedOutput(); err == nil || !strings.Contains(string(out), "(billing ledger)") {
			t.Errorf("billing migrate finish beside the release before: %v: %s", err, out)
		}
		newcomer := old.beside(t, filepath.Join(binDir, stack.Billing), stack.Billing, nil)
		waittest.Eventually(t, "one that can is ready", func() bool {
			a, err := (&client{base: newcomer}).plain(t.Context(), "/readyz")
			return err == nil && a.status == 200
		})
	})
	for _, service := range stack.Services() {
		t.Run("its "+service+" beside the others of this one", func(t *testing.T) {
			mixed := t.TempDir()
			for _, binary := range stack.Services() {
				from := binDir
				if binary == service {
					from = bin
				}
				must(t, os.Symlink(filepath.Join(from, binary), filepath.Join(mixed, binary)))
			}
			beside(t, startShop(t, func(c *stack.Config) { c.BinDir = mixed }))
		})
	}
}

// beside makes many purchases at once, so that they share messages where releases
// allow it: no purchase waits for the sweeper, and no message is rejected as unreadable.
func beside(t *testing.T, s *shopUnderTest) {
	const times, atOnce = 3, 48
	u := s.newUser(t)
	bill, product := s.bill(t, u, "1000"), s.product(t, "a bell", "1")
	for range times {
		var all sync.WaitGroup
		for range atOnce {
			all.Go(func() {
				if a, err := u.do(t.Context(), "POST", "/purchases", purchaseOf(product, bill)); err != nil || a.status != 201 {
					t.Errorf("%s, %v", a, err)
				}
			})
		}
		all.Wait()
	}
	s.pay(t, u.id, bill, "44")
	if b := u.balance(t, bill); b != "900" {
		t.Errorf("the balance is %s", b)
	}
	conn, err := pgx.Connect(t.Context(), s.AdminDatabaseURL())
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	kept := -1
	must(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM billing.rejected_messages`).Scan(&kept))
	if kept != 0 {
		t.Errorf("billing rejected %d messages as unreadable, want none", kept)
	}
	must(t, s.verify(t.Context()))
}
