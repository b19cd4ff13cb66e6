package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lavka/deploy/local/stack"
	"lavka/libs/host/pgserver"
)

// undone is what a restore undoes: a user who registered after the backup, whom the
// provider credited.
type undone struct {
	*user
	payment []byte
}

func (s *shopUnderTest) willBeUndone(t *testing.T) undone {
	t.Helper()
	anna := undone{user: s.newUser(t)}
	bill := s.bill(t, anna.user, "5")
	anna.payment = s.payment(newPayment(), anna.id, bill, "500")
	provider := &client{base: s.Replicas(stack.Billing)[0].URL()}
	provider.want(t, 200, "", "POST", "/payment/webhook", anna.payment)
	if b := anna.balance(t, bill); b != "505" {
		t.Fatalf("the balance is %s, want 505", b)
	}
	return anna
}

// keepsApart checks, after a restore, that a newcomer is not taken for the user who
// was undone: not by the provider, who sends the payment again, and not by the old
// token. earlier is a user whom the backup has; their tokens and session have ended.
func (s *shopUnderTest) keepsApart(t *testing.T, anna undone, earlier *user) {
	t.Helper()
	earlier.base, anna.base = s.GatewayURL(), s.GatewayURL()
	for _, path := range protected {
		earlier.want(t, 401, "token_invalid", "GET", path, nil)
	}
	earlier.want(t, 401, "refresh_token_invalid", "POST", "/auth/refresh", map[string]any{"refresh_token": earlier.refresh})
	earlier.logIn(t)
	s.admitted(t, earlier)

	mallory := s.newUser(t)
	if mallory.id == anna.id || mallory.id < 1_000_000_000 || mallory.id >= 1<<53 {
		t.Errorf("the newcomer has the id %d, after %d", mallory.id, anna.id)
	}
	provider := &client{base: s.Replicas(stack.Billing)[0].URL()}
	s.pay(t, mallory.id, 4711, "1") // so that billing knows the newcomer when the old payment arrives
	provider.want(t, 404, "user_not_found", "POST", "/payment/webhook", anna.payment)
	if list := pages(t, mallory.client, "/bills", 100); len(list) != 1 {
		t.Errorf("the newcomer has %d bills, want the one of their own", len(list))
	}
	if b := mallory.balance(t, 4711); b != "1" {
		t.Errorf("the newcomer has %s, want 1", b)
	}
	for _, path := range protected {
		anna.want(t, 401, "token_invalid", "GET", path, nil)
	}
	must(t, s.verify(t.Context()))
	for _, service := range []string{stack.Auth, stack.Catalog} {
		if out, err := s.Command(t.Context(), service, "verify").CombinedOutput(); err != nil {
			t.Errorf("%s verify: %v: %s", service, err, out)
		}
	}
}

// The drill in docs/operations.md with a dump. NATS's store is from before the
// restore, although it should not be kept: it has the user who was undone, and users
// with the versions of before.
func TestRestoreOfADump(t *testing.T) {
	t.Parallel()
	s := startShop(t, nil)
	earlier := s.newUser(t)
	bin, err := pgserver.FindBinaries()
	must(t, err)
	dump := filepath.Join(t.TempDir(), "lavka.dump")
	if out, err := exec.CommandContext(t.Context(), filepath.Join(bin.Dir, "pg_dump"), "--format=custom", "--file="+dump, s.AdminDatabaseURL()).CombinedOutput(); err != nil {
		t.Fatalf("dump: %v: %s", err, out)
	}
	anna := s.willBeUndone(t)
	must(t, s.Stop())

	data := filepath.Join(t.TempDir(), "data")
	cfg := stack.Config{BinDir: binDir, DataDir: data, Volatile: true}
	if err := stack.Restore(t.Context(), cfg, dump); err == nil || !strings.Contains(err.Error(), "secrets.json is missing: copy it from the backup") {
		t.Errorf("without the secrets: %v", err)
	}
	must(t, os.MkdirAll(data, 0o700))
	for _, name := range []string{"secrets.json", "signing-keys.json"} {
		text, err := os.ReadFile(filepath.Join(s.data, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(data, name), text, 0o600))
	}
	must(t, os.CopyFS(filepath.Join(data, "nats"), os.DirFS(filepath.Join(s.data, "nats"))))
	if err := stack.Restore(t.Context(), cfg, filepath.Join(data, "secrets.json")); err == nil || !strings.Contains(err.Error(), "can't be read as a dump") {
		t.Errorf("not a dump: %v", err)
	}
	must(t, stack.Restore(t.Context(), cfg, dump))
	if err := stack.Restore(t.Context(), cfg, dump); err == nil || !strings.Contains(err.Error(), "already holds a shop") {
		t.Errorf("over a shop: %v", err)
	}
	restored := startShop(t, func(c *stack.Config) { c.DataDir = data })
	restored.keepsApart(t, anna, earlier)
	if n := fmt.Sprint(restored.database(t, stack.Auth)(`SELECT count(*) FROM auth.users WHERE token_version > 1000000`)); n != "2" {
		t.Errorf("%s users have a new token version, want the admin and the earlier user", n)
	}
}
