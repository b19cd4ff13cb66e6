package httpapi

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/group"
	"lavka/libs/httpserver"
	"lavka/libs/pg"
	"lavka/libs/pgtest"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
	"lavka/services/billing/internal/postgres/postgrestest"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Setup: postgrestest.Setup})
}

const key, newKey = "an-old-key-of-the-provider", "a-new-key-of-the-provider"

// desk is the webhook on a real ledger, with users 1 and 2.
type desk struct {
	http.Handler
	store *postgres.Store
}

func newDesk(t *testing.T) desk {
	t.Helper()
	pool, err := pg.Open(t.Context(), pgtest.New(t).URL("billing"), "billing", 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	log := slog.New(slog.DiscardHandler)
	store, err := postgres.New(pool, log)
	if err != nil {
		t.Fatal(err)
	}
	for id := range int64(2) {
		if err := store.SaveCustomer(t.Context(), billing.Customer{UserID: id + 1, Role: "user", Status: "active", Version: 1}); err != nil {
			t.Fatal(err)
		}
	}
	settler := billing.NewSettler(store, group.Config{Max: 100, Queue: 1000, InFlight: 2})
	t.Cleanup(settler.Close)
	registry := prometheus.NewRegistry()
	e := httpserver.New("billing", log, nil, registry)
	if err := Register(e, store, NewWebhook([]string{key, newKey}, settler, registry), nil); err != nil {
		t.Fatal(err)
	}
	return desk{e, store}
}

// post sends a body and gives status, code and the whole answer.
func (d desk) post(t *testing.T, body string) (status int, code string, w *httptest.ResponseRecorder) {
	t.Helper()
	w = httptest.NewRecorder()
	d.ServeHTTP(w, httptest.NewRequest("POST", "/payment/webhook", strings.NewReader(body)))
	var answer struct{ Code string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("answer %q: %v", w.Body, err)
	}
	return w.Code, answer.Code, w
}

func (d desk) balances(t *testing.T) map[int64]string {
	t.Helper()
	all := map[int64]string{}
	bills, err := d.store.BillsOf(t.Context(), []int64{1, 2})
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

// call is a correctly signed body of these texts.
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
		call("7", "1", "10", "100.00"), // the same in minor units
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

// A number's text is what is signed: each of these was signed correctly but for
// what it is about, and none may move a cent.
func TestWebhookRefuses(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if status, _, w := d.post(t, call("1", "1", "10", "50")); status != 200 {
		t.Fatalf("%d %s", status, w.Body)
	}
	good := sign(key, "7", "1", "10", "100")
	max := "9223372036854775808"
	for _, c := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"wrong signature", body(strings.Repeat("0", 40), "7", "1", "10", "100"), 403, "invalid_signature"},
		{"a digit off", body(flip(good), "7", "1", "10", "100"), 403, "invalid_signature"},
		{"another key", body(sign("not-a-key-of-this-shop", "7", "1", "10", "100"), "7", "1", "10", "100"), 403, "invalid_signature"},
		{"no key", body(sign("", "7", "1", "10", "100"), "7", "1", "10", "100"), 403, "invalid_signature"},
		{"short signature", body(good[:39], "7", "1", "10", "100"), 400, "malformed"},
		{"long signature", body(good+"0", "7", "1", "10", "100"), 400, "malformed"},
		{"empty signature", body("", "7", "1", "10", "100"), 400, "malformed"},
		{"signature not hex", body(strings.Repeat("g", 40), "7", "1", "10", "100"), 400, "malformed"},
		{"signature of spaces", body(strings.Repeat(" ", 40), "7", "1", "10", "100"), 400, "malformed"},
		{"no signature", `{"transaction_id": 7, "user_id": 1, "bill_id": 10, "amount": 100}`, 400, "malformed"},
		{"signature null", `{"signature": null, "transaction_id": 7, "user_id": 1, "bill_id": 10, "amount": 100}`, 400, "malformed"},
		{"signature a number", `{"signature": 1, "transaction_id": 7, "user_id": 1, "bill_id": 10, "amount": 100}`, 400, "malformed"},
		{"signed 7, sent 7.0", body(sign(key, "7", "1", "10", "7"), "7", "1", "10", "7.0"), 403, "invalid_signature"},
		{"signed for another user", body(good, "7", "2", "10", "100"), 403, "invalid_signature"},
		{"a shifted colon", body(sign(key, "7", "1", "10", "100"), "71", "1", "0", "100"), 403, "invalid_signature"},
		{"a colon in a value", body(sign(key, "7", "1", "10", "100"), `"7:1"`, "10", "100", "1"), 400, "malformed"},

		{"amount a string", call("7", "1", "10", `"100"`), 400, "malformed"},
		{"amount a bool", call("7", "1", "10", "true"), 400, "malformed"},
		{"amount null", call("7", "1", "10", "null"), 400, "malformed"},
		{"amount an array", call("7", "1", "10", "[100]"), 400, "malformed"},
		{"amount an object", call("7", "1", "10", "{}"), 400, "malformed"},
		{"no amount", `{"signature": "` + good + `", "transaction_id": 7, "user_id": 1, "bill_id": 10}`, 400, "malformed"},
		{"amount with an exponent", call("7", "1", "10", "1e2"), 422, "invalid_amount"},
		{"amount negative", call("7", "1", "10", "-100"), 422, "invalid_amount"},
		{"amount zero", call("7", "1", "10", "0"), 422, "invalid_amount"},
		{"amount 0.00", call("7", "1", "10", "0.00"), 422, "invalid_amount"},
		{"amount -0", call("7", "1", "10", "-0"), 422, "invalid_amount"},
		{"three decimals", call("7", "1", "10", "1.001"), 422, "invalid_amount"},
		{"one cent beyond", call("7", "1", "10", "70000000000000.01"), 422, "invalid_amount"},
		{"far beyond", call("7", "1", "10", strings.Repeat("9", 400)), 422, "invalid_amount"},
		{"balance limit", call("7", "1", "10", "70000000000000"), 422, "balance_limit"},

		{"id zero", call("0", "1", "10", "100"), 422, "invalid_id"},
		{"id -0", call("-0", "1", "10", "100"), 422, "invalid_id"},
		{"id negative", call("-7", "1", "10", "100"), 422, "invalid_id"},
		{"user zero", call("7", "0", "10", "100"), 422, "invalid_id"},
		{"bill negative", call("7", "1", "-10", "100"), 422, "invalid_id"},
		{"id fractional", call("7.5", "1", "10", "100"), 400, "malformed"},
		{"id 7.0", call("7.0", "1", "10", "100"), 400, "malformed"},
		{"id with an exponent", call("7e0", "1", "10", "100"), 400, "malformed"},
		{"id beyond int64", call(max, "1", "10", "100"), 400, "malformed"},
		{"id below int64", call("-9223372036854775809", "1", "10", "100"), 400, "malformed"},
		{"id a string", call(`"7"`, "1", "10", "100"), 400, "malformed"},
		{"user null", call("7", "null", "10", "100"), 400, "malformed"},
		{"bill a bool", call("7", "1", "false", "100"), 400, "malformed"},
		{"leading zero", call("07", "1", "10", "100"), 400, "malformed"},
		{"plus", call("+7", "1", "10", "100"), 400, "malformed"},

		{"a key twice", strings.Replace(call("7", "1", "10", "100"), "{", `{"amount": 1,`, 1), 400, "malformed"},
		{"a key twice, escaped", strings.Replace(call("7", "1", "10", "100"), "{", `{"\u0061mount": 1,`, 1), 400, "malformed"},
		{"an unknown key twice", strings.Replace(call("7", "1", "10", "100"), "{", `{"x": 1, "x": 1,`, 1), 400, "malformed"},
		{"another case", strings.Replace(call("7", "1", "10", "100"), `"amount"`, `"Amount"`, 1), 400, "malformed"},
		{"trailing data", call("7", "1", "10", "100") + "{}", 400, "malformed"},
		{"cut short", call("7", "1", "10", "100")[:100], 400, "malformed"},
		{"empty", "", 400, "malformed"},
		{"null", "null", 400, "malformed"},
		{"an array", "[]", 400, "malformed"},
		{"a string", `"x"`, 400, "malformed"},
		{"U+0000", strings.Replace(call("7", "1", "10", "100"), "{", `{"x": "\u0000",`, 1), 400, "malformed"},
		{"invalid UTF-8", strings.Replace(call("7", "1", "10", "100"), "{", "{\"x\": \"\xff\",", 1), 400, "malformed"},
		{"a byte order mark", "\ufeff" + call("7", "1", "10", "100"), 400, "malformed"},
		{"nested", strings.Replace(call("7", "1", "10", "100"), "{", `{"x": `+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`,`, 1), 400, "malformed"},
		{"100,000 brackets", strings.Repeat("[", 100_000), 413, "body_too_large"},
		{"10 MB", call("7", "1", "10", strings.Repeat("1", 10<<20)), 413, "body_too_large"},

		{"no such user", call("7", "404", "11", "100"), 404, "user_not_found"},
		{"somebody else's bill", call("7", "2", "10", "100"), 409, "bill_owner_mismatch"},
		{"the same id, another amount", call("1", "1", "10", "50.01"), 409, "transaction_conflict"},
		{"the same id, another bill", call("1", "1", "11", "50"), 409, "transaction_conflict"},
		{"the same id, another user", call("1", "2", "10", "50"), 409, "transaction_conflict"},
	} {
		status, code, w := d.post(t, c.body)
		if status != c.status || code != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, status, code, c.status, c.code)
		}
		if strings.Contains(w.Body.String(), good) || strings.Contains(w.Body.String(), key) {
			t.Errorf("%s: the answer shows the right signature or the key: %s", c.name, w.Body)
		}
		if code == "user_not_found" && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", c.name)
		}
	}
	if got := fmt.Sprint(d.balances(t)); got != "map[10:50]" {
		t.Errorf("balances %s, want what the one good call left", got)
	}
	kept := map[string]int{}
	err := d.store.RefusedPayments(t.Context(), func(p postgres.RefusedPayment) error { kept[p.Reason]++; return nil })
	// Five calls had a bad id; 0 and -0 are the same content.
	want := "map[balance_limit:1 bill_owner_mismatch:1 invalid_amount:8 invalid_id:4 transaction_conflict:3 user_not_found:1]"
	if got := fmt.Sprint(kept); err != nil || got != want {
		t.Errorf("kept %s, %v; want every signed refusal: %s", got, err, want)
	}
}

