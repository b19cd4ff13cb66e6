package httpapi

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/libs/service/access"
	"lavka/libs/service/bytelimit"
	"lavka/libs/service/idempotency"
	"lavka/libs/service/page"
	"lavka/services/catalog/api"
	"lavka/services/catalog/internal/catalog"
)

// maxQuery is the maximum length of ?q=, in characters.
const maxQuery = catalog.MaxTitle

// ListProducts answers GET /products.
func (h *Handlers) ListProducts(ctx context.Context, r api.ListProductsRequestObject) (api.ListProductsResponseObject, error) {
	q, err := productQuery(r.Params, readsAll(ctx))
	if err != nil {
		return nil, err
	}
	limit := q.Limit
	q.Limit++
	rows, err := h.products.List(ctx, q)
	if err != nil {
		return nil, err
	}
	cut, err := page.Cut(ctx, productList(q.Sort), rows, limit, func(p catalog.Product) any { return productCursor(p.Key()) }, toProduct)
	if err != nil {
		return nil, err
	}
	tag := pageTag(rows[:cut.Len], cut.Next)
	if matchesAny(r.Params.IfNoneMatch, tag) {
		return api.ListProducts304Response{Headers: api.NotModifiedResponseHeaders{ETag: tag}}, nil
	}
	return productPage{cut, tag}, nil
}

// productCursor encodes a product's position in a cursor.
type productCursor struct {
	ID    int64        `json:"i"`
	Title string       `json:"t"`
	Price money.Amount `json:"p"`
}

// productList returns the list's name for its cursors, which are valid for one
// sort order only.
func productList(sort catalog.ProductSort) string { return "products by " + string(sort) }

// readsAll reports whether the caller sees products that are not active.
func readsAll(ctx context.Context) bool {
	id, ok := access.Lookup(ctx)
	return ok && id.ReadsAll()
}

var errOtherStatus = problem.New(problem.Forbidden, "forbidden", "your role permits status=active only")

func productQuery(params api.ListProductsParams, all bool) (catalog.ProductQuery, error) {
	q := catalog.ProductQuery{Sort: catalog.SortNewest}
	var err error
	if q.Limit, err = page.Limit(params.Limit); err != nil {
		return q, err
	}
	if !all {
		q.Status = catalog.Active
	}
	if params.Status != nil {
		status := catalog.ProductStatus(*params.Status)
		switch {
		case !status.Valid():
			return q, problem.InvalidFields(problem.Field{Field: "status", Message: "must be draft, active or archived"})
		case !all && status != catalog.Active:
			return q, errOtherStatus
		}
		q.Status = status
	}
	if params.Sort != nil {
		if !params.Sort.Valid() {
			return q, problem.InvalidFields(problem.Field{Field: "sort", Message: "must be newest, title, price or -price"})
		}
		q.Sort = catalog.ProductSort(*params.Sort)
	}
	if params.Q != nil {
		if *params.Q == "" || utf8.RuneCountInString(*params.Q) > maxQuery {
			return q, problem.InvalidFields(problem.Field{Field: "q", Message: "must have 1 to 200 characters; omit q to list all products"})
		}
		q.Title = *params.Q
	}
	after, err := page.Decode[productCursor](productList(q.Sort), params.Cursor)
	if err != nil {
		return q, err
	}
	if after != nil {
		if strings.ContainsRune(after.Title, 0) {
			return q, problem.New(problem.Malformed, "malformed", "this cursor was not issued for this list; omit it to start at the first page")
		}
		q.After = (*catalog.ProductKey)(after)
	}
	return q, nil
}

