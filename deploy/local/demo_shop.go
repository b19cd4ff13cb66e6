package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"lavka/deploy/local/payment"
)

func (s *story) pay(ctx context.Context) error {
	bill, err := randomID()
	if err != nil {
		return err
	}
	s.bill = bill.String()
	id, err := randomID()
	if err != nil {
		return err
	}
	s.payment = id.String()
	p := payment.Signed(s.keys[0], id, s.userID, s.bill, 100)
	forged := json.RawMessage(bytes.Replace(p, []byte(`"amount":100`), []byte(`"amount":1000000`), 1))
	if _, err := s.expect(ctx, http.StatusForbidden, "invalid_signature", call{method: http.MethodPost, path: "/payment/webhook", body: forged}); err != nil {
		return err
	}
	// Billing waits up to two seconds until it has learned about her from auth, and then answers 404; a provider retries.
	payment := call{method: http.MethodPost, path: "/payment/webhook", body: json.RawMessage(p)}
	first, _, err := s.await(ctx, http.StatusOK, "", payment)
	if err != nil {
		return err
	}
	again, err := s.expect(ctx, http.StatusOK, "", payment)
	if err != nil {
		return err
	}
	if err := errors.Join(
		same("Idempotent-Replayed at first", first.header.Get("Idempotent-Replayed"), ""),
		same("Idempotent-Replayed", again.header.Get("Idempotent-Replayed"), "true"),
		same("the response", string(again.raw), string(first.raw)),
	); err != nil {
		return err
	}
	return s.balance(ctx, "100")
}

func (s *story) balance(ctx context.Context, want string) error {
	a, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/bills/" + s.bill, token: s.token})
	if err != nil {
		return err
	}
	return same("the balance", a.text("balance"), want)
}

func (s *story) stock(ctx context.Context) error {
	var err error
	if s.adminToken, err = s.login(ctx, s.admin); err != nil {
		return err
	}
	samovar := map[string]any{"title": "Samovar " + s.mira.Login, "description": "Brass, three litres", "price": 60, "images": []string{"https://placehold.co/600x400?text=Samovar"}}
	if _, err := s.expect(ctx, http.StatusForbidden, "forbidden", call{method: http.MethodPost, path: "/products", token: s.token, body: samovar}); err != nil {
		return err
	}
	a, err := s.expect(ctx, http.StatusCreated, "", call{method: http.MethodPost, path: "/products", token: s.adminToken, body: samovar})
	s.product = a.text("id")
	return err
}

func (s *story) browse(ctx context.Context) error {
	a, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/products?q=" + url.QueryEscape(strings.ToUpper("Samovar "+s.mira.Login)), token: s.token})
	if err != nil {
		return err
	}
	if len(a.items()) != 1 {
		return fmt.Errorf("she finds %d products, want only the samovar", len(a.items()))
	}
	a, err = s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/products/" + s.product, token: s.token})
	if err != nil {
		return err
	}
	return same("the price", a.text("price"), "60")
}

func (s *story) order(key string) call {
	body := map[string]any{"product_id": json.Number(s.product), "bill_id": json.Number(s.bill), "expected_price": 60}
	return call{method: http.MethodPost, path: "/purchases", token: s.token, header: map[string]string{"Idempotency-Key": key}, body: body}
}

func (s *story) buy(ctx context.Context) error {
	order := s.order(rand.Text())
	a, err := s.expect(ctx, http.StatusCreated, "", order)
	if err != nil {
		return err
	}
	if err := same("the purchase's status", a.text("status"), "completed"); err != nil {
		return err
	}
	s.purchase = a.text("id")
	again, err := s.expect(ctx, http.StatusCreated, "", order)
	if err != nil {
		return err
	}
	if err := errors.Join(
		same("the purchase", again.text("id"), a.text("id")),
		same("Idempotent-Replayed", again.header.Get("Idempotent-Replayed"), "true"),
	); err != nil {
		return err
	}
	// What a client does that did not get the response, or got 202.
	found, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/purchases?idempotency_key=" + order.header["Idempotency-Key"], token: s.token})
	if err != nil {
		return err
	}
	if len(found.items()) != 1 {
		return fmt.Errorf("she finds %d purchases with her key, want one", len(found.items()))
	}
	settled, err := s.expect(ctx, http.StatusOK, "", call{
		method: http.MethodGet, path: "/purchases/" + textOf(found.items()[0]["id"]), token: s.token, header: map[string]string{"Prefer": "wait=5"},
	})
	if err != nil {
		return err
	}
	if err := errors.Join(same("the purchase with her key", settled.text("id"), s.purchase), same("its status", settled.text("status"), "completed")); err != nil {
		return err
	}
	return s.balance(ctx, "40")
}

