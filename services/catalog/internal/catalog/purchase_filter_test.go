package catalog

import (
	"testing"
	"time"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/problem"
)

// Which combinations of filters are served, and how long a time may be.
func TestCombinationsOfFilters(t *testing.T) {
	t.Parallel()
	one := new(int64(1))
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	month := filter.Range{From: &begin, To: new(begin.Add(filter.MaxWindow))}
	longer := filter.Range{From: &begin, To: new(begin.Add(filter.MaxWindow + 1))}
	const unsupported, invalid = "unsupported_filter", "validation_failed"
	for what, c := range map[string]struct {
		f    PurchaseFilter
		want string
	}{
		"nothing":            {PurchaseFilter{}, ""},
		"a month":            {PurchaseFilter{When: month}, ""},
		"longer":             {PurchaseFilter{When: longer}, invalid},
		"since":              {PurchaseFilter{When: filter.Range{From: &begin}}, invalid},
		"user":               {PurchaseFilter{UserID: one}, ""},
		"user, longer":       {PurchaseFilter{UserID: one, When: longer}, ""},
		"pending":            {PurchaseFilter{Status: Pending}, ""},
		"pending of a month": {PurchaseFilter{Status: Pending, When: month}, ""},
		"pending, longer":    {PurchaseFilter{Status: Pending, When: longer}, invalid},
		"completed":          {PurchaseFilter{Status: Completed}, unsupported},
		"declined of a user": {PurchaseFilter{UserID: one, Status: Declined}, unsupported},
		"pending of a user":  {PurchaseFilter{UserID: one, Status: Pending}, unsupported},
		"bill":               {PurchaseFilter{BillID: one}, unsupported},
		"product":            {PurchaseFilter{ProductID: one, When: month}, unsupported},
		"user and bill":      {PurchaseFilter{UserID: one, BillID: one}, unsupported},
	} {
		code := ""
		if err := c.f.Check(); err != nil {
			code = problem.From(err).Code
		}
		if code != c.want {
			t.Errorf("%s: %q, want %q", what, code, c.want)
		}
	}
}
