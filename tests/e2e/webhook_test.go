package e2e

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"lavka/deploy/local/stack"
)

// provider stands in for the payment provider: for an honest one, whose values are
// given as texts, and for a forger who knows everything but the key.
type provider struct {
	*client
	key  string
	user string // the id of the user to credit
}

// through returns providers for the two ways to reach the webhook.
func (s *shopUnderTest) through(u *user) map[string]provider {
	return map[string]provider{
		"billing": {&client{base: s.Replicas(stack.Billing)[0].URL()}, s.PaymentKeys[0], fmt.Sprint(u.id)},
		"gateway": {&client{base: s.GatewayURL()}, s.PaymentKeys[0], fmt.Sprint(u.id)},
	}
}

func sign(key string, values ...string) string {
	sum := sha1.Sum([]byte(key + ":" + strings.Join(values, ":")))
	return hex.EncodeToString(sum[:])
}

func body(signature, tx, user, bill, amount string) string {
	return fmt.Sprintf(`{"signature": "%s", "transaction_id": %s, "user_id": %s, "bill_id": %s, "amount": %s}`, signature, tx, user, bill, amount)
}

// signed returns a correctly signed body with these values.
func (p provider) signed(tx, user, bill, amount string) string {
	return body(sign(p.key, tx, user, bill, amount), tx, user, bill, amount)
}

// Each of these calls is correctly signed except for what it tests, and none may
// move a cent. The signature covers the text of each number.
func TestWebhookAttacks(t *testing.T) {
	t.Parallel()
	u, other := shop.newUser(t), shop.newUser(t)
	bill := shop.bill(t, u, "0")
	for way, p := range shop.through(u) {
		t.Run(way, func(t *testing.T) { attack(t, p, fmt.Sprint(other.id), fmt.Sprint(bill)) })
	}
	if b := u.balance(t, bill); b != "100" {
		t.Errorf("balance %s, want 100 from the two valid calls of 50", b)
	}
	if n := len(pages(t, other.client, "/bills", 100)); n != 0 {
		t.Errorf("the other user has %d bills", n)
	}
}

