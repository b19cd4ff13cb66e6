package catalog

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

var limitedShelf = map[int64]Product{1: {ID: 1, Title: "tea", Price: 350}, 2: {ID: 2, Title: "samovar", Price: 900, OnHand: new(int64(3))}}

func wants(n byte, user, product int64, quantity int) Order {
	return Order{ID: id(n), UserID: user, ProductID: product, BillID: 1, Quantity: quantity}
}

func stockOf(onHand int64) Shelf {
	return Shelf{Stock: map[int64]Stock{2: {OnHand: onHand, Limit: 7}}, Held: map[UserProduct]int{}}
}

func codesOf(o *Orders) (all []string) {
	for _, p := range o.Placements() {
		all = append(all, code(p.Err))
	}
	return all
}

func reserving(limit int, orders ...Order) *Orders {
	o := NewOrders(orders, NewBacklog(Limits{Pending: 100, PendingPerUser: 100, StockPerUser: limit}), lenient())
	o.Known(nil)
	o.Decide(limitedShelf)
	return o
}

func TestStockGoesToThoseWhoCameFirst(t *testing.T) {
	t.Parallel()
	o := reserving(10, wants(1, 5, 2, 2), wants(2, 6, 2, 2), wants(3, 7, 1, 9), wants(4, 8, 2, 1))
	if products, buyers := o.Limited(); !slices.Equal(products, []int64{2}) || !slices.Equal(buyers, []UserProduct{{5, 2}, {6, 2}, {8, 2}}) {
		t.Errorf("%v %v", products, buyers)
	}
	o.Reserve(stockOf(3))
	for _, d := range o.Drafts() {
		if want := map[int64]int{5: 2, 7: 0, 8: 1}[d.UserID]; d.StockTaken != want || want > 0 && d.StockLimit != 7 {
			t.Errorf("%+v, want %d taken", d, want)
		}
	}
	o.Placed(o.Drafts())
	if got := codesOf(o); !slices.Equal(got, []string{"", "out_of_stock", "", ""}) {
		t.Errorf("%q", got)
	}
}

// A refusal that rests on what others of a failed attempt took is decided again.
func TestRefusalsOfAFailedAttemptAreDecidedAgain(t *testing.T) {
	t.Parallel()
	o := reserving(10, wants(1, 5, 2, 3), wants(2, 6, 2, 1))
	o.Reserve(stockOf(3))
	o.Again()
	o.Reserve(stockOf(4))
	if got := o.Drafts(); len(got) != 2 || got[1].StockTaken != 1 {
		t.Errorf("%+v", got)
	}
	o.Again()
	o.Reserve(stockOf(3))
	o.Fail(ErrNothingBought)
	if got := codesOf(o); !slices.Equal(got, []string{"unavailable", "unavailable"}) {
		t.Errorf("%q: it is not known that the stock was too low", got)
	}
}

func TestPendingUnitsAreLimited(t *testing.T) {
	t.Parallel()
	shelf := stockOf(100)
	shelf.Held[UserProduct{5, 2}] = 8
	o := reserving(10, wants(1, 5, 2, 2), wants(2, 5, 2, 1), wants(3, 6, 2, 50), wants(4, 6, 2, 1))
	o.Reserve(shelf)
	o.Placed(o.Drafts())
	if got := codesOf(o); !slices.Equal(got, []string{"", "pending_limit", "", "pending_limit"}) {
		t.Errorf("%q", got)
	}
}

