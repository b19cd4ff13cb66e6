package e2e

import (
	"encoding/csv"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"lavka/libs/testkit/waittest"
)

// What a user and an admin see of purchases and money, through the gateway: a list of a
// time, an export in both formats, and the balance then.
func TestPurchasesInListsAndExports(t *testing.T) {
	t.Parallel()
	began := time.Now().Add(-time.Minute)
	u, other := shop.newUser(t), shop.newUser(t)
	bill := shop.bill(t, u, "100")
	product := shop.product(t, "=HYPERLINK(1)", "7.50")
	for range 3 {
		u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
	}
	hour := url.Values{"from": {began.Format(time.RFC3339Nano)}, "to": {began.Add(time.Hour).Format(time.RFC3339Nano)}}.Encode()
	user := fmt.Sprint("user_id=", u.id)
	for _, c := range []struct {
		client      *client
		path        string
		items       int
		first, cell string // of the export as CSV: the header and a part of the first record
	}{
		{u.client, "/purchases?" + hour, 3, "id,", ",'=HYPERLINK(1),7.50,"},
		{u.client, "/transactions?" + hour, 4, "id,", ",-7.50,77.50,purchase,"},
		{u.client, fmt.Sprint("/transactions?bill_id=", bill), 4, "id,", ",-7.50,77.50,purchase,"},
		{other.client, "/purchases", 0, "id,", ""},
		{other.client, "/transactions", 0, "id,", ""},
		{shop.admin, "/admin/purchases?" + user, 3, "user_id,id,", ",'=HYPERLINK(1),7.50,"},
		{shop.admin, "/admin/transactions?" + user + "&" + hour, 4, "user_id,id,", ",-7.50,77.50,purchase,"},
		{shop.admin, fmt.Sprint("/admin/transactions?bill_id=", bill), 4, "user_id,id,", ",-7.50,77.50,purchase,"},
		{shop.admin, "/admin/reversals?" + user, 0, "id,", ""},
	} {
		a := c.client.want(t, 200, "", "GET", c.path, nil)
		if c.items > 0 && a.str(fmt.Sprintf("items.%d.id", c.items-1)) == "" || a.str(fmt.Sprintf("items.%d.id", c.items)) != "" {
			t.Errorf("%s: %s, want %d items", c.path, a, c.items)
		}
		a = c.client.want(t, 200, "", "GET", c.path, nil, "Accept", "application/x-ndjson")
		lines := strings.Split(strings.TrimSuffix(string(a.body), "\n"), "\n")
		if end := fmt.Sprintf(`{"end":true,"items":%d}`, c.items); len(lines) != c.items+1 || lines[c.items] != end {
			t.Errorf("%s as NDJSON: %s", c.path, a.body)
		}
		a = c.client.want(t, 200, "", "GET", c.path, nil, "Accept", "text/csv, */*;q=0.1")
		r := csv.NewReader(strings.NewReader(string(a.body)))
		r.FieldsPerRecord = -1
		records, err := r.ReadAll()
		if err != nil || len(records) != c.items+2 || fmt.Sprint(records[c.items+1]) != fmt.Sprintf("[#end %d]", c.items) || !strings.HasPrefix(string(a.body), c.first) || !strings.Contains(string(a.body), c.cell) {
			t.Errorf("%s as CSV: %s %v", c.path, a.body, err)
		}
		c.client.want(t, 422, "validation_failed", "GET", c.path+map[bool]string{true: "&", false: "?"}[strings.Contains(c.path, "?")]+"limit=5", nil, "Accept", "text/csv")
		if a := c.client.call(t, "HEAD", c.path, nil, "Accept", "text/csv"); a.status != 200 || len(a.body) > 0 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/csv") {
			t.Errorf("HEAD %s: %s", c.path, a)
		}
	}
	shop.admin.want(t, 200, "", "GET", "/admin/purchases?"+hour, nil)
	shop.admin.want(t, 200, "", "GET", "/admin/purchases?status=pending", nil)
	shop.admin.want(t, 200, "", "GET", "/admin/transactions?type=purchase&"+hour, nil)
	for _, path := range []string{"/admin/purchases?product_id=1", "/admin/purchases?bill_id=1", "/admin/purchases?status=declined", "/admin/transactions?" + user + "&bill_id=1", "/admin/reversals?shortfall=true&bill_id=1"} {
		shop.admin.want(t, 422, "unsupported_filter", "GET", path, nil)
	}
	shop.admin.want(t, 422, "validation_failed", "GET", "/admin/purchases?from=2026-01-01T00:00:00Z", nil)
	u.want(t, 403, "forbidden", "GET", "/admin/purchases", nil, "Accept", "text/csv")

	at := func(when time.Time) string {
		return fmt.Sprintf("/bills/%d?%s", bill, url.Values{"at": {when.Format(time.RFC3339Nano)}}.Encode())
	}
	now := time.Now()
	u.want(t, 422, "not_complete_yet", "GET", at(now.Add(time.Hour)), nil)
	if a := u.want(t, 200, "", "GET", at(began), nil); a.str("balance") != "0" || a.str("as_of_transaction_id") != "" {
		t.Errorf("before the first payment: %s", a)
	}
	waittest.Eventually(t, "the ledger is complete", func() bool { return u.call(t, "GET", at(now), nil).status == 200 })
	if a := u.want(t, 200, "", "GET", at(now), nil); a.str("balance") != "77.50" || a.str("as_of_transaction_id") == "" {
		t.Errorf("after the purchases: %s", a)
	}
}