func attack(t *testing.T, p provider, other, bill string) {
	u, known, fresh, free := p.user, fmt.Sprint(newPayment()), fmt.Sprint(newPayment()), fmt.Sprint(newPayment())
	if a := p.call(t, "POST", "/payment/webhook", []byte(p.signed(known, u, bill, "50"))); a.status != 200 {
		t.Fatalf("%s", a)
	}
	good := sign(p.key, fresh, u, bill, "100")
	signed := func(tx, user, bill, amount string) string { return p.signed(tx, user, bill, amount) }
	with := func(old, new string) string { return strings.Replace(signed(fresh, u, bill, "100"), old, new, 1) }
	var refused int
	for _, c := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"wrong signature", body(strings.Repeat("0", 40), fresh, u, bill, "100"), 403, "invalid_signature"},
		{"a digit off", body(flip(good), fresh, u, bill, "100"), 403, "invalid_signature"},
		{"another key", body(sign("not-a-key-of-this-shop", fresh, u, bill, "100"), fresh, u, bill, "100"), 403, "invalid_signature"},
		{"no key", body(sign("", fresh, u, bill, "100"), fresh, u, bill, "100"), 403, "invalid_signature"},
		{"short signature", body(good[:39], fresh, u, bill, "100"), 400, "malformed"},
		{"long signature", body(good+"0", fresh, u, bill, "100"), 400, "malformed"},
		{"empty signature", body("", fresh, u, bill, "100"), 400, "malformed"},
		{"signature not hex", body(strings.Repeat("g", 40), fresh, u, bill, "100"), 400, "malformed"},
		{"no signature", `{"transaction_id": 7, "user_id": 1, "bill_id": 10, "amount": 100}`, 400, "malformed"},
		{"signature null", `{"signature": null, "transaction_id": 7, "user_id": 1, "bill_id": 10, "amount": 100}`, 400, "malformed"},
		{"signature a number", `{"signature": 1, "transaction_id": 7, "user_id": 1, "bill_id": 10, "amount": 100}`, 400, "malformed"},
		{"signed 7, sent 7.0", body(sign(p.key, fresh, u, bill, "7"), fresh, u, bill, "7.0"), 403, "invalid_signature"},
		{"signed for another user", body(good, fresh, other, bill, "100"), 403, "invalid_signature"},
		{"a shifted colon", body(sign(p.key, "7", "12", bill, "100"), "71", "2", bill, "100"), 403, "invalid_signature"},
		{"a colon in a value", body(sign(p.key, "7", u, bill, "100"), `"7:`+u+`"`, bill, "100", "1"), 400, "malformed"},

		{"amount a string", signed(fresh, u, bill, `"100"`), 400, "malformed"},
		{"amount a bool", signed(fresh, u, bill, "true"), 400, "malformed"},
		{"amount null", signed(fresh, u, bill, "null"), 400, "malformed"},
		{"amount an array", signed(fresh, u, bill, "[100]"), 400, "malformed"},
		{"amount an object", signed(fresh, u, bill, "{}"), 400, "malformed"},
		{"no amount", `{"signature": "` + good + `", "transaction_id": 7, "user_id": 1, "bill_id": 10}`, 400, "malformed"},
		{"amount with an exponent", signed(fresh, u, bill, "1e2"), 422, "invalid_amount"},
		{"amount negative", signed(fresh, u, bill, "-100"), 422, "invalid_amount"},
		{"amount zero", signed(fresh, u, bill, "0"), 422, "invalid_amount"},
		{"amount 0.00", signed(fresh, u, bill, "0.00"), 422, "invalid_amount"},
		{"amount -0", signed(fresh, u, bill, "-0"), 422, "invalid_amount"},
		{"three decimals", signed(fresh, u, bill, "1.001"), 422, "invalid_amount"},
		{"one cent beyond", signed(fresh, u, bill, "70000000000000.01"), 422, "invalid_amount"},
		{"far beyond", signed(fresh, u, bill, strings.Repeat("9", 400)), 422, "invalid_amount"},
		{"balance limit", signed(fresh, u, bill, "70000000000000"), 422, "balance_limit"},

		{"id zero", signed("0", u, bill, "100"), 422, "invalid_id"},
		{"id -0", signed("-0", u, bill, "100"), 422, "invalid_id"},
		{"id negative", signed("-7", u, bill, "100"), 422, "invalid_id"},
		{"user zero", signed(fresh, "0", bill, "100"), 422, "invalid_id"},
		{"bill negative", signed(fresh, u, "-10", "100"), 422, "invalid_id"},
		{"id fractional", signed("7.5", u, bill, "100"), 400, "malformed"},
		{"id 7.0", signed("7.0", u, bill, "100"), 400, "malformed"},
		{"id with an exponent", signed("7e0", u, bill, "100"), 400, "malformed"},
		{"id beyond int64", signed("9223372036854775808", u, bill, "100"), 400, "malformed"},
		{"id below int64", signed("-9223372036854775809", u, bill, "100"), 400, "malformed"},
		{"id a string", signed(`"`+fresh+`"`, u, bill, "100"), 400, "malformed"},
		{"user null", signed(fresh, "null", bill, "100"), 400, "malformed"},
		{"bill a bool", signed(fresh, u, "false", "100"), 400, "malformed"},
		{"leading zero", signed("0"+fresh, u, bill, "100"), 400, "malformed"},
		{"plus", signed("+"+fresh, u, bill, "100"), 400, "malformed"},

		{"a key twice", with("{", `{"amount": 1,`), 400, "malformed"},
		{"a key twice, escaped", with("{", `{"\u0061mount": 1,`), 400, "malformed"},
		{"an unknown key twice", with("{", `{"x": 1, "x": 1,`), 400, "malformed"},
		{"another case", with(`"amount"`, `"Amount"`), 400, "malformed"},
		{"trailing data", signed(fresh, u, bill, "100") + "{}", 400, "malformed"},
		{"cut short", signed(fresh, u, bill, "100")[:100], 400, "malformed"},
		{"empty", "", 400, "malformed"},
		{"null", "null", 400, "malformed"},
		{"an array", "[]", 400, "malformed"},
		{"U+0000", with("{", `{"x": "\u0000",`), 400, "malformed"},
		{"invalid UTF-8", with("{", "{\"x\": \"\xff\","), 400, "malformed"},
		{"a byte order mark", "\ufeff" + signed(fresh, u, bill, "100"), 400, "malformed"},
		{"nested", with("{", `{"x": `+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`,`), 400, "malformed"},
		{"100,000 brackets", strings.Repeat("[", 100_000), 413, "body_too_large"},
		{"10 MB", signed(fresh, u, bill, strings.Repeat("1", 10<<20)), 413, "body_too_large"},

		{"no such user", signed(fresh, "987654321", free, "100"), 404, "user_not_found"},
		{"another user's bill", signed(fresh, other, bill, "100"), 409, "bill_owner_mismatch"},
		{"the same id, another amount", signed(known, u, bill, "50.01"), 409, "transaction_conflict"},
		{"the same id, another bill", signed(known, u, free, "50"), 409, "transaction_conflict"},
		{"the same id, another user", signed(known, other, bill, "50"), 409, "transaction_conflict"},
	} {
		a := p.want(t, c.status, c.code, "POST", "/payment/webhook", []byte(c.body))
		if t.Failed() {
			t.Fatalf("failed case: %s", c.name)
		}
		if strings.Contains(string(a.body), good) || strings.Contains(string(a.body), p.key) {
			t.Errorf("%s: the response contains the valid signature or the key: %s", c.name, a)
		}
		if c.code == "user_not_found" && a.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", c.name)
		}
		if c.status == 422 || c.status == 409 || c.status == 404 {
			refused++
		}
	}
	kept, err := shop.Command(t.Context(), stack.Billing, "payments", "refused").Output()
	must(t, err)
	for _, reason := range []string{"invalid_amount", "invalid_id", "balance_limit", "user_not_found", "bill_owner_mismatch", "transaction_conflict"} {
		if !strings.Contains(string(kept), "\t"+reason+"\t") {
			t.Errorf("billing payments refused does not list %s:\n%s", reason, kept)
		}
	}
	if n := strings.Count(string(kept), "payment "+fresh+"\t"); n != refused-6 {
		t.Errorf("%d refused payments of id %s are kept, want %d", n, fresh, refused-6)
	}
}

