package httpapi

import (
	"context"
	"fmt"
	"log/slog"

	"lavka/libs/domain/problem"
	"lavka/libs/service/access"
	"lavka/libs/service/idempotency"
	"lavka/libs/service/telemetry"
	"lavka/services/catalog/api"
	"lavka/services/catalog/internal/catalog"
)

// GetStock answers GET /products/{id}/stock.
func (h *Handlers) GetStock(ctx context.Context, r api.GetStockRequestObject) (api.GetStockResponseObject, error) {
	onHand, err := h.stocks.Stock(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	return api.GetStock200JSONResponse{ProductId: r.Id, Limited: onHand != nil, OnHand: onHand}, nil
}

// ChangeStock answers POST /products/{id}/stock.
func (h *Handlers) ChangeStock(ctx context.Context, r api.ChangeStockRequestObject) (api.ChangeStockResponseObject, error) {
	if r.Params.IdempotencyKey == nil {
		return nil, problem.New(problem.Malformed, "malformed", "a change of stock needs an Idempotency-Key: without one, it could not be retried")
	}
	key, err := idempotency.Key(r.Params.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	if err := problem.Require(
		problem.Member{Name: "change", Present: r.Body.Change != nil},
		problem.Member{Name: "reason", Present: r.Body.Reason != nil},
	); err != nil {
		return nil, err
	}
	change, err := catalog.NewStockChange(r.Id, key, *r.Body.Change, *r.Body.Reason, access.UserID(ctx))
	if err != nil {
		return nil, err
	}
	telemetry.Note(ctx, slog.Int64("product_id", r.Id), slog.Int64("change", change.Change))
	stored, repeat, err := h.stocks.Change(ctx, change)
	if err != nil {
		return nil, err
	}
	var again *string
	if repeat {
		again = new("true")
	}
	return api.ChangeStock201JSONResponse{
		Body: api.StockChange{
			Id: stored.ID, ProductId: stored.ProductID, Change: stored.Change, OnHand: stored.OnHand, Reason: stored.Reason,
			ChangedBy: stored.AdminID, CreatedAt: stored.CreatedAt.UTC(),
		},
		Headers: api.ChangeStock201ResponseHeaders{Location: fmt.Sprintf("/products/%d/stock", r.Id), IdempotentReplayed: again},
	}, nil
}

// LiftStock answers DELETE /products/{id}/stock.
func (h *Handlers) LiftStock(ctx context.Context, r api.LiftStockRequestObject) (api.LiftStockResponseObject, error) {
	if err := h.stocks.Lift(ctx, access.UserID(ctx), r.Id); err != nil {
		return nil, err
	}
	return api.LiftStock204Response{}, nil
}
