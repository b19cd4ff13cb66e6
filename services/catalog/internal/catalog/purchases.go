package catalog

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/group"
)

// PurchaseStore keeps purchases.
type PurchaseStore interface {
	// Place settles orders in one transaction, and run again or one by one
	// where that fails; every order is decided when it returns.
	Place(ctx context.Context, orders *Orders)
	// Settle writes answers into pending rows, and gives the rows of all of
	// them, those too that were not pending any more.
	Settle(ctx context.Context, answers []Answer) (Settlement, error)
	// Purchase is ErrPurchaseNotFound when the user has none of that id.
	Purchase(ctx context.Context, userID int64, id uuid.UUID) (Purchase, error)
	Purchases(ctx context.Context, q PurchaseQuery) ([]Purchase, error)
}

// Requests are what billing is asked. They may get lost or come twice.
type Requests interface {
	// Send asks billing to charge pending purchases, and does not wait. Unsent
	// hears, at once or later, of those that were not taken.
	Send(ctx context.Context, purchases []Purchase, unsent func([]Purchase))
	// SendAgain asks for a purchase that Send has asked for without an answer.
	SendAgain(ctx context.Context, p Purchase) error
	// Connected says whether either has a chance at all.
	Connected() bool
}

// Sizes and limits of the two groups. An order is taken from the queue within
// queueLimit or not at all, and is placed within placeLimit: long enough for a
// store that tries for eight seconds.
const (
	groupMax    = 512
	placeQueue  = 1024
	answerQueue = 16384
	inFlight    = 1
	holdFor     = 20 * time.Millisecond
	queueLimit  = 3 * time.Second
	placeLimit  = 12 * time.Second
)

// PurchasesConfig is what Purchases need.
type PurchasesConfig struct {
	Store    PurchaseStore
	Requests Requests
	Backlog  *Backlog
	Metrics  *Metrics
	Log      *slog.Logger
	NewID    func() uuid.UUID // UUIDv7
	Wait     time.Duration    // for billing's answer
	Queue    int              // orders that wait for a group; 0 means 1024
}

// Purchases is the till.
type Purchases struct {
	PurchasesConfig
	waiters *waiters
	orders  *group.Group[queued, Placement]
	answers *group.Group[Answer, struct{}]
}

// NewPurchases opens the till. CloseOrders and then CloseAnswers close it.
func NewPurchases(cfg PurchasesConfig) *Purchases {
	if cfg.Queue == 0 {
		cfg.Queue = placeQueue
	}
	s := &Purchases{PurchasesConfig: cfg, waiters: newWaiters()}
	s.orders = group.New(cfg.Metrics.group("orders", "insert group", group.Config{
		Max: groupMax, Queue: cfg.Queue, InFlight: inFlight, Hold: s.hold, HoldFor: holdFor,
	}), s.place)
	s.answers = group.New(cfg.Metrics.group("answers", "result group", group.Config{Max: groupMax, Queue: answerQueue, InFlight: inFlight}), s.settle)
	return s
}

// Buy makes a purchase and waits for billing's answer, but not for long: the
// purchase that it gives may be pending still, and is settled later. What it
// refuses has left nothing behind; a decline is no error (see Refusal).
func (s *Purchases) Buy(ctx context.Context, order Order) (Placement, error) {
	placed := s.buy(ctx, order)
	s.Metrics.bought(placed)
	return placed, placed.Err
}

func (s *Purchases) buy(ctx context.Context, order Order) Placement {
	order.ID = s.NewID()
	// Before it is placed: billing is asked then, and may answer at once.
	answer := s.waiters.expect(order.ID)
	defer s.waiters.leave(answer)
	// A buyer who leaves does not stop what has begun.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), placeLimit)
	defer cancel()
	placed, err := s.orders.Do(limit, queued{order, time.Now()})
	switch {
	case errors.Is(err, context.DeadlineExceeded) && order.Key != "":
		return Placement{Err: ErrAskAgain.Because(err)} // it may be another id's
	case errors.Is(err, context.DeadlineExceeded):
		return Placement{Err: Unknown(order.ID).Because(err)}
	case err != nil:
		return Placement{Err: order.notPlaced(ErrOverloaded.Because(err))}
	case placed.Err != nil || placed.Purchase.Status != Pending:
		return placed
	case placed.Purchase.ID == order.ID:
		placed.Purchase = s.await(ctx, answer, placed.Purchase)
		return placed
	}
	// A repeat waits like the first, whoever has asked.
	repeat, first := s.waiters.join(placed.Purchase)
	defer s.waiters.leave(repeat)
	if first {
		s.Requests.Send(ctx, []Purchase{placed.Purchase}, s.unsent)
	}
	placed.Purchase = s.await(ctx, repeat, placed.Purchase)
	return placed
}

