package wire_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/wire"
)

var (
	id      = uuid.MustParse("01976b1e-0000-7000-8000-000000000001")
	when    = time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)
	balance = int64(12345)
	tx      = int64(42)
)

// The golden files are what other releases read and write: a test that fails
// here means that a rolling upgrade would not understand its neighbours.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]any{
		"purchase_requested": wire.PurchaseRequested{V: 1, PurchaseID: id, UserID: 7, BillID: 9, Amount: 999, ExpiresAt: when},
		"purchase_settled":   wire.PurchaseAnswered{V: 1, PurchaseID: id, Outcome: wire.Settled, Balance: &balance, TransactionID: &tx},
		"purchase_declined":  wire.PurchaseAnswered{V: 1, PurchaseID: id, Outcome: wire.Declined, Reason: wire.InsufficientFunds, Balance: &balance},
		"user_changed":       wire.UserChanged{V: 1, ID: 7, Login: "ann", Role: "user", Status: "active", Version: 3, TokenVersion: 2, CreatedAt: when, ChangedAt: when.Add(time.Hour)},
		"revocations_asked":  wire.RevocationsAsked{V: 1, After: 7},
		"revocations_told":   wire.RevocationsTold{V: 1, Versions: []wire.TokenVersion{{UserID: 8, TokenVersion: 2}}, More: true},
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
			t.Errorf("%s is now\n%s\nand was\n%s", name, got, want)
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
		return []byte(strings.Replace(string(b), "{", `{"added_later": [1],`, 1))
	}
	if m, err := wire.DecodePurchaseRequested(read("purchase_requested")); err != nil || m.PurchaseID != id || m.Amount != 999 || !m.ExpiresAt.Equal(when) {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodePurchaseAnswered(read("purchase_settled")); err != nil || *m.TransactionID != tx {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodePurchaseAnswered(read("purchase_declined")); err != nil || *m.Balance != balance {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodeUserChanged(read("user_changed")); err != nil || m.TokenVersion != 2 {
		t.Errorf("%+v, %v", m, err)
	}
	older := strings.Replace(string(read("user_changed")), `,"changed_at":"2026-01-02T04:04:05.6789Z"`, "", 1)
	if m, err := wire.DecodeUserChanged([]byte(older)); err != nil || m.TokenVersion != 2 || !m.ChangedAt.IsZero() {
		t.Errorf("of an older release: %+v, %v", m, err)
	}
	if m, err := wire.DecodeRevocationsAsked(read("revocations_asked")); err != nil || m.After != 7 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := wire.DecodeRevocationsTold(read("revocations_told"), 7); err != nil || m.Versions[0].TokenVersion != 2 || !m.More {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestReadersRefuse(t *testing.T) {
	t.Parallel()
	for _, text := range []string{``, `{}`, `[]`, `{"v":2}`, `{"v":1,"purchase_id":"x"}`,
		`{"v":1,"purchase_id":"01976b1e-0000-7000-8000-000000000001","outcome":"maybe","user_id":1,"bill_id":1,"amount":0}`} {
		if _, err := wire.DecodePurchaseRequested([]byte(text)); err == nil {
			t.Errorf("request %s was taken", text)
		}
		if _, err := wire.DecodePurchaseAnswered([]byte(text)); err == nil {
			t.Errorf("answer %s was taken", text)
		}
		if _, err := wire.DecodeUserChanged([]byte(text)); err == nil {
			t.Errorf("user %s was taken", text)
		}
		if _, err := wire.DecodeRevocationsTold([]byte(text), 0); err == nil {
			t.Errorf("revocations %s were taken", text)
		}
	}
	if _, err := wire.DecodeUserChanged([]byte(`{"v":1,"id":7,"login":"ann","role":"user","status":"disabled","version":2}`)); err == nil {
		t.Error("a user without a token version was taken: whose tokens it takes back can't be known")
	}
	for _, text := range []string{`{}`, `{"v":2}`, `{"v":1,"after":-1}`, `{"v":1,"after":"x"}`} {
		if _, err := wire.DecodeRevocationsAsked([]byte(text)); err == nil {
			t.Errorf("question %s was taken", text)
		}
	}
	for _, text := range []string{
		`{"v":1}`, `{"v":1,"versions":[],"more":true}`, `{"v":1,"versions":[{"user_id":7,"token_version":2}]}`, `{"v":1,"versions":[{"user_id":8}]}`,
		`{"v":1,"versions":[{"user_id":9,"token_version":2},{"user_id":8,"token_version":2}]}`,
	} {
		if _, err := wire.DecodeRevocationsTold([]byte(text), 7); err == nil {
			t.Errorf("revocations after user 7 %s were taken", text)
		}
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
