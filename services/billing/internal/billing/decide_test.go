package billing

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestDecideCharge(t *testing.T) {
	t.Parallel()
	request := ChargeRequest{PurchaseID: uuid.MustParse("01976b1e-0000-7000-8000-000000000001"), UserID: 1, BillID: 10, Amount: 500, ExpiresAt: noon.Add(time.Minute)}
	bill := func(owner int64, balance money.Amount) *Bill { return &Bill{ID: 10, UserID: owner, Balance: balance} }
	active, disabled := &Customer{UserID: 1, Status: StatusActive}, &Customer{UserID: 1, Status: StatusDisabled}
	for _, c := range []struct {
		name  string
		bill  *Bill
		buyer *Customer
		now   time.Time
		want  Outcome
		left  money.Amount
	}{
		{"enough", bill(1, 700), active, noon, Settled, 200},
		{"exactly enough", bill(1, 500), active, noon, Settled, 0},
		{"one cent short", bill(1, 499), active, noon, InsufficientFunds, 499},
		{"missing bill", nil, active, noon, BillNotFound, 0},
		{"another user's bill", bill(2, 700), active, noon, BillNotFound, 0},
		{"disabled", bill(1, 700), disabled, noon, BuyerDisabled, 0},
		{"disabled, and another user's bill", bill(2, 700), disabled, noon, BillNotFound, 0},
		{"an unknown buyer", bill(1, 700), nil, noon, Settled, 200},
		{"just in time", bill(1, 700), active, noon.Add(time.Minute - 1), Settled, 200},
		{"too late", bill(1, 700), active, noon.Add(time.Minute), Expired, 0},
		{"too late, and a missing bill", nil, disabled, noon.Add(time.Hour), Expired, 0},
	} {
		got := decideCharge(request, c.bill, c.buyer, c.now)
		if got.Outcome != c.want {
			t.Errorf("%s: %s, want %s", c.name, got.Outcome, c.want)
		}
		hasBalance := c.want == Settled || c.want == InsufficientFunds
		if hasBalance != (got.Balance != nil) || (hasBalance && *got.Balance != c.left) {
			t.Errorf("%s: balance %v, want %d", c.name, got.Balance, c.left)
		}
	}
}

func TestDecidePayment(t *testing.T) {
	t.Parallel()
	p := Payment{ID: 7, UserID: 1, BillID: 10, Amount: 500}
	with := func(f func(*Payment)) *Payment { q := p; f(&q); return &q }
	owner := &Customer{UserID: 1, Status: StatusDisabled}
	for _, c := range []struct {
		name    string
		known   *Payment
		owner   *Customer
		bill    *Bill
		repeat  bool
		refusal string
	}{
		{"new, for a disabled user: the money is theirs", nil, owner, &Bill{ID: 10, UserID: 1}, false, ""},
		{"up to the limit", nil, owner, &Bill{ID: 10, UserID: 1, Balance: money.Max - 500}, false, ""},
		{"one cent over the limit", nil, owner, &Bill{ID: 10, UserID: 1, Balance: money.Max - 499}, false, "balance_limit"},
		{"the same again", &p, owner, &Bill{ID: 10, UserID: 1}, true, ""},
		{"the same again, on a full bill", &p, owner, &Bill{ID: 10, UserID: 1, Balance: money.Max}, true, ""},
		{"the same again, for a user that no longer exists", &p, nil, nil, true, ""},
		{"another amount", with(func(q *Payment) { q.Amount = 501 }), owner, &Bill{ID: 10, UserID: 1}, false, "transaction_conflict"},
		{"another bill", with(func(q *Payment) { q.BillID = 11 }), owner, &Bill{ID: 10, UserID: 1}, false, "transaction_conflict"},
		{"another user", with(func(q *Payment) { q.UserID = 2 }), owner, &Bill{ID: 10, UserID: 1}, false, "transaction_conflict"},
		{"unknown user", nil, nil, nil, false, "user_not_found"},
		{"unknown user, but the bill exists", nil, nil, &Bill{ID: 10, UserID: 3}, false, "user_not_found"},
		{"another user's bill", nil, owner, &Bill{ID: 10, UserID: 3}, false, "bill_owner_mismatch"},
	} {
		repeat, refusal := decidePayment(p, c.known, c.owner, c.bill)
		code := ""
		if refusal != nil {
			code = refusal.Code
		}
		if repeat != c.repeat || code != c.refusal {
			t.Errorf("%s: repeat %v, %q; want %v, %q", c.name, repeat, code, c.repeat, c.refusal)
		}
	}
}

