package wire_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/contract/wire"
)

func FuzzDecodePurchaseRequested(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := wire.DecodePurchaseRequested(data)
		found, ok := wire.PurchaseID(data)
		if ok == (found == uuid.Nil) {
			t.Fatalf("%q: purchase id %v, found %v", data, found, ok)
		}
		if err != nil {
			return
		}
		if ok && (len(m) != 1 || found != m[0].PurchaseID) {
			t.Fatalf("%q was decoded as %+v, but PurchaseID returned %v", data, m, found)
		}
		again := rereadGroup(t, m, wire.DecodePurchaseRequested)
		for i, one := range m {
			if one.PurchaseID == uuid.Nil || one.UserID <= 0 || one.BillID <= 0 || one.Amount <= 0 || one.ExpiresAt.IsZero() {
				t.Fatalf("%q was decoded as %+v", data, m)
			}
			if !again[i].ExpiresAt.Equal(one.ExpiresAt) {
				t.Fatalf("%q expires at %v, but after a round trip at %v", data, one.ExpiresAt, again[i].ExpiresAt)
			}
			again[i].ExpiresAt = one.ExpiresAt
		}
		same(t, data, m, again)
	})
}

func FuzzDecodePurchaseAnswered(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := wire.DecodePurchaseAnswered(data)
		if err != nil {
			return
		}
		for _, one := range m {
			settled, declined := one.Outcome == wire.Settled && one.TransactionID != nil, one.Outcome == wire.Declined && one.Reason != ""
			if one.PurchaseID == uuid.Nil || settled == declined {
				t.Fatalf("%q was decoded as %+v", data, m)
			}
		}
		same(t, data, m, rereadGroup(t, m, wire.DecodePurchaseAnswered))
	})
}

func FuzzDecodeUserChanged(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := wire.DecodeUserChanged(data)
		if err != nil {
			return
		}
		if m.ID <= 0 || m.Version <= 0 || m.TokenVersion <= 0 {
			t.Fatalf("%q was decoded as %+v", data, m)
		}
		again := reread(t, m, wire.DecodeUserChanged)
		if !again.CreatedAt.Equal(m.CreatedAt) || !again.ChangedAt.Equal(m.ChangedAt) {
			t.Fatalf("%q was created at %v and changed at %v, but after a round trip at %v and %v", data, m.CreatedAt, m.ChangedAt, again.CreatedAt, again.ChangedAt)
		}
		again.CreatedAt, again.ChangedAt = m.CreatedAt, m.ChangedAt
		same(t, data, m, again)
	})
}

// A client that requests page after page must come to an end.
func FuzzDecodeRevocations(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := wire.DecodeRevocationsRequest(data); err == nil {
			same(t, data, m, reread(t, m, wire.DecodeRevocationsRequest))
		}
		const after = 7
		decode := func(data []byte) (wire.RevocationsPage, error) { return wire.DecodeRevocationsPage(data, after) }
		m, err := decode(data)
		if err != nil {
			return
		}
		last := int64(after)
		for _, one := range m.Versions {
			if one.UserID <= last || one.TokenVersion <= 0 {
				t.Fatalf("%q was decoded as %+v", data, m)
			}
			last = one.UserID
		}
		if m.More && last == after {
			t.Fatalf("%q promises another page but has no users", data)
		}
		same(t, data, m, reread(t, m, decode))
	})
}

// Every message that we encode can be decoded, for any numbers in it.
func FuzzOurOwnMessagesAreRead(f *testing.F) {
	f.Add(int64(7), int64(9), int64(999), int64(1_767_323_045))
	f.Add(int64(1), int64(1<<63-1), int64(-1<<63), int64(-1))
	f.Fuzz(func(t *testing.T, a, b, c, at int64) {
		positive := func(n int64) int64 { return max(1, n&(1<<63-1)) }
		moment := time.Unix(at&(1<<37-1), 0).UTC() // up to the year 6325; JSON times end with year 9999
		request := wire.PurchaseRequested{V: wire.Version, PurchaseID: id, UserID: positive(a), BillID: positive(b), Amount: positive(c), ExpiresAt: moment}
		for _, group := range [][]wire.PurchaseRequested{{request}, {request, request}} {
			same(t, nil, group, rereadGroup(t, group, wire.DecodePurchaseRequested))
		}
		user := wire.UserChanged{V: wire.Version, ID: positive(a), Login: "ann", Role: "admin", Status: "disabled", Version: positive(b), TokenVersion: positive(c), CreatedAt: moment, ChangedAt: moment}
		same(t, nil, user, reread(t, user, wire.DecodeUserChanged))
		answer := wire.PurchaseAnswered{V: wire.Version, PurchaseID: id, Outcome: wire.Settled, Balance: &a, TransactionID: &b}
		answers := []wire.PurchaseAnswered{answer}
		for _, reason := range []string{wire.InsufficientFunds, wire.BillNotFound, wire.BuyerDisabled, wire.Expired} {
			answers = append(answers, wire.PurchaseAnswered{V: wire.Version, PurchaseID: id, Outcome: wire.Declined, Reason: reason, Balance: &c})
		}
		same(t, nil, answers, rereadGroup(t, answers, wire.DecodePurchaseAnswered))
		same(t, nil, answers[:1], rereadGroup(t, answers[:1], wire.DecodePurchaseAnswered))
	})
}

// seed adds every kind of message to each fuzz test: a decoder must reject the other kinds.
func seed(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 4 {
		f.Fatalf("%d golden files: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{
		``, `null`, `[]`, `{"v":1`, `{"v":1e0,"V":2}`, `{"v":1,"purchase_id":"01976b1e-0000-7000-8000-000000000001","purchase_id":7}`,
		`{"v":1,"versions":[{"user_id":7,"token_version":2}],"more":true}`, `{"v":1,"versions":[{"user_id":9,"token_version":2},{"user_id":8,"token_version":2}]}`, `{"v":1,"versions":[],"more":true}`, `{"v":1,"versions":[{"user_id":8,"token_version":0}]}`,
		`{"purchase_id":"{01976b1e-0000-7000-8000-000000000001}","amount":9223372036854775808}`,
		`{"v":1,"id":7,"login":"\ud800","role":"user","status":"active","version":1,"token_version":0}`,
		`{"v":1,"purchase_id":"urn:uuid:01976b1e-0000-7000-8000-000000000001","user_id":1,"bill_id":1,"amount":1,"expires_at":"0000-01-01T00:00:00+23:59"}`,
	} {
		f.Add([]byte(text))
	}
}

// rereadGroup encodes messages as a group and decodes it.
func rereadGroup[M any](t *testing.T, group []M, decode func([]byte) ([]M, error)) []M {
	t.Helper()
	data, err := wire.EncodeGroup(group)
	if err != nil {
		t.Fatalf("encode %+v: %v", group, err)
	}
	again, err := decode(data)
	if err != nil {
		t.Fatalf("decode %s: %v", data, err)
	}
	return again
}

// reread encodes a message and decodes it.
func reread[M any](t *testing.T, m M, decode func([]byte) (M, error)) M {
	t.Helper()
	data, err := wire.Encode(m)
	if err != nil {
		t.Fatalf("encode %+v: %v", m, err)
	}
	again, err := decode(data)
	if err != nil {
		t.Fatalf("decode %s: %v", data, err)
	}
	return again
}

func same(t *testing.T, data []byte, one, other any) {
	t.Helper()
	if !reflect.DeepEqual(one, other) {
		t.Fatalf("%q means %+v, but after a round trip %+v", data, one, other)
	}
}
