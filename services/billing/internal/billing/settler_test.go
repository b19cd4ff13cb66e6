package billing

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lavka/libs/domain/group"
	"lavka/libs/domain/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger is a fake. The real one is tested with a real Postgres.
type ledger struct {
	mu      sync.Mutex
	settle  func(items []Item) []Result
	refused []string
	lost    error          // the error of RecordRefused
	users   map[int64]bool // known to KnownUsers
	looks   int            // calls of KnownUsers
}

func (l *ledger) KnownUsers(_ context.Context, ids []int64) (known []int64, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looks++
	for _, id := range ids {
		if l.users[id] {
			known = append(known, id)
		}
	}
	return known, nil
}

func (l *ledger) FindPayment(_ context.Context, id int64) (*Payment, error) {
	return &Payment{ID: id, BillID: 10}, l.lost
}

func (l *ledger) RecordRefusedReversal(ctx context.Context, r Reversal, code string) error {
	return l.RecordRefused(ctx, Payment{ID: r.PaymentID}, code)
}

func (l *ledger) Settle(_ context.Context, items []Item) []Result { return l.settle(items) }

func (l *ledger) RecordRefused(ctx context.Context, _ Payment, code string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost == nil {
		l.refused = append(l.refused, code)
	}
	return l.lost
}

func each(r ...Result) func([]Item) []Result {
	i := 0
	return func(items []Item) []Result {
		results := make([]Result, len(items))
		for j := range results {
			results[j] = r[min(i, len(r)-1)]
			i++
		}
		return results
	}
}

func TestPay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		ledger *ledger
		repeat bool
		code   string
		kept   int
	}{
		{"credited", &ledger{settle: each(Credited{})}, false, "", 0},
		{"repeated", &ledger{settle: each(CreditedBefore{})}, true, "", 0},
		{"held at first", &ledger{settle: each(Held{}, Held{}, Credited{})}, false, "", 0},
		{"held throughout", &ledger{settle: each(Held{})}, false, "bill_busy", 0},
		{"refused and recorded", &ledger{settle: each(Refused{ErrBalanceLimit})}, false, "balance_limit", 1},
		{"refused but not recorded", &ledger{settle: each(Refused{ErrBalanceLimit}), lost: errors.New("unreachable")}, false, "outcome_unknown", 0},
		{"poisoned and recorded", &ledger{settle: each(Poisoned{errors.New("23514")})}, false, "internal", 1},
		{"a result for purchases only", &ledger{settle: each(Undecided{})}, false, "outcome_unknown", 0},
		{"outcome unknown", &ledger{settle: each(Failed{errors.New("unreachable")})}, false, "outcome_unknown", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := NewSettler(c.ledger, group.Config{Max: 1, Queue: 1, InFlight: 1})
			defer s.Close()
			repeat, err := s.Pay(t.Context(), Payment{ID: 1})
			if repeat != c.repeat || code(err) != c.code {
				t.Errorf("repeat %v, %v", repeat, err)
			}
			if len(c.ledger.refused) != c.kept {
				t.Errorf("recorded %v, want %d", c.ledger.refused, c.kept)
			}
		})
	}
}

func TestReverse(t *testing.T) {
	t.Parallel()
	decision := &ReversalDecision{Debited: 5}
	for _, c := range []struct {
		name   string
		ledger *ledger
		repeat bool
		code   string
		kept   int
	}{
		{"reversed", &ledger{settle: each(Reversed{decision})}, false, "", 0},
		{"repeated", &ledger{settle: each(ReversedBefore{decision})}, true, "", 0},
		{"held at first", &ledger{settle: each(Held{}, Reversed{decision})}, false, "", 0},
		{"held throughout", &ledger{settle: each(Held{})}, false, "bill_busy", 0},
		{"refused and recorded", &ledger{settle: each(Refused{ErrPaymentNotFound})}, false, "payment_not_found", 1},
		{"poisoned and recorded", &ledger{settle: each(Poisoned{errors.New("23514")})}, false, "internal", 1},
		{"the payment can't be looked up", &ledger{settle: each(Reversed{decision}), lost: errors.New("unreachable")}, false, "outcome_unknown", 0},
		{"a result for payments only", &ledger{settle: each(Credited{})}, false, "outcome_unknown", 0},
		{"outcome unknown", &ledger{settle: each(Failed{errors.New("unreachable")})}, false, "outcome_unknown", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := NewSettler(c.ledger, group.Config{Max: 1, Queue: 1, InFlight: 1})
			defer s.Close()
			d, repeat, err := s.Reverse(t.Context(), Reversal{ID: 1, PaymentID: 2})
			if repeat != c.repeat || code(err) != c.code || (err == nil) != (d == decision) {
				t.Errorf("%+v, repeat %v, %v", d, repeat, err)
			}
			if len(c.ledger.refused) != c.kept {
				t.Errorf("recorded %v, want %d", c.ledger.refused, c.kept)
			}
		})
	}
}

// A provider that disconnects at any moment must not prevent its refused payment
// from being recorded.
func TestARefusalIsRecordedAfterTheProviderDisconnects(t *testing.T) {
	t.Parallel()
	l := &ledger{settle: each(Refused{ErrUnknownUser})}
	s := NewSettler(l, group.Config{Max: 1, Queue: 1, InFlight: 1})
	defer s.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	if _, err := s.Pay(ctx, Payment{ID: 1}); code(err) != "user_not_found" {
		t.Errorf("%v", err)
	}
	if err := s.Refuse(ctx, Payment{}, ErrInvalidID); code(err) != "invalid_id" {
		t.Errorf("%v", err)
	}
	if len(l.refused) != 2 {
		t.Errorf("recorded %v, want 2 refusals", l.refused)
	}
}

func TestAFullQueueCreditsNothing(t *testing.T) {
	t.Parallel()
	started, release := make(chan struct{}), make(chan struct{})
	l := &ledger{settle: func(items []Item) []Result {
		close(started)
		<-release
		return make([]Result, len(items))
	}}
	s := NewSettler(l, group.Config{Max: 1, Queue: 0, InFlight: 1})
	for s.Charge(t.Context(), ChargeRequest{}, func(Result) {}) != nil {
		// Until the worker is ready: a queue of length 0 accepts an item only while a worker waits for one.
	}
	<-started
	_, err := s.Pay(t.Context(), Payment{ID: 1})
	if code(err) != "overloaded" || problem.From(err).RetryAfter == 0 {
		t.Errorf("%v", err)
	}
	close(release)
	s.Close()
}

// code is the code of a problem, or "" if there is none.
func code(err error) string {
	if err == nil {
		return ""
	}
	return problem.From(err).Code
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A client that is told to retry is told when.
func TestRefusalsSayWhenToRetry(t *testing.T) {
	t.Parallel()
	for _, err := range []*problem.Error{ErrNothingKnown, ErrUnknownUser, ErrPaymentNotFound, errOverloaded, errBillBusy, errUnknown} {
		if err.RetryAfter < time.Second {
			t.Errorf("%s: %v", err.Code, err.RetryAfter)
		}
	}
}
