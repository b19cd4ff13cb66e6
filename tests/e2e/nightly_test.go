package e2e

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
)

// The nightly checks as Compose runs them, beside each other: billing waits for catalog's books. Each has the database password of its service only.
func TestNightlyChecks(t *testing.T) {
	t.Parallel()
	s := startShop(t, nil)
	u := s.newUser(t)
	bill, product := s.bill(t, u, "10"), s.product(t, "a candle", "1")
	u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))

	file := filepath.Join(t.TempDir(), "catalog")
	at := time.Now().UTC().Add(-time.Hour).Format("15:04")
	nightly := map[string]*waittest.Text{}
	var stop []func()
	for _, service := range []string{stack.Billing, stack.Auth, stack.Catalog} {
		args := []string{"verify", "--daily", at}
		if service != stack.Auth {
			args = append(args, "--books", file)
		}
		cmd, log := s.Command(t.Context(), service, args...), new(waittest.Text)
		cmd.Stdout, cmd.Stderr, cmd.Env = log, log, append(cmd.Env, "INTERNAL_ADDR=127.0.0.1:0")
		must(t, cmd.Start())
		nightly[service] = log
		stop = append(stop, func() {
			must(t, cmd.Process.Signal(syscall.SIGTERM))
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s verify, stopped: %v\n%s", service, err, log.String())
			}
		})
	}
	for service, says := range map[string]string{
		stack.Auth: "auth's schema is complete", stack.Catalog: "catalog's books are in " + file, stack.Billing: "catalog and billing agree on",
	} {
		waittest.Eventually(t, service+" has made its checks", func() bool { return strings.Contains(nightly[service].String(), says) })
	}
	for _, f := range stop {
		f()
	}
	for service, log := range nightly {
		if strings.Contains(log.String(), "ERROR") {
			t.Errorf("%s: %s", service, log.String())
		}
	}
	waittest.Eventually(t, "the replicas show the results", func() bool {
		exposed := s.metrics(t)
		return exposed.Has("auth_verify_ok") && exposed.Has("catalog_verify_ok") && exposed.Has("billing_ledger_verify_ok") && exposed.Has("billing_books_verify_ok")
	})
}
