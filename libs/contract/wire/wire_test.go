package wire_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/contract/wire"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

var (
	id      = uuid.MustParse("01976b1e-0000-7000-8000-000000000001")
	other   = uuid.MustParse("01976b1e-0000-7000-8000-000000000002")
	when    = time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)
	balance = int64(12345)
	tx      = int64(42)
)

// The golden files are what other releases read and write: if this test fails,
// old and new replicas would not understand each other during a rolling upgrade.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]any{
		"purchase_requested": wire.PurchaseRequested{V: 1, PurchaseID: id, UserID: 7, BillID: 9, Amount: 999, ExpiresAt: when},
		"purchase_settled":   wire.PurchaseAnswered{V: 1, PurchaseID: id, Outcome: wire.Settled, Balance: &balance, TransactionID: &tx},
		"purchase_declined":  wire.PurchaseAnswered{V: 1, PurchaseID: id, Outcome: wire.Declined, Reason: wire.InsufficientFunds, Balance: &balance},
		"purchases_requested": []wire.PurchaseRequested{
			{V: 1, PurchaseID: id, UserID: 7, BillID: 9, Amount: 999, ExpiresAt: when, Traceparent: traceparent},
			{V: 1, PurchaseID: other, UserID: 8, BillID: 10, Amount: 1, ExpiresAt: when},
		},
		"purchases_answered": []wire.PurchaseAnswered{
			{V: 1, PurchaseID: id, Outcome: wire.Settled, Balance: &balance, TransactionID: &tx, Traceparent: traceparent},
			{V: 1, PurchaseID: other, Outcome: wire.Declined, Reason: wire.Expired},
		},
		"refund_requested": wire.RefundRequested{V: 2, RefundID: id, OfPurchase: other, Payer: 7, Bill: 9, Minor: 999},
		"refund_settled":   wire.RefundAnswered{V: 2, RefundID: id, Outcome: wire.Refunded, TransactionID: &tx},
		"refund_declined":  wire.RefundAnswered{V: 2, RefundID: id, Outcome: wire.Declined, Reason: wire.RefundExceeds, Refundable: &balance},
		"refunds_requested": []wire.RefundRequested{
			{V: 2, RefundID: id, OfPurchase: other, Payer: 7, Bill: 9, Minor: 999, Force: true, Traceparent: traceparent},
			{V: 2, RefundID: other, OfPurchase: id, Payer: 8, Bill: 10, Minor: 1},
		},
		"refunds_answered": []wire.RefundAnswered{
			{V: 2, RefundID: id, Outcome: wire.Refunded, TransactionID: &tx, Traceparent: traceparent},
			{V: 2, RefundID: other, Outcome: wire.Declined, Reason: wire.BillOwes},
		},
		"user_changed":        wire.UserChanged{V: 1, ID: 7, Login: "ann", Role: "user", Status: "active", Version: 3, TokenVersion: 2, CreatedAt: when, ChangedAt: when.Add(time.Hour)},
		"revocations_request": wire.RevocationsRequest{V: 1, After: 7},
		"revocations_page":    wire.RevocationsPage{V: 1, Versions: []wire.TokenVersion{{UserID: 8, TokenVersion: 2}}, More: true},
	} {
		want, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != strings.TrimSpace(string(want)) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestReadersTakeTheGoldenFilesAndUnknownMembers(t *testing.T) {
	t.Parallel()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		return []byte(strings.ReplaceAll(string(b), `{"v"`, `{"added_later": [1],"v"`))
	}
	if m, err := wire.DecodePurchaseRequested(read("purchase_requested")); err != nil || len(m) != 1 || m[0].PurchaseID != id || m[0].Amount != 999 || !m[0].ExpiresAt.Equal(when) {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodePurchaseAnswered(read("purchase_settled")); err != nil || len(m) != 1 || *m[0].TransactionID != tx {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodePurchaseAnswered(read("purchase_declined")); err != nil || len(m) != 1 || *m[0].Balance != balance {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodePurchaseRequested(read("purchases_requested")); err != nil || len(m) != 2 || m[0].Traceparent != traceparent || m[1].PurchaseID != other || m[1].Traceparent != "" {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodePurchaseAnswered(read("purchases_answered")); err != nil || len(m) != 2 || m[0].Traceparent != traceparent || m[1].Reason != wire.Expired {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodeRefundRequested(read("refund_requested")); err != nil || len(m) != 1 || m[0].RefundID != id || m[0].OfPurchase != other || m[0].Minor != 999 || m[0].Force {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodeRefundRequested(read("refunds_requested")); err != nil || len(m) != 2 || !m[0].Force || m[0].Traceparent != traceparent || m[1].Bill != 10 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodeRefundAnswered(read("refund_settled")); err != nil || len(m) != 1 || *m[0].TransactionID != tx {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodeRefundAnswered(read("refund_declined")); err != nil || len(m) != 1 || *m[0].Refundable != balance {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodeRefundAnswered(read("refunds_answered")); err != nil || len(m) != 2 || m[1].Reason != wire.BillOwes {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodeUserChanged(read("user_changed")); err != nil || m.TokenVersion != 2 {
		t.Errorf("%+v, %v", m, err)
	}
	older := strings.Replace(string(read("user_changed")), `,"changed_at":"2026-01-02T04:04:05.6789Z"`, "", 1)
	if m, err := wire.DecodeUserChanged([]byte(older)); err != nil || m.TokenVersion != 2 || !m.ChangedAt.IsZero() {
		t.Errorf("from an older release: %+v, %v", m, err)
	}
	if m, err := wire.DecodeRevocationsRequest(read("revocations_request")); err != nil || m.After != 7 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodeRevocationsPage(read("revocations_page"), 7); err != nil || m.Versions[0].TokenVersion != 2 || !m.More {
		t.Errorf("%+v, %v", m, err)
	}
}

// A later release may have roles that this one does not know, and whole states that it
// can't read. Both still say which tokens are revoked.
func TestUsersOfALaterRelease(t *testing.T) {
	t.Parallel()
	for role, want := range map[string]string{"user": "user", "support": "support", "admin": "admin", "auditor": "user", "": "user"} {
		m, err := wire.DecodeUserChanged([]byte(`{"v":1,"id":7,"login":"ann","role":"` + role + `","status":"active","version":2,"token_version":2}`))
		if err != nil || m.Role != want {
			t.Errorf("role %q: %q, %v", role, m.Role, err)
		}
	}
	for _, text := range []string{`{"v":2,"id":7,"token_version":3}`, `{"v":1,"id":7,"login":["a"],"token_version":3,"status":"asleep"}`} {
		_, err := wire.DecodeUserChanged([]byte(text))
		if v, ok := wire.UserTokenVersion([]byte(text)); err == nil || v != (wire.TokenVersion{UserID: 7, TokenVersion: 3}) || !ok {
			t.Errorf("%s: %v; %+v, %v", text, err, v, ok)
		}
	}
	for _, text := range []string{``, `{}`, `[]`, `{"id":7}`, `{"token_version":3}`, `{"id":-7,"token_version":3}`, `{"id":7,"token_version":"3"}`} {
		if _, ok := wire.UserTokenVersion([]byte(text)); ok {
			t.Errorf("%s has a token version", text)
		}
	}
}

func TestReadersRefuse(t *testing.T) {
	t.Parallel()
	for _, text := range []string{``, `{}`, `[]`, `{"v":2}`, `{"v":1,"purchase_id":"x"}`,
		`{"v":1,"purchase_id":"01976b1e-0000-7000-8000-000000000001","outcome":"maybe","user_id":1,"bill_id":1,"amount":0}`} {
		if _, err := wire.DecodePurchaseRequested([]byte(text)); err == nil {
			t.Errorf("request %s was accepted", text)
		}
		if _, err := wire.DecodePurchaseAnswered([]byte(text)); err == nil {
			t.Errorf("answer %s was accepted", text)
		}
		if _, err := wire.DecodeUserChanged([]byte(text)); err == nil {
			t.Errorf("user %s was accepted", text)
		}
		if _, err := wire.DecodeRevocationsPage([]byte(text), 0); err == nil {
			t.Errorf("revocations %s were accepted", text)
		}
	}
	if _, err := wire.DecodeUserChanged([]byte(`{"v":1,"id":7,"login":"ann","role":"user","status":"disabled","version":2}`)); err == nil {
		t.Error("a user without a token version was accepted: it does not say which tokens are revoked")
	}
	for _, text := range []string{`{}`, `{"v":2}`, `{"v":1,"after":-1}`, `{"v":1,"after":"x"}`} {
		if _, err := wire.DecodeRevocationsRequest([]byte(text)); err == nil {
			t.Errorf("revocations request %s was accepted", text)
		}
	}
	for _, text := range []string{
		`{"v":1}`, `{"v":1,"versions":[],"more":true}`, `{"v":1,"versions":[{"user_id":7,"token_version":2}]}`, `{"v":1,"versions":[{"user_id":8}]}`,
		`{"v":1,"versions":[{"user_id":9,"token_version":2},{"user_id":8,"token_version":2}]}`,
	} {
		if _, err := wire.DecodeRevocationsPage([]byte(text), 7); err == nil {
			t.Errorf("revocations after user 7 %s were accepted", text)
		}
	}
}

// Messages about refunds are told from those about purchases by their version, and
// neither passes for the other. A request has no member that a purchase's has, so that
// a release that does not know refunds can't charge it.
func TestRefundAndPurchaseMessagesDiffer(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"refund_requested", "refunds_requested", "refund_settled", "refund_declined", "refunds_answered"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if !wire.AboutRefunds(data) {
			t.Errorf("%s is not about refunds", name)
		}
		if m, err := wire.DecodePurchaseRequested(data); err == nil {
			t.Errorf("%s was read as the purchase %+v", name, m)
		}
		if m, err := wire.DecodePurchaseAnswered(data); err == nil {
			t.Errorf("%s was read as the answer %+v", name, m)
		}
		if id, ok := wire.PurchaseID(data); ok {
			t.Errorf("%s has the purchase id %v", name, id)
		}
		for _, member := range []string{"purchase_id", "user_id", "bill_id", "amount"} {
			if strings.Contains(string(data), `"`+member+`"`) {
				t.Errorf("%s has the member %s", name, member)
			}
		}
	}
	for _, name := range []string{"purchase_requested", "purchases_requested", "purchase_settled", "purchases_answered"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if wire.AboutRefunds(data) {
			t.Errorf("%s is about refunds", name)
		}
	}
	const ids = `"refund_id":"01976b1e-0000-7000-8000-000000000001","of_purchase":"01976b1e-0000-7000-8000-000000000002"`
	for _, text := range []string{``, `{}`, `[]`, `{"v":2}`, `{"v":1,` + ids + `,"payer":7,"bill":9,"minor":1}`, `{"v":2,` + ids + `,"payer":7,"bill":9,"minor":0}`,
		`{"v":2,` + ids + `,"payer":7,"bill":0,"minor":1}`, `{"v":2,` + ids + `,"payer":0,"bill":9,"minor":1}`,
		`{"v":2,"refund_id":"01976b1e-0000-7000-8000-000000000001","payer":7,"bill":9,"minor":1}`} {
		if m, err := wire.DecodeRefundRequested([]byte(text)); err == nil {
			t.Errorf("request %s was read as %+v", text, m)
		}
	}
	for _, rest := range []string{``, `,"outcome":"refunded"`, `,"outcome":"refunded","transaction_id":0`, `,"outcome":"settled","transaction_id":7`, `,"outcome":"declined"`,
		`,"outcome":"declined","reason":"expired"`, `,"outcome":"declined","reason":"refund_exceeds"`, `,"outcome":"declined","reason":"refund_exceeds","refundable":-1`} {
		if m, err := wire.DecodeRefundAnswered([]byte(`{"v":2,` + ids + rest + `}`)); err == nil {
			t.Errorf("answer %s was read as %+v", rest, m)
		}
	}
}

// A single message is encoded in the form that every release reads.
func TestGroups(t *testing.T) {
	t.Parallel()
	one := wire.PurchaseRequested{V: 1, PurchaseID: id, UserID: 7, BillID: 9, Amount: 999, ExpiresAt: when}
	for n, want := range map[int]bool{1: true, 2: true, wire.MaxGroup: true, wire.MaxGroup + 1: false} {
		data, err := wire.EncodeGroup(slices.Repeat([]wire.PurchaseRequested{one}, n))
		if err != nil {
			t.Fatal(err)
		}
		if array := data[0] == '['; array != (n > 1) {
			t.Errorf("%d messages are encoded as %.20s…", n, data)
		}
		if group, err := wire.DecodePurchaseRequested(data); (err == nil) != want || want && len(group) != n {
			t.Errorf("%d messages: %d decoded, error %v", n, len(group), err)
		}
	}
	bad := one
	bad.Amount = 0
	data, err := wire.EncodeGroup([]wire.PurchaseRequested{one, bad})
	if err != nil {
		t.Fatal(err)
	}
	if group, err := wire.DecodePurchaseRequested(data); err == nil || group != nil {
		t.Errorf("a group with an invalid message was accepted: %+v", group)
	}
}

func TestPurchaseIDOfABrokenRequest(t *testing.T) {
	t.Parallel()
	got, ok := wire.PurchaseID([]byte(`{"amount":"many","purchase_id":"01976b1e-0000-7000-8000-000000000001"}`))
	if !ok || got != id {
		t.Errorf("%v, %v", got, ok)
	}
	for _, text := range []string{`{`, `{"purchase_id":7}`, `"x"`} {
		if got, ok := wire.PurchaseID([]byte(text)); ok {
			t.Errorf("%s: found %v", text, got)
		}
	}
}