func TestOnlyBillsThatBrowsersCanNameAreCreated(t *testing.T) {
	t.Parallel()
	p := Payment{ID: 7, UserID: 1, BillID: MaxNewBill + 1, Amount: 500}
	owner := &Customer{UserID: 1}
	for _, c := range []struct {
		name   string
		known  *Payment
		owner  *Customer
		bill   *Bill
		repeat bool
		want   *problem.Error
	}{
		{"no bill", nil, owner, nil, false, ErrBillID},
		{"no bill and no user: waiting for the user would not help", nil, nil, nil, false, ErrBillID},
		{"the bill exists", nil, owner, &Bill{ID: MaxNewBill + 1, UserID: 1}, false, nil},
		{"credited before", &p, nil, nil, true, nil},
	} {
		if repeat, refusal := decidePayment(p, c.known, c.owner, c.bill); repeat != c.repeat || refusal != c.want {
			t.Errorf("%s: repeat %v, %v; want %v, %v", c.name, repeat, refusal, c.repeat, c.want)
		}
	}
	if p.BillID = 9_007_199_254_740_991; !p.MayCreateBill() { // Number.MAX_SAFE_INTEGER
		t.Error("the highest id is refused")
	}
	if p.BillID++; p.MayCreateBill() {
		t.Error("an id that a browser would round is not refused")
	}
}

func TestNewPayment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id, user, bill int64
		amount, code   string
	}{
		{1, 1, 1, "100", ""}, {0, 1, 1, "100", "invalid_id"}, {1, -1, 1, "100", "invalid_id"}, {1, 0, 1, "100", "invalid_id"}, {1, 1, 0, "100", "invalid_id"},
		{1, 1, 1, "0", "invalid_amount"}, {1, 1, 1, "-1", "invalid_amount"}, {1, 1, 1, "1e2", "invalid_amount"}, {0, 1, 1, "0", "invalid_id"},
	} {
		_, err := NewPayment(c.id, c.user, c.bill, c.amount)
		if code(err) != c.code {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestAnUnreadableRequestOnlyExpires(t *testing.T) {
	t.Parallel()
	id := uuid.New()
	item := &ChargeRequest{PurchaseID: id, Unreadable: true, ExpiresAt: noon}
	s := emptyState(noon.Add(-time.Second))
	if r, c := Decide(s, []Item{item}); r[0] != (Undecided{}) || len(c.Charges) != 0 {
		t.Errorf("before it expires: %+v", r[0])
	}
	s = emptyState(noon)
	r, c := Decide(s, []Item{item, item})
	if first, _ := charge(r[0]); first.Outcome != Expired || r[1] != (DecidedBefore{first}) || len(c.Charges) != 1 {
		t.Errorf("after it expires: %+v, %+v", r, c)
	}
}

func TestRepeatsOfALockedBillWait(t *testing.T) {
	t.Parallel()
	s := emptyState(noon)
	s.Held[10] = true
	id := uuid.New()
	s.Charges[id] = &Charge{Outcome: Settled}
	s.Payments[7] = &Payment{ID: 7, UserID: 1, BillID: 10, Amount: 5}
	r, c := Decide(s, []Item{
		&ChargeRequest{PurchaseID: id, BillID: 10},
		&Payment{ID: 7, UserID: 1, BillID: 10, Amount: 5},
		&Reversal{ID: 3, PaymentID: 7, Total: 5, Payment: s.Payments[7]},
	})
	if r[0] != (Held{}) || r[1] != (Held{}) || r[2] != (Held{}) || len(c.Transactions)+len(c.Charges) != 0 {
		t.Errorf("%+v, %+v", r, c)
	}
}

// A payment waits for the bill that the group did not create. Nothing else makes it wait.
func TestAPaymentIsHeldForItsNewBill(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		bill int64
		have func(State)
		want Result
	}{
		{"its bill can be created", 10, func(State) {}, Held{}},
		{"its bill exists", 10, func(s State) { s.Bills[10] = &Bill{ID: 10, UserID: 1} }, Credited{}},
		{"its bill can't be created", MaxNewBill + 1, func(State) {}, Refused{ErrBillID}},
		{"its user is unknown", 10, func(s State) { delete(s.Customers, 1) }, Refused{ErrUnknownUser}},
		{"its id was used for another bill", 10, func(s State) { s.Payments[7] = &Payment{ID: 7, UserID: 1, BillID: 11, Amount: 5} }, Refused{ErrTransactionConflict}},
	} {
		s := emptyState(noon)
		s.Customers[1] = &Customer{UserID: 1, Status: StatusActive}
		c.have(s)
		r, _ := Decide(s, []Item{&Payment{ID: 7, UserID: 1, BillID: c.bill, Amount: 5}})
		if credited, ok := r[0].(Credited); ok {
			r[0] = Credited{}
			if credited.Payment.ID != 7 {
				t.Errorf("%s: %+v", c.what, credited)
			}
		}
		if r[0] != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, r[0], c.want)
		}
	}
}

