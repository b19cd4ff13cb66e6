package catalog

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/testkit/waittest"
	"lavka/services/catalog/internal/metrics"
)

// memory is a store in memory that places a group once the gate is open.
type memory struct {
	PurchaseStore // its other methods are not called
	gate          chan struct{}
	begun         chan int // sizes of groups

	mu   sync.Mutex
	rows map[uuid.UUID]Purchase
}

func (m *memory) Place(_ context.Context, o *Orders) {
	m.begun <- o.Len()
	<-m.gate
	m.mu.Lock()
	defer m.mu.Unlock()
	var known []Purchase
	for _, p := range m.rows {
		known = append(known, p)
	}
	o.Known(known)
	o.Decide(shelf)
	for _, p := range o.Drafts() {
		m.rows[p.ID] = p
	}
	o.Placed(o.Drafts())
}

func (m *memory) Settle(_ context.Context, answers []Answer) (settled Settlement, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range answers {
		p, ok := m.rows[a.PurchaseID]
		if ok && p.Status == Pending {
			m.rows[p.ID] = a.on(p, p.CreatedAt)
			settled.Written = append(settled.Written, Settled{p.ID, p.UserID, p.CreatedAt})
		} else if ok {
			settled.Before = append(settled.Before, p)
		}
	}
	return settled, nil
}

func (m *memory) Due(context.Context, int, func(int) time.Duration) (due []Purchase, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.rows {
		due = append(due, p)
	}
	return due, nil
}

// wire stands in for the connection to billing.
type wire struct {
	refuse error
	down   bool
	sent   chan uuid.UUID
	failed chan error
}

func (w *wire) Connected() bool { return !w.down }
func (w *wire) Send(ctx context.Context, purchases []Purchase, unsent func([]Purchase)) {
	for _, p := range purchases {
		if w.SendAgain(ctx, p) != nil {
			unsent([]Purchase{p})
		}
	}
	if len(w.failed) > 0 {
		<-w.failed
		go unsent(purchases)
	}
}

func (w *wire) SendAgain(_ context.Context, p Purchase) error {
	if w.refuse != nil {
		return w.refuse
	}
	w.sent <- p.ID
	return nil
}

func newTill(t *testing.T, wait time.Duration, queue int) (*Purchases, *memory, *wire) {
	t.Helper()
	m := &memory{gate: make(chan struct{}), begun: make(chan int, 100), rows: map[uuid.UUID]Purchase{}}
	w := &wire{sent: make(chan uuid.UUID, 100), failed: make(chan error, 100)}
	var mu sync.Mutex
	next := byte(0)
	newID := func() uuid.UUID {
		mu.Lock()
		defer mu.Unlock()
		next++
		return id(next)
	}
	s := NewPurchases(PurchasesConfig{
		Store: m, Requests: w, Watch: NewWatch(nil, time.Hour, slog.New(slog.DiscardHandler)), Backlog: roomy(), Declines: lenient(), Metrics: metrics.New(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
		NewID: newID, Wait: wait, Queue: queue,
	})
	t.Cleanup(func() { s.CloseOrders(); s.CloseAnswers() })
	return s, m, w
}

type bought struct {
	Placement
	err error
}

func buy(ctx context.Context, s *Purchases, key string) <-chan bought {
	return buyAs(ctx, s, 5, key)
}

func buyAs(ctx context.Context, s *Purchases, userID int64, key string) <-chan bought {
	result := make(chan bought, 1)
	go func() {
		p, err := s.Buy(ctx, Order{UserID: userID, ProductID: 1, BillID: 1, Key: key})
		result <- bought{p, err}
	}()
	return result
}

// counted counts what becomes of answers.
type counted struct {
	Metrics
	dropped, unwritten int
}

func (c *counted) AnswerDropped()    { c.dropped++ }
func (c *counted) AnswersUnwritten() { c.unwritten++ }

// unwritable is a store that can't write answers.
type unwritable struct{ *memory }

func (unwritable) Settle(context.Context, []Answer) (Settlement, error) {
	return Settlement{}, errors.New("unreachable")
}

func TestAnswersAreCounted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what             string
		broken, closed   bool
		taken, unwritten bool
	}{
		{what: "an answer", taken: true},
		{what: "an answer that can't be written", broken: true, taken: true, unwritten: true},
		{what: "an answer after the end", closed: true},
	} {
		s, m, _ := newTill(t, time.Hour, 1)
		count := &counted{Metrics: s.Metrics}
		s.Metrics = count
		if c.broken {
			s.Store = unwritable{m}
		}
		if c.closed {
			s.CloseAnswers()
		}
		done := make(chan struct{})
		taken := s.Answered(t.Context(), Answer{PurchaseID: id(1)}, func() { close(done) })
		if taken {
			<-done
		}
		if taken != c.taken || (count.dropped > 0) == c.taken || (count.unwritten > 0) != c.unwritten {
			t.Errorf("%s: taken %v, %d dropped, %d unwritten", c.what, taken, count.dropped, count.unwritten)
		}
	}
}

