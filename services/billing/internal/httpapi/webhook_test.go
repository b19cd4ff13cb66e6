package httpapi

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/group"
	"lavka/libs/service/access"
	"lavka/libs/service/complete"
	"lavka/libs/service/export"
	"lavka/libs/service/httpserver"
	"lavka/libs/service/opened"
	"lavka/libs/service/pg"
	"lavka/libs/service/standardwebhooks"
	"lavka/libs/testkit/pgtest"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Setup: pgtest.Service(postgres.Schema, postgres.Migrations)})
}

const key, newKey = "an-old-key-of-the-provider", "a-new-key-of-the-provider"

// desk is the webhook with a real ledger and users 1 and 2.
type desk struct {
	http.Handler
	store *postgres.Store
	rows  *complete.Worker
	admin *pgx.Conn

	closed *atomic.Bool // whether reversals are not open yet
}

func newDesk(t *testing.T) desk {
	t.Helper()
	return newDeskFor(t, Signatures{Legacy: []string{key, newKey}, V2: standardwebhooks.New(signingKeys(t, secret+","+newSecret), time.Now)})
}

func newDeskFor(t *testing.T, signatures Signatures) desk {
	t.Helper()
	db := pgtest.New(t)
	pool, err := pg.Open(t.Context(), db.URL("billing"), "billing", 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	log := slog.New(slog.DiscardHandler)
	pools := pg.OnePool(pool)
	t.Cleanup(pools.Close)
	store := postgres.New(pools, pool, log)
	for id := range int64(2) {
		if err := store.SaveCustomer(t.Context(), billing.Customer{UserID: id + 1, Role: "user", Status: "active", Version: 1}); err != nil {
			t.Fatal(err)
		}
	}
	settler := billing.NewSettler(store, group.Config{Max: 100, Queue: 1000, InFlight: 2})
	t.Cleanup(settler.Close)
	registry := prometheus.NewRegistry()
	rows := complete.New(pool, log)
	e := httpserver.New(log, nil, registry)
	closed := new(atomic.Bool)
	h, err := New(store, NewWebhook(signatures, settler, registry), NewReversals(signatures.V2, settler, func() error {
		if closed.Load() {
			return opened.ErrNotYet
		}
		return nil
	}, registry), export.New(access.UserID, export.PageTimeout, registry), rows)
	if err != nil {
		t.Fatal(err)
	}
	Register(e, h, readable())
	return desk{e, store, rows, pgtest.Connect(t, db.AdminURL()), closed}
}

// post sends a body and returns the status, the error code and the whole response.
func (d desk) post(t *testing.T, body string) (status int, code string, w *httptest.ResponseRecorder) {
	t.Helper()
	return d.postWith(t, nil, body)
}

func (d desk) postWith(t *testing.T, header http.Header, body string) (status int, code string, w *httptest.ResponseRecorder) {
	t.Helper()
	w = httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/payment/webhook", strings.NewReader(body))
	maps.Copy(r.Header, header)
	d.ServeHTTP(w, r)
	var answer struct{ Code string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("answer %q: %v", w.Body, err)
	}
	return w.Code, answer.Code, w
}

func (d desk) balances(t *testing.T) map[int64]string {
	t.Helper()
	all := map[int64]string{}
	bills, err := d.store.BillsOf(t.Context(), []int64{1, 2}, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bills {
		all[b.ID] = b.Balance.String()
	}
	return all
}

func sign(key string, values ...string) string {
	sum := sha1.Sum([]byte(key + ":" + strings.Join(values, ":")))
	return hex.EncodeToString(sum[:])
}

// call returns a correctly signed body with these values.
func call(tx, user, bill, amount string) string {
	return body(sign(key, tx, user, bill, amount), tx, user, bill, amount)
}

func body(signature, tx, user, bill, amount string) string {
	return fmt.Sprintf(`{"signature": "%s", "transaction_id": %s, "user_id": %s, "bill_id": %s, "amount": %s}`, signature, tx, user, bill, amount)
}

func TestWebhookCredits(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	first := ""
	for i, b := range []string{
		call("7", "1", "10", "100"),
		call("7", "1", "10", "100"),
		call("7", "1", "10", "100.00"), // the same amount in minor units
		body(strings.ToUpper(sign(key, "7", "1", "10", "100")), "7", "1", "10", "100"),
		body(sign(newKey, "7", "1", "10", "100"), "7", "1", "10", "100"),
		strings.Replace(call("7", "1", "10", "100"), "{", `{"provider": {"name": ["x"]},`, 1),
	} {
		status, _, w := d.post(t, b)
		if i == 0 {
			first = w.Body.String()
		}
		if status != 200 || w.Body.String() != first || (w.Header().Get("Idempotent-Replayed") == "true") != (i > 0) {
			t.Errorf("call %d: %d %s %v", i, status, w.Body, w.Header())
		}
	}
	if !strings.Contains(first, `"status":"credited","transaction_id":7,"bill_id":10`) {
		t.Errorf("answer %s", first)
	}
	if got := fmt.Sprint(d.balances(t)); got != "map[10:100]" {
		t.Errorf("balances %s", got)
	}
}

// A program that holds numbers as floats can neither show nor use a bill above 2^53 - 1.
// A payment creates none; those that exist stay as they are.
func TestBillsThatBrowsersCannotName(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const highest, above, exists = "9007199254740991", "9007199254740992", "9223372036854775807"
	if _, err := d.admin.Exec(t.Context(), `INSERT INTO billing.bills (id, user_id) VALUES (`+exists+`, 1)`); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"the highest", call("1", "1", highest, "1"), 200, ""},
		{"above it", call("2", "1", above, "1"), 422, "invalid_id"},
		{"above it, again", call("2", "1", above, "1"), 422, "invalid_id"},
		{"above it, for an unknown user", call("3", "77", above, "1"), 422, "invalid_id"},
		{"above it, signed wrongly", body(sign("another key", "4", "1", above, "1"), "4", "1", above, "1"), 403, "invalid_signature"},
		{"one that exists", call("5", "1", exists, "1"), 200, ""},
		{"one that exists, again", call("5", "1", exists, "1"), 200, ""},
		{"one that exists, of another user", call("6", "2", exists, "1"), 409, "bill_owner_mismatch"},
		{"a payment's own id", call(exists, "1", highest, "1"), 200, ""},
	} {
		if status, code, w := d.post(t, c.body); status != c.status || code != c.code {
			t.Errorf("%s: %s, want %d %q", c.name, w.Body, c.status, c.code)
		}
	}
	if got := fmt.Sprint(d.balances(t)); got != "map["+highest+":2 "+exists+":1]" {
		t.Errorf("balances %s", got)
	}
	refused := map[int64]string{}
	err := d.store.RefusedPayments(t.Context(), func(p billing.RefusedPayment) error {
		refused[p.PaymentID] = fmt.Sprint(p.Reason, " ", p.Times)
		return nil
	})
	if got := fmt.Sprint(refused); err != nil || got != "map[2:invalid_id 2 3:invalid_id 1 6:bill_owner_mismatch 1]" {
		t.Errorf("refused payments: %s %v", got, err)
	}
}

func FuzzReadWebhook(f *testing.F) {
	f.Add([]byte(call("7", "1", "10", "100")))
	f.Add([]byte(`{"signature": "0", "transaction_id": 7e1, "user_id": -0, "bill_id": 1.0, "amount": -0}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := readWebhook(text, legacy)
		if err != nil {
			return
		}
		// The signed values must be plain number tokens, without a colon or any other byte.
		for _, v := range []string{c.text.transactionID, c.text.userID, c.text.billID, c.text.amount} {
			if v == "" || strings.Trim(v, "0123456789+-.eE") != "" {
				t.Fatalf("%q is not a plain number, in %q", v, text)
			}
		}
		if !json.Valid(text) || bytes.ContainsRune(text, 0) {
			t.Fatalf("%q was accepted", text)
		}
	})
}