// For any items in any groups: the balance of every bill equals the sum of its
// transactions and is never negative, the chain of balances has no gap, every id
// has one decision, and a repeat gets the first answer.
func TestLedgerProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		book := newBook()
		groups := rapid.SliceOfN(rapid.SliceOfN(itemGen(), 1, 12), 1, 12).Draw(t, "groups")
		for _, items := range groups {
			book.settle(t, items)
		}
		book.check(t)
		book.checkReversals(t)
		book.checkRefunds(t)
	})
}

var ids = func() (ids [8]uuid.UUID) {
	for i := range ids {
		ids[i] = uuid.New()
	}
	return ids
}()

func itemGen() *rapid.Generator[Item] {
	return rapid.Custom(func(t *rapid.T) Item {
		user, bill := rapid.Int64Range(1, 3).Draw(t, "user"), rapid.Int64Range(10, 13).Draw(t, "bill")
		amount := money.Amount(rapid.SampledFrom([]int64{1, 5, 999, int64(money.Max) - 3}).Draw(t, "amount"))
		if rapid.IntRange(0, 3).Draw(t, "reversal") == 0 {
			total := money.Amount(rapid.SampledFrom([]int64{0, 1, 3, 5, 999, int64(money.Max)}).Draw(t, "total"))
			return &Reversal{ID: rapid.Int64Range(1, 8).Draw(t, "id"), PaymentID: rapid.Int64Range(1, 8).Draw(t, "payment_id"), Total: total}
		}
		if rapid.IntRange(0, 3).Draw(t, "refund") == 0 {
			return &RefundRequest{
				RefundID: rapid.SampledFrom(ids[:]).Draw(t, "id"), PurchaseID: rapid.SampledFrom(ids[:]).Draw(t, "purchase"), UserID: user, BillID: bill,
				Amount: min(amount, 999), Force: rapid.Bool().Draw(t, "force"),
			}
		}
		if rapid.Bool().Draw(t, "payment") {
			return &Payment{ID: rapid.Int64Range(1, 8).Draw(t, "id"), UserID: user, BillID: bill, Amount: amount}
		}
		expires := rapid.SampledFrom([]time.Time{noon.Add(-time.Second), noon.Add(time.Hour)}).Draw(t, "expires")
		return &ChargeRequest{
			PurchaseID: rapid.SampledFrom(ids[:]).Draw(t, "id"), UserID: user, BillID: bill, Amount: amount, ExpiresAt: expires,
		}
	})
}

// book is an in-memory model of the database, as simple as possible.
type book struct {
	bills        map[int64]Bill
	transactions []Transaction
	charges      map[uuid.UUID]Charge
	payments     map[int64]Payment
	answers      map[uuid.UUID]Charge
	reversals    map[int64]ReversalDecision
	refunds      map[uuid.UUID]RefundDecision
	nextID       int64
}

