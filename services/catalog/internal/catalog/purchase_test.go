package catalog

import (
	"errors"
	"testing"
	"time"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

func TestNewOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		product, bill   int64
		expected        *money.Amount
		code            string
		fieldsComplaint int
	}{
		{"plain", 1, 1, nil, "", 0},
		{"with a price", 1, 1, new(money.Amount(1)), "", 0},
		{"no product", 0, 1, nil, "validation_failed", 1},
		{"no bill", 1, 0, nil, "validation_failed", 1},
		{"nothing", 0, -1, nil, "validation_failed", 2},
		{"free", 1, 1, new(money.Amount(0)), "invalid_amount", 1},
		{"less than free", 1, 1, new(money.Amount(-1)), "invalid_amount", 1},
		{"above the maximum", 1, 1, new(money.Max + 1), "invalid_amount", 1},
	} {
		_, err := NewOrder(7, c.product, c.bill, 1, c.expected, "")
		if code(err) != c.code {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
		if err != nil && len(problem.From(err).Fields) != c.fieldsComplaint {
			t.Errorf("%s: fields %v", c.name, problem.From(err).Fields)
		}
	}
}

func TestOutcomesOfOrders(t *testing.T) {
	t.Parallel()
	tea := &Product{ID: 1, Title: "tea", Price: 350}
	for _, c := range []struct {
		name    string
		order   Order
		product *Product
		code    string
	}{
		{"bought", Order{ProductID: 1, BillID: 2}, tea, ""},
		{"at the expected price", Order{ProductID: 1, ExpectedPrice: new(money.Amount(350))}, tea, ""},
		{"deleted", Order{ProductID: 1}, nil, "product_not_found"},
		{"deleted, with a price", Order{ProductID: 1, ExpectedPrice: new(money.Amount(350))}, nil, "product_not_found"},
		{"more expensive", Order{ProductID: 1, ExpectedPrice: new(money.Amount(349))}, tea, "price_changed"},
		{"cheaper", Order{ProductID: 1, ExpectedPrice: new(money.Amount(351))}, tea, "price_changed"},
	} {
		p, err := c.order.purchase(c.product)
		if code(err) != c.code {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
		if err == nil && (p.Title != "tea" || p.Price != 350 || p.Status != Pending) {
			t.Errorf("%s: %+v", c.name, p)
		}
		if c.code == "price_changed" && problem.From(err).Extra["price"] != money.Amount(350) {
			t.Errorf("%s: the error lacks the price: %v", c.name, problem.From(err).Extra)
		}
	}
}

func TestAnUnknownOutcomeIsRetried(t *testing.T) {
	t.Parallel()
	p := Unknown(id(1))
	if p.Code != "outcome_unknown" || p.RetryAfter < time.Second || p.RetryAfter > 10*time.Second || p.Extra["purchase_id"] != id(1) {
		t.Errorf("%+v, to be retried after %v", p, p.RetryAfter)
	}
}

func TestContentOfAKey(t *testing.T) {
	t.Parallel()
	five, six := new(money.Amount(5)), new(money.Amount(6))
	base := Purchase{ProductID: 1, BillID: 2, ExpectedPrice: five}
	for _, c := range []struct {
		order Order
		same  bool
	}{
		{Order{ProductID: 1, BillID: 2, ExpectedPrice: new(money.Amount(5))}, true},
		{Order{ProductID: 2, BillID: 2, ExpectedPrice: five}, false},
		{Order{ProductID: 1, BillID: 1, ExpectedPrice: five}, false},
		{Order{ProductID: 1, BillID: 2, ExpectedPrice: six}, false},
		{Order{ProductID: 1, BillID: 2}, false},
	} {
		if c.order.sameAs(base) != c.same {
			t.Errorf("%+v: same %v, want %v", c.order, !c.same, c.same)
		}
	}
	base.ExpectedPrice = nil
	if (Order{ProductID: 1, BillID: 2, ExpectedPrice: five}).sameAs(base) || !(Order{ProductID: 1, BillID: 2}).sameAs(base) {
		t.Error("no expected price is treated like one")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		purchase Purchase
		code     string
		kind     problem.Kind
	}{
		{Purchase{Status: Completed}, "", 0},
		{Purchase{Status: Pending}, "", 0},
		{Purchase{Status: Declined, Reason: InsufficientFunds, Balance: new(money.Amount(3)), Price: 5}, "insufficient_funds", problem.PaymentRequired},
		{Purchase{Status: Declined, Reason: BillNotFound}, "bill_not_found", problem.NotFound},
		{Purchase{Status: Declined, Reason: BuyerDisabled}, "user_disabled", problem.Forbidden},
		{Purchase{Status: Declined, Reason: Expired}, "purchase_expired", problem.Conflict},
	} {
		c.purchase.ID = id(9)
		err := c.purchase.Refusal()
		if code(err) != c.code {
			t.Errorf("%+v: %v, want %q", c.purchase, err, c.code)
		}
		if err == nil {
			continue
		}
		p := problem.From(err)
		if p.Kind != c.kind || p.Extra["purchase_id"] != id(9) {
			t.Errorf("%s: kind %v, %v", c.code, p.Kind, p.Extra)
		}
		if c.code == "insufficient_funds" && (p.Extra["balance"] != money.Amount(3) || p.Extra["price"] != money.Amount(5)) {
			t.Errorf("%v", p.Extra)
		}
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]Placement{
		"completed":        {Purchase: Purchase{Status: Completed}},
		"pending":          {Purchase: Purchase{Status: Pending}},
		"user_disabled":    {Purchase: Purchase{Status: Declined, Reason: BuyerDisabled}},
		"purchase_expired": {Purchase: Purchase{Status: Declined, Reason: Expired}},
		"overloaded":       {Err: ErrOverloaded},
		"internal":         {Err: errors.New("a fault")},
	} {
		if got := p.outcome(); got != want {
			t.Errorf("%+v: %s, want %s", p, got, want)
		}
	}
}