// SHA-1 lets whoever knows H(key:7:1:10:100) compute the hash of that text,
// its padding and any tail. The forged text holds bytes that no JSON number
// does, so it must never get as far as a comparison that it would win.
func TestWebhookLengthExtension(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	seen := sign(key, "7", "1", "10", "1")
	tail := "000000"
	forged, glue := extend(t, seen, len(key+":7:1:10:1"), tail)
	want := sha1.Sum([]byte(key + ":7:1:10:1" + glue + tail))
	if forged != hex.EncodeToString(want[:]) {
		t.Fatal("the attack itself is wrong, so this test shows nothing")
	}
	amount := "1" + glue + tail
	quoted, err := json.Marshal(amount)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"raw bytes":            amount,
		"raw bytes, in quotes": `"` + amount + `"`,
		"escaped":              string(quoted),
		"as \\u00XX":           `"` + escapeAll(amount) + `"`,
	} {
		if status, code, _ := d.post(t, body(forged, "7", "1", "10", value)); status != 400 || code != "malformed" {
			t.Errorf("%s: %d %s, want 400", name, status, code)
		}
	}
	if got := d.balances(t); len(got) != 0 {
		t.Errorf("balances %v", got)
	}
}

func TestWebhookAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	answers, fresh := map[string]int{}, 0
	for range 300 {
		all.Go(func() {
			_, _, w := d.post(t, call("7", "1", "10", "100"))
			mu.Lock()
			defer mu.Unlock()
			answers[fmt.Sprint(w.Code, w.Body)]++
			if w.Header().Get("Idempotent-Replayed") == "" {
				fresh++
			}
		})
	}
	for i := range 10 {
		all.Go(func() {
			if status, _, w := d.post(t, call(fmt.Sprint(100+i), "2", "20", "1.50")); status != 200 {
				t.Errorf("%d %s", status, w.Body)
			}
		})
	}
	all.Wait()
	if len(answers) != 1 || fresh != 1 {
		t.Errorf("%d fresh, answers %v; want one credit and 300 equal answers", fresh, answers)
	}
	if got := fmt.Sprint(d.balances(t)); got != "map[10:100 20:15]" {
		t.Errorf("balances %s", got)
	}
	if _, err := d.store.Verify(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func FuzzReadWebhook(f *testing.F) {
	f.Add([]byte(call("7", "1", "10", "100")))
	f.Add([]byte(`{"signature": "0", "transaction_id": 7e1, "user_id": -0, "bill_id": 1.0, "amount": -0}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := readWebhook(text)
		if err != nil {
			return
		}
		// What is signed must be plain number tokens: no colon, no byte beyond them.
		for _, v := range []string{c.text.transactionID, c.text.userID, c.text.billID, c.text.amount} {
			if v == "" || strings.Trim(v, "0123456789+-.eE") != "" {
				t.Fatalf("%q is no plain number, of %q", v, text)
			}
		}
		if !json.Valid(text) || bytes.ContainsRune(text, 0) {
			t.Fatalf("%q was taken", text)
		}
	})
}

func flip(signature string) string {
	if signature[0] == '0' {
		return "1" + signature[1:]
	}
	return "0" + signature[1:]
}

func escapeAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, `\u%04x`, s[i])
	}
	return b.String()
}

// extend continues a SHA-1 sum (FIPS 180-4) from its state: the new sum, and
// the padding that stands between the old text and the tail.
func extend(t *testing.T, sum string, length int, tail string) (forged, glue string) {
	t.Helper()
	state, err := hex.DecodeString(sum)
	if err != nil {
		t.Fatal(err)
	}
	padding := make([]byte, 1+(119-length%64)%64, 80)
	padding[0] = 0x80
	padding = binary.BigEndian.AppendUint64(padding, uint64(length)*8)
	h := sha1.New()
	// The documented form of a marshalled state: magic, five words, the block, the length.
	blob := append([]byte("sha\x01"), state...)
	blob = append(blob, make([]byte, 64)...)
	blob = binary.BigEndian.AppendUint64(blob, uint64(length+len(padding)))
	if err := h.(interface{ UnmarshalBinary([]byte) error }).UnmarshalBinary(blob); err != nil {
		t.Fatal(err)
	}
	h.Write([]byte(tail))
	return hex.EncodeToString(h.Sum(nil)), string(padding)
}
