package catalog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/group"
	"lavka/libs/domain/problem"
)

// RefundStore stores refunds.
type RefundStore interface {
	// PlaceRefund stores a refund as pending, or finds the one with its key, or
	// returns a problem. After an error of the kind Unavailable, it may have been
	// stored.
	PlaceRefund(ctx context.Context, r Refund) (placed Refund, repeat bool, err error)
	// SettleRefunds writes answers into pending rows, and returns the refunds of all
	// answers, with those that were settled before.
	SettleRefunds(ctx context.Context, answers []RefundAnswer) ([]Refund, error)
	// RefundsOf returns refunds of a purchase. It returns ErrPurchaseNotFound if the
	// user has no such purchase; with userID 0, if there is none.
	RefundsOf(ctx context.Context, userID int64, q RefundQuery) ([]Refund, error)
	AllRefunds(ctx context.Context, f RefundFilter) ([]Refund, error)
}

// RefundRequests sends refunds to billing. A request may be lost or delivered twice.
type RefundRequests interface {
	// SendAgain asks billing to decide on a refund. It does not wait for the answer.
	SendAgain(ctx context.Context, r Refund) error
}

// RefundMetrics counts what Refunds does.
type RefundMetrics interface {
	Refunded(outcome string) // the result of a request: a refund status or a problem code
	AnswerDropped()          // the queue of answers was full
	AnswersUnwritten()       // a group of answers was not written in full
}

// refundLimit is the time limit for placing a refund.
const refundLimit = 8 * time.Second

// RefundsConfig holds the dependencies and limits of Refunds.
type RefundsConfig struct {
	Store    RefundStore
	Requests RefundRequests
	Open     func() error // an error while refunds must not be written
	Shelf    func() error // an error while refunds must not put units back into stock
	Metrics  RefundMetrics
	Log      *slog.Logger
	NewID    func() uuid.UUID // UUIDv7
	Wait     time.Duration    // longest wait for billing's answer

	AnswerGroups group.Instruments
}

// Refunds places refunds, asks billing to decide on them, and waits for its answers.
type Refunds struct {
	RefundsConfig
	answers *group.Group[RefundAnswer, struct{}]

	mu      sync.Mutex
	waiting map[uuid.UUID]*refundWaiter
}

// refundWaiter belongs to one refund: all requests for it wait together.
type refundWaiter struct {
	requests int
	done     chan struct{}
	refund   Refund // as settled, once done is closed
}

// NewRefunds starts a Refunds. Close ends it.
func NewRefunds(cfg RefundsConfig) *Refunds {
	s := &Refunds{RefundsConfig: cfg, waiting: map[uuid.UUID]*refundWaiter{}}
	s.answers = group.New(group.Config{Max: groupMax, Queue: answerQueue, InFlight: inFlight, Instruments: cfg.AnswerGroups}, s.settle)
	return s
}

// Refund places a refund and waits for billing's answer for at most Wait. The refund
// that it returns may still be pending; it is settled later. A decline is not an error
// (see [Refund.Refusal]). After an error, nothing is or will be refunded, unless it is
// ErrRefundUnknown.
func (s *Refunds) Refund(ctx context.Context, r Refund) (placed Refund, repeat bool, err error) {
	placed, repeat, err = s.refund(ctx, r)
	outcome := string(placed.Status)
	switch {
	case err != nil:
		outcome = problem.From(err).Code
	case placed.Status == Declined:
		outcome = string(placed.Declined)
	}
	s.Metrics.Refunded(outcome)
	return placed, repeat, err
}

func (s *Refunds) refund(ctx context.Context, r Refund) (placed Refund, repeat bool, err error) {
	if err := s.Open(); err != nil {
		return Refund{}, false, err
	}
	if r.Restock > 0 {
		if err := s.Shelf(); err != nil {
			return Refund{}, false, err
		}
	}
	r.ID = s.NewID()
	// A client that disconnects does not stop a refund that is being placed.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), refundLimit)
	defer cancel()
	placed, repeat, err = s.Store.PlaceRefund(limit, r)
	if err != nil {
		if problem.From(err).Kind == problem.Unavailable {
			err = ErrRefundUnknown.Because(err)
		}
		return Refund{}, false, err
	}
	if placed.Status != Pending {
		return placed, repeat, nil
	}
	// The request is sent for a repeat too: an answer that arrived before this caller
	// waits would not be noticed.
	answer, first := s.join(placed.ID)
	defer s.leave(placed.ID, answer)
	if first {
		if err := s.Requests.SendAgain(ctx, placed); err != nil {
			s.Log.WarnContext(ctx, "a refund could not be sent to billing; the sweeper retries", "refund_id", placed.ID, "error", err)
			return placed, repeat, nil
		}
	}
	timer := time.NewTimer(s.Wait)
	defer timer.Stop()
	select {
	case <-answer.done:
		return answer.refund, repeat, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return placed, repeat, nil
}

func (s *Refunds) join(id uuid.UUID) (joined *refundWaiter, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	joined, waiting := s.waiting[id]
	if !waiting {
		joined = &refundWaiter{done: make(chan struct{})}
		s.waiting[id] = joined
	}
	joined.requests++
	return joined, !waiting
}

func (s *Refunds) leave(id uuid.UUID, joined *refundWaiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	joined.requests--
	if joined.requests == 0 && s.waiting[id] == joined {
		delete(s.waiting, id)
	}
}

// Answered enqueues an answer without blocking; done is called once the group that
// contains it has been settled. Answered reports whether there was room in the queue;
// if not, done is never called, and the sweeper will send the request again.
func (s *Refunds) Answered(ctx context.Context, a RefundAnswer, done func()) bool {
	err := s.answers.Add(ctx, a, func(struct{}) { done() })
	if err != nil {
		s.Metrics.AnswerDropped()
	}
	return err == nil
}

// settle writes a group of answers and then wakes the requests that wait for them, so
// that a later GET shows what the admin was told.
func (s *Refunds) settle(ctx context.Context, answers []RefundAnswer) []struct{} {
	kept := map[uuid.UUID]RefundAnswer{} // billing gives the same answer every time
	for _, a := range answers {
		kept[a.RefundID] = a
	}
	distinct := make([]RefundAnswer, 0, len(kept))
	for _, a := range kept {
		distinct = append(distinct, a)
	}
	settled, err := s.Store.SettleRefunds(ctx, distinct)
	if err != nil {
		s.Metrics.AnswersUnwritten()
		s.Log.ErrorContext(ctx, "can't write billing's answers about refunds; the sweeper will resend the requests", "answers", len(answers), "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range settled {
		if woken, ok := s.waiting[r.ID]; ok {
			woken.refund = r
			close(woken.done)
			delete(s.waiting, r.ID)
		}
	}
	return make([]struct{}, len(answers))
}

// Of returns at most q.Limit refunds of a purchase, newest first. It returns
// ErrPurchaseNotFound if the user has no such purchase; with userID 0, if there is
// none.
func (s *Refunds) Of(ctx context.Context, userID int64, q RefundQuery) ([]Refund, error) {
	return s.Store.RefundsOf(ctx, userID, q)
}

// All returns at most f.Limit refunds of all purchases, oldest first. f must have passed
// its Check.
func (s *Refunds) All(ctx context.Context, f RefundFilter) ([]Refund, error) {
	return s.Store.AllRefunds(ctx, f)
}

// Close stops accepting answers, and returns when the queued ones are written.
func (s *Refunds) Close() { s.answers.Close() }
