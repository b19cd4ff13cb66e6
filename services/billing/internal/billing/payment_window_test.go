package billing

import (
	"testing"
	"time"

	"lavka/libs/domain/filter"
)

func TestWindows(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for length, want := range map[time.Duration]string{time.Second: "", filter.MaxWindow: "", filter.MaxWindow + 1: "validation_failed", -time.Second: "validation_failed"} {
		w, err := NewWindow(begin, begin.Add(length))
		if code(err) != want || err == nil && (!w.From.Equal(begin) || !w.To.Equal(begin.Add(length))) {
			t.Errorf("%v: %+v, %v", length, w, err)
		}
	}
}

// The check of a payment in advance says what the payment would get.
func TestForesee(t *testing.T) {
	t.Parallel()
	p := Payment{ID: 7, UserID: 1, BillID: 10, Amount: 500}
	unnamed := Payment{ID: 7, UserID: 1, BillID: MaxNewBill + 1, Amount: 500}
	owner := &Customer{UserID: 1}
	for _, c := range []struct {
		name   string
		p      Payment
		facts  Facts
		repeat bool
		want   string
	}{
		{"creates the bill", p, Facts{Owner: owner}, false, ""},
		{"to a bill", p, Facts{Owner: owner, Bill: &Bill{ID: 10, UserID: 1}}, false, ""},
		{"to another user's bill", p, Facts{Owner: owner, Bill: &Bill{ID: 10, UserID: 2}}, false, "bill_owner_mismatch"},
		{"repeated", p, Facts{Known: &p, Owner: owner, Bill: &Bill{ID: 10, UserID: 1}}, true, ""},
		{"of an unknown user", p, Facts{}, false, "user_not_found"},
		{"to a bill that can't be created", unnamed, Facts{Owner: owner}, false, "invalid_id"},
	} {
		repeat, err := c.p.Foresee(c.facts)
		if got := code(err); repeat != c.repeat || got != c.want {
			t.Errorf("%s: repeat %v, %q; want %v, %q", c.name, repeat, got, c.repeat, c.want)
		}
	}
}
