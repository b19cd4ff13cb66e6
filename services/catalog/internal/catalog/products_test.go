package catalog

import (
	"context"
	"errors"
	"testing"
	"time"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

// oneProduct is a store with at most one product.
type oneProduct struct {
	ProductStore // the methods that are not used here
	product      *Product
	once         []string // the keys of CreateProductOnce
}

func (s *oneProduct) Product(context.Context, int64) (Product, error) {
	if s.product == nil {
		return Product{}, ErrProductNotFound
	}
	return *s.product, nil
}

func (s *oneProduct) ProductBySKU(ctx context.Context, _ string) (Product, error) {
	return s.Product(ctx, 0)
}

func (s *oneProduct) CreateProduct(_ context.Context, _ int64, p Product) (Product, error) {
	return p.Made(1, time.Time{}), nil
}

func (s *oneProduct) CreateProductOnce(_ context.Context, _ int64, key string, p Product) (Product, bool, error) {
	s.once = append(s.once, key)
	return p.Made(1, time.Time{}), true, nil
}

func (s *oneProduct) PutProduct(_ context.Context, _ int64, _ string, create func() (Product, error), change func(Product) (Product, bool, error)) (p Product, created bool, err error) {
	if s.product == nil {
		p, err = create()
		return p, err == nil, err
	}
	p, _, err = change(*s.product)
	return p, false, err
}

func open() error { return nil }

// Users see active products, admins all of them.
func TestWhoSeesWhichProduct(t *testing.T) {
	t.Parallel()
	for status, want := range map[ProductStatus]string{Active: "", Draft: "product_not_found", Archived: "product_not_found"} {
		s := NewProducts(&oneProduct{product: &Product{ID: 7, SKU: "tea", Status: status}}, open)
		for who, all := range map[string]bool{"a user": false, "an admin": true} {
			expected := want
			if all {
				expected = ""
			}
			byID, err := s.Get(t.Context(), 7, all)
			if code(err) != expected || (err == nil) != (byID.ID == 7) {
				t.Errorf("%s, by id, as %s: %+v, %v", status, who, byID, err)
			}
			bySKU, err := s.GetBySKU(t.Context(), "tea", all)
			if code(err) != expected || (err == nil) != (bySKU.ID == 7) {
				t.Errorf("%s, by SKU, as %s: %+v, %v", status, who, bySKU, err)
			}
		}
	}
	s := NewProducts(&oneProduct{product: &Product{ID: 7}}, open)
	if p, err := s.GetBySKU(t.Context(), "..", true); code(err) != "product_not_found" {
		t.Errorf("a SKU that no product can have: %+v, %v", p, err)
	}
	s = NewProducts(&oneProduct{}, open)
	if p, err := s.Get(t.Context(), 7, true); code(err) != "product_not_found" {
		t.Errorf("no product: %+v, %v", p, err)
	}
}

func TestAKeyMakesAProductOnce(t *testing.T) {
	t.Parallel()
	store := &oneProduct{}
	s := NewProducts(store, open)
	if p, repeat, err := s.Create(t.Context(), 1, "", Product{Title: "tea", Status: Active}); p.ID != 1 || repeat || err != nil || len(store.once) != 0 {
		t.Errorf("without a key: %+v, %v, %v, keys %q", p, repeat, err, store.once)
	}
	if p, repeat, err := s.Create(t.Context(), 1, "k", Product{Title: "tea", Status: Active}); p.ID != 1 || !repeat || err != nil || len(store.once) != 1 {
		t.Errorf("with a key: %+v, %v, %v, keys %q", p, repeat, err, store.once)
	}
}

// The content of a product decides whether a request with a used key is a repeat.
func TestContentOfAProduct(t *testing.T) {
	t.Parallel()
	made := func(change func(*Product)) string {
		p := Product{SKU: "tea", Title: "Tea", Description: "black", Price: 100, Status: Active, Images: []string{"a"}, Attributes: map[string]string{"leaf": "whole"}, OnHand: new(int64(3))}
		change(&p)
		return string(p.Content())
	}
	same := made(func(*Product) {})
	if again := made(func(p *Product) { *p = p.Made(7, time.Now()) }); again != same || len(same) != 32 {
		t.Error("what the store adds is no content")
	}
	seen := map[string]bool{same: true}
	for name, change := range map[string]func(*Product){
		"SKU": func(p *Product) { p.SKU = "tee" }, "title": func(p *Product) { p.Title = "Tee" }, "description": func(p *Product) { p.Description = "" },
		"price": func(p *Product) { p.Price = 101 }, "status": func(p *Product) { p.Status = Draft }, "images": func(p *Product) { p.Images = nil },
		"attributes": func(p *Product) { p.Attributes = nil }, "stock": func(p *Product) { p.OnHand = nil }, "another stock": func(p *Product) { p.OnHand = new(int64(4)) },
	} {
		content := made(change)
		if seen[content] {
			t.Errorf("another %s is the same content", name)
		}
		seen[content] = true
	}
}

// What a client expects of the product with a SKU decides before anything is stored.
func TestPutConditions(t *testing.T) {
	t.Parallel()
	is := func(current bool) func(Product) bool { return func(Product) bool { return current } }
	members := Patch{Title: new("tea"), Description: new("black"), Price: new(money.Amount(100))}
	there := &Product{ID: 7, SKU: "tea", Title: "old", Description: "black", Price: 100, Status: Active}
	for _, c := range []struct {
		name    string
		product *Product
		put     Put
		created bool
		want    string
	}{
		{"a new one", nil, Put{}, true, ""},
		{"a new one, which is to be new", nil, Put{New: true}, true, ""},
		{"a new one, of which a version is expected", nil, Put{Current: is(true)}, false, "precondition_failed"},
		{"one that exists", there, Put{}, false, ""},
		{"one that exists, of the expected version", there, Put{Current: is(true)}, false, ""},
		{"one that exists, of another version", there, Put{Current: is(false)}, false, "precondition_failed"},
		{"one that exists, and is to be new", there, Put{New: true}, false, code(ErrProductExists)},
	} {
		c.put.SKU, c.put.Members = "tea", members
		p, created, err := NewProducts(&oneProduct{product: c.product}, open).Put(t.Context(), 1, c.put)
		if created != c.created || code(err) != c.want || err == nil && p.Title != "tea" {
			t.Errorf("%s: %+v, created %v, %v", c.name, p, created, err)
		}
	}
	closed := errors.New("closed")
	s := NewProducts(&oneProduct{}, func() error { return closed })
	if _, created, err := s.Put(t.Context(), 1, Put{SKU: "tea", Members: members, Stock: new(int64(3))}); created || !errors.Is(err, closed) {
		t.Errorf("a limited stock before the gate is open: %v, %v", created, err)
	}
}

// A client that is told to retry is told when.
func TestRefusalsSayWhenToRetry(t *testing.T) {
	t.Parallel()
	for _, err := range []*problem.Error{ErrNothingBought, ErrPendingLimit, ErrStockHeld, ErrOverloaded, ErrAskAgain, ErrRefundUnknown, ErrStockUnknown} {
		if err.RetryAfter < time.Second {
			t.Errorf("%s: %v", err.Code, err.RetryAfter)
		}
	}
}
