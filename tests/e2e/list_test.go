package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"lavka/libs/testkit/waittest"
)

// A client that reads page by page sees every row that existed when it began exactly
// once, whatever is added in the meantime.
func TestPagesStayStableWhileRowsAreAdded(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	mark := fmt.Sprintf("ribbon %d ", serial.Add(1))
	product := shop.product(t, mark+"to buy", "1")
	bill := shop.bill(t, u, "100")
	for i := range 7 {
		shop.product(t, fmt.Sprint(mark, i), json.Number(fmt.Sprint(1+i%3)))
		u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
		u.want(t, 201, "", "POST", "/bills", nil)
	}
	q := strings.ReplaceAll(mark, " ", "%20")
	for _, list := range []struct {
		path string
		add  func()
	}{
		{"/products?q=" + q, func() { shop.product(t, mark+"new", "2") }},
		{"/products?sort=price&q=" + q, func() { shop.product(t, mark+"cheap", "0.01") }},
		{"/products?sort=-price&q=" + q, func() { shop.product(t, mark+"dear", "999") }},
		{"/products?sort=title&q=" + q, func() { shop.product(t, mark+"!", "2") }},
		{"/purchases", func() { u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill)) }},
		{"/transactions", func() { u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill)) }},
		{fmt.Sprint("/transactions?bill_id=", bill), func() { u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill)) }},
		{"/bills", func() { u.want(t, 201, "", "POST", "/bills", nil) }},
	} {
		sep := "?"
		if strings.Contains(list.path, "?") {
			sep = "&"
		}
		before := names(pages(t, u.client, list.path, 100))
		var seen []string
		cursor := ""
		for {
			a := u.want(t, 200, "", "GET", list.path+sep+"limit=2"+cursor, nil)
			items, _ := a.get("items").([]any)
			for _, item := range items {
				seen = append(seen, fmt.Sprint(item.(map[string]any)["id"]))
			}
			if len(items) > 2 {
				t.Errorf("%s: a page of %d rows, want at most 2", list.path, len(items))
			}
			if a.get("next_cursor") == nil {
				break
			}
			cursor = "&cursor=" + a.str("next_cursor")
			list.add()
		}
		if fmt.Sprint(seen) != fmt.Sprint(before) {
			t.Errorf("%s: page by page got %v, want %v", list.path, seen, before)
		}
		if cursor == "" {
			t.Fatalf("%s: there was only one page, so this test proves nothing", list.path)
		}
		u.want(t, 400, "malformed", "GET", "/products?sort=price"+cursor+"x", nil)
	}
}

func TestAdminsSeeAllUsersWithTheirBills(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	bill := shop.bill(t, u, "12.34")
	one := shop.admin.want(t, 200, "", "GET", fmt.Sprint("/customers/", u.id), nil)
	want := fmt.Sprintf(`{"bills":[{"balance":12.34,"id":%d}],"user":{"id":%d,"login":"%s","role":"user","status":"active"}}`, bill, u.id, u.login)
	waittest.Eventually(t, "billing knows the login", func() bool {
		one = shop.admin.call(t, "GET", fmt.Sprint("/customers/", u.id), nil)
		return one.str("user.login") == u.login
	})
	if strings.TrimSpace(string(one.body)) != want {
		t.Errorf("%s, want %s", one, want)
	}
	found := false
	for _, c := range pages(t, shop.admin, "/customers", 3) {
		found = found || fmt.Sprint(c["user"].(map[string]any)["id"]) == fmt.Sprint(u.id)
	}
	if !found {
		t.Error("the list does not contain the user")
	}
	shop.admin.want(t, 404, "user_not_found", "GET", "/customers/999999999", nil)
	if bills := pages(t, shop.admin, fmt.Sprintf("/customers/%d/bills", u.id), 1); len(bills) != 1 || fmt.Sprint(bills[0]["id"]) != fmt.Sprint(bill) {
		t.Errorf("the user's bills: %v", bills)
	}
	shop.admin.want(t, 404, "user_not_found", "GET", "/customers/999999999/bills", nil)

	users := pages(t, shop.admin, "/users?login="+strings.ToUpper(u.login)+"&status=active", 10)
	if len(users) == 0 || users[0]["login"] != u.login {
		t.Errorf("/users?login=: %v", users)
	}
	inactive := shop.register(t)
	shop.admin.want(t, 200, "", "GET", fmt.Sprint("/users/", inactive.id), nil)
	if users := pages(t, shop.admin, "/users?status=active&login="+inactive.login, 10); len(users) != 0 {
		t.Errorf("an inactive user is listed as active: %v", users)
	}
	shop.admin.want(t, 404, "user_not_found", "GET", "/users/999999999", nil)
	shop.admin.want(t, 404, "user_not_found", "PATCH", "/users/999999999", map[string]any{"enabled": false})
	me := shop.admin.want(t, 200, "", "GET", "/users/me", nil)
	shop.admin.want(t, 409, "cannot_disable_self", "PATCH", fmt.Sprint("/users/", me.int("id")), map[string]any{"enabled": false})
}

func TestHistory(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	bill, other := shop.bill(t, u, "10"), shop.bill(t, u, "1")
	product := shop.product(t, "a thimble", "2.50")
	bought := u.want(t, 201, "", "POST", "/purchases", map[string]any{"product_id": product, "bill_id": bill, "expected_price": 2.5})
	all := pages(t, u.client, "/transactions", 100)
	if len(all) != 3 {
		t.Fatalf("%v", all)
	}
	first := all[0]
	if first["type"] != "purchase" || first["amount"] != json.Number("-2.50") || first["balance_after"] != json.Number("7.50") ||
		first["purchase_id"] != bought.str("id") || fmt.Sprint(first["id"]) != bought.str("transaction_id") {
		t.Errorf("newest first: %v, bought %s", first, bought)
	}
	if all[1]["type"] != "payment" || fmt.Sprint(all[1]["bill_id"]) != fmt.Sprint(other) || all[1]["payment_id"] == nil {
		t.Errorf("%v", all[1])
	}
	if n := len(pages(t, u.client, fmt.Sprintf("/transactions?type=payment&bill_id=%d", bill), 100)); n != 1 {
		t.Errorf("%d payments on the bill", n)
	}
	if n := len(pages(t, u.client, "/purchases?status=completed", 100)); n != 1 {
		t.Errorf("%d completed purchases", n)
	}
	if n := len(pages(t, u.client, "/purchases?status=declined", 100)); n != 0 {
		t.Errorf("%d declined purchases", n)
	}
}

func names(items []map[string]any) (ids []string) {
	for _, item := range items {
		ids = append(ids, fmt.Sprint(item["id"]))
	}
	return ids
}