func (s *story) declined(ctx context.Context) error {
	a, err := s.expect(ctx, http.StatusPaymentRequired, "insufficient_funds", s.order(rand.Text()))
	if err != nil {
		return err
	}
	if err := errors.Join(same("the balance", a.text("balance"), "40"), same("the price", a.text("price"), "60")); err != nil {
		return err
	}
	return s.balance(ctx, "40")
}

func (s *story) history(ctx context.Context) error {
	a, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/purchases", token: s.token})
	if err != nil {
		return err
	}
	if items := a.items(); len(items) != 2 {
		return fmt.Errorf("there are %d purchases, want a declined and a completed one", len(items))
	} else if err := errors.Join(same("the newest", textOf(items[0]["status"]), "declined"), same("the one before", textOf(items[1]["status"]), "completed")); err != nil {
		return err
	}
	if a, err = s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/bills", token: s.token}); err != nil {
		return err
	}
	if len(a.items()) != 1 {
		return fmt.Errorf("there are %d bills, want one", len(a.items()))
	}
	if a, err = s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/transactions", token: s.token}); err != nil {
		return err
	}
	items := a.items()
	if len(items) != 2 {
		return fmt.Errorf("there are %d transactions, want a payment and a purchase", len(items))
	}
	return errors.Join(
		same("the newest amount", textOf(items[0]["amount"]), "-60"), same("the balance after it", textOf(items[0]["balance_after"]), "40"),
		same("the first amount", textOf(items[1]["amount"]), "100"), same("the balance after it", textOf(items[1]["balance_after"]), "100"),
	)
}

// soldOut is left out where stock can't be limited yet.
func (s *story) soldOut(ctx context.Context) error {
	path := "/products/" + s.product + "/stock"
	left := call{
		method: http.MethodPost, path: path, token: s.adminToken, header: map[string]string{"Idempotency-Key": rand.Text()},
		body: map[string]any{"change": 1, "reason": "counted"},
	}
	_, open, err := s.ifOpen(ctx, left)
	if err != nil || !open {
		return err
	}
	two := call{
		method: http.MethodPost, path: "/purchases", token: s.token, header: map[string]string{"Idempotency-Key": rand.Text()},
		body: map[string]any{"product_id": json.Number(s.product), "bill_id": json.Number(s.bill), "quantity": 2},
	}
	if _, err := s.expect(ctx, http.StatusConflict, "out_of_stock", two); err != nil {
		return err
	}
	seen, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: path, token: s.adminToken})
	if err != nil {
		return err
	}
	if _, err := s.expect(ctx, http.StatusNoContent, "", call{method: http.MethodDelete, path: path, token: s.adminToken}); err != nil {
		return err
	}
	return same("what is in stock", seen.text("on_hand"), "1")
}

func (s *story) customers(ctx context.Context) error {
	a, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/customers/" + s.userID, token: s.adminToken})
	if err != nil {
		return err
	}
	if err := same("her login", textOf(a.object("user")["login"]), s.mira.Login); err != nil {
		return err
	}
	_, err = s.expect(ctx, http.StatusForbidden, "forbidden", call{method: http.MethodGet, path: "/customers", token: s.token})
	return err
}