// A purchase counts as pending until its answer is written.
func TestASettledPurchaseLeavesTheBacklog(t *testing.T) {
	t.Parallel()
	s, m, w := newTill(t, time.Hour, 1)
	s.Backlog = NewBacklog(Limits{Pending: 1, PendingPerUser: 1})
	result := buy(t.Context(), s, "")
	<-m.begun
	close(m.gate)
	purchase := <-w.sent
	if s.Backlog.Room(6, 0, 0) {
		t.Error("a pending purchase does not count")
	}
	s.Answered(t.Context(), Answer{PurchaseID: purchase, Status: Completed, TransactionID: new(int64(1))}, func() {})
	if got := <-result; got.err != nil {
		t.Fatal(got.err)
	}
	if !s.Backlog.Room(6, 0, 0) || !s.Backlog.Room(5, 0, 0) {
		t.Error("a settled purchase still counts as pending")
	}
}

func TestAFullQueue(t *testing.T) {
	t.Parallel()
	s, m, w := newTill(t, time.Hour, 1)
	var taken []<-chan bought
	for range inFlight {
		taken = append(taken, buy(t.Context(), s, ""))
		<-m.begun
	}
	taken = append(taken, buy(t.Context(), s, ""))
	waittest.Eventually(t, "one order is queued", func() bool { return s.OrdersWaiting() == 1 })
	if p, err := s.Buy(t.Context(), Order{UserID: 5, ProductID: 1, BillID: 1}); code(err) != "overloaded" || p.Purchase.Title != "" {
		t.Errorf("without a key: %v", err)
	}
	if _, err := s.Buy(t.Context(), Order{UserID: 5, ProductID: 1, BillID: 1, Key: "k"}); code(err) != "outcome_unknown" {
		t.Errorf("with a key, which may be a repeat: %v", err)
	}
	close(m.gate)
	for range taken {
		s.Answered(t.Context(), Answer{PurchaseID: <-w.sent, Status: Completed, TransactionID: new(int64(1))}, func() {})
	}
	for _, result := range taken {
		if got := <-result; got.err != nil || got.Purchase.Status != Completed {
			t.Errorf("an order that was accepted: %+v", got)
		}
	}
	if n := len(m.rows); n != inFlight+1 {
		t.Errorf("%d rows, want %d", n, inFlight+1)
	}
}

// However many orders users send at once, another user's order is accepted.
func TestUsersShareTheQueue(t *testing.T) {
	t.Parallel()
	const queue = 10 * few
	s, m, _ := newTill(t, time.Millisecond, queue)
	taken := []<-chan bought{buyAs(t.Context(), s, 1, "")} // the group that is being placed
	<-m.begun
	fill := func(userID int64, places int) {
		t.Helper()
		before, refused := s.OrdersWaiting(), make(chan bought, queue)
		for range queue {
			result := make(chan bought, 1)
			taken = append(taken, result)
			go func() {
				got := <-buyAs(t.Context(), s, userID, "")
				if got.err != nil {
					refused <- got
				}
				result <- got
			}()
		}
		waittest.Eventually(t, "the orders are queued or refused", func() bool {
			return s.OrdersWaiting()-before+len(refused) == queue
		})
		if n := s.OrdersWaiting() - before; n != places {
			t.Errorf("user %d has %d places, want %d", userID, n, places)
		}
	}
	if s.Full(func() int64 { t.Error("nearly all places are free, and the door checks who the user is"); return 1 }) {
		t.Error("the door is shut although nearly all places are free")
	}
	fill(1, queue/2)
	fill(2, queue/4)
	fill(3, queue/8)
	fill(4, few)
	if n := s.OrdersWaiting(); n >= queue {
		t.Errorf("%d orders wait", n)
	}
	// Refused at the door: those whose share is used up, and no others.
	for userID, full := range map[int64]bool{0: false, 1: true, 2: true, 3: true, 4: true, 5: false} {
		if s.Full(func() int64 { return userID }) != full {
			t.Errorf("the door is shut for user %d: %v, want %v", userID, !full, full)
		}
	}
	taken = append(taken, buyAs(t.Context(), s, 5, ""))
	close(m.gate)
	accepted := 0
	for _, result := range taken {
		if got := <-result; got.err == nil {
			accepted++
		} else if code(got.err) != "overloaded" {
			t.Error(got.err)
		}
	}
	if want := 1 + queue/2 + queue/4 + queue/8 + few + 1; accepted != want || len(m.rows) != want {
		t.Errorf("%d orders were accepted, %d placed, want %d", accepted, len(m.rows), want)
	}
	if n := len(s.places.taken); n != 0 || s.places.free != queue {
		t.Errorf("afterwards %d users have places, and %d are free", n, s.places.free)
	}
}

