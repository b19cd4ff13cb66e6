package catalog

import "context"

// ProductStore stores products. Its methods return ErrProductNotFound for a
// product that does not exist or has been deleted.
type ProductStore interface {
	// CreateProduct stores a new product. It adds the change to the admins' log, in
	// the same transaction, as the other methods do that change a product.
	CreateProduct(ctx context.Context, admin int64, p Product) (Product, error)
	Product(ctx context.Context, id int64) (Product, error)
	Products(ctx context.Context, q ProductQuery) ([]Product, error)
	// ChangeProduct stores the product that change returns, if change reports
	// that it differs. Concurrent changes of the product wait.
	ChangeProduct(ctx context.Context, admin, id int64, change func(Product) (Product, bool, error)) (Product, error)
	// DeleteProduct takes a product off sale, unless may returns an error.
	DeleteProduct(ctx context.Context, admin, id int64, may func(Product) error) error
}

// Products manages the products on sale.
type Products struct{ store ProductStore }

// NewProducts returns the Products of a store.
func NewProducts(store ProductStore) *Products { return &Products{store} }

// Create puts a product on sale. admin is the user id of the admin who does so.
func (s *Products) Create(ctx context.Context, admin int64, p Product) (Product, error) {
	return s.store.CreateProduct(ctx, admin, p)
}

// Get returns one product, or ErrProductNotFound.
func (s *Products) Get(ctx context.Context, id int64) (Product, error) {
	return s.store.Product(ctx, id)
}

// List returns at most q.Limit products.
func (s *Products) List(ctx context.Context, q ProductQuery) ([]Product, error) {
	q.Title = Searchable(q.Title)
	return s.store.Products(ctx, q)
}

// Change applies a patch to a product for which current is true, and otherwise
// returns ErrPreconditionFailed. A patch that changes nothing makes no new
// version.
func (s *Products) Change(ctx context.Context, admin, id int64, patch Patch, current func(Product) bool) (Product, error) {
	return s.store.ChangeProduct(ctx, admin, id, func(p Product) (Product, bool, error) {
		if !current(p) {
			return p, false, ErrPreconditionFailed
		}
		return p.With(patch)
	})
}

// Delete takes a product off sale if current is true for it, and otherwise
// returns ErrPreconditionFailed. Purchases keep its title and price.
func (s *Products) Delete(ctx context.Context, admin, id int64, current func(Product) bool) error {
	return s.store.DeleteProduct(ctx, admin, id, func(p Product) error {
		if !current(p) {
			return ErrPreconditionFailed
		}
		return nil
	})
}
