package catalog

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"lavka/libs/domain/text"
)

// ProductStatus says whether a product is on sale.
type ProductStatus string

// Users see active products only, and can buy no others.
const (
	Draft    ProductStatus = "draft"
	Active   ProductStatus = "active"
	Archived ProductStatus = "archived"
)

// Valid reports whether s is one of the statuses.
func (s ProductStatus) Valid() bool { return s == Draft || s == Active || s == Archived }

// The limits of what a product has besides its texts and price.
const (
	MaxSKU            = 64 // bytes
	MaxImages         = 10
	MaxImage          = 500 // bytes of a URL
	MaxAttributes     = 32
	MaxAttributeName  = 40  // characters
	MaxAttributeValue = 200 // characters
)

// CheckSKU returns why a text can't be a SKU, or "". A SKU is a segment of a path, so
// it has no slash or backslash, which gateways refuse even if they are encoded, and is
// not . or .., which clients and proxies remove. It neither begins nor ends with a
// space, since two SKUs that differ in nothing else look the same.
func CheckSKU(sku string) string {
	outside := func(r rune) bool { return r < ' ' || r > '~' || r == '/' || r == '\\' }
	switch {
	case sku == "" || len(sku) > MaxSKU || strings.ContainsFunc(sku, outside):
		return `must have 1 to 64 printable ASCII characters other than / and \`
	case strings.Trim(sku, " ") != sku:
		return "must not begin or end with a space"
	case sku == "." || sku == "..":
		return "must not be . or .., which are not sent as parts of a path"
	}
	return ""
}

// applyShelf sets the members other than title, description and price.
func (p *Product) applyShelf(patch Patch, refuse func(field, message string)) {
	if patch.SKU != nil {
		if p.SKU = *patch.SKU; p.SKU != "" || p.ID == 0 { // a product that exists may lose its SKU
			if why := CheckSKU(p.SKU); why != "" {
				refuse("sku", why)
			}
		}
	}
	if patch.Status != nil {
		if p.Status = *patch.Status; !p.Status.Valid() {
			refuse("status", "must be draft, active or archived")
		}
	}
	if patch.Images != nil {
		p.Images = *patch.Images
		if why := checkImages(p.Images); why != "" {
			refuse("images", why)
		}
	}
	if patch.Attributes != nil {
		p.Attributes = *patch.Attributes
		if why := checkAttributes(p.Attributes); why != "" {
			refuse("attributes", why)
		}
	}
}

func checkImages(images []string) string {
	if len(images) > MaxImages {
		return "must have at most 10 items"
	}
	for i, image := range images {
		if len(image) > MaxImage || !isImageURL(image) {
			return fmt.Sprintf("item %d must be a URL that begins with https:// and has at most 500 bytes, with other characters than printable ASCII percent-encoded", i)
		}
	}
	return ""
}

// isImageURL reports whether a text is a URL (RFC 3986) that a page can show: with
// https and a host, without a password, and without a character that would have to be
// encoded, such as a quote, which could end the attribute of a careless page.
func isImageURL(image string) bool {
	unsafe := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"<>\\^`{|}", r) }
	if !strings.HasPrefix(image, "https://") || strings.ContainsFunc(image, unsafe) {
		return false
	}
	u, err := url.Parse(image)
	return err == nil && u.Hostname() != "" && u.User == nil
}

func checkAttributes(attributes map[string]string) string {
	if len(attributes) > MaxAttributes {
		return "must have at most 32 members"
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		switch value := attributes[name]; {
		case !text.Visible(name) || !text.Line(name) || utf8.RuneCountInString(name) > MaxAttributeName:
			return "must have names of 1 to 40 characters, without line breaks, control characters, or characters that reorder text"
		case !text.Line(value) || utf8.RuneCountInString(value) > MaxAttributeValue:
			return "must have values of at most 200 characters, without line breaks, control characters, or characters that reorder text"
		}
	}
	return ""
}

// sameAs reports whether p and q have the same members that an admin can change.
func (p Product) sameAs(q Product) bool {
	return p.SKU == q.SKU && p.Status == q.Status && p.Title == q.Title && p.Description == q.Description && p.Price == q.Price &&
		slices.Equal(p.Images, q.Images) && maps.Equal(p.Attributes, q.Attributes)
}