// GetProduct answers GET /products/{id}.
func (h *Handlers) GetProduct(ctx context.Context, r api.GetProductRequestObject) (api.GetProductResponseObject, error) {
	p, err := h.products.Get(ctx, r.Id, readsAll(ctx))
	if err != nil {
		return nil, err
	}
	if matchesAny(r.Params.IfNoneMatch, productTag(p)) {
		return api.GetProduct304Response{Headers: api.NotModifiedResponseHeaders{ETag: productTag(p)}}, nil
	}
	response := tagged(p)
	if err := bytelimit.GrowJSON(ctx, response.Body); err != nil {
		return nil, err
	}
	return api.GetProduct200JSONResponse{OneProductJSONResponse: response}, nil
}

// CreateProduct answers POST /products.
func (h *Handlers) CreateProduct(ctx context.Context, r api.CreateProductRequestObject) (api.CreateProductResponseObject, error) {
	key, err := idempotency.Key(r.Params.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	b := r.Body
	p, err := catalog.NewProduct(catalog.Patch{
		SKU: b.Sku, Title: b.Title, Description: b.Description, Price: b.Price,
		Status: (*catalog.ProductStatus)(b.Status), Images: b.Images, Attributes: (*map[string]string)(b.Attributes),
	}, b.Stock)
	if err != nil {
		return nil, err
	}
	p, repeat, err := h.products.Create(ctx, access.UserID(ctx), key, p)
	if err != nil {
		return nil, err
	}
	response := created(p)
	if repeat {
		response.Headers.IdempotentReplayed = new("true")
	}
	return api.CreateProduct201JSONResponse{ProductCreatedJSONResponse: response}, nil
}

func created(p catalog.Product) api.ProductCreatedJSONResponse {
	return api.ProductCreatedJSONResponse{
		Body:    toOne(p),
		Headers: api.ProductCreatedResponseHeaders{ETag: productTag(p), Location: fmt.Sprintf("/products/%d", p.ID)},
	}
}

// PatchProduct answers PATCH /products/{id}.
func (h *Handlers) PatchProduct(ctx context.Context, r api.PatchProductRequestObject) (api.PatchProductResponseObject, error) {
	matches, err := ifMatch(r.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	b := r.Body
	patch := catalog.Patch{
		SKU: b.Sku, Title: b.Title, Description: b.Description, Price: b.Price,
		Status: (*catalog.ProductStatus)(b.Status), Images: b.Images, Attributes: (*map[string]string)(b.Attributes),
	}
	p, err := h.products.Change(ctx, access.UserID(ctx), r.Id, patch, matches)
	if err != nil {
		return nil, orWeak(r.Params.IfMatch, err)
	}
	return api.PatchProduct200JSONResponse{OneProductJSONResponse: tagged(p)}, nil
}

// DeleteProduct answers DELETE /products/{id}.
func (h *Handlers) DeleteProduct(ctx context.Context, r api.DeleteProductRequestObject) (api.DeleteProductResponseObject, error) {
	matches, err := ifMatch(r.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	if err := h.products.Delete(ctx, access.UserID(ctx), r.Id, matches); err != nil {
		return nil, orWeak(r.Params.IfMatch, err)
	}
	return api.DeleteProduct204Response{}, nil
}

func tagged(p catalog.Product) api.OneProductJSONResponse {
	return api.OneProductJSONResponse{Body: toOne(p), Headers: api.OneProductResponseHeaders{ETag: productTag(p)}}
}

// toOne returns a single product: unlike lists, it says whether the product is in stock.
func toOne(p catalog.Product) api.Product {
	one := toProduct(p)
	one.InStock = new(p.OnHand == nil || *p.OnHand > 0)
	return one
}

func toProduct(p catalog.Product) api.Product {
	out := api.Product{
		Id: p.ID, Status: new(string(p.Status)), Title: p.Title, Description: p.Description, Price: p.Price,
		Images: &p.Images, Attributes: &p.Attributes, CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
	}
	if p.SKU != "" {
		out.Sku = &p.SKU
	}
	if p.Images == nil {
		out.Images = &[]string{}
	}
	if p.Attributes == nil {
		out.Attributes = &map[string]string{}
	}
	return out
}
