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
	// ErrProductNotFound means that a product does not exist or has been deleted, or
	// that it is a draft or archived and only admins and support may see it.
	ErrProductNotFound = problem.New(problem.NotFound, "product_not_found", "this product does not exist, has been deleted, or is not on sale")
	// ErrPreconditionFailed means that a product has changed since the client read it.
	ErrPreconditionFailed = problem.New(problem.PreconditionFailed, "precondition_failed", "If-Match does not match the product's current version; fetch it again")
	// ErrProductExists refuses to create a product whose SKU another one has.
	ErrProductExists = problem.New(problem.PreconditionFailed, "precondition_failed", "there is a product with this sku already, and If-None-Match: * only creates one")
	// ErrSKUTaken means that another product has the SKU.
	ErrSKUTaken = problem.New(problem.Conflict, "sku_taken", "another product has this sku")
)

// Product is something on sale, or a draft or archived.
type Product struct {
	ID          int64
	SKU         string        // the shop's own name for it, unique among products that are not deleted; "" for none
	Status      ProductStatus // "" for Active
	Title       string
	Description string
	Price       money.Amount
	Images      []string          // URLs; kept, and never fetched
	Attributes  map[string]string // kept, and not interpreted
	Version     int64             // increases with every change
	CreatedAt   time.Time
	UpdatedAt   time.Time
	OnHand      *int64 // units in stock; nil if there is no limit, or if it was not read. It is in no version
}

// NewProduct returns a valid product with the members of the patch, of which title,
// description and price must be there, and with this many units in stock, nil for no
// limit. Otherwise it returns a problem that names the invalid members. The product is
// active unless the patch says otherwise.
func NewProduct(members Patch, stock *int64) (Product, error) {
	if err := problem.Require(
		problem.Member{Name: "title", Present: members.Title != nil},
		problem.Member{Name: "description", Present: members.Description != nil},
		problem.Member{Name: "price", Present: members.Price != nil},
	); err != nil {
		return Product{}, err
	}
	if err := checkStock(stock); err != nil {
		return Product{}, err
	}
	return Product{Status: Active, OnHand: stock}.apply(members)
}

// Patch holds the members of a product to change; nil leaves a member as it is.
type Patch struct {
	Title       *string
	Description *string
	Price       *money.Amount
	SKU         *string // "" removes it
	Status      *ProductStatus
	Images      *[]string          // all of them
	Attributes  *map[string]string // all of them
}

// With returns the product with the patch applied, and reports whether that
// differs from p.
func (p Product) With(patch Patch) (Product, bool, error) {
	changed, err := p.apply(patch)
	return changed, !changed.sameAs(p), err
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
	p.applyShelf(patch, refuse)
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
	Title  string        // part of the title, in the form of Searchable; "" for all
	Status ProductStatus // "" for all
	Sort   ProductSort
	After  *ProductKey // the last product of the previous page
	Limit  int
}