// No client gets "overloaded" for an order that is placed after all.
func TestAnOrderThatWaitedTooLongIsNotPlaced(t *testing.T) {
	t.Parallel()
	s, m, _ := newTill(t, time.Hour, 0)
	close(m.gate)
	long := time.Now().Add(-queueLimit - time.Second)
	for range 2 {
		s.places.take(5)
	}
	placements := s.place(t.Context(), []queued{
		{Order{ID: uuid.New(), UserID: 5, ProductID: 1, BillID: 1}, long},
		{Order{ID: uuid.New(), UserID: 5, ProductID: 1, BillID: 1, Key: "k"}, long},
	})
	if code(placements[0].Err) != "overloaded" || code(placements[1].Err) != "outcome_unknown" || len(m.rows) != 0 {
		t.Errorf("%+v, %d rows", placements, len(m.rows))
	}
}

func TestRepeatsWaitTogetherAndAskOnce(t *testing.T) {
	t.Parallel()
	s, m, w := newTill(t, time.Hour, 0)
	close(m.gate)
	results := []<-chan bought{buy(t.Context(), s, "k")}
	purchase := <-w.sent
	for range 9 {
		results = append(results, buy(t.Context(), s, "k"))
	}
	waittest.Eventually(t, "all ten wait", func() bool {
		s.waiters.mu.Lock()
		defer s.waiters.mu.Unlock()
		return s.waiters.by[purchase].waiting == 10
	})
	s.Answered(t.Context(), Answer{PurchaseID: purchase, Status: Declined, Reason: Expired}, func() {})
	for i, result := range results {
		got := <-result
		if got.err != nil || got.Purchase.ID != purchase || got.Purchase.Reason != Expired || got.Replayed != (i > 0) {
			t.Errorf("request %d: %+v", i, got)
		}
	}
	if len(w.sent) != 0 {
		t.Error("billing was asked more than once")
	}
	if got := <-buy(t.Context(), s, "k"); got.Purchase.Reason != Expired || !got.Replayed {
		t.Errorf("afterwards: %+v", got)
	}
}

func TestARepeatOfAPendingPurchaseAsksAgain(t *testing.T) {
	t.Parallel()
	s, m, w := newTill(t, time.Millisecond, 0)
	close(m.gate)
	first := <-buy(t.Context(), s, "k")
	if first.err != nil || first.Purchase.Status != Pending {
		t.Fatalf("the first: %+v", first)
	}
	<-w.sent
	if again := <-buy(t.Context(), s, "k"); again.Purchase.ID != first.Purchase.ID || !again.Replayed {
		t.Errorf("the repeat: %+v", again)
	}
	if asked := <-w.sent; asked != first.Purchase.ID {
		t.Errorf("billing was asked about %v", asked)
	}
	if len(s.waiters.by) != 0 {
		t.Errorf("%d waiters remain", len(s.waiters.by))
	}
}

func TestAPurchaseThatCanNotBeSentIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	s, m, w := newTill(t, time.Hour, 0)
	close(m.gate)
	w.failed <- errors.New("the stream is full")
	if got := <-buy(t.Context(), s, ""); got.err != nil || got.Purchase.Status != Pending {
		t.Errorf("not accepted: %+v", got)
	}
	w.refuse = errors.New("not connected")
	if got := <-buy(t.Context(), s, ""); got.err != nil || got.Purchase.Status != Pending {
		t.Errorf("not sent: %+v", got)
	}
}

func TestABuyerWhoDisconnectsHasStillBought(t *testing.T) {
	t.Parallel()
	s, m, w := newTill(t, time.Hour, 0)
	ctx, disconnect := context.WithCancel(t.Context())
	result := buy(ctx, s, "k")
	<-m.begun
	disconnect()
	close(m.gate)
	if got := <-result; got.err != nil || got.Purchase.Status != Pending {
		t.Errorf("%+v", got)
	}
	if asked := <-w.sent; asked != id(1) {
		t.Errorf("billing was asked about %v", asked)
	}
}

// Before the gate is open, an order of several units buys nothing and is not placed.
func TestSeveralUnitsWaitForTheGate(t *testing.T) {
	t.Parallel()
	s, m, _ := newTill(t, time.Second, 10)
	closed := errors.New("closed")
	s.Shelf = func() error { return closed }
	if p, err := s.Buy(t.Context(), Order{UserID: 5, ProductID: 1, BillID: 1, Quantity: 2}); !errors.Is(err, closed) || len(m.begun) != 0 {
		t.Errorf("%+v, %v; %d groups were placed", p, err, len(m.begun))
	}
}

// If an order could not be placed within its limit, its outcome is unknown: the buyer learns the purchase's id, unless a key may stand for another purchase.
func TestAnOrderThatIsNotPlacedInTime(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]error{"": Unknown(id(1)), "key": ErrAskAgain} {
		synctest.Test(t, func(t *testing.T) {
			s, m, _ := newTill(t, time.Second, 10)
			began := time.Now()
			_, err := s.Buy(t.Context(), Order{UserID: 5, ProductID: 1, BillID: 1, Key: key})
			got := problem.From(err)
			if took := time.Since(began); took != placeLimit || got.Code != "outcome_unknown" || got.Extra["purchase_id"] != problem.From(want).Extra["purchase_id"] {
				t.Errorf("with key %q: %v, %v after %v", key, err, got.Extra, took)
			}
			close(m.gate)
		})
	}
}
