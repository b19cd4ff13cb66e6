package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"lavka/libs/domain/problem"
	"lavka/libs/service/access"
	"lavka/libs/service/bytelimit"
	"lavka/libs/service/httpproblem"
	"lavka/libs/service/opened"
	"lavka/libs/service/strictjson"
	"lavka/libs/service/telemetry"
	"lavka/services/catalog/api"
	"lavka/services/catalog/internal/catalog"
)

// maxBatch is the maximum number of items in a batch of products.
const maxBatch = 100

// GetProductBySku answers GET /products/by-sku/{sku}.
func (h *Handlers) GetProductBySku(ctx context.Context, r api.GetProductBySkuRequestObject) (api.GetProductBySkuResponseObject, error) {
	p, err := h.products.GetBySKU(ctx, r.Sku, readsAll(ctx))
	if err != nil {
		return nil, err
	}
	if matchesAny(r.Params.IfNoneMatch, productTag(p)) {
		return api.GetProductBySku304Response{Headers: api.NotModifiedResponseHeaders{ETag: productTag(p)}}, nil
	}
	response := tagged(p)
	if err := bytelimit.GrowJSON(ctx, response.Body); err != nil {
		return nil, err
	}
	return api.GetProductBySku200JSONResponse{OneProductJSONResponse: response}, nil
}

// PutProduct answers PUT /products/by-sku/{sku}.
func (h *Handlers) PutProduct(ctx context.Context, r api.PutProductRequestObject) (api.PutProductResponseObject, error) {
	b := r.Body
	put := catalog.Put{SKU: r.Sku, Stock: b.Stock, Members: catalog.Patch{
		Title: b.Title, Description: b.Description, Price: b.Price,
		Status: (*catalog.ProductStatus)(b.Status), Images: b.Images, Attributes: (*map[string]string)(b.Attributes),
	}}
	if header := r.Params.IfMatch; header != nil {
		matches, err := ifMatch(header)
		if err != nil {
			return nil, err
		}
		put.Current = matches
	}
	if header := r.Params.IfNoneMatch; header != nil {
		if put.New = *header == "*"; !put.New {
			return nil, problem.New(problem.Malformed, "malformed", "If-None-Match must be * here: it only creates the product")
		}
	}
	p, isNew, err := h.products.Put(ctx, access.UserID(ctx), put)
	switch {
	case err != nil:
		return nil, orWeak(r.Params.IfMatch, err)
	case isNew:
		return api.PutProduct201JSONResponse{ProductCreatedJSONResponse: created(p)}, nil
	default:
		return api.PutProduct200JSONResponse{OneProductJSONResponse: tagged(p)}, nil
	}
}

// PutProducts answers POST /products/batch: each item as PutProduct would. An item that
// is refused does not stop the others. A failure of ours ends the batch, since the items
// after it would fail alike; the client repeats all of it.
func (h *Handlers) PutProducts(ctx context.Context, r api.PutProductsRequestObject) (api.PutProductsResponseObject, error) {
	if r.Body.Items == nil || len(*r.Body.Items) == 0 || len(*r.Body.Items) > maxBatch {
		return nil, problem.InvalidFields(problem.Field{Field: "items", Message: "must have 1 to 100 items"})
	}
	response := api.PutProducts200JSONResponse{Items: make([]api.ProductBatchResult, 0, len(*r.Body.Items))}
	refused := 0
	for _, item := range *r.Body.Items {
		p, isNew, err := h.putItem(ctx, item)
		if err != nil {
			refusal := problem.From(err)
			if (refusal.Kind == problem.Internal || refusal.Kind == problem.Unavailable) && !errors.Is(err, opened.ErrNotYet) {
				return nil, err
			}
			refused++
			response.Items = append(response.Items, api.ProductBatchResult{
				Status: httpproblem.Status(refusal.Kind), Problem: new(json.RawMessage(httpproblem.Body(refusal, httpproblem.TraceIDIn(ctx)))),
			})
			continue
		}
		status := http.StatusOK
		if isNew {
			status = http.StatusCreated
		}
		response.Items = append(response.Items, api.ProductBatchResult{Status: status, Product: new(toOne(p))})
	}
	telemetry.Note(ctx, slog.Int("items", len(response.Items)), slog.Int("refused", refused))
	return response, nil
}

// putItem stores one item of a batch.
func (h *Handlers) putItem(ctx context.Context, text json.RawMessage) (catalog.Product, bool, error) {
	var item api.ProductBatchItem
	if err := strictjson.Unmarshal(text, &item); err != nil {
		return catalog.Product{}, false, err
	}
	if err := problem.Require(problem.Member{Name: "sku", Present: item.Sku != nil}); err != nil {
		return catalog.Product{}, false, err
	}
	p, isNew, err := h.products.Put(ctx, access.UserID(ctx), catalog.Put{SKU: *item.Sku, Stock: item.Stock, Members: catalog.Patch{
		Title: item.Title, Description: item.Description, Price: item.Price,
		Status: (*catalog.ProductStatus)(item.Status), Images: item.Images, Attributes: (*map[string]string)(item.Attributes),
	}})
	if err != nil {
		return p, false, fmt.Errorf("put %q: %w", *item.Sku, err)
	}
	return p, isNew, nil
}
