package catalog

import (
	"crypto/sha256"
	"encoding/json"
	"time"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

// ErrProductKeyReused means that the admin has made another product with the key.
var ErrProductKeyReused = problem.New(problem.Invalid, "idempotency_key_reused", "this Idempotency-Key was already used for a product with different content; use a new key")

// Content returns the SHA-256 of what a new product consists of, by which a repeat of
// its request is known.
func (p Product) Content() []byte {
	text, err := json.Marshal(struct {
		SKU, Title, Description string
		Price                   money.Amount
		Status                  ProductStatus
		Images                  []string
		Attributes              map[string]string
		Stock                   *int64
	}{p.SKU, p.Title, p.Description, p.Price, p.Status, p.Images, p.Attributes, p.OnHand})
	if err != nil {
		panic(err) // texts and numbers always have a JSON form
	}
	sum := sha256.Sum256(text)
	return sum[:]
}

// Made returns a new product as it was when it got its id.
func (p Product) Made(id int64, at time.Time) Product {
	p.ID, p.Version, p.CreatedAt, p.UpdatedAt = id, 1, at, at
	return p
}
