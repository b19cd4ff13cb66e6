package catalog

import (
	"context"
	"slices"
	"time"
	"unicode/utf8"

	"lavka/libs/domain/problem"
	"lavka/libs/domain/text"
)

// Limits of what an admin does to a stock.
const (
	MaxStock       = 1_000_000_000 // units of a product
	MaxStockReason = 200           // characters
)

// The refusals of a change of stock. They leave no row, so that the key can be used
// again, except for ErrStockUnknown.
var (
	ErrStockKeyReused = problem.New(problem.Invalid, "idempotency_key_reused", "this Idempotency-Key was already used for a different change of this product's stock; use a new key")
	ErrStockUnknown   = problem.New(problem.Unavailable, "outcome_unknown", "we can't tell right now whether the stock was changed; retry with the same Idempotency-Key").Retry(2 * time.Second)
)

func stockOutOfRange(onHand int64) *problem.Error {
	return problem.New(problem.Conflict, "stock_out_of_range", "the stock would be below zero or above 1000000000; nothing was changed").With("on_hand", onHand)
}

// StockChange is what an admin did to the stock of a product. The first one sets a
// limit; what a purchase takes and gives back is in its own row.
type StockChange struct {
	ID        int64
	ProductID int64
	Key       string // Idempotency-Key; unique for the product
	Change    int64  // units that were added; below zero: taken away
	OnHand    int64  // units after it
	Reason    string
	AdminID   int64
	CreatedAt time.Time
}

// NewStockChange returns a valid change, or a problem that names the invalid members.
func NewStockChange(productID int64, key string, change int64, reason string, adminID int64) (StockChange, error) {
	var fields []problem.Field
	if change < -MaxStock || change > MaxStock {
		fields = append(fields, problem.Field{Field: "change", Message: "must be from -1000000000 to 1000000000"})
	}
	switch {
	case !text.Visible(reason) || utf8.RuneCountInString(reason) > MaxStockReason:
		fields = append(fields, problem.Field{Field: "reason", Message: "must have 1 to 200 characters, and not only spaces or other invisible ones"})
	case !text.Line(reason):
		fields = append(fields, problem.Field{Field: "reason", Message: "must not have line breaks, control characters, or characters that reorder text"})
	}
	if len(fields) > 0 {
		return StockChange{}, problem.InvalidFields(fields...)
	}
	return StockChange{ProductID: productID, Key: key, Change: change, Reason: reason, AdminID: adminID}, nil
}

// checkStock returns a problem unless a product can be created with this many units; nil
// is without a limit.
func checkStock(units *int64) error {
	if units != nil && (*units < 0 || *units > MaxStock) {
		return problem.InvalidFields(problem.Field{Field: "stock", Message: "must be from 0 to 1000000000"})
	}
	return nil
}

// On returns the change as it is to be stored, or a problem. Known is an earlier change
// of the product with its key, or nil: if c repeats it, On returns it. OnHand is nil if
// the product has no limit yet. Both must have been read while the product's row is
// locked.
func (c StockChange) On(onHand *int64, known *StockChange) (change StockChange, repeat bool, err error) {
	switch {
	case known != nil && known.Change == c.Change && known.Reason == c.Reason:
		return *known, true, nil
	case known != nil:
		return StockChange{}, false, ErrStockKeyReused
	}
	var before int64
	if onHand != nil {
		before = *onHand
	}
	c.OnHand = before + c.Change
	if c.OnHand < 0 || c.OnHand > MaxStock && c.Change > 0 {
		return StockChange{}, false, stockOutOfRange(before)
	}
	return c, false, nil
}

// StockStore stores the stock of products that have a limit. Its methods return
// ErrProductNotFound for a product that does not exist or has been deleted.
type StockStore interface {
	// Stock returns the units on hand; nil if there is no limit.
	Stock(ctx context.Context, productID int64) (*int64, error)
	// ChangeStock stores a change, or finds the one with its key, or returns a problem.
	// After an error of the kind Unavailable, it may have been stored.
	ChangeStock(ctx context.Context, c StockChange) (stored StockChange, repeat bool, err error)
	// LiftStock removes the limit, if there is one.
	LiftStock(ctx context.Context, admin, productID int64) error
}

