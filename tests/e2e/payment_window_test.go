package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"lavka/deploy/local/payment"
	"lavka/libs/service/standardwebhooks"
	"lavka/libs/testkit/waittest"
)

// The provider pays with a signature in the header and sees what became of it, through
// the gateway and directly.
func TestTheProviderSeesWhatBecameOfItsPayments(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	bill := shop.bill(t, u, "0")
	keys, err := standardwebhooks.ParseKeys(strings.Join(shop.PaymentSigningSecrets, ","))
	must(t, err)
	for way, p := range shop.through(u) {
		provider := &client{base: p.base, token: shop.PaymentReadTokens[0]}
		begin := time.Now().Add(-time.Minute)
		id, refused := newPayment(), newPayment()
		send := func(path string, status int, code string, id int64, bill any) answer {
			header, body := payment.SignedInHeader(keys[0], id, u.id, bill, "12.50")
			var headers []string
			for name := range header {
				headers = append(headers, name, header.Get(name))
			}
			return provider.want(t, status, code, "POST", path, body, headers...)
		}
		if a := provider.want(t, 200, "", "GET", fmt.Sprint("/payment/credits/", id), nil); a.str("status") != "unknown" {
			t.Errorf("%s: %s", way, a)
		}
		if a := send("/payment/verify", 200, "", id, bill); a.str("result") != "would_credit" {
			t.Errorf("%s: %s", way, a)
		}
		if a := send("/payment/webhook", 200, "", id, bill); a.header.Get("Idempotent-Replayed") != "" {
			t.Errorf("%s: the dry run has credited: %s", way, a)
		}
		if a := send("/payment/verify", 200, "", id, bill); a.str("result") != "already_credited" {
			t.Errorf("%s: %s", way, a)
		}
		send("/payment/webhook", 422, "invalid_id", refused, "9223372036854775807")
		if a := provider.want(t, 200, "", "GET", fmt.Sprint("/payment/credits/", id), nil); a.str("status") != "credited" || a.str("amount") != "12.50" || a.int("bill_id") != bill || a.str("reversed_total") != "0" {
			t.Errorf("%s: %s", way, a)
		}
		if a := provider.want(t, 200, "", "GET", fmt.Sprint("/payment/credits/", refused), nil); a.str("status") != "refused" || a.str("reason") != "invalid_id" {
			t.Errorf("%s: %s", way, a)
		}
		// The lists have each, once they are complete up to now.
		end := time.Now()
		query := url.Values{"from": {begin.Format(time.RFC3339)}, "to": {end.Add(time.Hour).Format(time.RFC3339)}, "limit": {"100"}}.Encode()
		for list, want := range map[string]int64{"credits": id, "refused": refused} {
			waittest.Eventually(t, "the list of "+list+" is complete", func() bool {
				a := provider.want(t, 200, "", "GET", "/payment/"+list+"?"+query, nil)
				until, err := time.Parse(time.RFC3339Nano, a.str("complete_until"))
				return err == nil && until.After(end)
			})
			found, cursor := false, ""
			for {
				a := provider.want(t, 200, "", "GET", "/payment/"+list+"?"+query+cursor, nil)
				found = found || strings.Contains(string(a.body), fmt.Sprintf(`"transaction_id":%d,`, want)) || strings.Contains(string(a.body), fmt.Sprintf(`"transaction_id":%d}`, want))
				if cursor = a.str("next_cursor"); cursor == "" {
					break
				}
				cursor = "&cursor=" + url.QueryEscape(cursor)
			}
			if !found {
				t.Errorf("%s: payment %d is not in the list of %s", way, want, list)
			}
		}
		u.want(t, 401, "token_invalid", "GET", fmt.Sprint("/payment/credits/", id), nil)
	}
	if b := u.balance(t, bill); b != "25" {
		t.Errorf("balance %s, want 25 from two payments", b)
	}
}