func TestWebhookTakesAnyContentType(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	bill := shop.bill(t, u, "1")
	for way, p := range shop.through(u) {
		for i, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "nonsense"} {
			tx := fmt.Sprint(newPayment())
			if a := p.call(t, "POST", "/payment/webhook", []byte(p.signed(tx, p.user, fmt.Sprint(bill), "1.10")), "Content-Type", contentType); a.status != 200 {
				t.Errorf("%s %d: %s", way, i, a)
			}
		}
	}
	if b := u.balance(t, bill); b != "7.60" {
		t.Errorf("balance %s", b)
	}
}

// With SHA-1, an attacker who knows H(key:tx:user:bill:1) can compute the hash of that
// text followed by its padding and any tail. The forged amount contains bytes that no
// JSON number has, so it must be rejected before the signature, which would match, is
// compared.
func TestWebhookLengthExtension(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	bill := fmt.Sprint(shop.bill(t, u, "1"))
	for way, p := range shop.through(u) {
		tx := fmt.Sprint(newPayment())
		text := strings.Join([]string{p.key, tx, p.user, bill, "1"}, ":")
		const tail = "000000"
		forged, glue := extend(t, sign(p.key, tx, p.user, bill, "1"), len(text), tail)
		if want := sha1.Sum([]byte(text + glue + tail)); forged != hex.EncodeToString(want[:]) {
			t.Fatal("the attack itself is wrong, so this test proves nothing")
		}
		amount := "1" + glue + tail
		quoted, err := json.Marshal(amount)
		must(t, err)
		for form, value := range map[string]string{
			"raw": amount, "in quotes": `"` + amount + `"`, "escaped": string(quoted), `as \u00XX`: `"` + escapeAll(amount) + `"`,
		} {
			if a := p.call(t, "POST", "/payment/webhook", []byte(body(forged, tx, p.user, bill, value))); a.status != 400 || a.code() != "malformed" {
				t.Errorf("%s, %s: %s, want 400", way, form, a)
			}
		}
	}
}

func TestOnePaymentThreeHundredTimes(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	bill := shop.bill(t, u, "1")
	p := shop.through(u)["billing"]
	text := []byte(p.signed(fmt.Sprint(newPayment()), p.user, fmt.Sprint(bill), "100"))
	var mu sync.Mutex
	fresh := 0
	answers := atOnce(300, func() string {
		a := p.call(t, "POST", "/payment/webhook", text)
		mu.Lock()
		defer mu.Unlock()
		if a.header.Get("Idempotent-Replayed") == "" {
			fresh++
		}
		return a.String()
	})
	if len(answers) != 1 || fresh != 1 {
		t.Errorf("%d fresh, answers %v; want one credit and 300 equal answers", fresh, answers)
	}
	if b := u.balance(t, bill); b != "101" {
		t.Errorf("balance %s", b)
	}
}

func TestTenCreditsMakeOneBill(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	shop.bill(t, u, "1") // so that billing knows the user
	bill := fmt.Sprint(newPayment())
	p := shop.through(u)["billing"]
	answers := atOnce(10, func() string {
		a := p.call(t, "POST", "/payment/webhook", []byte(p.signed(fmt.Sprint(newPayment()), p.user, bill, "1.50")))
		return fmt.Sprint(a.status, a.str("status"), a.str("bill_id"))
	})
	if answers["200credited"+bill] != 10 {
		t.Errorf("%v", answers)
	}
	if a := u.want(t, 200, "", "GET", "/bills/"+bill, nil); a.str("balance") != "15" {
		t.Errorf("%s", a)
	}
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

// extend continues a SHA-1 sum (FIPS 180-4) from its state. It returns the new sum, and
// the padding between the old text and the tail.
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
