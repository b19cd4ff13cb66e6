package catalog

import "context"

// ProductStore stores products. Its methods return ErrProductNotFound for a
// product that does not exist or has been deleted.
type ProductStore interface {
	// CreateProduct stores a new product. It adds the change to the admins' log, in
	// the same transaction, as the other methods do that change a product.
	// It returns ErrSKUTaken, as ChangeProduct does, if another product has the SKU.
	CreateProduct(ctx context.Context, admin int64, p Product) (Product, error)
	// CreateProductOnce is CreateProduct with the key of a request. A repeat returns
	// the product as it was made, and reports that; it returns ErrProductKeyReused if
	// the key was used for a product with other content.
	CreateProductOnce(ctx context.Context, admin int64, key string, p Product) (made Product, repeat bool, err error)
	Product(ctx context.Context, id int64) (Product, error)
	ProductBySKU(ctx context.Context, sku string) (Product, error)
	Products(ctx context.Context, q ProductQuery) ([]Product, error)
	// ChangeProduct stores the product that change returns, if change reports
	// that it differs. Concurrent changes of the product wait.
	ChangeProduct(ctx context.Context, admin, id int64, change func(Product) (Product, bool, error)) (Product, error)
	// PutProduct is ChangeProduct for the product with a SKU. If there is none, it
	// stores the product that create returns, and reports that.
	PutProduct(ctx context.Context, admin int64, sku string, create func() (Product, error), change func(Product) (Product, bool, error)) (p Product, created bool, err error)
	// DeleteProduct takes a product off sale, unless may returns an error.
	DeleteProduct(ctx context.Context, admin, id int64, may func(Product) error) error
}

// Products manages the products of the shop.
type Products struct {
	store ProductStore
	open  func() error
}

// NewProducts returns the Products of a store. open returns an error while no product
// may have a status other than active or limited stock, since replicas of the release
// before would sell such products.
func NewProducts(store ProductStore, open func() error) *Products { return &Products{store, open} }

// Create adds a product. admin is the user id of the admin who does so, and key that of
// the request, "" for none. If the admin has made a product with the key and the same
// content, it returns that as it was then, and reports it.
func (s *Products) Create(ctx context.Context, admin int64, key string, p Product) (made Product, repeat bool, err error) {
	if err := s.mayCreate(p); err != nil {
		return p, false, err
	}
	if key == "" {
		made, err = s.store.CreateProduct(ctx, admin, p)
		return made, false, err
	}
	return s.store.CreateProductOnce(ctx, admin, key, p)
}

// mayCreate returns the error of open if p has a status other than active, or a limit.
func (s *Products) mayCreate(p Product) error {
	if p.OnHand != nil {
		return s.open()
	}
	return s.mayChange(p, Active)
}

// mayChange returns the error of open if p gets a status other than active that it did
// not have before.
func (s *Products) mayChange(p Product, before ProductStatus) error {
	if p.Status == Active || p.Status == before {
		return nil
	}
	return s.open()
}

// Get returns one product, or ErrProductNotFound. If not all, only an active one is
// found.
func (s *Products) Get(ctx context.Context, id int64, all bool) (Product, error) {
	p, err := s.store.Product(ctx, id)
	return visible(p, err, all)
}

// GetBySKU is Get for the product with a SKU.
func (s *Products) GetBySKU(ctx context.Context, sku string, all bool) (Product, error) {
	if CheckSKU(sku) != "" {
		return Product{}, ErrProductNotFound
	}
	p, err := s.store.ProductBySKU(ctx, sku)
	return visible(p, err, all)
}

func visible(p Product, err error, all bool) (Product, error) {
	if err == nil && !all && p.Status != Active {
		return Product{}, ErrProductNotFound
	}
	return p, err
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
	return s.store.ChangeProduct(ctx, admin, id, s.change(patch, current))
}

func (s *Products) change(patch Patch, current func(Product) bool) func(Product) (Product, bool, error) {
	return func(p Product) (Product, bool, error) {
		if !current(p) {
			return p, false, ErrPreconditionFailed
		}
		after, changed, err := p.With(patch)
		if err == nil {
			err = s.mayChange(after, p.Status)
		}
		return after, changed, err
	}
}

// Put is the content of the product with a SKU. Members that are nil stay as they are;
// a new product needs a title, a description and a price.
type Put struct {
	SKU     string
	Members Patch
	Stock   *int64             // units in stock of a new product; nil: no limit
	Current func(Product) bool // what an existing product must be; nil: any, or none
	New     bool               // there must be no product with the SKU
}

// Put creates or changes the product with a SKU, and reports whether it is new. A put
// that changes nothing makes no new version. It never changes the stock of a product that
// exists: repeated, it would undo the sales since. A condition that does not hold is
// ErrPreconditionFailed or ErrProductExists.
func (s *Products) Put(ctx context.Context, admin int64, put Put) (p Product, created bool, err error) {
	put.Members.SKU = &put.SKU
	fresh, err := NewProduct(put.Members, put.Stock) // also what changes a product must be valid as a whole
	if err != nil {
		return p, false, err
	}
	create := func() (Product, error) {
		if put.Current != nil {
			return fresh, ErrPreconditionFailed
		}
		return fresh, s.mayCreate(fresh)
	}
	current := put.Current
	if current == nil {
		current = func(Product) bool { return true }
	}
	change := s.change(put.Members, current)
	if put.New {
		change = func(p Product) (Product, bool, error) { return p, false, ErrProductExists }
	}
	return s.store.PutProduct(ctx, admin, put.SKU, create, change)
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
