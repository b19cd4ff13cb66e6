package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"lavka/services/billing/internal/billing"
)

func reversal(id, payment, total string) string {
	return fmt.Sprintf(`{"reversal_id": %s, "transaction_id": %s, "reversed_total": %s}`, id, payment, total)
}

// reverse sends a body with headers and returns the status, the error code and the
// whole response.
func (d desk) reverse(t *testing.T, header http.Header, body string) (status int, code string, w *httptest.ResponseRecorder) {
	t.Helper()
	r := httptest.NewRequest("POST", "/payment/reversals", strings.NewReader(body))
	for name, values := range header {
		r.Header[name] = values
	}
	w = httptest.NewRecorder()
	d.ServeHTTP(w, r)
	var problem struct{ Code string }
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil {
		t.Fatalf("%q: %v", w.Body, err)
	}
	return w.Code, problem.Code, w
}

// The whole of it, in the order of the table.
func TestReversalRoute(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	body := reversal("3", "7", "60")
	for _, c := range []struct {
		name     string
		body     string
		status   int
		want     string // a code, or a part of the answer
		replayed bool
	}{
		{"before the payment", body, 404, "payment_not_found", false},
		{"after it", body, 200, `"reversal_id":3,"transaction_id":7,"debited":60,"shortfall":0`, false},
		{"repeated", body, 200, `"reversal_id":3,"transaction_id":7,"debited":60,"shortfall":0`, true},
		{"repeated, in other words", reversal("3", "7", "60.00"), 200, `"debited":60,"shortfall":0`, true},
		{"a higher total", reversal("4", "7", "70.50"), 200, `"debited":10.50,"shortfall":0`, false},
		{"a lower total", reversal("5", "7", "10"), 200, `"debited":0,"shortfall":0`, false},
		{"another total", reversal("3", "7", "61"), 409, "transaction_conflict", false},
		{"another payment", reversal("3", "8", "60"), 409, "transaction_conflict", false},
		{"too much", reversal("6", "7", "100.01"), 409, "reversal_exceeds", false},
		{"all of it", reversal("6", "7", "100"), 200, `"debited":29.50,"shortfall":0`, false},
		{"no id", reversal("0", "7", "1"), 422, "invalid_id", false},
		{"negative", reversal("9", "7", "-1"), 422, "invalid_amount", false},
		{"three decimals", reversal("9", "7", "1.001"), 422, "invalid_amount", false},
		{"a text", reversal("9", "7", `"1"`), 400, "malformed", false},
		{"an id with a fraction", reversal("9.0", "7", "1"), 400, "malformed", false},
		{"another member", strings.Replace(body, "{", `{"user_id": 1, `, 1), 400, "malformed", false},
		{"in other letters", strings.Replace(body, "reversal_id", "Reversal_id", 1), 400, "malformed", false},
		{"a member twice", strings.Replace(body, "{", `{"reversal_id": 4, `, 1), 400, "malformed", false},
		{"a member missing", `{"reversal_id": 3, "transaction_id": 7}`, 400, "malformed", false},
		{"a payment", plain("7", "1", "10", "100"), 400, "malformed", false},
	} {
		status, code, w := d.reverse(t, signedBy(t, c.body, secret), c.body)
		if status != c.status || code != c.want && !strings.Contains(w.Body.String(), c.want) || (w.Header().Get("Idempotent-Replayed") == "true") != c.replayed {
			t.Errorf("%s: %d %s %v", c.name, status, w.Body, w.Header())
		}
		if status == 404 {
			if w.Header().Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", c.name)
			}
			d.post(t, call("7", "1", "10", "100"))
		}
	}
	if got := fmt.Sprint(d.balances(t)); got != "map[10:0]" {
		t.Errorf("balances %s", got)
	}
	refused := map[string]int{}
	err := d.store.RefusedPayments(t.Context(), func(p billing.RefusedPayment) error {
		refused[fmt.Sprint(*p.ReversalID, " ", p.Reason, " ", p.CreditedSince)]++
		return nil
	})
	want := "map[0 invalid_id false:1 3 payment_not_found true:1 3 transaction_conflict false:2 6 reversal_exceeds false:1 9 invalid_amount false:2]"
	if got := fmt.Sprint(refused); err != nil || got != want {
		t.Errorf("refused: %s, want %s; %v", got, want, err)
	}
	if _, err := d.store.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// Only a signature in the header is accepted, of this body, made now. None of the