// hold has orders wait for more while over twice as many purchases are on their
// way to billing and back. Without it the three groups of a purchase share what
// is under way, and each costs as much as a full one. Whoever is alone never waits.
func (s *Purchases) hold(orders int) bool { return s.waiters.asked.Load() > 2*int64(orders) }

// Full says, and counts, that an order would find the queue full.
func (s *Purchases) Full() bool {
	full := s.orders.Waiting() >= s.Queue
	if full {
		s.Metrics.refused.Inc()
	}
	return full
}

// await gives the purchase as it is when billing has answered, or as pending
// when that takes too long or can't be hoped for.
func (s *Purchases) await(ctx context.Context, answer *waiter, p Purchase) Purchase {
	timer := time.NewTimer(s.Wait)
	defer timer.Stop()
	select {
	case <-answer.done:
		return answer.purchase
	case <-timer.C:
	case <-ctx.Done():
	}
	return p
}

// unsent lets those go who wait for answers that will not come: the sweeper asks.
func (s *Purchases) unsent(purchases []Purchase) {
	for _, p := range purchases {
		s.Metrics.unsent.Inc()
		s.waiters.wake(p)
	}
	s.orders.Recheck()
}

// Get gives one of the user's purchases.
func (s *Purchases) Get(ctx context.Context, userID int64, id uuid.UUID) (Purchase, error) {
	return s.Store.Purchase(ctx, userID, id)
}

// List gives at most q.Limit of the user's purchases, newest first.
func (s *Purchases) List(ctx context.Context, q PurchaseQuery) ([]Purchase, error) {
	return s.Store.Purchases(ctx, q)
}

// OrdersWaiting is the number of orders that wait for a group.
func (s *Purchases) OrdersWaiting() int { return s.orders.Waiting() }

// AnswersWaiting is the number of answers that wait for a group.
func (s *Purchases) AnswersWaiting() int { return s.answers.Waiting() }

// CloseOrders takes no more orders and places those it has.
func (s *Purchases) CloseOrders() { s.orders.Close() }

// CloseAnswers takes no more answers and writes those it has.
func (s *Purchases) CloseAnswers() { s.answers.Close() }

// queued is an order in the queue.
type queued struct {
	Order
	since time.Time
}

// place settles a group of orders and asks billing for them, on the group's
// context: a COMMIT is never cancelled because a buyer has left. What has waited too long is not
// placed: its buyer is about to hear that it can't be told.
func (s *Purchases) place(ctx context.Context, waiting []queued) []Placement {
	placements := make([]Placement, len(waiting))
	var orders []Order
	var at []int
	for i, q := range waiting {
		if time.Since(q.since) > queueLimit {
			placements[i].Err = q.notPlaced(ErrOverloaded)
			continue
		}
		orders, at = append(orders, q.Order), append(at, i)
	}
	if len(orders) == 0 {
		return placements
	}
	group := NewOrders(orders, s.Backlog)
	s.Store.Place(ctx, group)
	var pending []Purchase
	for i, p := range group.Placements() {
		placements[at[i]] = p
		if p.Err != nil || p.Replayed {
			continue
		}
		s.Backlog.add(p.Purchase.UserID, 1)
		if p.Purchase.Status == Pending && s.waiters.placed(p.Purchase) {
			pending = append(pending, p.Purchase)
		}
	}
	s.Requests.Send(ctx, pending, s.unsent)
	return placements
}
