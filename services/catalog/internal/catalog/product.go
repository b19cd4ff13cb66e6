// Package catalog is the domain of the catalog service: the products on sale,
// and the purchases, with buyer and price. Billing decides whether a purchase
// is paid.
package catalog

import (
	"strings"
	"time"
	"unicode/utf8"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/libs/domain/text"
)

// The lengths of a product's texts, in characters.
const (
	MaxTitle       = 200
	MaxDescription = 10_000
)

var (
	// ErrProductNotFound means that a product does not exist or has been deleted.
	ErrProductNotFound = problem.New(problem.NotFound, "product_not_found", "this product does not exist or has been deleted")
	// ErrPreconditionFailed means that a product has changed since the client read it.
	ErrPreconditionFailed = problem.New(problem.PreconditionFailed, "precondition_failed", "If-Match does not match the product's current version; fetch it again")
)

// Product is something on sale.
type Product struct {
	ID          int64
	Title       string
	Description string
	Price       money.Amount
	Version     int64 // increases with every change
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// NewProduct returns a valid product, or a problem that names the invalid
// members.
func NewProduct(title, description string, price money.Amount) (Product, error) {
	return Product{}.apply(Patch{Title: &title, Description: &description, Price: &price})
}

// Patch holds the members of a product to change; nil leaves a member as it is.
type Patch struct {
	Title       *string
	Description *string
	Price       *money.Amount
}

// With returns the product with the patch applied, and reports whether that
// differs from p.
func (p Product) With(patch Patch) (Product, bool, error) {
	changed, err := p.apply(patch)
	return changed, changed != p, err
}

// apply checks only what the patch has: a title that an earlier release accepted must
// not keep the price from being changed.
func (p Product) apply(patch Patch) (Product, error) {
	var fields []problem.Field
	refuse := func(field, message string) { fields = append(fields, problem.Field{Field: field, Message: message}) }
	if patch.Title != nil {
		p.Title = *patch.Title
		switch {
		case !text.Visible(p.Title) || utf8.RuneCountInString(p.Title) > MaxTitle:
			refuse("title", "must have 1 to 200 characters, and not only spaces or other invisible ones")
		case !text.Line(p.Title):
			refuse("title", "must not have line breaks, control characters, or characters that reorder text")
		}
	}
	if patch.Description != nil {
		p.Description = *patch.Description
		switch {
		case utf8.RuneCountInString(p.Description) > MaxDescription:
			refuse("description", "must have at most 10000 characters")
		case !text.Block(p.Description):
			refuse("description", "must not have control characters other than line breaks and tabs, or characters that reorder text")
		}
	}
	if patch.Price != nil {
		p.Price = *patch.Price
		price := p.Price.Positive()
		if len(fields) == 0 {
			return p, problem.In("price", price)
		}
		if price != nil {
			refuse("price", problem.From(price).Detail)
		}
	}
	if len(fields) == 0 {
		return p, nil
	}
	return p, problem.InvalidFields(fields...)
}

// Fold converts a text to lower case, for case-insensitive sorting.
// The service does this and not SQL, because Postgres's idea of a letter depends
// on the locale that the database was created with.
func Fold(text string) string { return strings.ToLower(text) }

// ProductSort is the order of a list of products.
type ProductSort string

// The sort orders. Products with equal keys are ordered by id.
const (
	SortNewest          ProductSort = "newest"
	SortTitle           ProductSort = "title"
	SortPrice           ProductSort = "price"
	SortPriceDescending ProductSort = "-price"
)

// ProductKey is a product's position in a list. Which of its members count
// depends on the list's sort order.
type ProductKey struct {
	ID    int64
	Title string // folded
	Price money.Amount
}

// Key returns the product's position in a list.
func (p Product) Key() ProductKey { return ProductKey{p.ID, Fold(p.Title), p.Price} }

// ProductQuery selects the products to list.
type ProductQuery struct {
	Title string // part of the title, in the form of Searchable; empty for all
	Sort  ProductSort
	After *ProductKey // the last product of the previous page
	Limit int
}
