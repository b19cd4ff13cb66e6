package catalog

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/group"
)

// PurchaseStore stores purchases.
type PurchaseStore interface {
	// Place places orders in one transaction. If that fails, it retries, or places
	// them one by one. Every order is decided when it returns.
	Place(ctx context.Context, orders *Orders)
	// Settle writes answers into pending rows. It returns the purchases of all
	// answers, including those that were settled before.
	Settle(ctx context.Context, answers []Answer) (Settlement, error)
	// Purchase returns ErrPurchaseNotFound if the user has no purchase with that id.
	Purchase(ctx context.Context, userID int64, id uuid.UUID) (Purchase, error)
	Purchases(ctx context.Context, q PurchaseQuery) ([]Purchase, error)
	// AllPurchases lists purchases of all users. f must have passed its Check.
	AllPurchases(ctx context.Context, f PurchaseFilter) ([]Purchase, error)
}

// Requests sends charge requests to billing. A request may be lost or delivered
// twice.
type Requests interface {
	// Send asks billing to charge pending purchases. It does not wait for the
	// outcome: unsent is called, at once or later, with the purchases whose
	// requests were not accepted.
	Send(ctx context.Context, purchases []Purchase, unsent func([]Purchase))
	// SendAgain repeats the request for a purchase that got no answer after Send.
	SendAgain(ctx context.Context, p Purchase) error
	// Connected reports whether a request can be sent at all.
	Connected() bool
}

// Metrics counts what Purchases does.
type Metrics interface {
	Bought(outcome string) // the result of an order: a purchase status or a problem code
	OrderRefused()         // the queue of orders was full
	RequestUnsent()        // a purchase was placed and its request could not be sent
	AnswerDropped()        // the queue of answers was full
	AnswersUnwritten()     // a group of answers was not written in full
}

// Sizes and limits of the two groups. An order that has waited in the queue for
// longer than queueLimit is not placed. An order is placed within placeLimit,
// which allows for a store that retries for eight seconds.
const (
	groupMax    = 512
	placeQueue  = 1024
	answerQueue = 16384
	inFlight    = 1
	holdFor     = 20 * time.Millisecond
	queueLimit  = 3 * time.Second
	placeLimit  = 12 * time.Second
)

// PurchasesConfig holds the dependencies and limits of Purchases.
type PurchasesConfig struct {
	Store    PurchaseStore
	Requests Requests
	Watch    *Watch
	Backlog  *Backlog
	Declines *Declines
	Metrics  Metrics
	Log      *slog.Logger
	Shelf    func() error     // an error while a purchase must have one unit only
	NewID    func() uuid.UUID // UUIDv7
	Wait     time.Duration    // longest wait for billing's answer
	Queue    int              // most orders that wait for a group; 0 means 1024

	OrderGroups, AnswerGroups group.Instruments // measure and trace the two kinds of groups
}

// Purchases places orders, asks billing to charge for them, and waits for its
// answers.
type Purchases struct {
	PurchasesConfig
	waiters *waiters
	places  *places
	orders  *group.Group[queued, Placement]
	answers *group.Group[Answer, struct{}]
}

// NewPurchases starts a Purchases. CloseOrders and then CloseAnswers end it.
func NewPurchases(cfg PurchasesConfig) *Purchases {
	if cfg.Queue == 0 {
		cfg.Queue = placeQueue
	}
	s := &Purchases{PurchasesConfig: cfg, waiters: newWaiters(), places: newPlaces(cfg.Queue)}
	s.orders = group.New(group.Config{
		Max: groupMax, Queue: cfg.Queue, InFlight: inFlight, Hold: s.hold, HoldFor: holdFor, Instruments: cfg.OrderGroups,
	}, s.place)
	s.answers = group.New(group.Config{Max: groupMax, Queue: answerQueue, InFlight: inFlight, Instruments: cfg.AnswerGroups}, s.settle)
	return s
}

// Buy places an order and waits for billing's answer for at most cfg.Wait. The
// purchase that it returns may still be pending; it is settled later. After an
// error other than "outcome_unknown", this order has bought nothing. A decline
// is not an error (see [Purchase.Refusal]).
func (s *Purchases) Buy(ctx context.Context, order Order) (Placement, error) {
	placed := s.buy(ctx, order)
	s.Metrics.Bought(placed.outcome())
	return placed, placed.Err
}

