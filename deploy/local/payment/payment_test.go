package payment

import "testing"

// The signature was computed with sha1sum.
func TestSigned(t *testing.T) {
	t.Parallel()
	want := `{"signature":"2ca4b88ae7daaffe4780d011cea2fc2e06be9f9a","transaction_id":1234567,"user_id":123456,"bill_id":123456,"amount":100}`
	if got := string(Signed("key of the payment provider", 1234567, 123456, "123456", "100")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