func newBook() *book {
	return &book{
		bills:   map[int64]Bill{10: {ID: 10, UserID: 1}, 11: {ID: 11, UserID: 2}, 12: {ID: 12, UserID: 2}},
		charges: map[uuid.UUID]Charge{}, payments: map[int64]Payment{}, answers: map[uuid.UUID]Charge{},
		reversals: map[int64]ReversalDecision{}, refunds: map[uuid.UUID]RefundDecision{},
	}
}

func (b *book) settle(t *rapid.T, items []Item) {
	s := emptyState(noon)
	for id, bill := range b.bills {
		s.Bills[id] = &bill
	}
	for id, c := range b.charges {
		s.Charges[id] = &c
	}
	for id, p := range b.payments {
		s.Payments[id] = &p
	}
	s.Customers[1] = &Customer{UserID: 1, Status: StatusActive}
	s.Customers[2] = &Customer{UserID: 2, Status: StatusDisabled}
	s.NextID = func() int64 { b.nextID++; return b.nextID }

	for id, d := range b.reversals {
		s.Reversals[id] = &d
		s.Reversed[d.PaymentID] = max(s.Reversed[d.PaymentID], d.Total)
		s.Owing[d.BillID] = s.Owing[d.BillID] || d.Shortfall > 0
	}
	for id, d := range b.refunds {
		s.Refunds[id] = &d
		s.Refunded[d.Request.PurchaseID] = max(s.Refunded[d.Request.PurchaseID], d.RefundedAfter)
	}
	for _, item := range items { // as the unlocked read before the group
		if r, ok := item.(*Reversal); ok {
			r.Payment = s.Payments[r.PaymentID]
		}
	}
	results, changes := Decide(s, items)
	for _, d := range changes.Reversals {
		if _, there := b.reversals[d.ReversalID]; there {
			t.Fatalf("reversal %d was decided twice", d.ReversalID)
		}
		b.reversals[d.ReversalID] = d
	}
	for i, r := range results {
		b.answered(t, items[i], r)
	}
	for id, bill := range changes.Balances {
		b.bills[id] = *bill
	}
	b.transactions = append(b.transactions, changes.Transactions...)
	for _, c := range changes.Charges {
		if _, there := b.charges[c.Request.PurchaseID]; there {
			t.Fatalf("purchase %s was decided twice", c.Request.PurchaseID)
		}
		b.charges[c.Request.PurchaseID] = c
	}
	for _, tx := range changes.Transactions {
		if tx.PaymentID == nil {
			continue
		}
		if _, there := b.payments[*tx.PaymentID]; there {
			t.Fatalf("payment %d was credited twice", *tx.PaymentID)
		}
		b.payments[*tx.PaymentID] = Payment{ID: *tx.PaymentID, UserID: tx.UserID, BillID: tx.BillID, Amount: tx.Amount}
	}
}

// answered checks the result of an item. A purchase must get the same answer
// every time.
func (b *book) answered(t *rapid.T, item Item, r Result) {
	if p, ok := item.(*Payment); ok {
		switch r := r.(type) {
		case Credited:
			if r.Payment != p {
				t.Fatalf("%+v was credited as %+v", p, r.Payment)
			}
		case CreditedBefore, Refused, Held:
		default:
			t.Fatalf("result of a payment: %T %+v", r, r)
		}
		return
	}
	if asked, ok := item.(*Reversal); ok {
		switch r := r.(type) {
		case Reversed, ReversedBefore:
			if d := b.reversals[asked.ID]; d.PaymentID != asked.PaymentID || d.Total != asked.Total {
				t.Fatalf("%+v was answered, and stored is %+v", asked, d)
			}
		case Refused, Held:
		default:
			t.Fatalf("result of a reversal: %T %+v", r, r)
		}
		return
	}
	if asked, ok := item.(*RefundRequest); ok {
		b.answeredRefund(t, asked, r)
		return
	}
	c, repeat := charge(r)
	if c == nil {
		t.Fatalf("a purchase was not decided: %T %+v", r, r)
	}
	id := item.(*ChargeRequest).PurchaseID
	first, asked := b.answers[id]
	if asked != repeat {
		t.Fatalf("requested before: %v, answered as a repeat: %v", asked, repeat)
	}
	if asked && (first.Outcome != c.Outcome || first.Request.BillID != c.Request.BillID || first.Request.Amount != c.Request.Amount) {
		t.Fatalf("first %+v, then %+v", first, *c)
	}
	b.answers[id] = *c
}