func (s *Purchases) buy(ctx context.Context, order Order) Placement {
	if order.Quantity > 1 {
		if err := s.Shelf(); err != nil {
			return Placement{Err: err}
		}
	}
	if order.Key == "" { // not a repeat: it can be refused before anything is read
		if err := s.Declines.Check(order.UserID); err != nil {
			return Placement{Err: err}
		}
	}
	if !s.places.take(order.UserID) {
		return Placement{Err: order.notPlaced(ErrOverloaded)}
	}
	order.ID = s.NewID()
	// Registered before it is placed: billing is asked then, and may answer at once.
	answer := s.waiters.expect(order.ID)
	defer s.waiters.leave(answer)
	// A client that disconnects does not stop an order that has been accepted.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), placeLimit)
	defer cancel()
	began := time.Now()
	placed, err := s.orders.Do(limit, queued{order, began})
	// Others have the stock of its product locked, which rarely lasts: back into the queue.
	for errors.Is(placed.Err, ErrStockHeld) && time.Since(began) < queueLimit && s.places.take(order.UserID) {
		placed, err = s.orders.Do(limit, queued{order, began})
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded) && order.Key != "":
		return Placement{Err: ErrAskAgain.Because(err)} // the key's purchase may have another id
	case errors.Is(err, context.DeadlineExceeded):
		return Placement{Err: Unknown(order.ID).Because(err)}
	case err != nil: // it is not in the queue
		s.places.leave(order.UserID)
		return Placement{Err: order.notPlaced(ErrOverloaded.Because(err))}
	case placed.Err != nil || placed.Purchase.Status != Pending:
		return placed
	case placed.Purchase.ID == order.ID:
		placed.Purchase = s.await(ctx, answer, placed.Purchase)
		return placed
	}
	// A repeat waits like the first request, even if another replica asked billing.
	repeat, first := s.waiters.join(placed.Purchase)
	defer s.waiters.leave(repeat)
	if first {
		s.Requests.Send(ctx, []Purchase{placed.Purchase}, s.unsent)
	}
	placed.Purchase = s.await(ctx, repeat, placed.Purchase)
	return placed
}

// hold reports whether a group of orders should wait for more: while more than
// twice as many purchases are waiting for billing's answer. Without this, the
// purchases in flight spread over many small groups at each of the three stages
// (orders, billing, answers), and a small group costs as much as a full one. A
// purchase on its own never waits.
func (s *Purchases) hold(orders int) bool { return s.waiters.asked.Load() > 2*int64(orders) }

// Full reports whether the queue of orders is full, or a user's share of it, and counts
// a refused order if so. user returns 0 if they are not known: they may have a share.
func (s *Purchases) Full(user func() int64) bool {
	full := s.orders.Waiting() >= s.Queue || s.places.full(user)
	if full {
		s.Metrics.OrderRefused()
	}
	return full
}

// await returns the purchase as settled, or still pending if billing does not
// answer within s.Wait, the request could not be sent, or ctx ends.
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

// unsent releases the requests that wait for answers that will not come; the
// sweeper retries.
func (s *Purchases) unsent(purchases []Purchase) {
	for _, p := range purchases {
		s.Metrics.RequestUnsent()
		s.waiters.wake(p)
	}
	s.orders.Recheck()
}

// Get returns one of the user's purchases, or ErrPurchaseNotFound.
func (s *Purchases) Get(ctx context.Context, userID int64, id uuid.UUID) (Purchase, error) {
	return s.Store.Purchase(ctx, userID, id)
}

// List returns at most q.Limit of the user's purchases, newest first.
func (s *Purchases) List(ctx context.Context, q PurchaseQuery) ([]Purchase, error) {
	return s.Store.Purchases(ctx, q)
}

// ListAll returns purchases of all users, newest first.
func (s *Purchases) ListAll(ctx context.Context, f PurchaseFilter) ([]Purchase, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	return s.Store.AllPurchases(ctx, f)
}

// OrdersWaiting returns the number of orders that wait for a group.
func (s *Purchases) OrdersWaiting() int { return s.orders.Waiting() }

// AnswersWaiting returns the number of answers that wait for a group.
func (s *Purchases) AnswersWaiting() int { return s.answers.Waiting() }

// CloseOrders stops accepting orders, and returns when the queued ones are
// placed.
func (s *Purchases) CloseOrders() { s.orders.Close() }

// CloseAnswers stops accepting answers, and returns when the queued ones are
// written.
func (s *Purchases) CloseAnswers() { s.answers.Close() }

// queued is an order in the queue.
type queued struct {
	Order
	since time.Time
}

// place places a group of orders and asks billing to charge for them. Its ctx is
// the group's, so that a client that disconnects never cancels a COMMIT. Orders
// that have waited longer than queueLimit are not placed: their requests are
// about to time out with an unknown outcome.
func (s *Purchases) place(ctx context.Context, waiting []queued) []Placement {
	placements := make([]Placement, len(waiting))
	var orders []Order
	var at []int
	for i, q := range waiting {
		s.places.leave(q.UserID)
		if time.Since(q.since) > queueLimit {
			placements[i].Err = q.notPlaced(ErrOverloaded)
			continue
		}
		orders, at = append(orders, q.Order), append(at, i)
	}
	if len(orders) == 0 {
		return placements
	}
	group := NewOrders(orders, s.Backlog, s.Declines)
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
