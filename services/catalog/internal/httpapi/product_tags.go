package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"lavka/libs/domain/problem"
	"lavka/services/catalog/internal/catalog"
)

// productTag is a product's entity tag (RFC 9110, section 8.8.3).
func productTag(p catalog.Product) string { return fmt.Sprintf(`"p%d-%d"`, p.ID, p.Version) }

// pageTag is the entity tag of a page: another one when a product on it, its
// place, or what comes next has changed.
func pageTag(products []catalog.Product, next *string) string {
	text := make([]byte, 0, 1024)
	for _, p := range products {
		text = strconv.AppendInt(text, p.ID, 10)
		text = append(text, ' ')
		text = strconv.AppendInt(text, p.Version, 10)
		text = append(text, '\n')
	}
	if next != nil {
		text = append(text, *next...)
	}
	hash := sha256.Sum256(text)
	return `"l` + base64.RawURLEncoding.EncodeToString(hash[:15]) + `"`
}

// matchesAny says whether If-None-Match names the tag; strong and weak tags
// are alike there (RFC 9110, section 13.1.2).
func matchesAny(header *string, tag string) bool {
	return header != nil && listed(*header, func(t string) bool { return strings.TrimPrefix(t, "W/") == tag })
}

// ifMatch is the condition that If-Match puts on a product: without the header
// none; a weak tag never matches (RFC 9110, section 13.1.1). What is no list of
// tags is a problem "malformed": it would look as if the product had changed.
func ifMatch(header *string) (func(catalog.Product) bool, error) {
	if header != nil && !isTags(*header) {
		return nil, problem.New(problem.Malformed, "malformed", `If-Match must be * or entity tags in quotes, such as "p1-2"`)
	}
	return func(p catalog.Product) bool {
		tag := productTag(p)
		return header == nil || listed(*header, func(t string) bool { return t == tag })
	}, nil
}

// isTags says whether a header has the form of If-Match (RFC 9110, sections 8.8.3 and 13.1.1), strict but
// for what stands between the quotes.
func isTags(header string) bool {
	if strings.TrimSpace(header) == "*" {
		return true
	}
	for rest := header; ; {
		tag, more, quoted := strings.Cut(strings.TrimPrefix(strings.TrimSpace(rest), "W/"), `"`)
		_, after, ends := strings.Cut(more, `"`)
		if tag != "" || !quoted || !ends {
			return false
		}
		if after = strings.TrimSpace(after); after == "" {
			return true
		}
		if !strings.HasPrefix(after, ",") {
			return false
		}
		rest = after[1:]
	}
}

// listed looks through a list of tags, or "*" for any. None of ours holds a
// comma, so one within somebody else's tag does no harm.
func listed(header string, is func(string) bool) bool {
	if strings.TrimSpace(header) == "*" {
		return true
	}
	for t := range strings.SplitSeq(header, ",") {
		if is(strings.TrimSpace(t)) {
			return true
		}
	}
	return false
}
