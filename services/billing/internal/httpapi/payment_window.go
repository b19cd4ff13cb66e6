package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/libs/service/page"
	"lavka/services/billing/api"
	"lavka/services/billing/internal/billing"
)

// verifications is how many payments a replica verifies in a second, and at once.
const verifications = 10

var (
	errManyVerifications = problem.New(problem.TooMany, "too_many_verifications", "a replica verifies 10 payments a second; retry").Retry(time.Second)
	errNone              = errors.New("there is no such payment")
)

// GetCredit answers GET /payment/credits/{transaction_id}.
func (h *Handlers) GetCredit(ctx context.Context, r api.GetCreditRequestObject) (api.GetCreditResponseObject, error) {
	state := api.GetCredit200JSONResponse{TransactionId: r.TransactionId}
	credited, err := h.store.Credited(ctx, r.TransactionId, errNone)
	if err == nil {
		at := credited.At.At.UTC()
		state.Status, state.CreditedAt, state.ReversedTotal = "credited", &at, &credited.Reversed
		state.UserId, state.BillId, state.Amount = &credited.UserID, &credited.BillID, &credited.Amount
		return state, nil
	}
	if !errors.Is(err, errNone) {
		return nil, err
	}
	refused, err := h.store.LastRefused(ctx, r.TransactionId, errNone)
	if errors.Is(err, errNone) {
		state.Status = "unknown"
		return state, nil
	}
	if err != nil {
		return nil, err
	}
	state.Status, state.Reason, state.UserId, state.BillId = "refused", &refused.Reason, &refused.UserID, &refused.BillID
	if amount, err := money.Parse(refused.Amount); err == nil && amount.Positive() == nil {
		state.Amount = &amount
	}
	return state, nil
}

// The names of the lists, for cursors.
const (
	listOfCredits = "credits"
	listOfRefused = "refused payments"
)

// ListCredits answers GET /payment/credits.
func (h *Handlers) ListCredits(ctx context.Context, r api.ListCreditsRequestObject) (api.ListCreditsResponseObject, error) {
	w, until, err := h.window(listOfCredits, r.Params.From, r.Params.To, r.Params.Limit, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	payments, err := h.store.CreditedWithin(ctx, w)
	if err != nil {
		return nil, err
	}
	key := func(p billing.CreditedPayment) any { return place{p.At, until} }
	cut, err := page.Cut(ctx, listOfCredits, payments, w.Limit-1, key, func(p billing.CreditedPayment) api.CreditedPayment {
		return api.CreditedPayment{TransactionId: p.PaymentID, UserId: p.UserID, BillId: p.BillID, Amount: p.Amount, CreditedAt: p.At.At.UTC(), ReversedTotal: p.Reversed}
	})
	if err != nil {
		return nil, err
	}
	return respond(cut.With("complete_until", until))
}

// ListRefused answers GET /payment/refused.
func (h *Handlers) ListRefused(ctx context.Context, r api.ListRefusedRequestObject) (api.ListRefusedResponseObject, error) {
	w, until, err := h.window(listOfRefused, r.Params.From, r.Params.To, r.Params.Limit, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	payments, err := h.store.RefusedWithin(ctx, w)
	if err != nil {
		return nil, err
	}
	key := func(p billing.RefusedPayment) any { return place{billing.Position{At: p.FirstAt, ID: p.ID}, until} }
	cut, err := page.Cut(ctx, listOfRefused, payments, w.Limit-1, key, func(p billing.RefusedPayment) api.RefusedPayment {
		return api.RefusedPayment{
			TransactionId: p.PaymentID, UserId: p.UserID, BillId: p.BillID, AmountAsSent: p.Amount, Reason: p.Reason, Times: p.Times,
			FirstAt: p.FirstAt.UTC(), LastAt: p.LastAt.UTC(), CreditedSince: p.CreditedSince, ReversalId: p.ReversalID,
		}
	})
	if err != nil {
		return nil, err
	}
	return respond(cut.With("complete_until", until))
}

// place is the place of a page in a list, and up to when the list was complete when its
// first page was read: a later page may be complete further, but rows that came in the
// meantime may belong before it.
type place struct {
	billing.Position
	Until *time.Time `json:"u"`
}

// window reads the parameters of a list by time. The time up to which it is complete is
// taken here, before the page is read. The limit is one more than asked for.
func (h *Handlers) window(list string, from, to time.Time, limit *int, cursor *string) (w billing.Window, until *time.Time, err error) {
	if w, err = billing.NewWindow(from, to); err != nil {
		return w, nil, err
	}
	n, err := page.Limit(limit)
	if err != nil {
		return w, nil, err
	}
	w.Limit = n + 1
	after, err := page.Decode[place](list, cursor)
	switch {
	case err != nil:
		return w, nil, err
	case after != nil:
		w.After = &after.Position
		return w, after.Until, nil
	}
	return w, h.complete.Until(), nil
}

type foresight struct {
	Result        string `json:"result"`
	TransactionID int64  `json:"transaction_id"`
	BillID        int64  `json:"bill_id"`
}

// verifier answers POST /payment/verify. Its checks are the webhook's, in the same order,
// and it writes nothing.
func (h *Handlers) verifier() echo.HandlerFunc {
	limit := rate.NewLimiter(verifications, verifications)
	return func(c echo.Context) error {
		if !limit.Allow() {
			return errManyVerifications
		}
		payment, _, err := h.webhook.read(c)
		if err != nil {
			return err
		}
		facts, err := h.store.PaymentFacts(c.Request().Context(), payment)
		if err != nil {
			return err
		}
		repeat, err := payment.Foresee(facts)
		if err != nil {
			return h.webhook.withTime(err)
		}
		answer := foresight{"would_credit", payment.ID, payment.BillID}
		if repeat {
			answer.Result = "already_credited"
		}
		return c.JSON(http.StatusOK, answer)
	}
}
