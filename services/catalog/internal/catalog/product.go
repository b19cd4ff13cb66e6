// Package catalog is the shop's side of a purchase: which products there are,
// and what was bought, by whom, at which price. Whether a purchase is paid is
// billing's decision.
package catalog

import (
	"strings"
	"time"
	"unicode/utf8"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

// The lengths of a product's texts, in characters.
const (
	MaxTitle       = 200
	MaxDescription = 10_000
)

var (
	// ErrProductNotFound means that a product is not there, or not any more.
	ErrProductNotFound = problem.New(problem.NotFound, "product_not_found", "there is no such product")
	// ErrPreconditionFailed means that a product has changed since the client read it.
	ErrPreconditionFailed = problem.New(problem.PreconditionFailed, "precondition_failed", "If-Match does not name the product's present version; read it again")
)

// Product is something on sale.
type Product struct {
	ID          int64
	Title       string
	Description string
	Price       money.Amount
	Version     int64 // rises with every change
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// NewProduct makes a product that can be stored, or gives a problem.
func NewProduct(title, description string, price money.Amount) (Product, error) {
	p := Product{Title: title, Description: description, Price: price}
	return p, p.validate()
}

// Patch is what of a product is to change; nil leaves a member as it is.
type Patch struct {
	Title       *string
	Description *string
	Price       *money.Amount
}

// With gives the product as it is after a patch, and whether that is a change.
func (p Product) With(patch Patch) (Product, bool, error) {
	changed := p
	if patch.Title != nil {
		changed.Title = *patch.Title
	}
	if patch.Description != nil {
		changed.Description = *patch.Description
	}
	if patch.Price != nil {
		changed.Price = *patch.Price
	}
	return changed, changed != p, changed.validate()
}

func (p Product) validate() error {
	var fields []problem.Field
	if n := utf8.RuneCountInString(p.Title); strings.TrimSpace(p.Title) == "" || n > MaxTitle {
		fields = append(fields, problem.Field{Field: "title", Message: "must have 1 to 200 characters, not only spaces"})
	}
	if utf8.RuneCountInString(p.Description) > MaxDescription {
		fields = append(fields, problem.Field{Field: "description", Message: "must have at most 10000 characters"})
	}
	price := p.Price.Positive()
	if len(fields) == 0 {
		return problem.In("price", price)
	}
	if price != nil {
		fields = append(fields, problem.Field{Field: "price", Message: problem.From(price).Detail})
	}
	return problem.InvalidFields(fields...)
}

// Fold writes a text without regard to case, for searching and sorting. It is
// done here and not in SQL, since what Postgres takes for a letter depends on
// the locale that its database was made with.
func Fold(text string) string { return strings.ToLower(text) }

// ProductSort is the order of a list of products.
type ProductSort string

// The orders. Equal products come in the order of their ids.
const (
	SortNewest          ProductSort = "newest"
	SortTitle           ProductSort = "title"
	SortPrice           ProductSort = "price"
	SortPriceDescending ProductSort = "-price"
)

// ProductKey is a product's place in a list: what of it counts depends on the
// list's order.
type ProductKey struct {
	ID    int64
	Title string // folded
	Price money.Amount
}

// Key gives a product's place.
func (p Product) Key() ProductKey { return ProductKey{p.ID, Fold(p.Title), p.Price} }

// ProductQuery says which products to list.
type ProductQuery struct {
	Title string // a part of it, without regard to case
	Sort  ProductSort
	After *ProductKey // the last one of the page before
	Limit int
}