// Locked stock refuses an order, but not one whose COMMIT is in doubt.
func TestLockedStock(t *testing.T) {
	t.Parallel()
	o := reserving(10, wants(1, 5, 2, 1), wants(2, 6, 1, 1))
	o.Reserve(stockOf(3))
	o.Doubt()
	o.Again()
	skipped := Shelf{Stock: map[int64]Stock{}, Skipped: map[int64]bool{2: true}, Held: map[UserProduct]int{}}
	o.Reserve(skipped)
	if got := o.Drafts(); len(got) != 1 || got[0].UserID != 6 || !o.Waiting() {
		t.Errorf("drafts %+v, waiting %v", got, o.Waiting())
	}
	o.Placed(o.Drafts())
	if o.Missing() || !o.Waiting() {
		t.Errorf("missing %v, waiting %v", o.Missing(), o.Waiting())
	}
	o.Fail(errStock)
	if got := codesOf(o); !slices.Equal(got, []string{"outcome_unknown", ""}) {
		t.Errorf("%q", got)
	}

	fresh := reserving(10, wants(1, 5, 2, 1))
	fresh.Reserve(skipped)
	if got := codesOf(fresh); !slices.Equal(got, []string{"overloaded"}) {
		t.Errorf("%q", got)
	}
}

// lockedStock is a store in which other transactions have the stock of product 1 locked
// while groups are placed.
type lockedStock struct {
	*memory
	groups int
}

func (l *lockedStock) Place(ctx context.Context, o *Orders) {
	if l.groups == 0 {
		l.memory.Place(ctx, o)
		return
	}
	l.groups--
	time.Sleep(250 * time.Millisecond) // lock_timeout
	tea := shelf[1]
	tea.OnHand = new(int64(5))
	o.Decide(map[int64]Product{1: tea})
	o.Reserve(Shelf{Skipped: map[int64]bool{1: true}})
	o.Placed(nil)
}

// An order whose product has locked stock goes back into the queue, for a while.
func TestOrdersWaitForLockedStock(t *testing.T) {
	t.Parallel()
	for groups, want := range map[int]string{3: "", 100: "overloaded"} {
		s, m, _ := newTill(t, 0, 1)
		s.Store = &lockedStock{m, groups}
		close(m.gate)
		code := ""
		got := <-buy(t.Context(), s, "")
		if got.err != nil {
			code = problem.From(got.err).Code
		}
		if code != want {
			t.Errorf("locked for %d groups: %+v, want %q", groups, got, want)
		}
		if free := s.places.free; free != s.places.all {
			t.Errorf("%d of %d places are free after the order has ended", free, s.places.all)
		}
	}
}

var errStock = errors.New("locked")

// What was placed without a limit takes nothing from one that is set later.
func TestALimitThatIsGone(t *testing.T) {
	t.Parallel()
	o := reserving(10, wants(1, 5, 2, 2))
	o.Reserve(Shelf{Stock: map[int64]Stock{}, Held: map[UserProduct]int{}})
	o.Doubt()
	o.Again()
	if products, _ := o.Limited(); len(products) > 0 {
		t.Errorf("%v", products)
	}
	o.Reserve(stockOf(0))
	if d := o.Drafts(); len(d) != 1 || d[0].StockTaken != 0 {
		t.Errorf("%+v", d)
	}
}

func TestQuantities(t *testing.T) {
	t.Parallel()
	for quantity, want := range map[int]string{0: "validation_failed", -1: "validation_failed", 1: "", 1000: "", 1001: "validation_failed"} {
		if _, err := NewOrder(7, 1, 1, quantity, nil, ""); code(err) != want {
			t.Errorf("%d: %v", quantity, err)
		}
	}
	for _, c := range []struct {
		price    money.Amount
		quantity int
		amount   money.Amount
	}{
		{350, 1, 350}, {350, 0, 350}, {350, 3, 1050}, {money.Max / 1000, 1000, money.Max}, {money.Max, 1, money.Max}, {money.Max/1000 + 1, 1000, 0}, {money.Max, 2, 0},
	} {
		p, err := Order{ProductID: 1, Quantity: c.quantity}.purchase(&Product{ID: 1, Price: c.price})
		if p.Amount != c.amount || (c.amount == 0) != (problem.From(err).Code == "validation_failed") && c.amount == 0 {
			t.Errorf("%d × %s: %s, %v", c.quantity, c.price, p.Amount, err)
		}
	}
}
