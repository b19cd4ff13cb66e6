package httpapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"lavka/libs/service/export"
	"lavka/services/catalog/internal/catalog"
)

// exported is the response of a list as an export.
type exported func(w http.ResponseWriter) error

// VisitListPurchasesResponse implements api.ListPurchasesResponseObject.
func (e exported) VisitListPurchasesResponse(w http.ResponseWriter) error { return e(w) }

// VisitListAllPurchasesResponse implements api.ListAllPurchasesResponseObject.
func (e exported) VisitListAllPurchasesResponse(w http.ResponseWriter) error { return e(w) }

// exportOf returns the response of a list of purchases as an export. read returns those
// whose ids are below before, newest first. The first page fixes the upper end: later
// purchases have higher ids.
func exportOf(ctx context.Context, e *export.Exporter, table export.Table[catalog.Purchase], read func(ctx context.Context, before *uuid.UUID, limit int) ([]catalog.Purchase, error)) exported {
	return func(w http.ResponseWriter) error {
		return export.Write(ctx, e, w, table, func(ctx context.Context, after *catalog.Purchase, limit int) ([]catalog.Purchase, error) {
			if after == nil {
				return read(ctx, nil, limit)
			}
			return read(ctx, &after.ID, limit)
		})
	}
}

var purchases = export.Table[catalog.Purchase]{
	Item: func(p catalog.Purchase) any { return toPurchase(p) },
	Columns: []export.Column[catalog.Purchase]{
		{Name: "id", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.ID) }},
		{Name: "product_id", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.ProductID) }},
		{Name: "title", Value: func(p catalog.Purchase) export.Cell { return export.Text(p.Title) }},
		{Name: "price", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.Price) }},
		{Name: "bill_id", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.BillID) }},
		{Name: "status", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.Status) }},
		{Name: "decline_reason", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.Reason) }},
		{Name: "transaction_id", Value: func(p catalog.Purchase) export.Cell { return export.Optional(p.TransactionID) }},
		{Name: "refunded", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.Refunded) }},
		{Name: "created_at", Value: func(p catalog.Purchase) export.Cell { return export.Time(p.CreatedAt) }},
		{Name: "settled_at", Value: func(p catalog.Purchase) export.Cell { return export.OptionalTime(p.SettledAt) }},
	},
}

// sales is the purchases of all users.
var sales = export.Table[catalog.Purchase]{
	Item: func(p catalog.Purchase) any { return toSale(p) },
	Columns: append([]export.Column[catalog.Purchase]{
		{Name: "user_id", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.UserID) }},
	}, purchases.Columns...),
}
