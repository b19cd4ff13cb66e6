package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"lavka/libs/service/standardwebhooks"
	"lavka/services/billing/internal/billing"
)

const secret, newSecret, foreignSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "GBkaGxwdHh8gISIjJCUmJygpKissLS4v", "whsec_MDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZH"

func signingKeys(t *testing.T, text string) []standardwebhooks.Key {
	t.Helper()
	keys, err := standardwebhooks.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// signedBy returns the headers of a body that was signed with these secrets, now.
func signedBy(t *testing.T, body string, secrets ...string) http.Header {
	t.Helper()
	return signedAt(t, time.Now(), body, secrets...)
}

func signedAt(t *testing.T, at time.Time, body string, secrets ...string) http.Header {
	t.Helper()
	h := http.Header{}
	for _, s := range secrets {
		signingKeys(t, s)[0].Sign(h, "msg_1", at, []byte(body))
	}
	return h
}

// plain returns a payment without a signature in its body.
func plain(tx, user, bill, amount string) string {
	return fmt.Sprintf(`{"transaction_id": %s, "user_id": %s, "bill_id": %s, "amount": %s}`, tx, user, bill, amount)
}

func TestSignaturesInTheHeader(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	payment := plain("7", "1", "10", "100")
	for i, c := range []struct {
		name   string
		header http.Header
		body   string
	}{
		{"the first key", signedBy(t, payment, secret), payment},
		{"the second key, without the prefix", signedBy(t, payment, newSecret), payment},
		{"a known and an unknown key", signedBy(t, payment, foreignSecret, secret), payment},
		{"the same payment in other words", signedBy(t, `{"amount":100.00,"bill_id":10,"user_id":1,"transaction_id":7}`, secret), `{"amount":100.00,"bill_id":10,"user_id":1,"transaction_id":7}`},
		{"a body that has the other signature too", signedBy(t, call("7", "1", "10", "100"), secret), call("7", "1", "10", "100")},
		{"a body that has a wrong one too", signedBy(t, body(strings.Repeat("0", 40), "7", "1", "10", "100"), secret), body(strings.Repeat("0", 40), "7", "1", "10", "100")},
		{"the other signature alone", nil, call("7", "1", "10", "100")},
	} {
		status, _, w := d.postWith(t, c.header, c.body)
		if status != 200 || (w.Header().Get("Idempotent-Replayed") == "true") != (i > 0) {
			t.Errorf("%s: %d %s %v", c.name, status, w.Body, w.Header())
		}
	}
	if got := fmt.Sprint(d.balances(t)); got != "map[10:100]" {
		t.Errorf("balances %s", got)
	}
}

// None of these may move a cent. Each is right except for what its name says.
func TestAttacksOnSignaturesInTheHeader(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	payment, more := plain("7", "1", "10", "100"), plain("7", "1", "10", "900")
	signed := signedBy(t, payment, secret)
	with := func(name, value string) http.Header {
		h := signed.Clone()
		h.Set(name, value)
		return h
	}
	without := func(name string) http.Header {
		h := signed.Clone()
		h.Del(name)
		return h
	}
	sha1OfTheBody := sign(key, "7", "1", "10", "100")
	stamp, err := strconv.ParseInt(signed.Get("Webhook-Timestamp"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		header http.Header
		body   string
		status int
		code   string
	}{
		{"another body under the same id", signed, more, 403, "invalid_signature"},
		{"the same values in another order", signed, `{"amount": 100, "bill_id": 10, "user_id": 1, "transaction_id": 7}`, 403, "invalid_signature"},
		{"another id", with("Webhook-Id", "msg_2"), payment, 403, "invalid_signature"},
		{"the time shifted", with("Webhook-Timestamp", strconv.FormatInt(stamp+1, 10)), payment, 403, "invalid_signature"},
		{"another key", signedBy(t, payment, foreignSecret), payment, 403, "invalid_signature"},
		{"the webhook's old key as a secret", with("Webhook-Signature", "v1,"+sha1OfTheBody), payment, 403, "invalid_signature"},
		{"no signature", without("Webhook-Signature"), payment, 403, "invalid_signature"},

		// A right signature in the body must not help once there is a header: a request that was
		// changed on its way would pass by the weaker check.
		{"downgrade: a wrong signature in the header", with("Webhook-Signature", "v1,AAAA"), call("7", "1", "10", "100"), 403, "invalid_signature"},
		{"downgrade: only an id in the header", http.Header{"Webhook-Id": {"msg_1"}}, call("7", "1", "10", "100"), 403, "invalid_signature"},
		{"downgrade: only an unknown webhook header", http.Header{"Webhook-Other": {""}}, call("7", "1", "10", "100"), 403, "invalid_signature"},
		{"downgrade: no header and no signature", nil, payment, 400, "malformed"},

		{"a body of another kind", signedBy(t, `{"reversal_id": 1, "transaction_id": 7, "reversed_total": 5}`, secret), `{"reversal_id": 1, "transaction_id": 7, "reversed_total": 5}`, 400, "malformed"},
		{"members of another kind", signedBy(t, strings.Replace(payment, "{", `{"reversal_id": 1, `, 1), secret), strings.Replace(payment, "{", `{"reversal_id": 1, `, 1), 400, "malformed"},
		{"a member is missing", signedBy(t, `{"transaction_id": 7, "user_id": 1, "bill_id": 10}`, secret), `{"transaction_id": 7, "user_id": 1, "bill_id": 10}`, 400, "malformed"},
		{"an id is a text", signedBy(t, plain(`"7"`, "1", "10", "100"), secret), plain(`"7"`, "1", "10", "100"), 400, "malformed"},
		{"a value that is not valid", signedBy(t, plain("7", "1", "10", "-1"), secret), plain("7", "1", "10", "-1"), 422, "invalid_amount"},
		{"an unknown user", signedBy(t, plain("7", "77", "10", "1"), secret), plain("7", "77", "10", "1"), 404, "user_not_found"},
	} {
		if status, code, w := d.postWith(t, c.header, c.body); status != c.status || code != c.code {
			t.Errorf("%s: %d %s", c.name, status, w.Body)
		}
	}
	if got := fmt.Sprint(d.balances(t)); got != "map[]" {
		t.Errorf("balances %s", got)
	}
}

func TestNoSignatureIsAcceptedThatIsNotConfigured(t *testing.T) {
	t.Parallel()
	payment := plain("7", "1", "10", "100")
	onlyV2 := newDeskFor(t, Signatures{V2: standardwebhooks.New(signingKeys(t, secret), time.Now)})
	if status, code, _ := onlyV2.post(t, call("7", "1", "10", "100")); status != 403 || code != "invalid_signature" {
		t.Errorf("a signature in the body, with v2 alone: %d %s", status, code)
	}
	if status, code, _ := onlyV2.post(t, body(sign("", "7", "1", "10", "100"), "7", "1", "10", "100")); status != 403 || code != "invalid_signature" {
		t.Errorf("a signature with an empty key, with v2 alone: %d %s", status, code)
	}
	if status, _, w := onlyV2.postWith(t, signedBy(t, payment, secret), payment); status != 200 {
		t.Errorf("%s", w.Body)
	}
	onlyLegacy := newDeskFor(t, Signatures{Legacy: []string{key}, V2: standardwebhooks.New(nil, time.Now)})
	if status, code, _ := onlyLegacy.postWith(t, signedBy(t, payment, secret), call("7", "1", "10", "100")); status != 403 || code != "invalid_signature" {
		t.Errorf("a signature in the header, with legacy alone: %d %s", status, code)
	}
	// The old key has been removed.
	rotated := newDeskFor(t, Signatures{V2: standardwebhooks.New(signingKeys(t, newSecret), time.Now)})
	if status, code, _ := rotated.postWith(t, signedBy(t, payment, secret), payment); status != 403 || code != "invalid_signature" {
		t.Errorf("the old key: %d %s", status, code)
	}
	if status, _, w := rotated.postWith(t, signedBy(t, payment, secret, newSecret), payment); status != 200 {
		t.Errorf("both keys: %s", w.Body)
	}
}

// A provider that repeats a payment until it knows the answer must get it, however old
// the signature is. One that was not credited needs a new signature.
func TestAnOldSignatureRepeatsAndCreditsNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	payment, other, invalid := plain("7", "1", "10", "100"), plain("8", "1", "11", "100"), plain("9", "1", "10", "0")
	if status, _, w := d.postWith(t, signedBy(t, payment, secret), payment); status != 200 {
		t.Fatalf("%s", w.Body)
	}
	for _, age := range []time.Duration{6 * time.Minute, 30 * 24 * time.Hour, -6 * time.Minute} {
		then := time.Now().Add(-age)
		if status, _, w := d.postWith(t, signedAt(t, then, payment, secret), payment); status != 200 || w.Header().Get("Idempotent-Replayed") != "true" {
			t.Errorf("credited, signed %v ago: %s", age, w.Body)
		}
		status, code, w := d.postWith(t, signedAt(t, then, other, secret), other)
		var problem struct {
			ServerTime time.Time `json:"server_time"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || status != 403 || code != "signature_expired" || time.Since(problem.ServerTime).Abs() > time.Minute {
			t.Errorf("not credited, signed %v ago: %s", age, w.Body)
		}
		for _, c := range []struct{ name, body, code string }{
			{"another payment under the same id", plain("7", "1", "10", "100.01"), "transaction_conflict"},
			{"a value that is not valid", invalid, "invalid_amount"},
		} {
			if _, code, w := d.postWith(t, signedAt(t, then, c.body, secret), c.body); code != c.code {
				t.Errorf("%s, signed %v ago: %s", c.name, age, w.Body)
			}
		}
		if _, code, _ := d.postWith(t, signedAt(t, then, other, foreignSecret), other); code != "invalid_signature" {
			t.Errorf("signed %v ago with another key: %s", age, code)
		}
	}
	if got := fmt.Sprint(d.balances(t)); got != "map[10:100]" {
		t.Errorf("balances %s", got)
	}
	if status, _, w := d.postWith(t, signedBy(t, other, secret), other); status != 200 {
		t.Errorf("signed again: %s", w.Body)
	}
	refused := map[int64]string{}
	err := d.store.RefusedPayments(t.Context(), func(p billing.RefusedPayment) error {
		refused[p.PaymentID] += fmt.Sprint(p.Reason, " ", p.Times, " ", p.CreditedSince, ";")
		return nil
	})
	if got := fmt.Sprint(refused); err != nil || got != "map[7:transaction_conflict 3 false; 8:signature_expired 3 true; 9:invalid_amount 3 false;]" {
		t.Errorf("refused payments: %s %v", got, err)
	}
}