// others may write anything, nor tell a stranger whether the payment exists.
func TestSignaturesOfReversals(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.post(t, call("7", "1", "10", "100"))
	body := reversal("3", "7", "60")
	twice := signedBy(t, body, secret)
	twice["Webhook-Signature"] = append(twice["Webhook-Signature"], twice.Get("Webhook-Signature"))
	unlabelled := signedBy(t, body, secret)
	unlabelled.Set("Webhook-Signature", strings.TrimPrefix(unlabelled.Get("Webhook-Signature"), "v1,"))
	for name, c := range map[string]struct {
		header http.Header
		body   string
		code   string
	}{
		"none":                     {nil, body, "invalid_signature"},
		"none, unknown payment":    {nil, reversal("3", "404", "60"), "invalid_signature"},
		"none, bad values":         {nil, reversal("0", "7", "-1"), "invalid_signature"},
		"a foreign key":            {signedBy(t, body, foreignSecret), body, "invalid_signature"},
		"of another body":          {signedBy(t, reversal("3", "7", "1"), secret), body, "invalid_signature"},
		"of other bytes":           {signedBy(t, body+" ", secret), body, "invalid_signature"},
		"twice":                    {twice, body, "invalid_signature"},
		"without its version":      {unlabelled, body, "invalid_signature"},
		"of the body, by SHA-1":    {nil, strings.Replace(body, "{", `{"signature": "`+sign(key, "7", "1", "10", "60")+`", `, 1), "malformed"},
		"made ten minutes ago":     {signedAt(t, time.Now().Add(-10*time.Minute), body, secret), body, "signature_expired"},
		"made in ten minutes":      {signedAt(t, time.Now().Add(10*time.Minute), body, secret), body, "signature_expired"},
		"made ten days ago, wrong": {signedAt(t, time.Now().AddDate(0, 0, -10), body, foreignSecret), body, "invalid_signature"},
	} {
		status, code, w := d.reverse(t, c.header, c.body)
		if code != c.code || status == 200 {
			t.Errorf("%s: %s, want %s", name, w.Body, c.code)
		}
		if code == "signature_expired" && !strings.Contains(w.Body.String(), `"server_time":"`) {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
	if got := fmt.Sprint(d.balances(t)); got != "map[10:100]" {
		t.Errorf("balances %s", got)
	}
	var kept int
	if err := d.admin.QueryRow(t.Context(), `SELECT count(*) FROM billing.refused_payments`).Scan(&kept); err != nil || kept != 1 {
		t.Errorf("%d refused are kept, want the one that was only too old: %v", kept, err)
	}
	// A second key, several signatures, and a repeat that is old: all good.
	for name, header := range map[string]http.Header{"the new key": signedBy(t, body, newSecret), "several": signedBy(t, body, foreignSecret, secret)} {
		if status, _, w := d.reverse(t, header, body); status != 200 {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
	if status, _, w := d.reverse(t, signedAt(t, time.Now().Add(-time.Hour), body, secret), body); status != 200 || w.Header().Get("Idempotent-Replayed") != "true" {
		t.Errorf("a repeat, an hour old: %d %s", status, w.Body)
	}
	// The keys sign payments as well: neither body passes for the other.
	if status, code, w := d.postWith(t, signedBy(t, body, secret), body); status != 400 || code != "malformed" {
		t.Errorf("a reversal sent to the webhook: %s", w.Body)
	}
}

func TestReversalsAreClosedUntilTheGateIsOpen(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.post(t, call("7", "1", "10", "100"))
	d.closed.Store(true)
	for _, body := range []string{reversal("3", "7", "60"), reversal("3", "404", "60")} {
		status, code, w := d.reverse(t, signedBy(t, body, secret), body)
		if status != 503 || code != "not_open_yet" || w.Header().Get("Retry-After") == "" {
			t.Errorf("%d %s %v", status, w.Body, w.Header())
		}
	}
	var rows int
	if err := d.admin.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM billing.refused_payments) + (SELECT count(*) FROM billing.reversals)`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows were written, %v", rows, err)
	}
	d.closed.Store(false)
	body := reversal("3", "7", "60")
	if status, _, w := d.reverse(t, signedBy(t, body, secret), body); status != 200 {
		t.Errorf("%s", w.Body)
	}
}

// A key is used fifty times at once: one decision, fifty times the same answer.
func TestOneReversalFiftyTimesAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.post(t, call("7", "1", "10", "100"))
	body := reversal("3", "7", "60")
	var all sync.WaitGroup
	answers := make([]string, 50)
	for i := range answers {
		all.Go(func() {
			_, _, w := d.reverse(t, signedBy(t, body, secret), body)
			answers[i] = w.Body.String()
		})
	}
	all.Wait()
	for _, a := range answers {
		if a != answers[0] || !strings.Contains(a, `"debited":60,`) {
			t.Fatalf("%s and %s", answers[0], a)
		}
	}
	if got := fmt.Sprint(d.balances(t)); got != "map[10:40]" {
		t.Errorf("balances %s", got)
	}
}

func TestListOfReversals(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.post(t, call("7", "1", "10", "100"))
	d.post(t, call("8", "2", "20", "5"))
	for _, body := range []string{reversal("1", "7", "60"), reversal("2", "8", "5"), reversal("3", "7", "61")} {
		if status, _, w := d.reverse(t, signedBy(t, body, secret), body); status != 200 {
			t.Fatalf("%s", w.Body)
		}
	}
	if _, err := d.admin.Exec(t.Context(), `UPDATE billing.reversals SET debited = 0, shortfall = due WHERE reversal_id IN (1, 2)`); err != nil {
		t.Fatal(err)
	}
	type entry struct {
		ReversalID    int64   `json:"reversal_id"`
		TransactionID int64   `json:"transaction_id"`
		BillID        int64   `json:"bill_id"`
		ReversedTotal float64 `json:"reversed_total"`
		Shortfall     float64 `json:"shortfall"`
	}
	for _, c := range []struct {
		query, want string
	}{
		{"limit=1", "3 2 1"}, {"limit=1&shortfall=true", "2 1"}, {"shortfall=false&limit=1", "3 2 1"},
	} {
		var seen []string
		for next := ""; ; {
			w := httptest.NewRecorder()
			d.ServeHTTP(w, httptest.NewRequest("GET", "/admin/reversals?"+c.query+"&cursor="+next, nil))
			var page struct {
				Items []entry
				Next  string `json:"next_cursor"`
			}
			if next == "" { // an empty cursor is not one
				w = httptest.NewRecorder()
				d.ServeHTTP(w, httptest.NewRequest("GET", "/admin/reversals?"+c.query, nil))
			}
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 || len(page.Items) != 1 {
				t.Fatalf("%s: %d %s", c.query, w.Code, w.Body)
			}
			seen = append(seen, fmt.Sprint(page.Items[0].ReversalID))
			if next = page.Next; next == "" {
				break
			}
		}
		if got := strings.Join(seen, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.query, got, c.want)
		}
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, httptest.NewRequest("GET", "/admin/reversals?shortfall=perhaps", nil))
	if w.Code != 422 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func FuzzReadReversal(f *testing.F) {
	f.Add([]byte(reversal("3", "7", "60")))
	f.Add([]byte(`{"reversal_id": 7e1, "transaction_id": -0, "reversed_total": -0}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := readReversal(text)
		if err != nil {
			return
		}
		if strings.Trim(c.total, "0123456789+-.eE") != "" || c.total == "" || !json.Valid(text) {
			t.Fatalf("%q was accepted", text)
		}
	})
}

// The provider's window shows what was reversed, and which reversals were refused. A
// refused reversal says nothing about its payment.
func TestTheWindowShowsReversals(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	begin := time.Now().Add(-time.Minute)
	d.post(t, call("7", "1", "10", "100"))
	d.post(t, call("8", "1", "10", "5"))
	for _, body := range []string{reversal("1", "7", "60.50"), reversal("2", "7", "20"), reversal("3", "404", "1")} {
		d.reverse(t, signedBy(t, body, secret), body)
	}
	for id, want := range map[string]string{"7": "credited 60.50", "8": "credited 0", "404": "unknown <nil>"} {
		if status, a := d.get(t, "/payment/credits/"+id); status != 200 || fmt.Sprint(a["status"], " ", a["reversed_total"]) != want {
			t.Errorf("payment %s: %d %v, want %s", id, status, a, want)
		}
	}
	for list, want := range map[string]string{"credits": "7 60.50 <nil>, 8 0 <nil>", "refused": "404 <nil> 3"} {
		_, a := d.get(t, "/payment/"+list+"?"+between(begin, begin.Add(time.Hour)))
		var got []string
		for _, item := range a["items"].([]any) {
			m := item.(map[string]any)
			got = append(got, fmt.Sprint(m["transaction_id"], " ", m["reversed_total"], " ", m["reversal_id"]))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %s, want %s", list, strings.Join(got, ", "), want)
		}
	}
}
