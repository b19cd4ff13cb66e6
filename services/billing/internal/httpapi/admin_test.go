package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"lavka/libs/service/access"
	"lavka/libs/service/token"
	"lavka/libs/testkit/waittest"
)

// as returns the desk's routes for a user with a token.
func (d desk) as(t *testing.T, userID int64) desk {
	t.Helper()
	protected := map[string][]echo.MiddlewareFunc{}
	for _, id := range []string{"getBill", "listTransactions", "createBill"} {
		protected[id] = []echo.MiddlewareFunc{func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				c.SetRequest(c.Request().WithContext(access.With(c.Request().Context(), token.Identity{UserID: userID, Role: token.RoleUser})))
				return next(c)
			}
		}}
	}
	d.Handler = withRoutes(t, d, protected)
	return d
}

func (d desk) list(t *testing.T, target string) (int, map[string]any) {
	t.Helper()
	status, members, _ := d.ask(t, "", "GET", target, nil, "")
	return status, members
}

// What an admin sees of the ledger: each served combination of filters, and the codes of
// the others.
func TestTheLedgerOfAllUsers(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	begin := time.Now().Add(-time.Minute)
	for id := range 3 {
		d.post(t, call(fmt.Sprint(id+1), "1", "10", "1"))
		d.post(t, call(fmt.Sprint(id+101), "2", "20", "2"))
	}
	hour := "&" + between(begin, begin.Add(time.Hour))
	years := "&" + between(begin.AddDate(-1, 0, 0), begin.AddDate(1, 0, 0))
	for query, want := range map[string]string{
		"":                        "6",
		hour:                      "6",
		"user_id=1":               "3",
		"user_id=1" + years:       "3",
		"bill_id=20" + years:      "3",
		"payment_id=102":          "1",
		"type=payment":            "6",
		"type=payment" + hour:     "6",
		"type=purchase":           "0",
		"user_id=3":               "0",
		years:                     "validation_failed",
		"type=payment" + years:    "validation_failed",
		"user_id=1&bill_id=10":    "unsupported_filter",
		"user_id=1&type=payment":  "unsupported_filter",
		"payment_id=1" + hour:     "unsupported_filter",
		"type=reversal":           "unsupported_filter",
		"type=gift":               "validation_failed",
		"limit=0":                 "validation_failed",
		"cursor=x":                "malformed",
		"from=yesterday":          "malformed",
		"to=2026-01-01T00:00:00Z": "validation_failed",
	} {
		status, a := d.list(t, "/admin/transactions?"+query)
		got := fmt.Sprint(a["code"])
		if items, ok := a["items"].([]any); ok {
			got = fmt.Sprint(len(items))
		}
		if got != want || (status == 200) != (a["items"] != nil) {
			t.Errorf("%q: %d %v, want %s", query, status, a, want)
		}
	}
	_, a := d.list(t, "/admin/transactions?limit=1&user_id=2")
	first := a["items"].([]any)[0].(map[string]any)
	if fmt.Sprint(first["user_id"], " ", first["bill_id"], " ", first["payment_id"], " ", first["type"]) != "2 20 103 payment" {
		t.Errorf("%v", first)
	}
	for _, query := range []string{"user_id=1&bill_id=1", "payment_id=1&shortfall=true", "payment_id=1" + hour} {
		if status, a := d.list(t, "/admin/reversals?"+query); status != 422 || a["code"] != "unsupported_filter" {
			t.Errorf("reversals, %s: %d %v", query, status, a)
		}
	}
}

