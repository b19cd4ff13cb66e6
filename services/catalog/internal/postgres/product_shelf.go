package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"lavka/libs/service/adminlog"
	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

// skuIndex keeps the SKUs of products that are not deleted unique.
const skuIndex = "products_sku"

// putTries is how often PutProduct looks for the product again after another
// transaction has given its SKU away.
const putTries = 3

// ProductBySKU returns the product with a SKU, or ErrProductNotFound.
func (s *Store) ProductBySKU(ctx context.Context, sku string) (catalog.Product, error) {
	return pg.CollectOne(ctx, s.reads, "read product", catalog.ErrProductNotFound, scanProduct, `
		SELECT `+productColumns+`
		FROM catalog.products
		WHERE sku = $1 AND deleted_at IS NULL`, sku)
}

// PutProduct locks the product with a SKU and stores what change makes of it, or, if
// there is none, stores what create returns. Puts of one SKU wait for each other.
func (s *Store) PutProduct(ctx context.Context, admin int64, sku string, create func() (catalog.Product, error), change func(catalog.Product) (catalog.Product, bool, error)) (p catalog.Product, created bool, err error) {
	for range putTries {
		err = pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
			before, err := pg.One(ctx, tx, "lock product", catalog.ErrProductNotFound, scanProduct, `
				SELECT `+productColumns+`
				FROM catalog.products
				WHERE sku = $1 AND deleted_at IS NULL
				FOR NO KEY UPDATE`, sku)
			if created = errors.Is(err, catalog.ErrProductNotFound); !created {
				if err == nil {
					p, err = s.changeLocked(ctx, tx, admin, before, change)
				}
				return err
			}
			if p, err = create(); err == nil {
				p, err = insertProduct(ctx, tx, admin, p)
			}
			return err
		})
		if !created || !errors.Is(err, catalog.ErrSKUTaken) {
			return p, created, pg.Wrap("put product", err)
		}
	}
	return p, false, pg.ErrUnavailable.Because(fmt.Errorf("the product with a sku came and went %d times: %w", putTries, err))
}

// members are what the admins' log shows of a product. Each image and each attribute
// is a member of its own, so that the log has those that changed.
func members(p catalog.Product) adminlog.Members {
	all := adminlog.Members{"title": p.Title, "description": p.Description, "price": p.Price, "status": string(p.Status)}
	if p.SKU != "" {
		all["sku"] = p.SKU
	}
	for i, image := range p.Images {
		all[fmt.Sprintf("images.%d", i)] = image
	}
	for name, value := range p.Attributes {
		all["attributes."+name] = value
	}
	return all
}

// The texts of a product without images and attributes.
const (
	noImages     = "[]"
	noAttributes = "{}"
)

func imagesText(images []string) string {
	if len(images) == 0 {
		return noImages
	}
	return jsonText(images)
}

func attributesText(attributes map[string]string) string {
	if len(attributes) == 0 {
		return noAttributes
	}
	return jsonText(attributes)
}

// jsonText returns the JSON of strings, with < and the like as they are: it is no
// longer than what the API answers, so that a page is not cut too late.
func jsonText(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings always have a JSON form
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// readText reads JSON, unless it is the text of none.
func readText(text, none string, v any) error {
	if text == none || text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("read images or attributes: %w", err)
	}
	return nil
}
