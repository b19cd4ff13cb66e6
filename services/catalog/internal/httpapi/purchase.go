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

// retryAfter is how soon to check a pending purchase again, in seconds.
const retryAfter = 1

// CreatePurchase answers POST /purchases.
func (h *Handlers) CreatePurchase(ctx context.Context, r api.CreatePurchaseRequestObject) (api.CreatePurchaseResponseObject, error) {
	key, err := idempotency.Key(r.Params.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	if err := problem.Require(
		problem.Member{Name: "product_id", Present: r.Body.ProductId != nil},
		problem.Member{Name: "bill_id", Present: r.Body.BillId != nil},
	); err != nil {
		return nil, err
	}
	quantity := 1
	if r.Body.Quantity != nil {
		quantity = *r.Body.Quantity
	}
	order, err := catalog.NewOrder(access.From(ctx).UserID, *r.Body.ProductId, *r.Body.BillId, quantity, r.Body.ExpectedPrice, key)
	if err != nil {
		return nil, err
	}
	order.Trace = telemetry.Traceparent(ctx)
	telemetry.Note(ctx, slog.Int64("bill_id", order.BillID))
	placed, err := h.purchases.Buy(ctx, order)
	if err != nil {
		return nil, err
	}
	note(ctx, placed)
	return bought(placed)
}

// note adds the outcome of an order to the request's log line and span.
func note(ctx context.Context, placed catalog.Placement) {
	outcome := string(placed.Purchase.Status)
	if placed.Purchase.Reason != "" {
		outcome = string(placed.Purchase.Reason)
	}
	telemetry.Note(ctx, slog.String("purchase_id", placed.Purchase.ID.String()), slog.String("outcome", outcome))
	if placed.Replayed {
		telemetry.Note(ctx, slog.Bool("repeat", true))
	}
}

// bought returns the response for a purchase in its current state.
func bought(placed catalog.Placement) (api.CreatePurchaseResponseObject, error) {
	var again *string
	if placed.Replayed {
		again = new("true")
	}
	location := "/purchases/" + placed.Purchase.ID.String()
	switch placed.Purchase.Status {
	case catalog.Completed:
		return api.CreatePurchase201JSONResponse{
			Body:    toPurchase(placed.Purchase),
			Headers: api.CreatePurchase201ResponseHeaders{Location: location, IdempotentReplayed: again},
		}, nil
	case catalog.Pending:
		return api.CreatePurchase202JSONResponse{
			Body:    toPurchase(placed.Purchase),
			Headers: api.CreatePurchase202ResponseHeaders{Location: location, RetryAfter: retryAfter, IdempotentReplayed: again},
		}, nil
	case catalog.Declined:
		refusal := placed.Purchase.Refusal()
		if placed.Replayed {
			return nil, replayed{refusal}
		}
		return nil, refusal
	default:
		return nil, fmt.Errorf("purchase %s has the unknown status %q", placed.Purchase.ID, placed.Purchase.Status)
	}
}

// GetPurchase answers GET /purchases/{id}.
func (h *Handlers) GetPurchase(ctx context.Context, r api.GetPurchaseRequestObject) (api.GetPurchaseResponseObject, error) {
	wait := preferredWait(r.Params.Prefer)
	if wait == 0 {
		p, err := h.purchases.Get(ctx, access.From(ctx).UserID, r.Id)
		return api.GetPurchase200JSONResponse{Body: toPurchase(p)}, err
	}
	p, applied, err := h.purchases.Await(ctx, access.From(ctx).UserID, r.Id, wait)
	if err != nil {
		return nil, err
	}
	response := api.GetPurchase200JSONResponse{Body: toPurchase(p)}
	if applied {
		response.Headers.PreferenceApplied = new(fmt.Sprintf("wait=%d", wait/time.Second))
	}
	return response, nil
}

// ListPurchases answers GET /purchases.
func (h *Handlers) ListPurchases(ctx context.Context, r api.ListPurchasesRequestObject) (api.ListPurchasesResponseObject, error) {
	const list = "purchases"
	limit, err := page.Limit(r.Params.Limit)
	if err != nil {
		return nil, err
	}
	before, err := page.Decode[uuid.UUID](list, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	q := catalog.PurchaseQuery{UserID: access.From(ctx).UserID, Before: before, Limit: limit + 1}
	if s := r.Params.Status; s != nil {
		if !s.Valid() {
			return nil, problem.InvalidFields(problem.Field{Field: "status", Message: "must be pending, completed or declined"})
		}
		q.Status = catalog.Status(*s)
	}
	if q.When, err = filter.NewRange(r.Params.From, r.Params.To); err != nil {
		return nil, err
	}
	if r.Params.IdempotencyKey != nil {
		if q.Key, err = idempotency.Key(r.Params.IdempotencyKey); err != nil {
			return nil, err
		}
		if q.Status != "" || !q.When.Open() {
			return nil, problem.InvalidFields(problem.Field{Field: "idempotency_key", Message: "must be given without status, from and to: a key has at most one purchase"})
		}
	}
	if export.Asked(ctx) {
		if err := export.Whole(r.Params.Limit, r.Params.Cursor); err != nil {
			return nil, err
		}
		return exportOf(ctx, h.exports, purchases, idOfPurchase, func(ctx context.Context, before *uuid.UUID, limit int) ([]catalog.Purchase, error) {
			q.Before, q.Limit = before, limit
			return h.purchases.List(ctx, q)
		}), nil
	}
	rows, err := h.purchases.List(ctx, q)
	if err != nil {
		return nil, err
	}
	return respond(page.Cut(ctx, list, rows, limit, func(p catalog.Purchase) any { return p.ID }, toPurchase))
}

// ListAllPurchases answers GET /admin/purchases.
func (h *Handlers) ListAllPurchases(ctx context.Context, r api.ListAllPurchasesRequestObject) (api.ListAllPurchasesResponseObject, error) {
	const list = "all purchases"
	p := r.Params
	limit, err := page.Limit(p.Limit)
	if err != nil {
		return nil, err
	}
	before, err := page.Decode[uuid.UUID](list, p.Cursor)
	if err != nil {
		return nil, err
	}
	f := catalog.PurchaseFilter{UserID: p.UserId, BillID: p.BillId, ProductID: p.ProductId, Before: before, Limit: limit + 1}
	if s := p.Status; s != nil {
		if !s.Valid() {
			return nil, problem.InvalidFields(problem.Field{Field: "status", Message: "must be pending, completed or declined"})
		}
		f.Status = catalog.Status(*s)
	}
	if f.When, err = filter.NewRange(p.From, p.To); err != nil {
		return nil, err
	}
	if export.Asked(ctx) {
		if err := export.Whole(p.Limit, p.Cursor); err != nil {
			return nil, err
		}
		return exportOf(ctx, h.exports, sales, idOfPurchase, func(ctx context.Context, before *uuid.UUID, limit int) ([]catalog.Purchase, error) {
			f.Before, f.Limit = before, limit
			return h.purchases.ListAll(ctx, f)
		}), nil
	}
	rows, err := h.purchases.ListAll(ctx, f)
	if err != nil {
		return nil, err
	}
	return respond(page.Cut(ctx, list, rows, limit, func(p catalog.Purchase) any { return p.ID }, toSale))
}

func toSale(p catalog.Purchase) api.Sale {
	own := toPurchase(p)
	return api.Sale{
		Id: own.Id, UserId: p.UserID, ProductId: own.ProductId, Title: own.Title, Price: own.Price, Quantity: own.Quantity, Amount: own.Amount, BillId: own.BillId, Status: own.Status,
		DeclineReason: own.DeclineReason, TransactionId: own.TransactionId, Refunded: own.Refunded, CreatedAt: own.CreatedAt, SettledAt: own.SettledAt,
	}
}

func toPurchase(p catalog.Purchase) api.Purchase {
	out := api.Purchase{
		Id: p.ID, ProductId: p.ProductID, Title: p.Title, Price: p.Price, Quantity: &p.Quantity, Amount: &p.Amount, BillId: p.BillID,
		Status: string(p.Status), TransactionId: p.TransactionID, CreatedAt: p.CreatedAt.UTC(),
	}
	if p.Reason != "" {
		out.DeclineReason = new(string(p.Reason))
	}
	if p.Refunded > 0 {
		out.Refunded = new(p.Refunded)
	}
	if p.SettledAt != nil {
		out.SettledAt = new(p.SettledAt.UTC())
	}
	return out
}
