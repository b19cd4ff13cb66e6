package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/problem"
	"lavka/libs/service/access"
	"lavka/libs/service/export"
	"lavka/libs/service/idempotency"
	"lavka/libs/service/page"
	"lavka/libs/service/telemetry"
	"lavka/services/catalog/api"
	"lavka/services/catalog/internal/catalog"
)

// CreateRefund answers POST /purchases/{id}/refunds.
func (h *Handlers) CreateRefund(ctx context.Context, r api.CreateRefundRequestObject) (api.CreateRefundResponseObject, error) {
	if r.Params.IdempotencyKey == nil {
		return nil, problem.New(problem.Malformed, "malformed", "a refund needs an Idempotency-Key: without one, it could not be retried")
	}
	key, err := idempotency.Key(r.Params.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	if err := problem.Require(problem.Member{Name: "reason", Present: r.Body.Reason != nil}); err != nil {
		return nil, err
	}
	note, force, restock := "", false, 0
	if r.Body.Note != nil {
		note = *r.Body.Note
	}
	if r.Body.Force != nil {
		force = *r.Body.Force
	}
	if r.Body.Restock != nil {
		restock = *r.Body.Restock
	}
	refund, err := catalog.NewRefund(r.Id, key, r.Body.Amount, *r.Body.Reason, note, force, restock, access.From(ctx).UserID)
	if err != nil {
		return nil, err
	}
	refund.Trace = telemetry.Traceparent(ctx)
	telemetry.Note(ctx, slog.String("purchase_id", r.Id.String()))
	placed, repeat, err := h.refunds.Refund(ctx, refund)
	if err != nil {
		return nil, err
	}
	outcome := string(placed.Status)
	if placed.Declined != "" {
		outcome = string(placed.Declined)
	}
	telemetry.Note(ctx, slog.String("refund_id", placed.ID.String()), slog.String("outcome", outcome), slog.Bool("repeat", repeat))
	return refunded(placed, repeat)
}

// refunded returns the response for a refund in its current state.
func refunded(placed catalog.Refund, repeat bool) (api.CreateRefundResponseObject, error) {
	var again *string
	if repeat {
		again = new("true")
	}
	location := "/purchases/" + placed.PurchaseID.String() + "/refunds"
	switch placed.Status {
	case catalog.Completed:
		return api.CreateRefund201JSONResponse{
			Body:    toRefund(placed, true),
			Headers: api.CreateRefund201ResponseHeaders{Location: location, IdempotentReplayed: again},
		}, nil
	case catalog.Pending:
		return api.CreateRefund202JSONResponse{
			Body:    toRefund(placed, true),
			Headers: api.CreateRefund202ResponseHeaders{Location: location, RetryAfter: retryAfter, IdempotentReplayed: again},
		}, nil
	case catalog.Declined:
		refusal := placed.Refusal()
		if repeat {
			return nil, replayed{refusal}
		}
		return nil, refusal
	default:
		return nil, fmt.Errorf("refund %s has the unknown status %q", placed.ID, placed.Status)
	}
}

// ListRefunds answers GET /purchases/{id}/refunds: for the buyer, and for admins and
// support, who see more of each refund.
func (h *Handlers) ListRefunds(ctx context.Context, r api.ListRefundsRequestObject) (api.ListRefundsResponseObject, error) {
	const list = "refunds"
	q, err := refundQuery(list, r.Params.Limit, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	q.PurchaseID = r.Id
	caller := access.From(ctx)
	all, owner := caller.ReadsAll(), caller.UserID
	if all {
		owner = 0
	}
	rows, err := h.refunds.Of(ctx, owner, q)
	if err != nil {
		return nil, err
	}
	return respond(page.Cut(ctx, list, rows, q.Limit-1, refundID, func(r catalog.Refund) api.Refund { return toRefund(r, all) }))
}

// ListAllRefunds answers GET /admin/refunds, also with all of the list as CSV or NDJSON.
func (h *Handlers) ListAllRefunds(ctx context.Context, r api.ListAllRefundsRequestObject) (api.ListAllRefundsResponseObject, error) {
	const list = "all refunds"
	p := r.Params
	q, err := refundQuery(list, p.Limit, p.Cursor)
	if err != nil {
		return nil, err
	}
	f := catalog.RefundFilter{UserID: p.UserId, BillID: p.BillId, After: q.After, Limit: q.Limit}
	if s := p.Status; s != nil {
		if !s.Valid() {
			return nil, problem.InvalidFields(problem.Field{Field: "status", Message: "must be pending, completed or declined"})
		}
		f.Status = catalog.Status(*s)
	}
	if f.When, err = filter.NewRange(p.From, p.To); err != nil {
		return nil, err
	}
	if err := f.Check(); err != nil {
		return nil, err
	}
	if export.Asked(ctx) {
		if err := export.Whole(p.Limit, p.Cursor); err != nil {
			return nil, err
		}
		if now := time.Now(); f.When.To == nil || f.When.To.After(now) {
			f.When.To = &now // the end of the list, while refunds are added to it
		}
		return exportOf(ctx, h.exports, refunds, idOfRefund, func(ctx context.Context, after *uuid.UUID, limit int) ([]catalog.Refund, error) {
			f.After, f.Limit = after, limit
			return h.refunds.All(ctx, f)
		}), nil
	}
	rows, err := h.refunds.All(ctx, f)
	if err != nil {
		return nil, err
	}
	return respond(page.Cut(ctx, list, rows, f.Limit-1, refundID, func(r catalog.Refund) api.Refund { return toRefund(r, true) }))
}

func refundID(r catalog.Refund) any { return r.ID }

// refundQuery reads the parameters of a page. Its limit is one more than asked for.
func refundQuery(list string, limit *int, cursor *string) (q catalog.RefundQuery, err error) {
	n, err := page.Limit(limit)
	if err != nil {
		return q, err
	}
	after, err := page.Decode[uuid.UUID](list, cursor)
	return catalog.RefundQuery{After: after, Limit: n + 1}, err
}

// toRefund returns what the buyer sees of a refund, or all that admins and support see.
func toRefund(r catalog.Refund, all bool) api.Refund {
	out := api.Refund{
		Id: r.ID, PurchaseId: r.PurchaseID, BillId: r.BillID, Amount: r.Amount, Reason: r.Reason,
		Status: string(r.Status), Refundable: r.Refundable, TransactionId: r.TransactionID, CreatedAt: r.CreatedAt.UTC(),
	}
	if r.Declined != "" {
		out.DeclineReason = new(string(r.Declined))
	}
	if r.Restock > 0 {
		out.Restock = &r.Restock
	}
	if r.SettledAt != nil {
		out.SettledAt = new(r.SettledAt.UTC())
	}
	if all {
		out.UserId, out.RequestedBy, out.Force = &r.UserID, &r.AdminID, &r.Force
		if r.Note != "" {
			out.Note = &r.Note
		}
	}
	return out
}
