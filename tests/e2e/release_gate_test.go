package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/deploy/local/stack"
	"lavka/libs/service/standardwebhooks"
	"lavka/libs/testkit/waittest"
	"lavka/tests/faults/books"
	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
	"lavka/tests/faults/load"
)

// opensUnderLoad has the release before serve beside this one, on a schema whose gate for
// new kinds of rows is closed. Under load, nothing of a new kind is written until the
// last replica of the release before is gone and the gate is open. Then it is.
func opensUnderLoad(t *testing.T, before string) {
	ctx := t.Context()
	s := startShop(t, func(c *stack.Config) {
		c.Env = map[string]string{"DECLINES_MAX_PER_USER": "1000000"} // the load's buyers are often declined
	})
	conn, err := pgx.Connect(ctx, s.AdminDatabaseURL())
	must(t, err)
	defer conn.Close(context.WithoutCancel(ctx))
	for _, service := range stack.Services() { // as after an upgrade
		_, err := conn.Exec(ctx, `UPDATE `+service+`.opened SET level = 0`)
		must(t, err)
		must(t, s.Replicas(service)[0].Restart(ctx))
	}
	old := map[string]*process{}
	for _, service := range stack.Services() {
		old[service] = s.beside(t, filepath.Join(before, service), service, nil).awaitReady(t)
	}

	keys, err := standardwebhooks.ParseKeys(s.PaymentSigningSecrets[0])
	must(t, err)
	rec := history.NewRecorder()
	target := load.Target{
		Gateway: s.GatewayURL(), Billing: []string{s.Replicas(stack.Billing)[0].URL()}, Catalog: []string{s.Replicas(stack.Catalog)[0].URL()},
		PaymentKey: s.PaymentKeys[0], SigningKey: keys[0], AdminLogin: s.AdminLogin, AdminPassword: s.AdminPassword,
	}
	accounts, err := load.Register(ctx, target, rec, 4)
	must(t, err)
	world, err := load.New(ctx, load.Config{Target: target, Accounts: accounts, Recorder: rec, Seed: 1, Serial: 5000})
	must(t, err)
	u := s.newUser(t)
	bill, product := s.bill(t, u, "1"), s.product(t, "a bell", "1")

	loaded, unload := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { world.Run(loaded, load.Usual) })
	defer running.Wait()
	defer unload()
	withOld, withoutOld := context.WithCancel(ctx)
	defer withoutOld()
	var bought []answer // through the release before
	var buying sync.WaitGroup
	buying.Go(func() {
		through, provider := &client{base: old[stack.Catalog].url, token: u.token}, &client{base: old[stack.Billing].url}
		for withOld.Err() == nil {
			a, err := provider.do(ctx, "POST", "/payment/webhook", s.payment(newPayment(), u.id, bill, "1"))
			if err != nil || a.status != 200 {
				t.Errorf("a payment to the release before: %s, %v", a, err)
			}
			a, err = through.do(ctx, "POST", "/purchases", purchaseOf(product, bill))
			if err != nil || a.status != 201 && a.status != 202 {
				t.Errorf("a purchase from the release before: %s, %v", a, err)
				return
			}
			bought = append(bought, a)
		}
	})

	const enough, closed = 5, "not_open_yet"
	waittest.Eventually(t, "refunds and reversals are refused while the gate is closed", func() bool {
		return rec.Reached(func(h history.History) bool {
			return min(count(h.Refunds, func(r history.Refund) bool { return r.Code == closed }), count(h.Reversals, func(r history.Reversal) bool { return r.Code == closed })) >= enough
		})
	})
	finish := func(service string) error {
		if out, err := s.asOwner(t, service, "migrate", "finish").CombinedOutput(); err != nil {
			return fmt.Errorf("%s migrate finish: %w: %s", service, err, out)
		}
		return nil
	}
	for _, service := range stack.Services() {
		if finish(service) == nil {
			t.Errorf("%s migrate finish opens the gate while the release before is connected", service)
		}
	}
	withoutOld()
	buying.Wait()
	for _, service := range stack.Services() {
		old[service].stop(t)
	}
	written := 0
	must(t, conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM catalog.refunds) + (SELECT count(*) FROM billing.refunds) + (SELECT count(*) FROM billing.reversals)
		+ (SELECT count(*) FROM catalog.stock) + (SELECT count(*) FROM catalog.stock_changes) + (SELECT count(*) FROM catalog.purchases WHERE quantity IS NOT NULL)`).Scan(&written))
	if written != 0 {
		t.Errorf("%d rows of a new kind were written while the gate was closed", written)
	}
	for _, service := range []string{stack.Auth, stack.Billing, stack.Catalog} {
		must(t, finish(service))
	}
	waittest.Eventually(t, "refunds and reversals are decided, and the shelf is open, once the gate is", func() bool {
		return rec.Reached(func(h history.History) bool {
			return min(
				count(h.Refunds, func(r history.Refund) bool { return r.Status == 201 }),
				count(h.Reversals, func(r history.Reversal) bool { return r.Status == 200 }),
				count(h.Buys, func(b history.Buy) bool { return b.Status == 201 && b.Quantity > 1 }),
				count(h.Stockings, func(c history.Stocking) bool { return c.Status == 201 })) >= enough
		})
	})
	unload()
	running.Wait()

	settling, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	must(t, world.Finish(settling))
	for _, a := range bought {
		if end := settled(t, u, a); end != "completed" {
			t.Errorf("a purchase from the release before ended as %s", end)
		}
	}
	if b := u.balance(t, bill); b != "1" || len(bought) == 0 {
		t.Errorf("the balance is %s after %d purchases from the release before, want 1", b, len(bought))
	}
	waittest.Eventually(t, "nothing is pending", func() bool {
		pending := -1
		err := conn.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM catalog.purchases WHERE status = 'pending') + (SELECT count(*) FROM catalog.refunds WHERE status = 'pending')
				+ (SELECT count(*) FROM auth.users u LEFT JOIN billing.customers c ON c.user_id = u.id WHERE c.version IS DISTINCT FROM u.version)`).Scan(&pending)
		return err == nil && pending == 0
	})
	from, to := world.Range()
	b, err := books.Read(ctx, s.AdminDatabaseURL(), from, to)
	must(t, err)
	for _, v := range check.Check(rec.History().Within(from, to), b, check.Options{Expiry: 15 * time.Minute}) {
		t.Error(v)
	}
	must(t, s.verify(ctx))
}

func count[T any](all []T, match func(T) bool) (n int) {
	for _, one := range all {
		if match(one) {
			n++
		}
	}
	return n
}