// refund is left out where refunds are not open yet.
func (s *story) refund(ctx context.Context) error {
	path := "/purchases/" + s.purchase + "/refunds"
	part := call{
		method: http.MethodPost, path: path, token: s.adminToken, header: map[string]string{"Idempotency-Key": rand.Text()},
		body: map[string]any{"amount": 20, "reason": "A dent"},
	}
	first, open, err := s.ifOpen(ctx, part)
	if err != nil || !open {
		return err
	}
	again, err := s.expect(ctx, http.StatusCreated, "", part)
	if err != nil {
		return err
	}
	tooMuch := part
	tooMuch.header = map[string]string{"Idempotency-Key": rand.Text()}
	tooMuch.body = map[string]any{"amount": 50, "reason": "A dent"}
	refused, err := s.expect(ctx, http.StatusConflict, "refund_exceeds", tooMuch)
	if err != nil {
		return err
	}
	bought, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/purchases/" + s.purchase, token: s.token})
	if err != nil {
		return err
	}
	list, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: path, token: s.token})
	if err != nil {
		return err
	}
	if len(list.items()) != 1 {
		return fmt.Errorf("she sees %d refunds, want one", len(list.items()))
	}
	s.refunded = true
	return errors.Join(
		same("the refund", again.text("id"), first.text("id")), same("Idempotent-Replayed", again.header.Get("Idempotent-Replayed"), "true"),
		same("what is left to refund", refused.text("refundable"), "40"),
		same("the purchase's status", bought.text("status"), "completed"), same("what was refunded of it", bought.text("refunded"), "20"),
		s.balance(ctx, "60"),
	)
}

// reverse is left out where the provider's signing secret is not known, or reversals are not open yet.
func (s *story) reverse(ctx context.Context) error {
	if len(s.signing) == 0 {
		return s.leaveOut("PAYMENT_SIGNING_SECRETS is not known here")
	}
	part, err := s.reversal("30")
	if err != nil {
		return err
	}
	first, open, err := s.ifOpen(ctx, part)
	if err != nil || !open {
		return err
	}
	again, err := s.expect(ctx, http.StatusOK, "", part)
	if err != nil {
		return err
	}
	rest, err := s.reversal("100") // in all
	if err != nil {
		return err
	}
	all, err := s.expect(ctx, http.StatusOK, "", rest)
	if err != nil {
		return err
	}
	left, short := "10", "60"
	if s.refunded {
		left, short = "30", "40"
	}
	if err := errors.Join(
		same("what is debited", first.text("debited"), "30"), same("the repeated response", string(again.raw), string(first.raw)),
		same("what is debited of the rest", all.text("debited"), left), same("the shortfall", all.text("shortfall"), short),
	); err != nil {
		return err
	}
	if err := s.balance(ctx, "0"); err != nil {
		return err
	}
	a, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/admin/reversals?shortfall=true&limit=1", token: s.adminToken})
	if err != nil {
		return err
	}
	if len(a.items()) != 1 {
		return errors.New("the administrator does not see the shortfall")
	}
	return nil
}

// reversal returns the provider's request under a new id. The total is what it took back of the payment in all.
func (s *story) reversal(total string) (call, error) {
	id, err := randomID()
	if err != nil {
		return call{}, err
	}
	header, body := payment.SignedReversal(s.signing[0], id, s.payment, total)
	c := call{method: http.MethodPost, path: "/payment/reversals", header: map[string]string{}, body: json.RawMessage(body)}
	for name := range header {
		c.header[name] = header.Get(name)
	}
	return c, nil
}

func (s *story) disable(ctx context.Context) error {
	a, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodPatch, path: "/users/" + s.userID, token: s.adminToken, body: map[string]any{"enabled": false}})
	if err != nil {
		return err
	}
	status := a.text("status")
	if user := a.object("user"); user != nil {
		status = textOf(user["status"])
	}
	if err := same("her status", status, "disabled"); err != nil {
		return err
	}
	for _, path := range []string{"/users/me", "/products", "/bills"} { // one route of each service
		_, took, err := s.await(ctx, http.StatusUnauthorized, "token_invalid", call{method: http.MethodGet, path: path, token: s.token})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(s.show, "  (refused within %d ms)\n\n", took.Milliseconds()); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
	}
	_, err = s.expect(ctx, http.StatusForbidden, "user_disabled", call{method: http.MethodPost, path: "/auth/login", body: s.mira})
	return err
}

func (s *story) clearShelf(ctx context.Context) error {
	product := call{method: http.MethodPatch, path: "/products/" + s.product, token: s.adminToken, body: map[string]any{"status": "archived"}}
	if _, err := s.expect(ctx, http.StatusOK, "", product); err != nil {
		return err
	}
	late := s.order(rand.Text())
	late.token = s.adminToken
	if _, err := s.expect(ctx, http.StatusNotFound, "product_not_found", late); err != nil {
		return err
	}
	_, err := s.expect(ctx, http.StatusNoContent, "", call{method: http.MethodDelete, path: "/products/" + s.product, token: s.adminToken})
	return err
}
