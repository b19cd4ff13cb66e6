package catalog

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"lavka/libs/domain/problem"
)

// lenient allows any number of declines that a test makes.
func lenient() *Declines { return strict(1_000_000, time.Now) }

func strict(atOnce int, now func() time.Time) *Declines {
	d, err := NewDeclines(atOnce, now)
	if err != nil {
		panic(err) // a size above zero is valid
	}
	return d
}

// wait returns how long a user's orders are refused, 0 if they are not.
func (d *Declines) wait(t *testing.T, user int64) time.Duration {
	t.Helper()
	err := d.Check(user)
	if err == nil {
		return 0
	}
	if !errors.Is(err, ErrTooManyDeclines) || problem.From(err).Kind != problem.TooMany {
		t.Fatal(err)
	}
	after := problem.From(err).RetryAfter
	if after <= 0 {
		t.Fatalf("refused, to be retried after %v", after)
	}
	return after
}

func TestDeclinesOfAUser(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	d := strict(3, func() time.Time { return now })
	for range 3 {
		if got := d.wait(t, 1); got != 0 {
			t.Fatalf("a user with fewer declines than they may have waits %v", got)
		}
		d.add(1)
	}
	if got := d.wait(t, 1); got != time.Second {
		t.Errorf("after all declines: %v", got)
	}
	if got := d.wait(t, 2); got != 0 {
		t.Errorf("another user waits %v", got)
	}
	now = now.Add(time.Second)
	if got := d.wait(t, 1); got != 0 {
		t.Errorf("a second later: %v", got)
	}
	for range 10 { // of orders that were in progress
		d.add(1)
	}
	if got := d.wait(t, 1); got != 10*time.Second {
		t.Errorf("after ten more: %v", got)
	}
	for range 100_000 {
		d.add(1)
	}
	if got := d.wait(t, 1); got < 19*time.Minute || got > 21*time.Minute {
		t.Errorf("the longest wait is %v, want 20 minutes", got)
	}
	now = now.Add(time.Hour)
	if got := d.wait(t, 1); got != 0 {
		t.Errorf("an hour later: %v", got)
	}
}

// Whatever a user sends, in an hour they cause at most as many declines as they
// may at once, one a second, and as many as may be pending.
func TestDeclinesInAnHour(t *testing.T) {
	t.Parallel()
	const atOnce, pendingMax = 100, 1000
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0))
		begin := time.Unix(1_000_000, 0)
		now := begin
		d := strict(atOnce, func() time.Time { return now })
		pending, declined := 0, 0
		patience, burst := time.Duration(1+r.IntN(2000))*time.Second, 1+r.IntN(pendingMax)
		for now.Sub(begin) < time.Hour {
			for range burst { // all are sent before the first is declined
				if pending < pendingMax && d.Check(1) == nil {
					pending++
				}
			}
			for ; pending > 0; pending-- {
				d.add(1)
				declined++
			}
			now = now.Add(time.Duration(r.Int64N(int64(patience))))
		}
		if most := atOnce + pendingMax + 3600; declined > most {
			t.Errorf("seed %d: %d declines in an hour, want at most %d", seed, declined, most)
		}
	}
}

func TestAnOrderOfAUserWithTooManyDeclines(t *testing.T) {
	t.Parallel()
	d := strict(1, func() time.Time { return time.Unix(1_000_000, 0) })
	d.add(5)
	o := NewOrders([]Order{keyed(1, "known", 1), keyed(2, "new", 1), keyed(3, "", 1), {ID: id(4), UserID: 6, ProductID: 1, BillID: 1}}, roomy(), d)
	o.Known([]Purchase{{ID: id(9), UserID: 5, Key: "known", ProductID: 1, BillID: 1, Status: Declined, Reason: BillNotFound}})
	o.Decide(map[int64]Product{1: {ID: 1, Title: "tea", Price: 5}})
	drafts := o.Drafts()
	if len(drafts) != 1 || drafts[0].UserID != 6 {
		t.Errorf("drafts %+v, want the other user's", drafts)
	}
	o.Placed(drafts)
	got := o.Placements()
	if !got[0].Replayed || got[0].Purchase.ID != id(9) {
		t.Errorf("the repeat: %+v", got[0])
	}
	for _, refused := range got[1:3] {
		if !errors.Is(refused.Err, ErrTooManyDeclines) {
			t.Errorf("%+v", refused)
		}
	}
}

func TestDeclinesThatCount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer Answer
		counts bool
	}{
		{Answer{Status: Completed}, false},
		{Answer{Status: Declined, Reason: InsufficientFunds}, true},
		{Answer{Status: Declined, Reason: BillNotFound}, true},
		{Answer{Status: Declined, Reason: BuyerDisabled}, true},
		{Answer{Status: Declined, Reason: Expired}, false},
	} {
		if got := c.answer.counts(); got != c.counts {
			t.Errorf("%+v: %v", c.answer, got)
		}
	}
}
