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

// VisitListAllRefundsResponse implements api.ListAllRefundsResponseObject.
func (e exported) VisitListAllRefundsResponse(w http.ResponseWriter) error { return e(w) }

// exportOf returns the response of a list as an export. read returns what comes after
// the item with an id. What is newest first needs no end: later items have higher ids
// than those of the first page.
func exportOf[T any](ctx context.Context, e *export.Exporter, table export.Table[T], id func(*T) *uuid.UUID, read func(ctx context.Context, last *uuid.UUID, limit int) ([]T, error)) exported {
	return func(w http.ResponseWriter) error {
		return export.Write(ctx, e, w, table, func(ctx context.Context, last *T, limit int) ([]T, error) {
			if last == nil {
				return read(ctx, nil, limit)
			}
			return read(ctx, id(last), limit)
		})
	}
}

func idOfPurchase(p *catalog.Purchase) *uuid.UUID { return &p.ID }

func idOfRefund(r *catalog.Refund) *uuid.UUID { return &r.ID }

var purchases = export.Table[catalog.Purchase]{
	Item: func(p catalog.Purchase) any { return toPurchase(p) },
	Columns: []export.Column[catalog.Purchase]{
		{Name: "id", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.ID) }},
		{Name: "product_id", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.ProductID) }},
		{Name: "title", Value: func(p catalog.Purchase) export.Cell { return export.Text(p.Title) }},
		{Name: "price", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.Price) }},
		{Name: "quantity", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.Quantity) }},
		{Name: "amount", Value: func(p catalog.Purchase) export.Cell { return export.Value(p.Amount) }},
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

// refunds is what admins and support see of refunds.
var refunds = export.Table[catalog.Refund]{
	Item: func(r catalog.Refund) any { return toRefund(r, true) },
	Columns: []export.Column[catalog.Refund]{
		{Name: "id", Value: func(r catalog.Refund) export.Cell { return export.Value(r.ID) }},
		{Name: "purchase_id", Value: func(r catalog.Refund) export.Cell { return export.Value(r.PurchaseID) }},
		{Name: "user_id", Value: func(r catalog.Refund) export.Cell { return export.Value(r.UserID) }},
		{Name: "bill_id", Value: func(r catalog.Refund) export.Cell { return export.Value(r.BillID) }},
		{Name: "amount", Value: func(r catalog.Refund) export.Cell { return export.Value(r.Amount) }},
		{Name: "reason", Value: func(r catalog.Refund) export.Cell { return export.Text(r.Reason) }},
		{Name: "note", Value: func(r catalog.Refund) export.Cell { return export.Text(r.Note) }},
		{Name: "status", Value: func(r catalog.Refund) export.Cell { return export.Value(r.Status) }},
		{Name: "decline_reason", Value: func(r catalog.Refund) export.Cell { return export.Value(r.Declined) }},
		{Name: "refundable", Value: func(r catalog.Refund) export.Cell { return export.Optional(r.Refundable) }},
		{Name: "transaction_id", Value: func(r catalog.Refund) export.Cell { return export.Optional(r.TransactionID) }},
		{Name: "requested_by", Value: func(r catalog.Refund) export.Cell { return export.Value(r.AdminID) }},
		{Name: "restock", Value: func(r catalog.Refund) export.Cell { return export.Value(r.Restock) }},
		{Name: "force", Value: func(r catalog.Refund) export.Cell { return export.Value(r.Force) }},
		{Name: "created_at", Value: func(r catalog.Refund) export.Cell { return export.Time(r.CreatedAt) }},
		{Name: "settled_at", Value: func(r catalog.Refund) export.Cell { return export.OptionalTime(r.SettledAt) }},
	},
}