// Stocks manages the stock of products.
type Stocks struct {
	StockStore
	Open func() error // an error while stock must not be limited
}

// Change stores a change, or returns the one that it repeats. After an error, nothing
// has changed, unless it is ErrStockUnknown.
func (s Stocks) Change(ctx context.Context, c StockChange) (stored StockChange, repeat bool, err error) {
	if err := s.Open(); err != nil {
		return StockChange{}, false, err
	}
	stored, repeat, err = s.ChangeStock(ctx, c)
	if err != nil && problem.From(err).Kind == problem.Unavailable {
		err = ErrStockUnknown.Because(err)
	}
	return stored, repeat, err
}

// Lift removes the limit of a product, if there is one. It can be repeated.
func (s Stocks) Lift(ctx context.Context, admin, productID int64) error {
	if err := s.Open(); err != nil {
		return err
	}
	return s.LiftStock(ctx, admin, productID)
}

// Shelf is the stock that a transaction has locked for a group of orders.
type Shelf struct {
	Stock   map[int64]Stock     // by product; one that is missing has no limit
	Skipped map[int64]bool      // products whose stock other transactions have locked
	Held    map[UserProduct]int // units that the pending purchases of a user hold
}

// Stock is the stock of a product.
type Stock struct {
	OnHand int64
	Limit  int64 // which limit this is: one that is lifted and set again is another
}

// UserProduct is a user and a product.
type UserProduct struct{ UserID, ProductID int64 }

// Limited returns the products with limited stock that are to be bought, each once, in
// order, and the users who buy them.
func (o *Orders) Limited() (products []int64, buyers []UserProduct) {
	seen := map[UserProduct]bool{}
	for e := range o.open {
		if e.draft == nil || !e.limits {
			continue
		}
		products = append(products, e.draft.ProductID)
		if buyer := (UserProduct{e.draft.UserID, e.draft.ProductID}); !seen[buyer] {
			seen[buyer] = true
			buyers = append(buyers, buyer)
		}
	}
	slices.Sort(products)
	return slices.Compact(products), buyers
}

// Reserve gives the drafts what they need of the stock, in order of arrival, or refuses
// them. It must follow Known with rows that were read while the stock is locked: an
// earlier attempt to insert a draft holds the lock until it ends, so that a draft that
// was not found then is not in the database.
//
// A draft whose COMMIT is in doubt is not refused because its stock is locked, since
// that attempt may hold the lock. It waits for the next attempt.
func (o *Orders) Reserve(shelf Shelf) {
	for e := range o.open {
		if e.draft == nil || !e.limits {
			continue
		}
		d := e.draft
		d.StockTaken, d.StockLimit = 0, 0
		if shelf.Skipped[d.ProductID] {
			if e.doubt {
				e.waits = true
			} else {
				e.refuse(ErrStockHeld)
			}
			continue
		}
		stock, limited := shelf.Stock[d.ProductID]
		if !limited {
			e.limits = false // for good: what was placed without a limit takes nothing later
			continue
		}
		buyer := UserProduct{d.UserID, d.ProductID}
		held := shelf.Held[buyer]
		switch {
		case stock.OnHand < int64(d.Quantity):
			e.refuse(ErrOutOfStock)
		case held > 0 && held+d.Quantity > o.backlog.limits.StockPerUser:
			e.refuse(ErrPendingLimit)
		default:
			d.StockTaken, d.StockLimit = d.Quantity, stock.Limit
			stock.OnHand -= int64(d.Quantity)
			shelf.Stock[d.ProductID], shelf.Held[buyer] = stock, held+d.Quantity
		}
	}
}

// refuse refuses an order because of rows that were read, some of which may be of
// drafts of this transaction: another attempt decides again.
func (e *entry) refuse(err error) { e.result, e.read = &Placement{Err: err}, true }

// Waiting reports whether a draft whose COMMIT is in doubt waits for its stock.
func (o *Orders) Waiting() bool {
	for e := range o.open {
		if e.waits {
			return true
		}
	}
	return false
}
