package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/access"
	"lavka/libs/service/export"
	"lavka/libs/service/standardwebhooks"
	"lavka/libs/testkit/waittest"
)

const readToken, otherReadToken = "a-token-of-the-provider-1", "a-token-of-the-provider-2"

// readable protects the provider's window, as the contract does.
func readable() map[string][]echo.MiddlewareFunc {
	protected := map[string][]echo.MiddlewareFunc{}
	for _, id := range []string{"getCredit", "listCredits", "listRefused", "verifyPayment"} {
		protected[id] = []echo.MiddlewareFunc{access.Static("provider", []string{readToken, otherReadToken})}
	}
	return protected
}

// ask sends a request with a token and returns the status and the members of the answer.
func (d desk) ask(t *testing.T, token, method, target string, header http.Header, body string) (int, map[string]any, http.Header) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for name := range header {
		r.Header.Set(name, header.Get(name))
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	members := map[string]any{}
	decoder := json.NewDecoder(w.Body)
	decoder.UseNumber()
	if err := decoder.Decode(&members); err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return w.Code, members, w.Header()
}

func (d desk) get(t *testing.T, target string) (int, map[string]any) {
	t.Helper()
	status, members, _ := d.ask(t, readToken, "GET", target, nil, "")
	return status, members
}

func between(from, to time.Time) string {
	return url.Values{"from": {from.Format(time.RFC3339Nano)}, "to": {to.Format(time.RFC3339Nano)}}.Encode()
}

func TestLookingUpAPayment(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, b := range []string{call("7", "1", "10", "100.50"), call("8", "2", "10", "5"), call("8", "1", "10", "1.999"), call("9", "1", "10", "7"), call("9", "1", "10", "8")} {
		d.post(t, b)
	}
	for id, want := range map[string]string{
		"7": "credited <nil> 10 1 100.50 0", "8": "refused invalid_amount 10 1 <nil> <nil>", "9": "credited <nil> 10 1 7 0", "1": "unknown <nil> <nil> <nil> <nil> <nil>", "-5": "unknown <nil> <nil> <nil> <nil> <nil>",
	} {
		status, a := d.get(t, "/payment/credits/"+id)
		if got := fmt.Sprint(a["status"], " ", a["reason"], " ", a["bill_id"], " ", a["user_id"], " ", a["amount"], " ", a["reversed_total"]); status != 200 || got != want || (a["credited_at"] != nil) != (a["status"] == "credited") {
			t.Errorf("payment %s: %d %v, want %s", id, status, a, want)
		}
	}
	if status, a := d.get(t, "/payment/credits/x"); status != 400 || a["code"] != "malformed" {
		t.Errorf("no number: %d %v", status, a)
	}
}

func TestPaymentsInAWindow(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	begin := time.Now().Add(-time.Minute)
	for id := range 7 {
		d.post(t, call(fmt.Sprint(id+1), "1", "10", "1"))
		d.post(t, call(fmt.Sprint(id+100), "77", "10", "1"))
	}
	for _, list := range []string{"credits", "refused"} {
		path := "/payment/" + list + "?" + between(begin, begin.Add(time.Hour))
		_, all := d.get(t, path+"&limit=100")
		items := all["items"].([]any)
		if len(items) != 7 || all["next_cursor"] != nil || all["complete_until"] != nil {
			t.Fatalf("%s: %v", list, all)
		}
		var paged []any
		cursor := ""
		for {
			_, a := d.get(t, path+"&limit=3"+cursor)
			paged = append(paged, a["items"].([]any)...)
			if a["next_cursor"] == nil {
				break
			}
			cursor = "&cursor=" + a["next_cursor"].(string)
		}
		if fmt.Sprint(paged) != fmt.Sprint(items) {
			t.Errorf("%s in pages: %v, at once: %v", list, paged, items)
		}
		at := func(i int) time.Time {
			name := map[string]string{"credits": "credited_at", "refused": "first_at"}[list]
			when, err := time.Parse(time.RFC3339Nano, items[i].(map[string]any)[name].(string))
			if err != nil {
				t.Fatal(err)
			}
			return when
		}
		if !slices.IsSortedFunc([]int{0, 1, 2, 3, 4, 5, 6}, func(a, b int) int { return at(a).Compare(at(b)) }) {
			t.Errorf("%s: not oldest first: %v", list, items)
		}
		// From is in the window, to is not.
		if _, a := d.get(t, "/payment/"+list+"?"+between(at(2), at(5))); fmt.Sprint(a["items"]) != fmt.Sprint(items[2:5]) {
			t.Errorf("%s from the third to the sixth: %v", list, a["items"])
		}
		for what, c := range map[string]struct {
			query, code string
			status      int
		}{
			"no times":         {"", "malformed", 400},
			"no to":            {"from=2026-01-01T00:00:00Z", "malformed", 400},
			"no time":          {"from=now&to=2026-01-02T00:00:00Z", "malformed", 400},
			"empty":            {between(begin, begin), "validation_failed", 422},
			"backwards":        {between(begin, begin.Add(-time.Second)), "validation_failed", 422},
			"31 days":          {between(begin.Add(-31*24*time.Hour), begin), "", 200},
			"more":             {between(begin.Add(-31*24*time.Hour-time.Second), begin), "validation_failed", 422},
			"another's cursor": {between(begin, begin.Add(time.Hour)) + "&cursor=eyJsIjoiYmlsbHMiLCJrIjoxfQ", "malformed", 400},
			"a limit of 101":   {between(begin, begin.Add(time.Hour)) + "&limit=101", "validation_failed", 422},
		} {
			if status, a := d.get(t, "/payment/"+list+"?"+c.query); status != c.status || c.code != "" && a["code"] != c.code {
				t.Errorf("%s, %s: %d %v", list, what, status, a)
			}
		}
	}
}