// The pages of a list tell up to when the first one was complete.
func TestTheLedgerCanBeFollowed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go d.rows.Run(ctx)
	for id := range 2 {
		d.post(t, call(fmt.Sprint(id+1), "1", "10", "1"))
		body := reversal(fmt.Sprint(id+1), fmt.Sprint(id+1), "1")
		d.reverse(t, signedBy(t, body, secret), body)
	}
	for _, path := range []string{"/admin/transactions?limit=1", "/admin/reversals?limit=1"} {
		var first map[string]any
		waittest.Eventually(t, "the list is complete up to some time", func() bool {
			_, first = d.list(t, path)
			return first["complete_until"] != nil
		})
		waittest.Eventually(t, "it is complete up to a later time", func() bool {
			_, a := d.list(t, path)
			return a["complete_until"] != first["complete_until"]
		})
		_, second := d.list(t, path+"&cursor="+first["next_cursor"].(string))
		if second["complete_until"] != first["complete_until"] || fmt.Sprint(second["items"]) == fmt.Sprint(first["items"]) {
			t.Errorf("%s: the second page is %v, the first %v", path, second, first)
		}
		if status, a := d.list(t, path+"&type=payment&cursor="+first["next_cursor"].(string)); status < 400 && strings.Contains(path, "transactions") { // payments are in another order
			t.Errorf("%s: with the cursor of another order: %d %v", path, status, a)
		}
	}
}

// A bill's balance at a time up to which the ledger is complete.
func TestBillAtATime(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	u := d.as(t, 1)
	bill := func(at time.Time) (int, map[string]any) {
		t.Helper()
		return u.list(t, "/bills/10?"+url.Values{"at": {at.Format(time.RFC3339Nano)}}.Encode())
	}
	d.post(t, call("1", "1", "10", "1"))
	d.post(t, call("2", "1", "10", "2.50"))
	if status, a := bill(time.Now().Add(-time.Hour)); status != 503 || a["code"] != "starting" {
		t.Errorf("before anything is known: %d %v", status, a)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go d.rows.Run(ctx)
	if status, a := bill(time.Now().Add(-time.Hour)); status != 200 { // it waits for the first reading
		t.Errorf("while the replica starts: %d %v", status, a)
	}
	_, all := d.list(t, "/admin/transactions")
	times, ids := make([]time.Time, 2), make([]any, 2)
	for i, item := range all["items"].([]any) {
		var err error
		ids[1-i] = item.(map[string]any)["id"]
		if times[1-i], err = time.Parse(time.RFC3339Nano, item.(map[string]any)["created_at"].(string)); err != nil {
			t.Fatal(err)
		}
	}
	waittest.Eventually(t, "the ledger is complete", func() bool {
		status, _ := bill(times[1])
		return status == http.StatusOK
	})
	for at, want := range map[time.Time]string{
		times[0].Add(-time.Microsecond): "0 <nil>", times[0]: fmt.Sprint("1 ", ids[0]), times[1].Add(-time.Microsecond): fmt.Sprint("1 ", ids[0]), times[1]: fmt.Sprint("3.50 ", ids[1]),
	} {
		if status, a := bill(at); status != 200 || fmt.Sprint(a["balance"], " ", a["as_of_transaction_id"]) != want {
			t.Errorf("at %v: %d %v, want %s", at, status, a, want)
		}
	}
	if status, a := bill(time.Now().Add(time.Hour)); status != 422 || a["code"] != "not_complete_yet" || a["complete_until"] == nil {
		t.Errorf("in an hour: %d %v", status, a)
	}
	if status, a := u.list(t, "/bills/10"); status != 200 || a["as_of_transaction_id"] != nil || fmt.Sprint(a["balance"]) != "3.50" {
		t.Errorf("now: %d %v", status, a)
	}
	if status, a := d.as(t, 2).list(t, "/bills/10?at=2026-01-01T00:00:00Z"); status != 404 || a["code"] != "bill_not_found" {
		t.Errorf("another's: %d %v", status, a)
	}
	for query, want := range map[string]int{"": 2, "from=2026-01-01T00:00:00Z": 2, "to=2026-01-01T00:00:00Z": 0, "bill_id=10&type=payment&" + between(times[1], times[1].Add(time.Second)): 1} {
		if status, a := u.list(t, "/transactions?"+query); status != 200 || len(a["items"].([]any)) != want {
			t.Errorf("transactions %s: %d %v, want %d", query, status, a, want)
		}
	}
	if status, a := u.list(t, "/transactions?"+between(times[1], times[1])); status != 422 || a["code"] != "validation_failed" {
		t.Errorf("no time: %d %v", status, a)
	}
}