// charge returns the decision in a result, nil if there is none, and whether it
// was made before.
func charge(r Result) (c *Charge, repeat bool) {
	switch r := r.(type) {
	case Decided:
		return r.Charge, false
	case DecidedBefore:
		return r.Charge, true
	}
	return nil, false
}

func (b *book) check(t *rapid.T) {
	sums, last := map[int64]money.Amount{}, int64(0)
	for _, tx := range b.transactions {
		sums[tx.BillID] += tx.Amount
		if tx.BalanceAfter != sums[tx.BillID] || tx.BalanceAfter < 0 || tx.BalanceAfter > money.Max {
			t.Fatalf("the chain of balances breaks at %+v: the sum is %d", tx, sums[tx.BillID])
		}
		if tx.ID <= last {
			t.Fatalf("transaction %d comes after %d", tx.ID, last)
		}
		last = tx.ID
	}
	for id, bill := range b.bills {
		if bill.Balance != sums[id] {
			t.Fatalf("the balance of bill %d is %d, and its transactions sum to %d", id, bill.Balance, sums[id])
		}
	}
	for id, c := range b.charges {
		debits := 0
		for _, tx := range b.transactions {
			if tx.PurchaseID != nil && *tx.PurchaseID == id {
				debits++
				if c.TransactionID == nil || *c.TransactionID != tx.ID || tx.Amount != -c.Request.Amount || tx.BillID != c.Request.BillID {
					t.Fatalf("charge %+v has the debit %+v", c, tx)
				}
			}
		}
		if debits != btoi(c.Outcome == Settled) {
			t.Fatalf("charge %+v has %d debits", c, debits)
		}
	}
}

func (b *book) checkReversals(t *rapid.T) {
	greatest, due, debited := map[int64]money.Amount{}, map[int64]money.Amount{}, map[int64]money.Amount{}
	for _, d := range b.reversals {
		if d.Debited < 0 || d.Shortfall < 0 || d.Debited+d.Shortfall != d.Due {
			t.Fatalf("%+v does not add up", d)
		}
		if d.Total > b.payments[d.PaymentID].Amount {
			t.Fatalf("%+v reverses more than %+v", d, b.payments[d.PaymentID])
		}
		greatest[d.PaymentID] = max(greatest[d.PaymentID], d.Total)
		due[d.PaymentID] += d.Due
		debited[d.ReversalID] = d.Debited
	}
	for payment, total := range greatest {
		if due[payment] != total {
			t.Fatalf("payment %d: %d were due in all, and its greatest total is %d", payment, due[payment], total)
		}
	}
	for _, tx := range b.transactions {
		if tx.ReversalID != nil {
			if tx.Amount != -debited[*tx.ReversalID] || tx.ID != b.reversals[*tx.ReversalID].ID {
				t.Fatalf("%+v is not the debit of %+v", tx, b.reversals[*tx.ReversalID])
			}
			delete(debited, *tx.ReversalID)
		}
	}
	for id, amount := range debited {
		if amount > 0 {
			t.Fatalf("reversal %d debited %d, and no transaction has it", id, amount)
		}
	}
}

func emptyState(now time.Time) State {
	next := int64(0)
	return State{
		Now: now, Bills: map[int64]*Bill{}, Held: map[int64]bool{}, Customers: map[int64]*Customer{},
		Charges: map[uuid.UUID]*Charge{}, Payments: map[int64]*Payment{},
		Reversals: map[int64]*ReversalDecision{}, Reversed: map[int64]money.Amount{},
		Refunds: map[uuid.UUID]*RefundDecision{}, Refunded: map[uuid.UUID]money.Amount{}, Owing: map[int64]bool{},
		NextID: func() int64 { next++; return next },
	}
}
