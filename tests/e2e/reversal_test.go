package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/deploy/local/payment"
	"lavka/deploy/local/stack"
	"lavka/libs/service/standardwebhooks"
	"lavka/libs/testkit/waittest"
)

// reversal returns a signed reversal, as a body and the headers for client.do.
func (s *shopUnderTest) reversal(t *testing.T, id, of int64, total string) ([]byte, []string) {
	t.Helper()
	keys, err := standardwebhooks.ParseKeys(s.PaymentSigningSecrets[0])
	must(t, err)
	header, body := payment.SignedReversal(keys[0], id, of, total)
	var pairs []string
	for name := range header {
		pairs = append(pairs, name, header.Get(name))
	}
	return body, pairs
}

// Fifty reversals of one payment at once, beside purchases with the same money: the
// provider may send them in any order and twice, and no bill goes below zero.
func TestReversalsBesidePurchases(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	bill, product := shop.bill(t, u, "1"), shop.product(t, "a bell", "7")
	paid := newPayment()
	gateway := &client{base: shop.GatewayURL()}
	early, signed := shop.reversal(t, paid, paid, "10")
	gateway.want(t, 404, "payment_not_found", "POST", "/payment/reversals", early, signed...)
	gateway.want(t, 200, "", "POST", "/payment/webhook", shop.payment(paid, u.id, bill, "500"))

	var all sync.WaitGroup
	var bought atomic.Int64
	for i := range int64(50) {
		all.Go(func() {
			body, signed := shop.reversal(t, paid+1_000_000*(i/2), paid, fmt.Sprint(10*(i/2+1))) // each twice
			if a := gateway.call(t, "POST", "/payment/reversals", body, signed...); a.status != 200 {
				t.Errorf("reversal %d: %s", i, a)
			}
		})
		all.Go(func() {
			switch a := u.call(t, "POST", "/purchases", purchaseOf(product, bill)); a.status {
			case 201:
				bought.Add(1)
			case 402:
			default:
				t.Errorf("a purchase: %s", a)
			}
		})
	}
	all.Wait()
	var debited, due float64
	short := 0
	for _, item := range pages(t, shop.admin, "/admin/reversals", 100) {
		if fmt.Sprint(item["transaction_id"]) == fmt.Sprint(paid) {
			taken, missing := number(t, item["debited"]), number(t, item["shortfall"])
			debited, due = debited+taken, due+taken+missing
			if missing > 0 {
				short++
			}
		}
	}
	if due != 250 {
		t.Errorf("%v were due, want 250: the greatest total", due)
	}
	if want := fmt.Sprint(501 - float64(7*bought.Load()) - debited); u.balance(t, bill) != want {
		t.Errorf("the balance is %s, want %s after %d purchases and %v reversed", u.balance(t, bill), want, bought.Load(), debited)
	}
	if list := pages(t, u.client, "/transactions?type=reversal", 100); len(list) == 0 || len(list) > 25 {
		t.Errorf("the user sees %d reversals", len(list))
	}
	shortfalls := 0
	for _, item := range pages(t, shop.admin, "/admin/reversals?shortfall=true", 100) {
		if fmt.Sprint(item["transaction_id"]) == fmt.Sprint(paid) {
			shortfalls++
		}
	}
	if shortfalls != short {
		t.Errorf("%d reversals with a shortfall are listed, of %d", shortfalls, short)
	}
	u.want(t, 403, "forbidden", "GET", "/admin/reversals", nil)
}

func number(t *testing.T, v any) float64 {
	t.Helper()
	n, err := v.(json.Number).Float64()
	must(t, err)
	return n
}

// An upgrade: until its operator completes it, no reversal is written.
func TestReversalsAreClosedUntilTheUpgradeIsComplete(t *testing.T) {
	t.Parallel()
	s := startShop(t, nil)
	u := s.newUser(t)
	bill, paid := s.bill(t, u, "1"), newPayment()
	provider := &client{base: s.Replicas(stack.Billing)[0].URL()}
	provider.want(t, 200, "", "POST", "/payment/webhook", s.payment(paid, u.id, bill, "100"))
	conn, err := pgx.Connect(t.Context(), s.AdminDatabaseURL())
	must(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), `UPDATE billing.opened SET level = 0`) // as after an upgrade
	must(t, err)
	if left, err := s.Unfinished(t.Context()); err != nil || !left {
		t.Errorf("the upgrade is not complete, and the launcher does not notice: %v", err)
	}
	must(t, s.Replicas(stack.Billing)[0].Restart(t.Context()))

	body, signed := s.reversal(t, 7, paid, "60")
	provider.want(t, 503, "not_open_yet", "POST", "/payment/reversals", body, signed...)
	provider.want(t, 403, "invalid_signature", "POST", "/payment/reversals", body)
	migrate := func(args ...string) string {
		t.Helper()
		out, err := s.asOwner(t, stack.Billing, args...).CombinedOutput()
		if err != nil {
			t.Errorf("billing %v: %v", args, err)
		}
		return string(out)
	}
	if out := migrate("migrate"); !strings.Contains(out, "make finish") {
		t.Errorf("migrate does not name the command: %s", out)
	}
	provider.want(t, http.StatusServiceUnavailable, "not_open_yet", "POST", "/payment/reversals", body, signed...)
	migrate("migrate", "finish")
	if left, err := s.Unfinished(t.Context()); err != nil || left {
		t.Errorf("the upgrade is complete, and the launcher does not notice: %v", err)
	}
	waittest.Eventually(t, "the replica sees it", func() bool {
		return provider.call(t, "POST", "/payment/reversals", body, signed...).status == 200
	})
	if b := u.balance(t, bill); b != "41" {
		t.Errorf("the balance is %s, want 41", b)
	}
	must(t, s.verify(t.Context()))
}