// The pages of a list all tell the first page's time: rows may have come since, whose
// place is on a page that was read before.
func TestPagesTellTheTimeOfTheFirst(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go d.rows.Run(ctx)
	begin := time.Now().Add(-time.Minute)
	for id := range 3 {
		d.post(t, call(fmt.Sprint(id+1), "1", "10", "1"))
	}
	path := "/payment/credits?limit=1&" + between(begin, begin.Add(time.Hour))
	var first map[string]any
	waittest.Eventually(t, "the list is complete up to some time", func() bool {
		_, first = d.get(t, path)
		return first["complete_until"] != nil
	})
	waittest.Eventually(t, "it is complete up to a later time", func() bool {
		_, a := d.get(t, path)
		return a["complete_until"] != first["complete_until"]
	})
	if _, second := d.get(t, path+"&cursor="+first["next_cursor"].(string)); second["complete_until"] != first["complete_until"] {
		t.Errorf("the second page says %v, the first %v", second["complete_until"], first["complete_until"])
	}
}

func TestOnlyTheProviderSeesTheWindow(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, c := range []struct{ method, target string }{
		{"GET", "/payment/credits/7"}, {"GET", "/payment/credits?" + between(time.Now(), time.Now().Add(time.Hour))},
		{"GET", "/payment/refused?" + between(time.Now(), time.Now().Add(time.Hour))}, {"POST", "/payment/verify"},
	} {
		for token, code := range map[string]string{"": "unauthenticated", "x": "token_invalid", readToken + "x": "token_invalid", readToken[1:]: "token_invalid", key: "token_invalid", secret: "token_invalid"} {
			if status, a, h := d.ask(t, token, c.method, c.target, nil, ""); status != 401 || a["code"] != code || h.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s with %q: %d %v", c.method, c.target, token, status, a)
			}
		}
		for _, token := range []string{readToken, otherReadToken} {
			if status, a, _ := d.ask(t, token, c.method, c.target, nil, ""); status == 401 || status == 404 {
				t.Errorf("%s %s: %d %v", c.method, c.target, status, a)
			}
		}
		none := readable()
		for id := range none {
			none[id] = []echo.MiddlewareFunc{access.Static("provider", nil)}
		}
		closed := desk{Handler: withRoutes(t, d, none)}
		for _, token := range []string{"", "x", readToken} {
			if status, a, _ := closed.ask(t, token, c.method, c.target, nil, ""); status != 404 || a["code"] != "not_found" {
				t.Errorf("%s %s without tokens of the operator: %d %v", c.method, c.target, status, a)
			}
		}
	}
}

