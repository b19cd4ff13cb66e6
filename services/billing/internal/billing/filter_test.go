package billing

import (
	"testing"
	"time"

	"lavka/libs/domain/filter"
)

// Which combinations of filters are served, and how long a time may be.
func TestCombinationsOfFilters(t *testing.T) {
	t.Parallel()
	one := new(int64(1))
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	month := filter.Range{From: &begin, To: new(begin.Add(filter.MaxWindow))}
	longer := filter.Range{From: &begin, To: new(begin.Add(filter.MaxWindow + 1))}
	since := filter.Range{From: &begin}
	const unsupported, invalid = "unsupported_filter", "validation_failed"
	for what, c := range map[string]struct {
		f    interface{ Check() error }
		want string
	}{
		"nothing":               {LedgerFilter{}, ""},
		"a month":               {LedgerFilter{When: month}, ""},
		"longer":                {LedgerFilter{When: longer}, invalid},
		"since":                 {LedgerFilter{When: since}, invalid},
		"user":                  {LedgerFilter{UserID: one}, ""},
		"user, longer":          {LedgerFilter{UserID: one, When: longer}, ""},
		"user, since":           {LedgerFilter{UserID: one, When: since}, ""},
		"bill, longer":          {LedgerFilter{BillID: one, When: longer}, ""},
		"payment":               {LedgerFilter{PaymentID: one}, ""},
		"payment, a month":      {LedgerFilter{PaymentID: one, When: month}, unsupported},
		"payments":              {LedgerFilter{Type: TypePayment}, ""},
		"payments of a month":   {LedgerFilter{Type: TypePayment, When: month}, ""},
		"payments, longer":      {LedgerFilter{Type: TypePayment, When: longer}, invalid},
		"purchases of a month":  {LedgerFilter{Type: TypePurchase, When: month}, ""},
		"refunds":               {LedgerFilter{Type: TypeRefund}, unsupported},
		"reversals":             {LedgerFilter{Type: TypeReversal, When: month}, unsupported},
		"user and bill":         {LedgerFilter{UserID: one, BillID: one}, unsupported},
		"user and type":         {LedgerFilter{UserID: one, Type: TypePayment}, unsupported},
		"bill and payment":      {LedgerFilter{BillID: one, PaymentID: one}, unsupported},
		"any reversal":          {ReversalFilter{}, ""},
		"short":                 {ReversalFilter{Short: true}, ""},
		"short, a month":        {ReversalFilter{Short: true, When: month}, ""},
		"short, longer":         {ReversalFilter{Short: true, When: longer}, invalid},
		"reversals of a user":   {ReversalFilter{UserID: one, When: longer}, ""},
		"reversals of a bill":   {ReversalFilter{BillID: one, When: since}, ""},
		"of a payment":          {ReversalFilter{PaymentID: one}, ""},
		"of a payment, a month": {ReversalFilter{PaymentID: one, When: month}, unsupported},
		"short of a user":       {ReversalFilter{UserID: one, Short: true}, unsupported},
		"of a user and a bill":  {ReversalFilter{UserID: one, BillID: one}, unsupported},
	} {
		if got := code(c.f.Check()); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}
