package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

func TestNewRefund(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason, note string
		restock      int
		amount       *money.Amount
		field        string // the invalid one
	}{
		"all that is allowed":   {strings.Repeat("ж", 200), strings.Repeat("ж", 1999) + "\n", 1000, new(money.Amount(1)), ""},
		"as little as possible": {"x", "", 0, nil, ""},
		"no reason":             {"", "", 0, nil, "reason"},
		"an invisible reason":   {" \u200b", "", 0, nil, "reason"},
		"a long reason":         {strings.Repeat("ж", 201), "", 0, nil, "reason"},
		"a reason of two lines": {"a\nb", "", 0, nil, "reason"},
		"a long note":           {"x", strings.Repeat("ж", 2001), 0, nil, "note"},
		"a note that rings":     {"x", "\a", 0, nil, "note"},
		"fewer than no units":   {"x", "", -1, nil, "restock"},
		"too many units":        {"x", "", 1001, nil, "restock"},
		"no money":              {"x", "", 0, new(money.Amount(0)), "amount"},
		"less than no money":    {"x", "", 0, new(money.Amount(-1)), "amount"},
	} {
		r, err := NewRefund(id(1), "key", c.amount, c.reason, c.note, true, c.restock, 2)
		if c.field == "" {
			if err != nil || r.Status != Pending || r.Reason != c.reason || r.Note != c.note || r.Restock != c.restock || !r.Force || r.AdminID != 2 {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		} else if err == nil || len(problem.From(err).Fields) != 1 || problem.From(err).Fields[0].Field != c.field {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// The parts of a request under one key.
func TestRefundsThatAreTheSame(t *testing.T) {
	t.Parallel()
	is := func() Refund {
		return Refund{Asked: new(money.Amount(5)), Reason: "x", Note: "y", Force: true, Restock: 1, AdminID: 1}
	}
	for name, c := range map[string]struct {
		change func(*Refund)
		same   bool
	}{
		"the same": {func(*Refund) {}, true}, "another admin": {func(r *Refund) { r.AdminID = 2 }, true},
		"another amount": {func(r *Refund) { *r.Asked = 6 }, false}, "no amount": {func(r *Refund) { r.Asked = nil }, false},
		"another reason": {func(r *Refund) { r.Reason = "z" }, false}, "another note": {func(r *Refund) { r.Note = "z" }, false},
		"without force": {func(r *Refund) { r.Force = false }, false}, "more units": {func(r *Refund) { r.Restock = 2 }, false},
	} {
		other := is()
		c.change(&other)
		if is().sameAs(other) != c.same || other.sameAs(is()) != c.same {
			t.Errorf("%s: want %v", name, c.same)
		}
	}
	if all := (Refund{Reason: "x"}); !all.sameAs(Refund{Reason: "x"}) {
		t.Error("without an amount: another one")
	}
}

func TestUnitsOfARefund(t *testing.T) {
	t.Parallel()
	bought := Purchase{ID: id(1), Amount: 1000, Quantity: 3, Status: Completed}
	for _, c := range []struct {
		before, restock int
		left            any
	}{{0, 3, nil}, {0, 4, 3}, {2, 1, nil}, {2, 2, 1}, {3, 0, nil}, {3, 1, 0}, {4, 1, 0}} {
		_, _, err := Refund{Asked: new(money.Amount(1)), Restock: c.restock}.Of(bought, nil, Refunded{Restock: c.before})
		if c.left == nil && err != nil || c.left != nil && (code(err) != "restock_exceeds" || fmt.Sprint(problem.From(err).Extra["restockable"]) != fmt.Sprint(c.left)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestRefusalOfARefund(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]Refund{
		"":                                 {Status: Completed},
		"pending":                          {Status: Pending},
		"refund_exceeds with 0 left":       {Status: Declined, Declined: RefundExceeds},
		"refund_exceeds with 3 left":       {Status: Declined, Declined: RefundExceeds, Refundable: new(money.Amount(300))},
		"balance_limit with <nil> left":    {Status: Declined, Declined: BalanceLimit},
		"charge_not_found with <nil> left": {Status: Declined, Declined: ChargeNotFound},
		"bill_owes with <nil> left":        {Status: Declined, Declined: BillOwes},
		"internal with <nil> left":         {Status: Declined, Declined: "?"},
	} {
		r.ID = id(1)
		err := r.Refusal()
		if r.Status != Declined {
			if err != nil {
				t.Errorf("%s: %v", want, err)
			}
			continue
		}
		e := problem.From(err)
		if got := fmt.Sprintf("%s with %v left", e.Code, e.Extra["refundable"]); got != want {
			t.Errorf("%s instead of %s", got, want)
		}
		if e.Code != "internal" && e.Extra["refund_id"] != r.ID {
			t.Errorf("%s: of the refund %v", want, e.Extra["refund_id"])
		}
	}
}

func TestFiltersOfRefunds(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	month := filter.Range{From: &begin, To: new(begin.Add(filter.MaxWindow))}
	for name, c := range map[string]struct {
		f    RefundFilter
		want string
	}{
		"nothing": {RefundFilter{}, ""}, "pending": {RefundFilter{Status: Pending}, ""}, "a month": {RefundFilter{When: month}, ""},
		"pending of a month": {RefundFilter{Status: Pending, When: month}, ""}, "since": {RefundFilter{When: filter.Range{From: &begin}}, "validation_failed"},
		"completed": {RefundFilter{Status: Completed}, "unsupported_filter"}, "a user": {RefundFilter{UserID: new(int64(1))}, "unsupported_filter"},
		"a bill": {RefundFilter{BillID: new(int64(1))}, "unsupported_filter"}, "pending of a user": {RefundFilter{UserID: new(int64(1)), Status: Pending}, "unsupported_filter"},
	} {
		if got := code(c.f.Check()); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	s := &Purchases{}
	if _, err := s.ListAll(t.Context(), PurchaseFilter{When: filter.Range{From: &begin}}); code(err) != "validation_failed" {
		t.Errorf("purchases since a time: %v", err)
	}
}

// till is a store that places each refund, and what Refunds reports.
type till struct {
	RefundStore // its other methods are not called
	placed      Refund
	err, unsent error
	sent        int
	outcomes    []string
}

func (s *till) PlaceRefund(ctx context.Context, r Refund) (Refund, bool, error) {
	if ctx.Err() != nil {
		return Refund{}, false, ctx.Err()
	}
	r.Status, r.Declined = s.placed.Status, s.placed.Declined
	return r, false, s.err
}

func (s *till) SettleRefunds(_ context.Context, answers []RefundAnswer) (settled []Refund, err error) {
	for _, a := range answers {
		settled = append(settled, Refund{ID: a.RefundID, Status: a.Status})
	}
	return settled, nil
}

func (s *till) SendAgain(context.Context, Refund) error {
	s.sent++
	return s.unsent
}

func (s *till) Refunded(outcome string) { s.outcomes = append(s.outcomes, outcome) }
func (s *till) AnswerDropped()          {}
func (s *till) AnswersUnwritten()       {}

func TestRefundsWaitForBilling(t *testing.T) {
	t.Parallel()
	shut := problem.New(problem.Unavailable, "not_open_yet", "closed")
	yes, no := func() error { return nil }, func() error { return shut }
	for name, c := range map[string]struct {
		till        till
		open, shelf func() error
		restock     int
		answered    bool // by billing, after a second
		status      Status
		outcome     string
		sent        int
		took        time.Duration
	}{
		"answered":                     {till{placed: Refund{Status: Pending}}, yes, yes, 0, true, Completed, "completed", 1, time.Second},
		"no answer":                    {till{placed: Refund{Status: Pending}}, yes, yes, 0, false, Pending, "pending", 1, 5 * time.Second},
		"not sent":                     {till{placed: Refund{Status: Pending}, unsent: errors.New("lost")}, yes, yes, 0, false, Pending, "pending", 1, 0},
		"settled before":               {till{placed: Refund{Status: Completed}}, yes, yes, 0, false, Completed, "completed", 0, 0},
		"declined before":              {till{placed: Refund{Status: Declined, Declined: BillOwes}}, yes, yes, 0, false, Declined, "bill_owes", 0, 0},
		"refused":                      {till{err: ErrNotCompleted}, yes, yes, 0, false, "", "purchase_not_completed", 0, 0},
		"no database":                  {till{err: problem.New(problem.Unavailable, "unavailable", "away")}, yes, yes, 0, false, "", "outcome_unknown", 0, 0},
		"before the gate is open":      {till{}, no, yes, 0, false, "", "not_open_yet", 0, 0},
		"units, before the gate":       {till{}, yes, no, 1, false, "", "not_open_yet", 0, 0},
		"without units, before that":   {till{placed: Refund{Status: Completed}}, yes, no, 0, false, Completed, "completed", 0, 0},
		"units, once the gate is open": {till{placed: Refund{Status: Completed}}, yes, yes, 1, false, Completed, "completed", 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			shop := &c.till
			s := NewRefunds(RefundsConfig{
				Store: shop, Requests: shop, Metrics: shop, Open: c.open, Shelf: c.shelf, Log: slog.New(slog.DiscardHandler),
				NewID: func() uuid.UUID { return id(1) }, Wait: 5 * time.Second,
			})
			defer s.Close()
			began := time.Now()
			if c.answered {
				time.AfterFunc(time.Second, func() { s.Answered(t.Context(), RefundAnswer{RefundID: id(1), Status: Completed}, func() {}) })
			}
			r, _, err := s.Refund(t.Context(), Refund{Restock: c.restock})
			if took := time.Since(began); r.Status != c.status || (err == nil) != (c.status != "") || took != c.took || shop.sent != c.sent {
				t.Errorf("%s: %q, %v after %v, sent %d times", name, r.Status, err, took, shop.sent)
			}
			if len(shop.outcomes) != 1 || shop.outcomes[0] != c.outcome {
				t.Errorf("%s: counted as %q", name, shop.outcomes)
			}
			if len(s.waiting) != 0 {
				t.Errorf("%s: %d refunds are waited for", name, len(s.waiting))
			}
		})
	}
}