// The dry run says what the webhook would, for each kind of call, and changes nothing.
func TestVerifyAnswersLikeTheWebhook(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.post(t, call("7", "1", "10", "100"))
	before := d.rowCounts(t)
	old := time.Now().Add(-time.Hour)
	cases := map[string]struct {
		header http.Header
		body   string
		want   string
	}{
		"a new payment":               {nil, call("20", "1", "11", "100"), "200 would_credit"},
		"a new payment, v2":           {signedBy(t, plain("21", "1", "12", "100"), secret), plain("21", "1", "12", "100"), "200 would_credit"},
		"to a bill that is there":     {nil, call("22", "1", "10", "100"), "200 would_credit"},
		"a credited one":              {nil, call("7", "1", "10", "100"), "200 already_credited"},
		"a credited one, v2, expired": {signedAt(t, old, plain("7", "1", "10", "100"), secret), plain("7", "1", "10", "100"), "200 already_credited"},
		"expired":                     {signedAt(t, old, plain("23", "1", "10", "100"), secret), plain("23", "1", "10", "100"), "403 signature_expired"},
		"another amount":              {nil, call("7", "1", "10", "101"), "409 transaction_conflict"},
		"wrongly signed":              {nil, body(sign("another key", "24", "1", "10", "1"), "24", "1", "10", "1"), "403 invalid_signature"},
		"wrongly signed, v2":          {signedBy(t, plain("24", "1", "10", "1"), foreignSecret), plain("24", "1", "10", "1"), "403 invalid_signature"},
		"no JSON":                     {nil, "x", "400 malformed"},
		"an unknown user":             {nil, call("25", "77", "10", "1"), "404 user_not_found"},
		"another's bill":              {nil, call("26", "2", "10", "1"), "409 bill_owner_mismatch"},
		"a bill beyond 2^53":          {nil, call("27", "1", "9007199254740992", "1"), "422 invalid_id"},
		"too much":                    {nil, call("28", "1", "10", "70000000000000"), "422 balance_limit"},
		"not an amount":               {nil, call("29", "1", "10", "0"), "422 invalid_amount"},
	}
	for name, c := range cases {
		var got string
		waittest.Eventually(t, "a replica verifies the next payment", func() bool { // 10 a second
			status, a, h := d.ask(t, readToken, "POST", "/payment/verify", c.header, c.body)
			got = fmt.Sprint(status, " ", a["result"])
			if status >= 400 {
				got = fmt.Sprint(status, " ", a["code"])
			}
			if status == 429 && (a["code"] != "too_many_verifications" || h.Get("Retry-After") != "1") {
				t.Errorf("%v %v", a, h)
			}
			return status != 429
		})
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if after := d.rowCounts(t); after != before {
		t.Errorf("it has written: %s, before %s", after, before)
	}
	for name, c := range cases { // the webhook itself
		status, code, w := d.postWith(t, c.header, c.body)
		if want, _, _ := strings.Cut(c.want, " "); fmt.Sprint(status) != want || status >= 400 && !strings.HasSuffix(c.want, code) {
			t.Errorf("%s: the webhook says %s, the dry run %s", name, w.Body, c.want)
		}
	}
}

func TestVerificationsAreFew(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	begin := time.Now()
	const calls = 60
	verified := 0
	for range calls {
		if status, _, _ := d.ask(t, readToken, "POST", "/payment/verify", nil, call("20", "1", "11", "100")); status == 200 {
			verified++
		}
	}
	if most := verifications + int(time.Since(begin).Seconds()*verifications) + 1; verified > most || verified < verifications {
		t.Errorf("%d of %d were verified in %v", verified, calls, time.Since(begin))
	}
}

// withRoutes returns the routes of a desk with other middleware.
func withRoutes(t *testing.T, d desk, protected map[string][]echo.MiddlewareFunc) http.Handler {
	t.Helper()
	e := echo.New()
	e.HTTPErrorHandler = d.Handler.(*echo.Echo).HTTPErrorHandler
	h, err := New(d.store, NewWebhook(Signatures{V2: standardwebhooks.New(nil, time.Now)}, nil, prometheus.NewRegistry()), nil, export.New(access.UserID, export.PageTimeout, prometheus.NewRegistry()), d.rows)
	if err != nil {
		t.Fatal(err)
	}
	Register(e, h, protected)
	return e
}

// rowCounts returns how many rows there are of each kind.
func (d desk) rowCounts(t *testing.T) string {
	t.Helper()
	var text string
	err := d.admin.QueryRow(t.Context(), `SELECT concat_ws(' ', (SELECT count(*) FROM billing.bills), (SELECT count(*) FROM billing.transactions),
		(SELECT count(*) || ',' || coalesce(sum(times), 0) FROM billing.refused_payments), (SELECT count(*) FROM billing.customers), (SELECT sum(balance) FROM billing.bills))`).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
