package httpapi

import (
	"encoding/json"
	"net/http/httptest"
	"testing"

	"lavka/services/billing/internal/billing"
)

// Payments may create any number of bills for a user. A response shows the newest
// ones with the user, and a cursor leads to the others.
func TestManyBillsOfACustomer(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const bills = 2*billing.BillsShown + 5
	items := make([]billing.Item, bills)
	for i := range items {
		id := int64(i + 1)
		items[i] = &billing.Payment{ID: id, UserID: 1, BillID: id, Amount: 1, AmountText: "0.01"}
	}
	d.store.Settle(t.Context(), items)
	get := func(path string, into any) int {
		t.Helper()
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%s: %q: %v", path, w.Body, err)
		}
		return w.Code
	}
	type bill struct{ ID int64 }
	type customer struct {
		User  struct{ ID int64 }
		Bills []bill
		Next  string `json:"bills_next_cursor"`
	}
	var list struct{ Items []customer }
	get("/customers", &list)
	var alone customer
	get("/customers/1", &alone)
	found := false
	for _, c := range append(list.Items, alone) {
		if c.User.ID != 1 {
			if c.Next != "" {
				t.Errorf("user %d has a cursor and %d bills", c.User.ID, len(c.Bills))
			}
			continue
		}
		found = true
		seen := c.Bills
		if len(seen) != billing.BillsShown || c.Next == "" {
			t.Fatalf("%d bills are shown with the user, want %d and a cursor", len(seen), billing.BillsShown)
		}
		for next := c.Next; next != ""; {
			var page struct {
				Items []bill
				Next  string `json:"next_cursor"`
			}
			get("/customers/1/bills?limit=100&cursor="+next, &page)
			if len(page.Items) == 0 {
				t.Fatalf("an empty page after %d bills", len(seen))
			}
			seen, next = append(seen, page.Items...), page.Next
		}
		if len(seen) != bills {
			t.Errorf("%d of %d bills can be found", len(seen), bills)
		}
		for i, b := range seen {
			if b.ID != int64(bills-i) {
				t.Fatalf("bill %d is in place %d", b.ID, i)
			}
		}
	}
	if !found {
		t.Error("the list has no user 1")
	}
	var problem struct{ Code string }
	if status := get("/customers/77/bills", &problem); status != 404 || problem.Code != "user_not_found" {
		t.Errorf("an unknown customer: %d %s", status, problem.Code)
	}
}
