package billing

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lavka/libs/domain/group"
	"lavka/libs/testkit/waittest"
)

// newcomersLedger credits payments of the users that it knows.
func newcomersLedger() *ledger {
	l := &ledger{users: map[int64]bool{}}
	l.settle = func(items []Item) []Result {
		l.mu.Lock()
		defer l.mu.Unlock()
		results := make([]Result, len(items))
		for i, item := range items {
			if results[i] = (Refused{ErrUnknownUser}); l.users[item.(*Payment).UserID] {
				results[i] = Credited{}
			}
		}
		return results
	}
	return l
}

func (l *ledger) add(user int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users[user] = true
}

func newcomersSettler(t *testing.T, l *ledger, limit time.Duration) *Settler {
	t.Helper()
	s := NewSettler(l, group.Config{Max: 100, Queue: 1000, InFlight: 1})
	s.newcomers.limit = limit
	t.Cleanup(s.Close)
	return s
}

func (s *Settler) payments() int {
	s.newcomers.mu.Lock()
	defer s.newcomers.mu.Unlock()
	return s.newcomers.count
}

// pay pays in the background.
func (s *Settler) pay(ctx context.Context, user int64) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := s.Pay(ctx, Payment{ID: user, UserID: user})
		result <- err
	}()
	return result
}

// For a user who never comes, a payment waits for two seconds, in which the ledger is asked every twentieth of a second.
func TestAPaymentForAnUnknownUserIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newcomersLedger()
		s := NewSettler(l, group.Config{Max: 100, Queue: 1000, InFlight: 1})
		defer s.Close()
		began := time.Now()
		_, err := s.Pay(t.Context(), Payment{ID: 3, UserID: 3})
		if took := time.Since(began); !errors.Is(err, ErrUnknownUser) || took != 2*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		if l.mu.Lock(); l.looks < 39 || l.looks > 41 {
			t.Errorf("the ledger was asked %d times", l.looks)
		}
		l.mu.Unlock()
	})
}

// A payment for a user whom billing does not know yet is credited as soon as another
// replica, or this one, has stored the user. It holds no place in a group meanwhile.
func TestAPaymentWaitsForItsUser(t *testing.T) {
	t.Parallel()
	l := newcomersLedger()
	s := newcomersSettler(t, l, time.Hour)
	l.add(1)
	newcomer, stranger := s.pay(t.Context(), 2), s.pay(t.Context(), 3)
	waittest.Eventually(t, "both wait", func() bool { return s.payments() == 2 })
	if _, err := s.Pay(t.Context(), Payment{ID: 1, UserID: 1}); err != nil {
		t.Errorf("another payment meanwhile: %v", err)
	}
	l.add(2)
	if err := <-newcomer; err != nil {
		t.Errorf("%v", err)
	}
	select {
	case err := <-stranger:
		t.Errorf("an unknown user: %v", err)
	default:
	}
	l.add(3)
	if err := <-stranger; err != nil {
		t.Errorf("%v", err)
	}
	if len(l.refused) != 0 {
		t.Errorf("recorded %v", l.refused)
	}
}

// A payment for a user who stays unknown is refused and recorded once, at the end of
// its wait or when the provider disconnects.
func TestAnUnknownUserIsRefusedInTheEnd(t *testing.T) {
	t.Parallel()
	l := newcomersLedger()
	s := newcomersSettler(t, l, 10*time.Millisecond)
	if err := <-s.pay(t.Context(), 1); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("%v", err)
	}
	s.newcomers.limit = time.Hour
	ctx, hangUp := context.WithCancel(t.Context())
	result := s.pay(ctx, 1)
	waittest.Eventually(t, "it waits", func() bool { return s.payments() == 1 })
	hangUp()
	if err := <-result; !errors.Is(err, ErrUnknownUser) {
		t.Errorf("%v", err)
	}
	if len(l.refused) != 2 {
		t.Errorf("recorded %v, want 2 refusals", l.refused)
	}
	if len(s.newcomers.users) != 0 {
		t.Error("a user is remembered for whom no payment waits")
	}
}

// However many payments for unknown users arrive, at most newcomersMax wait, and
// payments for known users are not delayed.
func TestFewPaymentsWaitForTheirUsers(t *testing.T) {
	t.Parallel()
	l := newcomersLedger()
	s := newcomersSettler(t, l, time.Hour)
	ctx, hangUp := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for user := range int64(newcomersMax) {
		waiting.Go(func() {
			if err := <-s.pay(ctx, 100+user); !errors.Is(err, ErrUnknownUser) {
				t.Errorf("%v", err)
			}
		})
	}
	waittest.Eventually(t, "all wait", func() bool { return s.payments() == newcomersMax })
	if err := <-s.pay(t.Context(), 1); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("one more than may wait: %v", err)
	}
	l.add(2)
	if err := <-s.pay(t.Context(), 2); err != nil {
		t.Errorf("a known user: %v", err)
	}
	waittest.Eventually(t, "a read", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.looks > 1
	})
	hangUp()
	waiting.Wait()
}

// Two payments wait for one user, and one of them gives up: the other one still waits.
func TestOneOfTwoPaymentsLeaves(t *testing.T) {
	t.Parallel()
	came := &newcomer{came: make(chan struct{}), count: 2}
	n := newcomers{count: 2, users: map[int64]*newcomer{7: came}}
	n.leave(7, came)
	if ids := n.ids(); len(ids) != 1 || !n.looking {
		t.Errorf("it looks for the users %v, looking %v", ids, n.looking)
	}
	n.leave(7, came)
	if ids := n.ids(); ids != nil || n.looking || n.count != 0 {
		t.Errorf("it looks for the users %v, looking %v, for %d payments", ids, n.looking, n.count)
	}
}
