package postgres

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

// errKeyTaken means that another request with the key has been faster.
var errKeyTaken = errors.New("the key was used in the meantime")

// CreateProductOnce is CreateProduct with the key of a request. A repeat returns the
// product as it was made, and reports that.
func (s *Store) CreateProductOnce(ctx context.Context, admin int64, key string, p catalog.Product) (made catalog.Product, repeat bool, err error) {
	for range 2 { // the second time, the key of the faster request is there
		err = pg.InTx(ctx, s.pool, func(tx *pg.Tx) (err error) {
			made, repeat, err = createOnce(ctx, tx, admin, key, p)
			return err
		})
		// The faster request may also have taken the SKU of this one.
		if !errors.Is(err, errKeyTaken) && !errors.Is(err, catalog.ErrSKUTaken) {
			break
		}
	}
	return made, repeat, pg.Wrap("create product", err)
}

func createOnce(ctx context.Context, tx *pg.Tx, admin int64, key string, p catalog.Product) (made catalog.Product, repeat bool, err error) {
	type earlier struct {
		ID      int64
		Content []byte
		At      time.Time
	}
	content := p.Content()
	known, err := pg.Rows(ctx, tx, "look up key", pgx.RowToStructByPos[earlier], `
		SELECT product_id, content, created_at FROM catalog.product_keys WHERE admin_id = $1 AND idempotency_key = $2`, admin, key)
	switch {
	case err != nil:
		return p, false, err
	case len(known) > 0 && !bytes.Equal(known[0].Content, content):
		return p, false, catalog.ErrProductKeyReused
	case len(known) > 0:
		return p.Made(known[0].ID, known[0].At), true, nil
	}
	if made, err = insertProduct(ctx, tx, admin, p); err != nil {
		return p, false, err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO catalog.product_keys (admin_id, idempotency_key, product_id, content) VALUES ($1, $2, $3, $4)
		ON CONFLICT DO NOTHING`, admin, key, made.ID, content)
	if err == nil && tag.RowsAffected() == 0 {
		err = errKeyTaken
	}
	return made, false, err
}
