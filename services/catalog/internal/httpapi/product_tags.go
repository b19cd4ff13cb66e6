package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lavka/libs/domain/problem"
	"lavka/services/catalog/internal/catalog"
)

// productTag returns a product's entity tag (RFC 9110, section 8.8.3).
func productTag(p catalog.Product) string { return fmt.Sprintf(`"p%d-%d"`, p.ID, p.Version) }

// pageTag returns the entity tag of a page. It changes when a product on the page,
// its position, or the cursor of the next page changes.
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

// matchesAny reports whether If-None-Match contains the tag. Strong and weak tags
// compare equal there (RFC 9110, section 13.1.2).
func matchesAny(header *string, tag string) bool {
	return header != nil && listed(*header, func(t string) bool { return names(strings.TrimPrefix(t, "W/"), tag) })
}

// ifMatch returns the condition that If-Match sets on a product. Without the
// header every product matches; a weak tag never does (RFC 9110, section 13.1.1).
// A header that is not a list of tags is a problem "malformed", because a failed
// match would suggest that the product has changed.
func ifMatch(header *string) (func(catalog.Product) bool, error) {
	if header != nil && !isTags(*header) {
		return nil, problem.New(problem.Malformed, "malformed", `If-Match must be * or entity tags in quotes, such as "p1-2"`)
	}
	return func(p catalog.Product) bool {
		tag := productTag(p)
		return header == nil || listed(*header, func(t string) bool { return names(t, tag) })
	}, nil
}

// endings are how a tag may end. Proxies that compress a response and keep its tag
// strong add the coding to it.
var endings = []string{`"`, `-gzip"`, `--gzip"`, `;gzip"`, `-br"`, `-zstd"`, `-deflate"`}

// names reports whether a tag that a client sent is one of ours, perhaps with the
// coding in which a proxy delivered the response.
func names(sent, ours string) bool {
	ending, ok := strings.CutPrefix(sent, strings.TrimSuffix(ours, `"`))
	return ok && slices.Contains(endings, ending)
}

var errWeakTag = problem.New(problem.PreconditionFailed, "precondition_failed", "If-Match has only weak tags (W/), which never match: a proxy on the way weakens tags, usually because it compresses; send the tag without W/, or let the proxy leave ETag as it is")

// orWeak returns errWeakTag in place of a failed match that no version of the product
// could have passed.
func orWeak(header *string, err error) error {
	if header == nil || !errors.Is(err, catalog.ErrPreconditionFailed) || listed(*header, func(t string) bool { return !strings.HasPrefix(t, "W/") }) {
		return err
	}
	return errWeakTag
}

// isTags reports whether a header has the syntax of If-Match (RFC 9110, sections
// 8.8.3 and 13.1.1). It allows any characters between the quotes.
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

// listed reports whether is holds for a tag in the list, or the list is "*". Our
// tags contain no comma, so a comma within another tag does no harm.
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
