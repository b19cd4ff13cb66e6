package catalog

import (
	"testing"
	"time"
)

// While the outcome of a COMMIT is unknown, a sweeper may see its row and send the
// request, so that billing's answer arrives early.
func TestAnAnswerThatComesEarly(t *testing.T) {
	t.Parallel()
	p := Purchase{ID: id(1), UserID: 5, Title: "tea", Price: 350, Status: Pending}
	for who, learns := range map[string]func(*waiters){
		"the buyer": func(w *waiters) {
			if w.placed(p) {
				t.Error("the request would be sent twice")
			}
		},
		"a repeat": func(w *waiters) {
			if joined, first := w.join(p); first || joined.purchase.Status != Completed {
				t.Errorf("the request would be sent twice; the repeat gets %+v", joined.purchase)
			}
		},
	} {
		w := newWaiters()
		expected := w.expect(p.ID)
		w.settle(Answer{PurchaseID: p.ID, Status: Completed, TransactionID: new(int64(77))}, time.Now())
		select {
		case <-expected.done:
			t.Errorf("%s is released before the placement is known: %+v", who, expected.purchase)
		default:
		}
		learns(w)
		select {
		case <-expected.done:
		default:
			t.Fatalf("%s is not released", who)
		}
		if got := expected.purchase; got.ID != p.ID || got.Title != "tea" || got.Price != 350 || got.Status != Completed || *got.TransactionID != 77 {
			t.Errorf("%s gets %+v", who, got)
		}
		w.leave(expected)
		if n := w.asked.Load(); n != 0 || len(w.by) != 0 {
			t.Errorf("%s: %d unanswered and %d waiters remain", who, n, len(w.by))
		}
	}
}

// One of two requests that wait for a purchase gives up; the other one is still
// released.
func TestARepeatThatLeaves(t *testing.T) {
	t.Parallel()
	p := Purchase{ID: id(1), UserID: 5, Status: Pending}
	w := newWaiters()
	expected := w.expect(p.ID)
	if !w.placed(p) {
		t.Fatal("an answer is there before the request")
	}
	repeat, first := w.join(p)
	if first {
		t.Error("the request would be sent twice")
	}
	w.leave(repeat)
	w.settle(Answer{PurchaseID: p.ID, Status: Completed, TransactionID: new(int64(77))}, time.Now())
	select {
	case <-expected.done:
	default:
		t.Fatal("the buyer is not released")
	}
	w.leave(expected)
	if n := w.asked.Load(); n != 0 || len(w.by) != 0 {
		t.Errorf("%d unanswered and %d waiters remain", n, len(w.by))
	}
}
