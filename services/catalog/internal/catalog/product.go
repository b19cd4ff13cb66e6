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
	p := Product{Title: title, Description: description, Price: price}
	return p, p.validate()
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
		fields = append(fields, problem.Field{Field: "title", Message: "must have 1 to 200 characters, and not only spaces"})
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

// Fold converts a text to lower case, for case-insensitive search and sorting.
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
	Title string // substring of the title, case-insensitive
	Sort  ProductSort
	After *ProductKey // the last product of the previous page
	Limit int
}
