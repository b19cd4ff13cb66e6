package history

// Stocking is one POST /products/{id}/stock by the admin.
type Stocking struct {
	Call
	ProductID int64
	Key       string
	Change    int64
	OnHand    int64 // of a 201
}

// Stock is a row of catalog.stock.
type Stock struct{ ProductID, OnHand int64 }

// StockChange is a row of catalog.stock_changes.
type StockChange struct {
	ProductID, Change int64
	Key               string // "" for the stock of a new product, and for a refund
	RefundID          *string
}
